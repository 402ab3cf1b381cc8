//! The last requests of each site, in the memory of this process: for those who look at what their program
//! does. It knows routes, never addresses; keys by their names, never by their secrets.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::ids::SiteId;
use crate::domain::scope::Scope;
use crate::registry::KnownKey;

/// Requests of a site that are kept.
pub const KEPT: usize = 1_000;

/// A request that was answered.
#[derive(Debug, Clone)]
pub struct Logged {
    /// Rises by one with each request of the site since the process began.
    pub seq: u64,
    /// When it was answered, in Unix milliseconds.
    pub at_ms: i64,
    /// Its method.
    pub method: String,
    /// The route, with parameters in braces.
    pub route: String,
    /// The status of its answer.
    pub status: u16,
    /// How long it took until its answer began, in milliseconds.
    pub duration_ms: u64,
    /// What was asked of the key, if it was known by then.
    pub scope: Option<Scope>,
    /// Who called.
    pub key: Arc<KnownKey>,
}

/// The last requests of all sites.
#[derive(Debug, Default)]
pub struct RequestLog(Mutex<HashMap<SiteId, OfSite>>);

#[derive(Debug, Default)]
struct OfSite {
    count: u64,
    kept: VecDeque<Logged>,
}

impl RequestLog {
    /// Keeps a request and forgets the oldest of its site; `seq` is set here.
    pub fn add(&self, mut logged: Logged) {
        let mut sites = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_site = sites.entry(logged.key.site.id).or_default();
        of_site.count += 1;
        logged.seq = of_site.count;
        if of_site.kept.len() == KEPT {
            of_site.kept.pop_front();
        }
        of_site.kept.push_back(logged);
    }

    /// Those of a site behind one, oldest first.
    pub fn after(&self, site: SiteId, seq: u64) -> Vec<Logged> {
        let sites = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = sites.get(&site).into_iter().flat_map(|of_site| &of_site.kept);
        kept.filter(|logged| logged.seq > seq).cloned().collect()
    }
}
