//! Caches recently requested small files in memory, above all previews. Only a cache: without it,
//! the responses are the same.
//!
//! An entry is valid while its contact has not changed since before its row was read, so a deleted
//! file is never found again.

use std::sync::Arc;

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::db::{Change, Db};
use crate::domain::attachment::Attachment;
use crate::domain::ids::{AttachmentId, SiteId};
use crate::domain::transform::ResultId;
use crate::error::Result;

/// Larger files are read from disk each time: for them, that costs nothing compared with sending
/// them.
pub const MAX_FILE_BYTES: u64 = 256 * 1024;
/// Approximate overhead of an entry besides its file.
const ENTRY_OVERHEAD: u64 = 512;

/// Identifies a file of an attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaPart {
    /// The bytes as uploaded.
    Original,
    /// The preview.
    Preview,
    /// A transform.
    Transform(ResultId),
}

/// A file and its attachment.
#[derive(Debug, Clone)]
pub struct CachedFile {
    /// The row.
    pub attachment: Arc<Attachment>,
    /// The contact's change, read before the row.
    pub change: Change,
    /// The bytes.
    pub bytes: Bytes,
}

type Key = (SiteId, AttachmentId, MediaPart);

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, CachedFile> for ByBytes {
    fn weight(&self, _: &Key, cached: &CachedFile) -> u64 {
        cached.bytes.len() as u64 + ENTRY_OVERHEAD
    }
}

/// A cache of files, bounded in bytes.
pub struct MediaCache(Option<Cache<Key, CachedFile, ByBytes>>);

impl MediaCache {
    /// Creates a cache of at most `bytes`; 0 disables it.
    pub fn new(bytes: u64) -> Self {
        // Assumes an average file of 32 KiB; the estimate only sizes the table.
        let files = (bytes / 32_768).clamp(16, 65_536) as usize;
        Self((bytes > 0).then(|| Cache::with_weighter(files, bytes, ByBytes)))
    }

    /// Whether the cache is enabled.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Looks up a file whose row is known to exist still.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn get(&self, db: &Db, key: &Key) -> Result<Option<CachedFile>> {
        let Some(cached) = self.0.as_ref().and_then(|cache| cache.get(key)) else {
            return Ok(None);
        };
        let (site, contact) = (cached.attachment.site_id, cached.attachment.contact_id);
        let change = db.change_of(site, contact).await?;
        Ok((change == cached.change).then_some(cached))
    }

    /// Stores a file.
    pub fn insert(&self, key: Key, cached: CachedFile) {
        if let Some(cache) = &self.0 {
            cache.insert(key, cached);
        }
    }
}
