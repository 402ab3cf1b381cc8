//! Opens what a media link names: first the row, so that a deleted file is unreachable at once,
//! then the bytes.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::{preview, transform};
use crate::app::App;
use crate::blobs::{BlobKey, Original, Remote};
use crate::config::MediaDelivery;
use crate::domain::attachment::Attachment;
use crate::domain::ids::{AttachmentId, SiteId};
use crate::domain::media_type::MediaType;
use crate::domain::transform::Transform;
use crate::error::Result;
use crate::media_cache::{self, CachedFile, MediaPart};

/// The requested variant of an attachment.
#[derive(Debug, Clone, Copy)]
pub enum MediaVariant {
    /// The bytes as uploaded.
    Original,
    /// The preview.
    Preview,
    /// A transform, and whether the client accepts WebP.
    Transform(Transform, bool),
}

/// Opened media, ready to send.
#[derive(Debug)]
pub struct OpenedMedia {
    /// The attachment.
    pub attachment: Arc<Attachment>,
    /// The bytes.
    pub content: Content,
    /// The size.
    pub size_bytes: u64,
    /// The type of the bytes.
    pub media_type: MediaType,
}

/// Where the bytes are.
#[derive(Debug)]
pub enum Content {
    /// In memory.
    Bytes(Bytes),
    /// In a file.
    File(File),
    /// In a bucket, to be streamed through this server.
    Remote(Remote),
    /// In a bucket, to which the client is redirected.
    Redirect(Remote),
}

impl MediaVariant {
    /// The variant's key in the media cache.
    pub fn part(&self) -> MediaPart {
        match self {
            Self::Original => MediaPart::Original,
            Self::Preview => MediaPart::Preview,
            Self::Transform(transform, webp) => MediaPart::Transform(transform.result_id(*webp)),
        }
    }
}

/// Opens an attachment's original, its preview, or a transform of it. `None` when there is no such
/// attachment, or it has no such variant.
///
/// # Errors
///
/// When the database or the store fails; also when a row's bytes are missing, which no sequence of
/// crashes may cause. [`crate::error::Error::Busy`] when too many transforms are in progress.
pub async fn open(
    app: &Arc<App>,
    site: SiteId,
    id: AttachmentId,
    variant: MediaVariant,
) -> Result<Option<OpenedMedia>> {
    let key = (site, id, variant.part());
    if let Some(CachedFile { attachment, bytes, .. }) = app.media.get(&app.db, &key).await? {
        return OpenedMedia::new(attachment, Content::Bytes(bytes), variant).map(Some);
    }
    let Some(attachment) = app.db.attachment(site, id).await? else { return Ok(None) };
    let content = match variant {
        MediaVariant::Original => Some(original(app, &attachment).await?),
        MediaVariant::Preview => match preview::open(app, &attachment).await? {
            Some(file) => Some(read_blocking(app, file).await?),
            None => None,
        },
        MediaVariant::Transform(transform, webp) => {
            transform::open(app, &attachment, transform, webp).await?
        }
    };
    let Some(content) = content else { return Ok(None) };
    if let Content::Bytes(bytes) = &content
        && bytes.len() as u64 <= media_cache::MAX_FILE_BYTES
        && app.media.is_on()
    {
        // Read before the row is read again, so that any later commit is noticed.
        let change = app.db.change_of(site, attachment.contact_id).await?;
        if let Some(attachment) = app.db.attachment(site, id).await? {
            let attachment = Arc::new(attachment);
            app.media.insert(key, CachedFile { attachment, change, bytes: bytes.clone() });
        }
    }
    OpenedMedia::new(Arc::new(attachment), content, variant).map(Some)
}

impl OpenedMedia {
    fn new(attachment: Arc<Attachment>, content: Content, variant: MediaVariant) -> Result<Self> {
        let media_type = match variant {
            MediaVariant::Original => MediaType::from_stored(attachment.mime_type.clone()),
            MediaVariant::Preview | MediaVariant::Transform(..) => rendered_type(&content)?,
        };
        let size_bytes = match &content {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File(file) => file.metadata()?.len(),
            Content::Remote(remote) | Content::Redirect(remote) => remote.size_bytes(),
        };
        Ok(Self { attachment, content, size_bytes, media_type })
    }
}

/// The type of a rendered file: PNG, WebP or JPEG.
fn rendered_type(content: &Content) -> io::Result<MediaType> {
    let mut magic = [0; 4];
    match content {
        // Shorter ones are not rendered by this server.
        Content::Bytes(bytes) => magic.copy_from_slice(bytes.get(..4).unwrap_or(b"    ")),
        // A large file, just opened: its first page is in memory or soon needed anyway.
        Content::File(file) => file.read_exact_at(&mut magic, 0)?,
        Content::Remote(_) | Content::Redirect(_) => {
            return Err(io::Error::other("rendered files are stored on this machine"));
        }
    }
    let name = match &magic {
        b"\x89PNG" => "image/png",
        b"RIFF" => "image/webp",
        _ => "image/jpeg",
    };
    Ok(MediaType::from_stored(name.to_owned()))
}

async fn original(app: &Arc<App>, attachment: &Attachment) -> Result<Content> {
    let blobs = Arc::clone(&app.blobs);
    let key = BlobKey { site: attachment.site_id, blob: attachment.blob_id };
    let (size_bytes, sha256) = (attachment.size_bytes, attachment.sha256);
    let redirects = app.config.media_delivery == MediaDelivery::Redirect;
    let opened = app.tasks.spawn_blocking(move || match blobs.original(key, size_bytes)? {
        Original::File(file) => read(file),
        Original::Remote(remote) if redirects => Ok(Content::Redirect(remote)),
        Original::Remote(remote) => fetch(remote, sha256),
    });
    let opened = opened.await.map_err(anyhow::Error::from)?;
    if let Err(error) = &opened
        && error.kind() == io::ErrorKind::NetworkDown
    {
        return Ok(opened?);
    }
    let id = attachment.id;
    Ok(opened.with_context(|| format!("the bytes of attachment {id} cannot be read"))?)
}

/// Reads a small original completely and verifies it; of a large one, checks only that it exists.
fn fetch(remote: Remote, sha256: [u8; 32]) -> io::Result<Content> {
    if remote.size_bytes() > media_cache::MAX_FILE_BYTES {
        return remote.pin().map(Content::Remote);
    }
    let bytes = remote.bytes()?;
    if <[u8; 32]>::from(Sha256::digest(&bytes)) != sha256 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the store returned different bytes",
        ));
    }
    Ok(Content::Bytes(bytes))
}

async fn read_blocking(app: &Arc<App>, file: File) -> Result<Content> {
    let content = app.tasks.spawn_blocking(move || read(file)).await;
    Ok(content.map_err(anyhow::Error::from)??)
}

/// Reads a small file completely on the thread that opened it, which spares every later step a
/// wait.
///
/// # Errors
///
/// When it cannot be read.
pub(super) fn read(mut file: File) -> io::Result<Content> {
    let size_bytes = file.metadata()?.len();
    if size_bytes > media_cache::MAX_FILE_BYTES {
        return Ok(Content::File(file));
    }
    let mut bytes = Vec::with_capacity(size_bytes as usize);
    file.read_to_end(&mut bytes)?;
    Ok(Content::Bytes(Bytes::from(bytes)))
}
