//! One maker per key: whoever comes while something is being made waits for it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// Turns for keys; a key costs memory only while someone holds or awaits its turn.
pub struct SingleFlight<K> {
    turns: Mutex<HashMap<K, Arc<AsyncMutex<()>>>>,
}

/// A turn. Dropping it lets the next one in.
pub struct Turn<'a, K: Eq + Hash + Copy> {
    flight: &'a SingleFlight<K>,
    key: K,
    guard: Option<OwnedMutexGuard<()>>,
}

impl<K> Default for SingleFlight<K> {
    fn default() -> Self {
        Self { turns: Mutex::default() }
    }
}

impl<K: Eq + Hash + Copy> SingleFlight<K> {
    /// Waits until nobody else has the key's turn.
    pub async fn turn(&self, key: K) -> Turn<'_, K> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(turns.entry(key).or_default())
        };
        let guard = turn.lock_owned().await;
        Turn { flight: self, key, guard: Some(guard) }
    }
}

impl<K: Eq + Hash + Copy> Drop for Turn<'_, K> {
    fn drop(&mut self) {
        let mut turns = self.flight.turns.lock().unwrap_or_else(PoisonError::into_inner);
        self.guard.take();
        // The map's own handle is the last one when nobody waits.
        if turns.get(&self.key).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            turns.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn makers_of_one_key_take_turns_and_leave_nothing() {
        let flight = SingleFlight::default();
        let (inside, most) = (AtomicU32::new(0), AtomicU32::new(0));
        let make = || async {
            let _turn = flight.turn(7).await;
            let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            tokio::task::yield_now().await;
            inside.fetch_sub(1, Ordering::SeqCst);
        };
        futures_util::future::join_all((0..20).map(|_| make())).await;
        assert_eq!(most.load(Ordering::SeqCst), 1);
        assert!(flight.turns.lock().unwrap().is_empty());
    }
}
