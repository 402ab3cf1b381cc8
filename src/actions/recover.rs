//! Settles uploads that a stopped or failed process left behind: bytes with a row stay, bytes
//! without one go (R2, R3), those of resumable uploads in flight wait for their client. Only the few names in staging are looked at.

use std::sync::Arc;

use crate::app::App;
use crate::db::Standing;
use crate::error::Result;

/// Settles what is left behind; returns how many uploads were kept and how many removed.
///
/// # Errors
///
/// When the database or the store fails; the rest is found again next time.
pub async fn recover(app: &App) -> Result<(usize, usize)> {
    let blobs = Arc::clone(&app.blobs);
    let left = app.tasks.spawn_blocking(move || blobs.left_behind()).await;
    let (mut kept, mut removed) = (0, 0);
    for staged in left.map_err(anyhow::Error::from)?? {
        let (site, blob) = (staged.key.site, staged.key.blob);
        let has_row = match app.db.standing(site, staged.attachment, blob).await? {
            Standing::InFlight => continue,
            Standing::Attached => true,
            Standing::Unknown => false,
        };
        let blobs = Arc::clone(&app.blobs);
        let settled = app.tasks.spawn_blocking(move || {
            if !has_row {
                blobs.remove(staged.key)?;
            }
            blobs.settle(staged)
        });
        settled.await.map_err(anyhow::Error::from)??;
        if has_row { kept += 1 } else { removed += 1 }
    }
    Ok((kept, removed))
}
