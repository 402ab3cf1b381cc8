//! Small files that were just asked for, whole in memory: previews above all. Only a cache: a server
//! without it gives the same answers.
//!
//! An entry is good while its contact has not changed since before its row was read, so what was
//! deleted is never found again.

use std::sync::Arc;

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::db::{Change, Db};
use crate::domain::attachment::Attachment;
use crate::domain::ids::{AttachmentId, SiteId};
use crate::domain::transform::ResultId;
use crate::error::Result;

/// Larger files are read from the disk each time, which for them costs nothing beside sending them.
pub const MOST_BYTES: u64 = 256 * 1024;
/// Bytes that an entry costs besides its file, roughly.
const ENTRY_OVERHEAD: u64 = 512;

/// Which file of an attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaPart {
    /// As uploaded.
    Original,
    /// The preview.
    Preview,
    /// A transform.
    Transform(ResultId),
}

/// A file and whose it is.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The row.
    pub attachment: Arc<Attachment>,
    /// The contact's changes, counted before the row was read.
    pub change: Change,
    /// The file.
    pub bytes: Bytes,
}

type Key = (SiteId, AttachmentId, MediaPart);

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Kept> for ByBytes {
    fn weight(&self, _: &Key, kept: &Kept) -> u64 {
        kept.bytes.len() as u64 + ENTRY_OVERHEAD
    }
}

/// A cache of files, bounded in bytes.
pub struct MediaCache(Option<Cache<Key, Kept, ByBytes>>);

impl MediaCache {
    /// Makes a cache of so many bytes; 0 is none at all.
    pub fn new(bytes: u64) -> Self {
        // An average file is taken as 32 KiB; the estimate only sizes the table.
        let files = (bytes / 32_768).clamp(16, 65_536) as usize;
        Self((bytes > 0).then(|| Cache::with_weighter(files, bytes, ByBytes)))
    }

    /// Whether anything can be kept.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Finds a file whose row is known to be there still.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn get(&self, db: &Db, key: &Key) -> Result<Option<Kept>> {
        let Some(kept) = self.0.as_ref().and_then(|cache| cache.get(key)) else { return Ok(None) };
        let (site, contact) = (kept.attachment.site_id, kept.attachment.contact_id);
        let change = db.change_of(site, contact).await?;
        Ok((change == kept.change).then_some(kept))
    }

    /// Keeps a file.
    pub fn insert(&self, key: Key, kept: Kept) {
        if let Some(cache) = &self.0 {
            cache.insert(key, kept);
        }
    }
}
