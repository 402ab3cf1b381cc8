//! Places for uploads at the same time: in all, and for each API key, so that one greedy caller
//! leaves room for others (S29).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

/// The places. Costs memory only for keys that hold one.
pub struct UploadPlaces {
    in_all: usize,
    per_key: usize,
    held: Mutex<HashMap<Uuid, usize>>,
}

/// A place. Dropping it gives it back.
pub struct Place {
    places: Arc<UploadPlaces>,
    key: Uuid,
}

impl UploadPlaces {
    /// So many places in all, and for each key.
    pub fn new(in_all: usize, per_key: usize) -> Self {
        Self { in_all, per_key, held: Mutex::default() }
    }

    /// A place for an upload whose URL a key has made; `None` when there is none.
    pub fn take(self: &Arc<Self>, key: Uuid) -> Option<Place> {
        let mut held = self.held();
        let own = held.get(&key).copied().unwrap_or(0);
        if own >= self.per_key || held.values().sum::<usize>() >= self.in_all {
            return None;
        }
        held.insert(key, own + 1);
        Some(Place { places: Arc::clone(self), key })
    }

    /// Places that are taken.
    pub fn taken(&self) -> usize {
        self.held().values().sum()
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Uuid, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.places.held();
        match held.get_mut(&self.key) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(held.remove(&self.key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_leaves_places_to_others() {
        let places = Arc::new(UploadPlaces::new(3, 2));
        let (greedy, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let first = places.take(greedy).unwrap();
        let _second = places.take(greedy).unwrap();
        assert!(places.take(greedy).is_none());
        let third = places.take(other).unwrap();
        assert!(places.take(other).is_none(), "there are three in all");
        drop(first);
        assert!(places.take(greedy).is_some());
        drop(third);
        assert_eq!(places.taken(), 1);
    }
}
