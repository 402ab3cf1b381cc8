//! Locks for resumable uploads: one request at a time works on an upload. A later request preempts
//! the earlier one, so that a returning client is not locked out by its own dead connection.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::domain::ids::BlobId;

/// How long the preempted request may take to save its progress.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// The locks of all uploads in use.
#[derive(Default)]
pub struct UploadLocks {
    held: Mutex<HashMap<BlobId, Signals>>,
}

#[derive(Clone, Default)]
struct Signals {
    preempt: CancellationToken,
    released: CancellationToken,
}

/// The exclusive right to work on an upload. Dropping it releases the lock.
pub struct UploadLock {
    locks: Arc<UploadLocks>,
    upload: BlobId,
    preempt: CancellationToken,
}

impl UploadLocks {
    /// Preempts the current holder and waits until it has released the lock. `None` when it takes
    /// too long.
    pub async fn acquire(self: &Arc<Self>, upload: BlobId) -> Option<UploadLock> {
        tokio::time::timeout(ACQUIRE_TIMEOUT, async {
            loop {
                let current = {
                    let mut held = self.held();
                    let Some(current) = held.get(&upload) else {
                        let preempt = CancellationToken::new();
                        let signals = Signals { preempt: preempt.clone(), ..Signals::default() };
                        held.insert(upload, signals);
                        return UploadLock { locks: Arc::clone(self), upload, preempt };
                    };
                    current.clone()
                };
                current.preempt.cancel();
                current.released.cancelled().await;
            }
        })
        .await
        .ok()
    }

    fn held(&self) -> MutexGuard<'_, HashMap<BlobId, Signals>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UploadLock {
    /// Resolves when another request wants the upload.
    pub fn preempted(&self) -> impl Future<Output = ()> + Send + 'static {
        self.preempt.clone().cancelled_owned()
    }
}

impl Drop for UploadLock {
    fn drop(&mut self) {
        if let Some(signals) = self.locks.held().remove(&self.upload) {
            signals.released.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_later_request_preempts_the_holder() {
        let (locks, upload) = (Arc::new(UploadLocks::default()), BlobId(uuid::Uuid::from_u128(1)));
        let first = locks.acquire(upload).await.unwrap();
        let preempted = first.preempted();
        let work = async {
            preempted.await;
            drop(first);
        };
        let (second, ()) = tokio::join!(locks.acquire(upload), work);
        drop(second.unwrap());
        assert!(locks.held().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_a_holder_that_stays_times_out() {
        let (locks, upload) = (Arc::new(UploadLocks::default()), BlobId(uuid::Uuid::from_u128(1)));
        let _first = locks.acquire(upload).await.unwrap();
        assert!(locks.acquire(upload).await.is_none());
        assert!(locks.acquire(BlobId(uuid::Uuid::from_u128(2))).await.is_some());
    }
}
