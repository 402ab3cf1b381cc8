//! Finds a preview or makes it once, under a limit. A preview that cannot be made never
//! touches its original (R29).

use std::fs::File;
use std::io::{self, Read as _};
use std::sync::Arc;

use crate::app::App;
use crate::blobs::{BlobKey, Blobs, Part};
use crate::domain::attachment::Attachment;
use crate::domain::image::{Recipe, RenderLimits, Rendered, render};
use crate::error::Result;

/// Opens the preview, making it if need be. `None` when there is none to be had.
///
/// # Errors
///
/// When the store or the database fails.
pub async fn open(app: &App, attachment: &Attachment) -> Result<Option<File>> {
    if !attachment.has_preview {
        return Ok(None);
    }
    let key = BlobKey { site: attachment.site_id, blob: attachment.blob_id };
    if let Some(file) = find(app, key).await? {
        return Ok(Some(file));
    }
    let _turn = app.previews.makers.turn(key).await;
    if let Some(file) = find(app, key).await? {
        return Ok(Some(file));
    }
    if make(app, key).await? {
        return find(app, key).await;
    }
    app.db.preview_failed(attachment.site_id, attachment.id).await?;
    Ok(None)
}

/// Makes the preview of a new attachment before anyone asks, if there is room to wait.
pub fn warm(app: &Arc<App>, attachment: Attachment) {
    if !attachment.has_preview {
        return;
    }
    let Ok(place) = Arc::clone(&app.previews.warm_places).try_acquire_owned() else { return };
    let shared = Arc::clone(app);
    app.tasks.spawn(async move {
        if let Err(error) = open(&shared, &attachment).await {
            tracing::warn!(%error, attachment = %attachment.id, "a preview could not be kept");
        }
        drop(place);
    });
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
async fn make(app: &App, key: BlobKey) -> Result<bool> {
    let Some(preview) = render_blob(app, key, Recipe::preview()).await? else { return Ok(false) };
    let blobs = Arc::clone(&app.blobs);
    let kept = app.tasks.spawn_blocking(move || blobs.put_preview(key, &preview.bytes)).await;
    match kept.map_err(anyhow::Error::from)? {
        Ok(()) => Ok(true),
        // Deleted meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Makes what a recipe says of a blob. `None` when nothing can be made of it.
///
/// # Errors
///
/// When the store fails.
pub async fn render_blob(app: &App, key: BlobKey, recipe: Recipe) -> Result<Option<Rendered>> {
    let worker = Arc::clone(&app.previews.workers).acquire_owned().await;
    let worker = worker.map_err(anyhow::Error::from)?;
    let (blobs, limits) = (Arc::clone(&app.blobs), app.previews.limits);
    let made = app.tasks.spawn_blocking(move || {
        // Held by the work itself: it goes on when the one who asked has gone.
        let _worker = worker;
        read_and_render(&blobs, key, &recipe, &limits)
    });
    match made.await {
        Ok(Ok(made)) => Ok(made),
        // Deleted meanwhile.
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Ok(Err(error)) => Err(error.into()),
        // A decoder's panic costs this picture and nothing else (S8).
        Err(panic) => {
            tracing::error!(error = %panic, blob = %key.blob, "a picture broke its decoder");
            Ok(None)
        }
    }
}

fn read_and_render(
    blobs: &Blobs,
    key: BlobKey,
    recipe: &Recipe,
    limits: &RenderLimits,
) -> io::Result<Option<Rendered>> {
    let file = blobs.open_part(key, Part::Original)?;
    let size_bytes = file.metadata()?.len();
    if size_bytes > limits.max_source_bytes {
        return Ok(None);
    }
    let mut source = Vec::with_capacity(size_bytes as usize);
    file.take(limits.max_source_bytes).read_to_end(&mut source)?;
    match render(&source, recipe, limits) {
        Ok(rendered) => Ok(Some(rendered)),
        Err(refused) => {
            tracing::info!(blob = %key.blob, reason = %refused, "no picture was made");
            Ok(None)
        }
    }
}
