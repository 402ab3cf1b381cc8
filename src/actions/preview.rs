//! Finds a preview or makes it once, under a limit. A preview that cannot be made never
//! touches its original (R29).

use std::fs::File;
use std::io;
use std::sync::Arc;

use crate::app::App;
use crate::blobs::{BlobKey, Part};
use crate::domain::attachment::Attachment;
use crate::domain::image::{Recipe, Rendered};
use crate::domain::media_type::MediaType;
use crate::error::{Error, Result};
use crate::render_workers::{Job, Wanted};

/// Opens the preview, making it if need be. `None` when there is none to be had.
///
/// # Errors
///
/// When the store or the database fails, and [`Error::Busy`] when too many previews are wanted.
pub async fn open(app: &Arc<App>, attachment: &Attachment) -> Result<Option<File>> {
    if !attachment.has_preview {
        return Ok(None);
    }
    let key = BlobKey { site: attachment.site_id, blob: attachment.blob_id };
    if let Some(file) = find(app, key).await? {
        return Ok(Some(file));
    }
    // A task of its own: a preview that was begun is kept when the one who asked has gone.
    let (shared, attachment) = (Arc::clone(app), attachment.clone());
    let making =
        app.tasks.spawn(async move { find_or_make(&shared, &attachment, Wanted::Now).await });
    making.await.map_err(anyhow::Error::from)?
}

/// Makes the preview of a new attachment before anyone asks, if there is room to wait.
pub fn warm(app: &Arc<App>, attachment: Attachment) {
    if !attachment.has_preview {
        return;
    }
    let shared = Arc::clone(app);
    app.tasks.spawn(async move {
        match find_or_make(&shared, &attachment, Wanted::Ahead).await {
            // Left to the one who asks first.
            Ok(_) | Err(Error::Busy { .. }) => {}
            Err(error) => {
                tracing::warn!(%error, attachment = %attachment.id, "a preview could not be kept");
            }
        }
    });
}

/// Gets a render worker ready while a picture still arrives.
pub fn expect(app: &App, declared_type: &str) {
    if MediaType::from_stored(declared_type.to_owned()).is_image() {
        app.previews.workers.start_ahead();
    }
}

async fn find_or_make(app: &App, attachment: &Attachment, wanted: Wanted) -> Result<Option<File>> {
    let key = BlobKey { site: attachment.site_id, blob: attachment.blob_id };
    let _turn = app.previews.makers.turn(key).await;
    if let Some(file) = find(app, key).await? {
        return Ok(Some(file));
    }
    // Whoever had the turn before may have found that there is none.
    let now = app.db.attachment(attachment.site_id, attachment.id).await?;
    if !now.is_some_and(|now| now.has_preview) {
        return Ok(None);
    }
    if make(app, key, wanted).await? {
        return find(app, key).await;
    }
    app.db.preview_failed(attachment.site_id, attachment.id).await?;
    Ok(None)
}

async fn find(app: &App, key: BlobKey) -> Result<Option<File>> {
    let blobs = Arc::clone(&app.blobs);
    let found = app.tasks.spawn_blocking(move || blobs.open_part(key, Part::Preview)).await;
    match found.map_err(anyhow::Error::from)? {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Makes and keeps the preview. False when the picture has none.
async fn make(app: &App, key: BlobKey, wanted: Wanted) -> Result<bool> {
    let Some(preview) = render_as(app, key, Recipe::preview(), wanted).await? else {
        return Ok(false);
    };
    let blobs = Arc::clone(&app.blobs);
    let kept = app.tasks.spawn_blocking(move || blobs.put_preview(key, &preview.bytes)).await;
    match kept.map_err(anyhow::Error::from)? {
        Ok(()) => Ok(true),
        // Deleted meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Makes what a recipe says of a blob, in a process of its own. `None` when nothing can be made
/// of it.
///
/// # Errors
///
/// When the store fails, and [`Error::Busy`] when too many pictures are wanted.
pub async fn render_blob(app: &App, key: BlobKey, recipe: Recipe) -> Result<Option<Rendered>> {
    render_as(app, key, recipe, Wanted::Now).await
}

async fn render_as(
    app: &App,
    key: BlobKey,
    recipe: Recipe,
    wanted: Wanted,
) -> Result<Option<Rendered>> {
    let blobs = Arc::clone(&app.blobs);
    let open = move || match blobs.open_part(key, Part::Original) {
        Ok(file) => Ok(Some(file)),
        // Deleted meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    let limits = app.previews.limits;
    let job = Job { blob: key.blob, recipe, limits, open: Box::new(open) };
    app.previews.workers.render(wanted, job).await
}
