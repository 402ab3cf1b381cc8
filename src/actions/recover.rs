//! Settles leftover uploads of a stopped or failed process: bytes with a row stay, bytes without
//! one are removed (R2, R3), those of a resumable upload in progress wait for their client. Only
//! the few staging entries are inspected.

use std::sync::Arc;

use crate::app::App;
use crate::blobs::StagedKey;
use crate::db::BlobOwner;
use crate::error::{Error, Result};

/// Settles leftover uploads; returns how many were kept and how many removed.
///
/// # Errors
///
/// When the database or the store is unavailable: the rest is found again next time. Or when one
/// upload could not be settled, after all others were.
pub async fn recover(app: &App) -> Result<(usize, usize)> {
    let blobs = Arc::clone(&app.blobs);
    let leftovers = app.tasks.spawn_blocking(move || blobs.unsettled_uploads()).await;
    let (mut kept, mut removed, mut failed) = (0, 0, None);
    for staged in leftovers.map_err(anyhow::Error::from)?? {
        match settle(app, staged).await {
            Ok(None) => {}
            Ok(Some(BlobOwner::Attached | BlobOwner::InProgress)) => kept += 1,
            Ok(Some(BlobOwner::Unknown)) => removed += 1,
            // The others would fail too, and each may be slow to do so.
            Err(error @ Error::Busy { .. }) => return Err(error),
            Err(error) => {
                tracing::error!(?error, blob = %staged.key.blob, "an upload cannot be settled");
                failed = Some(error);
            }
        }
    }
    failed.map_or(Ok((kept, removed)), Err)
}

/// Settles one; returns its owner, or `None` when it is not a leftover.
async fn settle(app: &App, staged: StagedKey) -> Result<Option<BlobOwner>> {
    match owner(app, staged).await? {
        // In a bucket, a placed blob has consumed its parts, so the upload is resumed from there;
        // on disk, its staging file has the same bytes.
        BlobOwner::InProgress if app.blobs.is_shared() => return Ok(None),
        BlobOwner::InProgress if !is_placed(app, staged).await? => return Ok(None),
        BlobOwner::Unknown if !is_abandoned(app, staged).await? => return Ok(None),
        BlobOwner::InProgress | BlobOwner::Attached | BlobOwner::Unknown => {}
    }
    // The upload may have been resumed in the meantime: its owner is read again under the lock.
    let Some(_lock) = app.upload_locks.acquire(staged.key.blob).await else { return Ok(None) };
    let owner = owner(app, staged).await?;
    let blobs = Arc::clone(&app.blobs);
    let settled = app.tasks.spawn_blocking(move || {
        if owner != BlobOwner::Attached {
            blobs.remove(staged.key)?;
        }
        // The staging file of an upload in progress stays for its client to resume.
        if owner == BlobOwner::InProgress { Ok(()) } else { blobs.settle(staged) }
    });
    settled.await.map_err(anyhow::Error::from)??;
    Ok(Some(owner))
}

async fn owner(app: &App, staged: StagedKey) -> Result<BlobOwner> {
    app.db.blob_owner(staged.key.site, staged.attachment, staged.key.blob).await
}

/// Whether no other server is working on it.
async fn is_abandoned(app: &App, staged: StagedKey) -> Result<bool> {
    let (blobs, now_ms) = (Arc::clone(&app.blobs), app.clock.now_ms());
    let is_abandoned = app.tasks.spawn_blocking(move || blobs.is_abandoned(staged, now_ms)).await;
    Ok(is_abandoned.map_err(anyhow::Error::from)??)
}

/// Whether a commit began that the process did not survive.
async fn is_placed(app: &App, staged: StagedKey) -> Result<bool> {
    let blobs = Arc::clone(&app.blobs);
    let size = app.tasks.spawn_blocking(move || blobs.size_of(staged.key)).await;
    Ok(size.map_err(anyhow::Error::from)??.is_some())
}
