//! Keeps the most recent requests of each site in memory, for developers who debug their program.
//! It holds routes, never URLs, and keys by name, never secrets.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::ids::SiteId;
use crate::domain::scope::Scope;
use crate::registry::KnownKey;

/// Requests kept per site.
pub const MAX_REQUESTS_PER_SITE: usize = 1_000;

/// A completed request.
#[derive(Debug, Clone)]
pub struct LoggedRequest {
    /// Increases by one with each request of the site since the process started.
    pub seq: u64,
    /// When it completed, in Unix milliseconds.
    pub at_ms: i64,
    /// The method.
    pub method: String,
    /// The route, with parameters in braces.
    pub route: String,
    /// The status of the response.
    pub status: u16,
    /// Time until the response began, in milliseconds.
    pub duration_ms: u64,
    /// The scope that the request needed, if it was known by then.
    pub scope: Option<Scope>,
    /// The caller's key.
    pub key: Arc<KnownKey>,
}

/// The most recent requests of all sites.
#[derive(Debug, Default)]
pub struct RequestLog(Mutex<HashMap<SiteId, SiteRequests>>);

#[derive(Debug, Default)]
struct SiteRequests {
    count: u64,
    recent: VecDeque<LoggedRequest>,
}

impl RequestLog {
    /// Adds a request and drops the site's oldest; `seq` is set here.
    pub fn add(&self, mut logged: LoggedRequest) {
        let mut sites = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let site_requests = sites.entry(logged.key.site.id).or_default();
        site_requests.count += 1;
        logged.seq = site_requests.count;
        if site_requests.recent.len() == MAX_REQUESTS_PER_SITE {
            site_requests.recent.pop_front();
        }
        site_requests.recent.push_back(logged);
    }

    /// The requests of a site after the cursor `seq`, oldest first.
    pub fn after(&self, site: SiteId, seq: u64) -> Vec<LoggedRequest> {
        let sites = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = sites.get(&site).into_iter().flat_map(|site_requests| &site_requests.recent);
        recent.filter(|logged| logged.seq > seq).cloned().collect()
    }
}
