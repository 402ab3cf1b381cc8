//! Takes an attachment away: row, counters and the order to remove its bytes in one
//! transaction. It is unreachable at once, links included; the bytes go later (design §8).

use crate::app::App;
use crate::domain::ids::{AttachmentId, ContactId, SiteId};
use crate::error::Result;

/// Blobs that one run removes at most.
pub const REMOVALS_A_RUN: u32 = 1_000;

/// Deletes an attachment.
///
/// # Errors
///
/// [`crate::error::Error::NotFound`] when this contact of this site has no such attachment.
pub async fn delete(
    app: &App,
    site: SiteId,
    contact: ContactId,
    attachment: AttachmentId,
) -> Result<()> {
    let grace_ms = i64::from(app.config.removal_grace_seconds) * 1_000;
    app.db.delete(site, contact, attachment, app.clock.now_ms() + grace_ms).await
}

/// Removes bytes whose grace is over and forgets upload URLs that have expired. Safe to
/// repeat at any point. Returns how many blobs went.
///
/// # Errors
///
/// When the database or the store fails; what was done stays done.
pub async fn sweep(app: &App) -> Result<usize> {
    let now_ms = app.clock.now_ms();
    let due = app.db.due_removals(now_ms, REMOVALS_A_RUN).await?;
    let mut gone = Vec::with_capacity(due.len());
    for (site, blob) in due {
        let blobs = std::sync::Arc::clone(&app.blobs);
        let key = crate::blobs::BlobKey { site, blob };
        let removed = app.tasks.spawn_blocking(move || blobs.remove(key)).await;
        match removed.map_err(anyhow::Error::from)? {
            Ok(()) => gone.push((site, blob)),
            // One file that cannot be removed must not keep the others.
            Err(error) => tracing::error!(%error, %blob, "a removed blob's bytes are still there"),
        }
    }
    let count = gone.len();
    if count > 0 {
        app.db.forget_removals(gone).await?;
    }
    app.db.forget_spent_uploads(now_ms).await?;
    Ok(count)
}
