//! Opens what a media link names: the row first, so that what was deleted is gone at once,
//! then the bytes.

use std::fs::File;
use std::sync::Arc;

use anyhow::Context as _;

use super::preview;
use crate::app::App;
use crate::blobs::{BlobKey, Part};
use crate::domain::attachment::Attachment;
use crate::domain::ids::{AttachmentId, SiteId};
use crate::error::Result;

/// An open file and what is known of it.
#[derive(Debug)]
pub struct Opened {
    /// Whose media it is.
    pub attachment: Attachment,
    /// The bytes.
    pub file: File,
    /// How many.
    pub size_bytes: u64,
}

/// Opens an attachment's original or preview. `None` when there is no such attachment, or no
/// preview of it.
///
/// # Errors
///
/// When the database or the store fails; also when a row's bytes are missing, which no
/// sequence of crashes may cause.
pub async fn open(
    app: &Arc<App>,
    site: SiteId,
    id: AttachmentId,
    part: Part,
) -> Result<Option<Opened>> {
    let Some(attachment) = app.db.attachment(site, id).await? else { return Ok(None) };
    let file = match part {
        Part::Preview => preview::open(app, &attachment).await?,
        Part::Original => {
            let blobs = Arc::clone(&app.blobs);
            let key = BlobKey { site, blob: attachment.blob_id };
            let opened = app.tasks.spawn_blocking(move || blobs.open_part(key, part)).await;
            let opened = opened.map_err(anyhow::Error::from)?;
            Some(opened.with_context(|| format!("the bytes of attachment {id} are missing"))?)
        }
    };
    let Some(file) = file else { return Ok(None) };
    let size_bytes = file.metadata()?.len();
    Ok(Some(Opened { attachment, file, size_bytes }))
}
