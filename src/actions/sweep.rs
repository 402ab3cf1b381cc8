//! The sweep: removes expired uploads, bytes of deleted attachments, expired upload URLs and
//! sessions, trash after its retention, old tombstones and events, and ended subscriptions. It runs
//! under a lease, is safe to repeat at any point, and bounded per run (R27).

use std::io::ErrorKind;
use std::sync::Arc;

use crate::actions::upload::resumable::end_expired;
use crate::app::App;
use crate::blobs::BlobKey;
use crate::db::Lease;
use crate::error::Result;

/// Maximum number of items of each kind per run.
pub const MAX_PER_RUN: u32 = 1_000;
/// How long a run may take before another process takes over.
const LEASE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// What a run removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Expired uploads.
    pub uploads: usize,
    /// Blobs of deleted attachments.
    pub blobs: usize,
    /// Records of used upload URLs.
    pub upload_urls: usize,
    /// Attachments and contacts whose retention in the trash is over.
    pub trashed: usize,
    /// Ids of inbound contact events that need no longer be deduplicated.
    pub inbound: usize,
    /// Expired sessions and sign-in links.
    pub sessions: usize,
    /// Old tombstones.
    pub tombstones: usize,
    /// Old events, with their delivery history.
    pub events: usize,
    /// Deliveries abandoned because their circuit was open for too long.
    pub abandoned: usize,
    /// Deliveries of removed subscriptions.
    pub deliveries: usize,
}

impl Swept {
    /// Whether more may remain, so that another run should follow at once.
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
            self.abandoned,
            self.deliveries,
        ];
        kinds.contains(&(MAX_PER_RUN as usize))
    }
}

/// Does one run; nothing while another process has the lease.
///
/// # Errors
///
/// When the database or the store fails; completed removals persist.
pub async fn sweep(app: &Arc<App>) -> Result<Swept> {
    let now_ms = app.clock.now_ms();
    let lease = app.db.acquire_lease("sweep", app.node_id, now_ms, now_ms + LEASE_MS).await?;
    let Some(lease) = lease else { return Ok(Swept::default()) };
    let deleted_before_ms = now_ms - i64::from(app.config.tombstone_days) * DAY_MS;
    let event_life_ms = i64::from(app.config.event_days) * DAY_MS;
    Ok(Swept {
        // First, so that their bytes are removed in this run.
        trashed: app.db.purge_trash(now_ms, MAX_PER_RUN).await?,
        uploads: end_expired(app, MAX_PER_RUN).await?,
        blobs: remove_blobs(app, &lease, now_ms).await?,
        upload_urls: app.db.delete_expired_spent_uploads(now_ms, MAX_PER_RUN).await?,
        inbound: app.db.delete_expired_inbound_events(now_ms, MAX_PER_RUN).await?,
        sessions: app.db.delete_expired_sessions(now_ms, MAX_PER_RUN).await?,
        tombstones: app.db.delete_old_tombstones(deleted_before_ms, MAX_PER_RUN).await?,
        events: app.db.delete_old_events(now_ms - event_life_ms, MAX_PER_RUN).await?,
        abandoned: abandon_deliveries(app, now_ms).await?,
        deliveries: app.db.delete_removed_subscriptions(now_ms, MAX_PER_RUN).await?,
    })
}

/// Abandons deliveries whose schedule ended while their circuit was open.
async fn abandon_deliveries(app: &App, now_ms: i64) -> Result<usize> {
    let begun_before_ms = now_ms - app.config.webhook_retries.max_age_ms();
    let abandoned = app.db.abandon_deliveries(begun_before_ms, MAX_PER_RUN).await?;
    if abandoned > 0 {
        app.metrics.webhook_dead.inc_by(abandoned as u64);
        tracing::error!(abandoned, "webhook deliveries were abandoned: their endpoints fail");
    }
    Ok(abandoned)
}

/// Removes bytes whose grace period is over.
async fn remove_blobs(app: &App, lease: &Lease, now_ms: i64) -> Result<usize> {
    let due = app.db.due_removals(now_ms, MAX_PER_RUN).await?;
    let mut removed_blobs = Vec::with_capacity(due.len());
    for (site, blob) in due {
        let blobs = Arc::clone(&app.blobs);
        let removed = app.tasks.spawn_blocking(move || blobs.remove(BlobKey { site, blob })).await;
        match removed.map_err(anyhow::Error::from)? {
            Ok(()) => {
                app.transforms.cache.forget(BlobKey { site, blob });
                removed_blobs.push((site, blob));
            }
            // The others would fail too, and each may be slow to do so.
            Err(error) if error.kind() == ErrorKind::NetworkDown => {
                tracing::warn!(%error, "the removal of blobs waits for the store");
                break;
            }
            // One file that cannot be removed must not block the others.
            Err(error) => tracing::error!(%error, %blob, "a blob's bytes could not be removed"),
        }
    }
    let count = removed_blobs.len();
    if count > 0 {
        app.db.complete_removals(lease, removed_blobs, app.clock.now_ms()).await?;
    }
    Ok(count)
}
