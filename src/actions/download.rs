//! Opens what a media link names: the row first, so that what was deleted is gone at once,
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
use crate::media_cache::{self, Kept, MediaPart};

/// What of an attachment is asked for.
#[derive(Debug, Clone, Copy)]
pub enum Wanted {
    /// The bytes as uploaded.
    Original,
    /// The preview.
    Preview,
    /// A transform, for a client that does or does not read WebP.
    Transform(Transform, bool),
}

/// Something to send and what is known of it.
#[derive(Debug)]
pub struct Opened {
    /// Whose media it is.
    pub attachment: Arc<Attachment>,
    /// The bytes.
    pub content: Content,
    /// How many.
    pub size_bytes: u64,
    /// What they are.
    pub media_type: MediaType,
}

/// Where bytes are.
#[derive(Debug)]
pub enum Content {
    /// In memory, all of them.
    Bytes(Bytes),
    /// In a file.
    File(File),
    /// In a bucket, to be read and sent on.
    Remote(Remote),
    /// In a bucket, which sends them itself.
    Elsewhere(Remote),
}

impl Wanted {
    /// The name of what is wanted.
    pub fn part(&self) -> MediaPart {
        match self {
            Self::Original => MediaPart::Original,
            Self::Preview => MediaPart::Preview,
            Self::Transform(transform, webp) => MediaPart::Transform(transform.result_id(*webp)),
        }
    }
}

/// Opens an attachment's original, its preview, or a transform of it. `None` when there is no such
/// attachment, or nothing of the kind of it.
///
/// # Errors
///
/// When the database or the store fails; also when a row's bytes are missing, which no
/// sequence of crashes may cause. [`crate::error::Error::Busy`] when too many transforms are being
/// made.
pub async fn open(
    app: &Arc<App>,
    site: SiteId,
    id: AttachmentId,
    wanted: Wanted,
) -> Result<Option<Opened>> {
    let key = (site, id, wanted.part());
    if let Some(Kept { attachment, bytes, .. }) = app.media.get(&app.db, &key).await? {
        return Opened::new(attachment, Content::Bytes(bytes), wanted).map(Some);
    }
    let Some(attachment) = app.db.attachment(site, id).await? else { return Ok(None) };
    let content = match wanted {
        Wanted::Original => Some(original(app, &attachment).await?),
        Wanted::Preview => match preview::open(app, &attachment).await? {
            Some(file) => Some(read_apart(app, file).await?),
            None => None,
        },
        Wanted::Transform(transform, webp) => {
            transform::open(app, &attachment, transform, webp).await?
        }
    };
    let Some(content) = content else { return Ok(None) };
    if let Content::Bytes(bytes) = &content
        && bytes.len() as u64 <= media_cache::MOST_BYTES
        && app.media.is_on()
    {
        // Counted before the row is read once more: so whatever is committed from now on shows.
        let change = app.db.change_of(site, attachment.contact_id).await?;
        if let Some(attachment) = app.db.attachment(site, id).await? {
            let attachment = Arc::new(attachment);
            app.media.insert(key, Kept { attachment, change, bytes: bytes.clone() });
        }
    }
    Opened::new(Arc::new(attachment), content, wanted).map(Some)
}

impl Opened {
    fn new(attachment: Arc<Attachment>, content: Content, wanted: Wanted) -> Result<Self> {
        let media_type = match wanted {
            Wanted::Original => MediaType::from_stored(attachment.mime_type.clone()),
            Wanted::Preview | Wanted::Transform(..) => made_type(&content)?,
        };
        let size_bytes = match &content {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File(file) => file.metadata()?.len(),
            Content::Remote(remote) | Content::Elsewhere(remote) => remote.size_bytes(),
        };
        Ok(Self { attachment, content, size_bytes, media_type })
    }
}

/// What this server makes: PNG, WebP or JPEG.
fn made_type(content: &Content) -> io::Result<MediaType> {
    let mut magic = [0; 4];
    match content {
        // Shorter ones are none of ours.
        Content::Bytes(bytes) => magic.copy_from_slice(bytes.get(..4).unwrap_or(b"    ")),
        // A large one, and only just opened: its first page is in memory or soon needed anyway.
        Content::File(file) => file.read_exact_at(&mut magic, 0)?,
        Content::Remote(_) | Content::Elsewhere(_) => {
            return Err(io::Error::other("what is made lies on this machine"));
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
    let elsewhere = app.config.media_delivery == MediaDelivery::Redirect;
    let opened = app.tasks.spawn_blocking(move || match blobs.original(key, size_bytes)? {
        Original::File(file) => read(file),
        Original::Remote(remote) if elsewhere => Ok(Content::Elsewhere(remote)),
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

/// Reads a small original whole, and compares it; of a large one only sees that it is there.
fn fetch(remote: Remote, sha256: [u8; 32]) -> io::Result<Content> {
    if remote.size_bytes() > media_cache::MOST_BYTES {
        return remote.look().map(Content::Remote);
    }
    let bytes = remote.bytes()?;
    if <[u8; 32]>::from(Sha256::digest(&bytes)) != sha256 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the store sent other bytes"));
    }
    Ok(Content::Bytes(bytes))
}

async fn read_apart(app: &Arc<App>, file: File) -> Result<Content> {
    let content = app.tasks.spawn_blocking(move || read(file)).await;
    Ok(content.map_err(anyhow::Error::from)??)
}

/// Reads a small file whole, where it is opened, which spares every further step of its way a wait.
///
/// # Errors
///
/// When it cannot be read.
pub(super) fn read(mut file: File) -> io::Result<Content> {
    let size_bytes = file.metadata()?.len();
    if size_bytes > media_cache::MOST_BYTES {
        return Ok(Content::File(file));
    }
    let mut bytes = Vec::with_capacity(size_bytes as usize);
    file.read_to_end(&mut bytes)?;
    Ok(Content::Bytes(Bytes::from(bytes)))
}
