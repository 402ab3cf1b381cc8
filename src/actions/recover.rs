//! Settles uploads that a stopped or failed process left behind: bytes with a row stay, bytes
//! without one go (R2, R3), those of resumable uploads in flight wait for their client. Only the few
//! names in staging are looked at.

use std::sync::Arc;

use crate::app::App;
use crate::blobs::StagedKey;
use crate::db::Standing;
use crate::error::{Error, Result};

/// Settles what is left behind; returns how many uploads were kept and how many removed.
///
/// # Errors
///
/// When the database or the store cannot be used now, and the rest is found again next time; or when an
/// upload could not be settled, after all others were.
pub async fn recover(app: &App) -> Result<(usize, usize)> {
    let blobs = Arc::clone(&app.blobs);
    let left = app.tasks.spawn_blocking(move || blobs.left_behind()).await;
    let (mut kept, mut removed, mut failed) = (0, 0, None);
    for staged in left.map_err(anyhow::Error::from)?? {
        match settle(app, staged).await {
            Ok(None) => {}
            Ok(Some(Standing::Attached | Standing::InFlight)) => kept += 1,
            Ok(Some(Standing::Unknown)) => removed += 1,
            // It would be the same with the others, and each may take long to say so.
            Err(error @ Error::Busy { .. }) => return Err(error),
            Err(error) => {
                tracing::error!(?error, blob = %staged.key.blob, "an upload cannot be settled");
                failed = Some(error);
            }
        }
    }
    failed.map_or(Ok((kept, removed)), Err)
}

/// Settles one; returns what it was, or `None` when it is not left behind.
async fn settle(app: &App, staged: StagedKey) -> Result<Option<Standing>> {
    match standing(app, staged).await? {
        // Its parts are used up when it lies at its place in a bucket, so it is gone on with from
        // there; on disk its staging name has the same bytes.
        Standing::InFlight if app.blobs.is_shared() => return Ok(None),
        Standing::InFlight if !is_at_its_place(app, staged).await? => return Ok(None),
        Standing::Unknown if !is_given_up(app, staged).await? => return Ok(None),
        Standing::InFlight | Standing::Attached | Standing::Unknown => {}
    }
    // A resumable upload may have been gone on with since: what it is now is asked again while
    // nobody works on it.
    let Some(_turn) = app.turns.take(staged.key.blob).await else { return Ok(None) };
    let standing = standing(app, staged).await?;
    let blobs = Arc::clone(&app.blobs);
    let settled = app.tasks.spawn_blocking(move || {
        if standing != Standing::Attached {
            blobs.remove(staged.key)?;
        }
        // The file of an upload in flight stays where its client goes on with it.
        if standing == Standing::InFlight { Ok(()) } else { blobs.settle(staged) }
    });
    settled.await.map_err(anyhow::Error::from)??;
    Ok(Some(standing))
}

async fn standing(app: &App, staged: StagedKey) -> Result<Standing> {
    app.db.standing(staged.key.site, staged.attachment, staged.key.blob).await
}

/// Whether no other server works on it.
async fn is_given_up(app: &App, staged: StagedKey) -> Result<bool> {
    let (blobs, now_ms) = (Arc::clone(&app.blobs), app.clock.now_ms());
    let is = app.tasks.spawn_blocking(move || blobs.is_given_up(staged, now_ms)).await;
    Ok(is.map_err(anyhow::Error::from)??)
}

/// Whether a commit was begun that the process did not live to see.
async fn is_at_its_place(app: &App, staged: StagedKey) -> Result<bool> {
    let blobs = Arc::clone(&app.blobs);
    let size = app.tasks.spawn_blocking(move || blobs.size_of(staged.key)).await;
    Ok(size.map_err(anyhow::Error::from)??.is_some())
}
