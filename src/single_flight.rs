//! Single flight: one caller per key works, and others of the same key wait for it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// Locks by key. A key costs memory only while someone holds or awaits its lock.
pub struct SingleFlight<K> {
    locks: Mutex<HashMap<K, Arc<AsyncMutex<()>>>>,
}

/// The lock of a key. Dropping it lets the next caller in.
pub struct KeyGuard<'a, K: Eq + Hash + Copy> {
    flight: &'a SingleFlight<K>,
    key: K,
    guard: Option<OwnedMutexGuard<()>>,
}

impl<K> Default for SingleFlight<K> {
    fn default() -> Self {
        Self { locks: Mutex::default() }
    }
}

impl<K: Eq + Hash + Copy> SingleFlight<K> {
    /// Waits until nobody else holds the key's lock.
    pub async fn acquire(&self, key: K) -> KeyGuard<'_, K> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(locks.entry(key).or_default())
        };
        let guard = lock.lock_owned().await;
        KeyGuard { flight: self, key, guard: Some(guard) }
    }
}

impl<K: Eq + Hash + Copy> Drop for KeyGuard<'_, K> {
    fn drop(&mut self) {
        let mut locks = self.flight.locks.lock().unwrap_or_else(PoisonError::into_inner);
        self.guard.take();
        // The map's own handle is the last one when nobody waits.
        if locks.get(&self.key).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            locks.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn callers_of_one_key_run_one_at_a_time_and_leave_nothing() {
        let flight = SingleFlight::default();
        let (inside, max) = (AtomicU32::new(0), AtomicU32::new(0));
        let work = || async {
            let _guard = flight.acquire(7).await;
            let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
            max.fetch_max(now, Ordering::SeqCst);
            tokio::task::yield_now().await;
            inside.fetch_sub(1, Ordering::SeqCst);
        };
        futures_util::future::join_all((0..20).map(|_| work())).await;
        assert_eq!(max.load(Ordering::SeqCst), 1);
        assert!(flight.locks.lock().unwrap().is_empty());
    }
}
