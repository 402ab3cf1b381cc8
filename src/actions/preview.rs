//! Finds a preview, or renders it once, within limits. A preview that cannot be rendered never
//! affects its original (R29).

use std::fs::File;
use std::io;
use std::sync::Arc;

use dossier_image::{Recipe, Rendered};

use crate::app::App;
use crate::blobs::{BlobKey, Part};
use crate::domain::attachment::Attachment;
use crate::domain::media_type::MediaType;
use crate::error::{Error, Result};
use crate::render_workers::{Job, Priority};

/// Opens the preview, rendering it if necessary. `None` when there is none.
///
/// # Errors
///
/// When the store or the database fails, and [`Error::Busy`] when too many previews are requested.
pub async fn open(app: &Arc<App>, attachment: &Attachment) -> Result<Option<File>> {
    if !attachment.has_preview {
        return Ok(None);
    }
    let key = BlobKey { site: attachment.site_id, blob: attachment.blob_id };
    if let Some(file) = find(app, key).await? {
        return Ok(Some(file));
    }
    // A separate task: a preview that has been started is kept even if the client disconnects.
    let (shared, attachment) = (Arc::clone(app), attachment.clone());
    let rendering =
        app.tasks.spawn(async move { find_or_render(&shared, &attachment, Priority::Now).await });
    rendering.await.map_err(anyhow::Error::from)?
}

/// Renders the preview of a new attachment in advance, if the queue has room.
pub fn warm(app: &Arc<App>, attachment: Attachment) {
    if !attachment.has_preview {
        return;
    }
    let shared = Arc::clone(app);
    app.tasks.spawn(async move {
        match find_or_render(&shared, &attachment, Priority::Ahead).await {
            // Left to the first request.
            Ok(_) | Err(Error::Busy { .. }) => {}
            Err(error) => {
                let attachment = attachment.id;
                tracing::warn!(%error, %attachment, "a preview could not be stored");
            }
        }
    });
}

/// Starts a render worker while a picture is still arriving.
pub fn start_worker_ahead(app: &App, declared_type: &str) {
    if MediaType::from_stored(declared_type.to_owned()).is_image() {
        app.previews.workers.start_ahead();
    }
}

async fn find_or_render(
    app: &App,
    attachment: &Attachment,
    priority: Priority,
) -> Result<Option<File>> {
    let key = BlobKey { site: attachment.site_id, blob: attachment.blob_id };
    let _guard = app.previews.renders.acquire(key).await;
    if let Some(file) = find(app, key).await? {
        return Ok(Some(file));
    }
    // The previous holder may have found that there is none.
    let now = app.db.attachment(attachment.site_id, attachment.id).await?;
    if !now.is_some_and(|now| now.has_preview) {
        return Ok(None);
    }
    if render_and_store(app, key, priority).await? {
        return find(app, key).await;
    }
    app.db.clear_preview(attachment.site_id, attachment.id).await?;
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

/// Renders and stores the preview. False when the picture has none.
async fn render_and_store(app: &App, key: BlobKey, priority: Priority) -> Result<bool> {
    let Some(preview) = render_with(app, key, Recipe::preview(), priority).await? else {
        return Ok(false);
    };
    let blobs = Arc::clone(&app.blobs);
    let stored = app.tasks.spawn_blocking(move || blobs.put_preview(key, &preview.bytes)).await;
    match stored.map_err(anyhow::Error::from)? {
        Ok(()) => Ok(true),
        // Deleted in the meantime.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Renders a blob by a recipe, in a separate process. `None` when the blob cannot be rendered.
///
/// # Errors
///
/// When the store fails, and [`Error::Busy`] when too many pictures are requested.
pub async fn render_blob(app: &App, key: BlobKey, recipe: Recipe) -> Result<Option<Rendered>> {
    render_with(app, key, recipe, Priority::Now).await
}

async fn render_with(
    app: &App,
    key: BlobKey,
    recipe: Recipe,
    priority: Priority,
) -> Result<Option<Rendered>> {
    let blobs = Arc::clone(&app.blobs);
    let open = move || match blobs.open_part(key, Part::Original) {
        Ok(file) => Ok(Some(file)),
        // Deleted in the meantime.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    let limits = app.previews.limits;
    let job = Job { blob: key.blob, recipe, limits, open: Box::new(open) };
    app.previews.workers.render(priority, job).await
}
