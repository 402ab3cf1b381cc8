//! Takes away what is over: uploads that nobody goes on with, bytes of deleted attachments, upload
//! URLs that have expired, sessions that are over, what was in the trash for its time, old tombstones,
//! old events, ended subscriptions. Under a lease, safe to repeat at any point, and bounded a run (R27).

use std::io::ErrorKind;
use std::sync::Arc;

use crate::actions::upload::resumable::end_expired;
use crate::app::App;
use crate::blobs::BlobKey;
use crate::db::Lease;
use crate::error::Result;

/// Things of each kind that one run takes away at most.
pub const A_RUN: u32 = 1_000;
/// How long a run may take before another process takes over.
const LEASE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// What a run took away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Uploads that had expired.
    pub uploads: usize,
    /// Deleted attachments whose bytes went.
    pub blobs: usize,
    /// Upload URLs that are forgotten.
    pub upload_urls: usize,
    /// Attachments and contacts whose time in the trash was over.
    pub trashed: usize,
    /// News of contacts kept elsewhere that need no longer be known.
    pub inbound: usize,
    /// Sessions and sign-in links that are over.
    pub sessions: usize,
    /// Deletions that are forgotten.
    pub tombstones: usize,
    /// Events that are forgotten, with the log of telling them.
    pub events: usize,
    /// Deliveries that are given up because their endpoint was left alone for so long.
    pub given_up: usize,
    /// Deliveries of ended subscriptions that are forgotten.
    pub deliveries: usize,
}

impl Swept {
    /// Whether there may be more to do at once.
    pub fn is_full(&self) -> bool {
        let kinds = [
            self.uploads,
            self.blobs,
            self.upload_urls,
            self.trashed,
            self.inbound,
            self.sessions,
            self.tombstones,
            self.events,
            self.given_up,
            self.deliveries,
        ];
        kinds.contains(&(A_RUN as usize))
    }
}

/// Does one run; nothing while another process has the lease.
///
/// # Errors
///
/// When the database or the store fails; what was done stays done.
pub async fn sweep(app: &Arc<App>) -> Result<Swept> {
    let now_ms = app.clock.now_ms();
    let taken = app.db.take_lease("sweep", app.node_id, now_ms, now_ms + LEASE_MS).await?;
    let Some(lease) = taken else { return Ok(Swept::default()) };
    let forgotten_ms = now_ms - i64::from(app.config.tombstone_days) * DAY_MS;
    let event_life_ms = i64::from(app.config.event_days) * DAY_MS;
    Ok(Swept {
        // Its bytes go in this run.
        trashed: app.db.purge_trash(now_ms, A_RUN).await?,
        uploads: end_expired(app, A_RUN).await?,
        blobs: remove_blobs(app, &lease, now_ms).await?,
        upload_urls: app.db.forget_spent_uploads(now_ms, A_RUN).await?,
        inbound: app.db.forget_inbound(now_ms, A_RUN).await?,
        sessions: app.db.forget_sessions(now_ms, A_RUN).await?,
        tombstones: app.db.forget_tombstones(forgotten_ms, A_RUN).await?,
        events: app.db.forget_events(now_ms - event_life_ms, A_RUN).await?,
        given_up: give_up(app, now_ms).await?,
        deliveries: app.db.forget_subscriptions(now_ms, A_RUN).await?,
    })
}

/// Gives up deliveries whose endpoint was left alone until their schedule was over.
async fn give_up(app: &App, now_ms: i64) -> Result<usize> {
    let begun_before_ms = now_ms - app.config.webhook_retries.longest_ms();
    let given_up = app.db.give_up_deliveries(begun_before_ms, A_RUN).await?;
    if given_up > 0 {
        app.metrics.webhook_dead.inc_by(given_up as u64);
        tracing::error!(given_up, "webhooks were given up: their endpoints fail");
    }
    Ok(given_up)
}

/// Removes bytes whose grace is over.
async fn remove_blobs(app: &App, lease: &Lease, now_ms: i64) -> Result<usize> {
    let due = app.db.due_removals(now_ms, A_RUN).await?;
    let mut gone = Vec::with_capacity(due.len());
    for (site, blob) in due {
        let blobs = Arc::clone(&app.blobs);
        let removed = app.tasks.spawn_blocking(move || blobs.remove(BlobKey { site, blob })).await;
        match removed.map_err(anyhow::Error::from)? {
            Ok(()) => {
                app.transforms.cache.forget(BlobKey { site, blob });
                gone.push((site, blob));
            }
            // It would be the same with the others, and each may take long to say so.
            Err(error) if error.kind() == ErrorKind::NetworkDown => {
                tracing::warn!(%error, "removed blobs wait for the store");
                break;
            }
            // One file that cannot be removed must not keep the others.
            Err(error) => tracing::error!(%error, %blob, "a removed blob's bytes are still there"),
        }
    }
    let count = gone.len();
    if count > 0 {
        app.db.forget_removals(lease, gone, app.clock.now_ms()).await?;
    }
    Ok(count)
}
