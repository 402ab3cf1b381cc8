//! Counts changes of contacts, so that caches can detect stale entries.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::ids::{ContactId, SiteId};

/// Number of counters. Contacts share them by hash, which costs a needless miss now and then.
const SLOTS: usize = 8_192;

/// How often the contacts that share a slot have changed.
///
/// A cache key contains the value read *before* the rows were. A later commit bumps the counter
/// before it is acknowledged, so a stale entry is never looked up again (R7). Nothing needs
/// invalidation, and no eviction can break anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Change(u64);

impl Change {
    /// From a contact's revision in the database, where other processes write too.
    pub(super) fn revision(revision: i64) -> Self {
        Self(revision as u64)
    }
}

pub(super) struct Changes {
    slots: Vec<AtomicU64>,
}

impl Default for Changes {
    fn default() -> Self {
        Self { slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Changes {
    fn slot(&self, site: SiteId, contact: ContactId) -> &AtomicU64 {
        let (site, contact) = (site.0.as_u128(), contact.0.as_u128());
        let mixed = (site ^ contact).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        &self.slots[(mixed >> 100) as usize % SLOTS]
    }

    pub(super) fn get(&self, site: SiteId, contact: ContactId) -> Change {
        Change(self.slot(site, contact).load(Ordering::Acquire))
    }

    /// [`Changes::bump`] for every contact.
    pub(super) fn bump_all(&self) {
        for slot in &self.slots {
            slot.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Call after the commit and before it is acknowledged.
    pub(super) fn bump(&self, site: SiteId, contact: ContactId) {
        self.slot(site, contact).fetch_add(1, Ordering::AcqRel);
    }
}
