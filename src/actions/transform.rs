//! Finds a transform, or renders it once, within limits. One that cannot be cached is sent all the
//! same.

use std::sync::Arc;

use bytes::Bytes;

use super::download::{self, Content};
use super::preview::render_blob;
use crate::app::App;
use crate::blobs::BlobKey;
use crate::domain::attachment::Attachment;
use crate::domain::transform::{ResultId, Transform};
use crate::error::{Error, Result};

/// `Retry-After` while too many transforms are queued.
const BUSY_SECONDS: u32 = 2;

/// Opens a transform of a picture, rendering it if necessary. `None` when there is none.
///
/// # Errors
///
/// When the store fails; [`Error::Busy`] when too many are queued (S28).
pub async fn open(
    app: &Arc<App>,
    attachment: &Attachment,
    transform: Transform,
    accepts_webp: bool,
) -> Result<Option<Content>> {
    if !attachment.has_preview || !attachment.is_image() {
        return Ok(None);
    }
    let key = BlobKey { site: attachment.site_id, blob: attachment.blob_id };
    let result = transform.result_id(accepts_webp);
    if let Some(found) = find(app, key, result).await? {
        return Ok(Some(found));
    }
    let permit = Arc::clone(&app.transforms.permits).try_acquire_owned();
    let permit = permit.map_err(|_| Error::Busy { retry_after_seconds: BUSY_SECONDS })?;
    let shared = Arc::clone(app);
    // Continues if the client disconnects, so that a retry finds the result.
    let rendering = app.tasks.spawn(async move {
        let _permit = permit;
        let _guard = shared.transforms.renders.acquire((key, result)).await;
        if let Some(found) = find(&shared, key, result).await? {
            return Ok(Some(found));
        }
        let recipe = transform.recipe(accepts_webp);
        let Some(rendered) = render_blob(&shared, key, recipe).await? else { return Ok(None) };
        let bytes = Bytes::from(rendered.bytes);
        let (cache, to_cache) = (Arc::clone(&shared.transforms.cache), bytes.clone());
        let cached = shared.tasks.spawn_blocking(move || cache.insert(key, result, &to_cache));
        cached.await.map_err(anyhow::Error::from)?;
        Ok(Some(Content::Bytes(bytes)))
    });
    rendering.await.map_err(anyhow::Error::from)?
}

async fn find(app: &App, key: BlobKey, result: ResultId) -> Result<Option<Content>> {
    let cache = Arc::clone(&app.transforms.cache);
    let found = app.tasks.spawn_blocking(move || {
        // A file that cannot be read is treated as absent and rendered again.
        cache.open(key, result).and_then(|file| download::read(file).ok())
    });
    Ok(found.await.map_err(anyhow::Error::from)?)
}
