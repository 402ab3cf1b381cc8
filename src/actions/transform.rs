//! Finds a transform or makes it once, under limits. One that cannot be kept is answered all the same.

use std::sync::Arc;

use bytes::Bytes;

use super::download::{self, Content};
use super::preview::render_blob;
use crate::app::App;
use crate::blobs::BlobKey;
use crate::domain::attachment::Attachment;
use crate::domain::transform::{ResultId, Transform};
use crate::error::{Error, Result};

/// When to come back while too many transforms wait to be made.
const BUSY_SECONDS: u32 = 2;

/// Opens a transform of a picture, making it if need be. `None` when there is none to be had.
///
/// # Errors
///
/// When the store fails; [`Error::Busy`] when too many wait to be made (S28).
pub async fn open(
    app: &Arc<App>,
    attachment: &Attachment,
    transform: Transform,
    reads_webp: bool,
) -> Result<Option<Content>> {
    if !attachment.has_preview || !attachment.is_image() {
        return Ok(None);
    }
    let key = BlobKey { site: attachment.site_id, blob: attachment.blob_id };
    let result = transform.result_id(reads_webp);
    if let Some(found) = find(app, key, result).await? {
        return Ok(Some(found));
    }
    let place = Arc::clone(&app.transforms.places).try_acquire_owned();
    let place = place.map_err(|_| Error::Busy { retry_after_seconds: BUSY_SECONDS })?;
    let shared = Arc::clone(app);
    // Goes on when the client has gone, so that asking again finds it.
    let made = app.tasks.spawn(async move {
        let _place = place;
        let _turn = shared.transforms.makers.turn((key, result)).await;
        if let Some(found) = find(&shared, key, result).await? {
            return Ok(Some(found));
        }
        let recipe = transform.recipe(reads_webp);
        let Some(made) = render_blob(&shared, key, recipe).await? else { return Ok(None) };
        let bytes = Bytes::from(made.bytes);
        let (cache, kept) = (Arc::clone(&shared.transforms.cache), bytes.clone());
        let kept = shared.tasks.spawn_blocking(move || cache.keep(key, result, &kept));
        kept.await.map_err(anyhow::Error::from)?;
        Ok(Some(Content::Bytes(bytes)))
    });
    made.await.map_err(anyhow::Error::from)?
}

async fn find(app: &App, key: BlobKey, result: ResultId) -> Result<Option<Content>> {
    let cache = Arc::clone(&app.transforms.cache);
    let found = app.tasks.spawn_blocking(move || {
        // One that cannot be read is made again, like one that is not there.
        cache.open(key, result).and_then(|file| download::read(file).ok())
    });
    Ok(found.await.map_err(anyhow::Error::from)?)
}
