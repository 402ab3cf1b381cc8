//! Limits concurrent uploads: in total, and for each API key, so that one greedy caller leaves room
//! for others (S29).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

/// The upload slots. A key costs memory only while it holds one.
pub struct UploadSlots {
    total: usize,
    per_key: usize,
    held: Mutex<HashMap<Uuid, usize>>,
}

/// A slot for one upload. Dropping it releases it.
pub struct UploadSlot {
    slots: Arc<UploadSlots>,
    key: Uuid,
}

impl UploadSlots {
    /// `total` slots, of which one key may hold `per_key`.
    pub fn new(total: usize, per_key: usize) -> Self {
        Self { total, per_key, held: Mutex::default() }
    }

    /// Acquires a slot for an upload whose URL was created with `key`; `None` when there is none.
    pub fn acquire(self: &Arc<Self>, key: Uuid) -> Option<UploadSlot> {
        let mut held = self.held();
        let own_slots = held.get(&key).copied().unwrap_or(0);
        if own_slots >= self.per_key || held.values().sum::<usize>() >= self.total {
            return None;
        }
        held.insert(key, own_slots + 1);
        Some(UploadSlot { slots: Arc::clone(self), key })
    }

    /// The number of slots in use.
    pub fn in_use(&self) -> usize {
        self.held().values().sum()
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Uuid, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UploadSlot {
    fn drop(&mut self) {
        let mut held = self.slots.held();
        match held.get_mut(&self.key) {
            Some(own_slots) if *own_slots > 1 => *own_slots -= 1,
            _ => drop(held.remove(&self.key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_leaves_slots_for_others() {
        let slots = Arc::new(UploadSlots::new(3, 2));
        let (greedy, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let first = slots.acquire(greedy).unwrap();
        let _second = slots.acquire(greedy).unwrap();
        assert!(slots.acquire(greedy).is_none());
        let third = slots.acquire(other).unwrap();
        assert!(slots.acquire(other).is_none(), "there are three in total");
        drop(first);
        assert!(slots.acquire(greedy).is_some());
        drop(third);
        assert_eq!(slots.in_use(), 1);
    }
}
