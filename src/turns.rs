//! One request at a time works on a resumable upload. Whoever comes later sends the one before
//! away, so that a client that comes back is not locked out by its own dead connection.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::domain::ids::BlobId;

/// How long the one before may take to write down what it has.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who works on which upload.
#[derive(Default)]
pub struct Turns {
    held: Mutex<HashMap<BlobId, Signals>>,
}

#[derive(Clone, Default)]
struct Signals {
    leave: CancellationToken,
    left: CancellationToken,
}

/// The right to work on an upload. Dropping it gives it back.
pub struct Turn {
    turns: Arc<Turns>,
    upload: BlobId,
    leave: CancellationToken,
}

impl Turns {
    /// Sends away whoever works on the upload, and waits until they have left. `None` when they
    /// take too long.
    pub async fn take(self: &Arc<Self>, upload: BlobId) -> Option<Turn> {
        tokio::time::timeout(PATIENCE, async {
            loop {
                let before = {
                    let mut held = self.held();
                    let Some(before) = held.get(&upload) else {
                        let leave = CancellationToken::new();
                        let signals = Signals { leave: leave.clone(), ..Signals::default() };
                        held.insert(upload, signals);
                        return Turn { turns: Arc::clone(self), upload, leave };
                    };
                    before.clone()
                };
                before.leave.cancel();
                before.left.cancelled().await;
            }
        })
        .await
        .ok()
    }

    fn held(&self) -> MutexGuard<'_, HashMap<BlobId, Signals>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Ends when somebody else wants the upload.
    pub fn wanted(&self) -> impl Future<Output = ()> + Send + 'static {
        self.leave.clone().cancelled_owned()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(signals) = self.turns.held().remove(&self.upload) {
            signals.left.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_later_one_sends_the_one_before_away() {
        let (turns, upload) = (Arc::new(Turns::default()), BlobId(uuid::Uuid::from_u128(1)));
        let first = turns.take(upload).await.unwrap();
        let wanted = first.wanted();
        let work = async {
            wanted.await;
            drop(first);
        };
        let (second, ()) = tokio::join!(turns.take(upload), work);
        drop(second.unwrap());
        assert!(turns.held().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_does_not_leave_is_not_waited_for_without_end() {
        let (turns, upload) = (Arc::new(Turns::default()), BlobId(uuid::Uuid::from_u128(1)));
        let _first = turns.take(upload).await.unwrap();
        assert!(turns.take(upload).await.is_none());
        assert!(turns.take(BlobId(uuid::Uuid::from_u128(2))).await.is_some());
    }
}
