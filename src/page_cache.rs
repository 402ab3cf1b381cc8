//! Finished list answers. Only a cache: a server without it gives the same answers.

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::db::Change;
use crate::domain::ids::{ContactId, SiteId};
use crate::domain::paging::Paging;

/// What a page looks like beside its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaView {
    /// `id` and `url`.
    Both,
    /// `url` alone.
    Url,
}

/// Everything that an answer depends on, beside the contact's changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PageKey {
    /// The tenant.
    pub site: SiteId,
    /// Whose files.
    pub contact: ContactId,
    /// Which part.
    pub paging: Paging,
    /// When the links in it end, in Unix seconds.
    pub links_expire_s: u32,
    /// Which references it holds.
    pub view: MediaView,
}

/// A finished answer.
#[derive(Debug, Clone)]
pub struct Page {
    /// The contact's changes that it knows of: it is true as long as there are no others.
    pub change: Change,
    /// The JSON.
    pub body: Bytes,
    /// Its strong `ETag`, with quotes.
    pub etag: Bytes,
}

#[derive(Clone)]
struct ByBytes;

/// Bytes that an entry costs besides its body, roughly.
const ENTRY_OVERHEAD: u64 = 256;

impl Weighter<PageKey, Page> for ByBytes {
    fn weight(&self, _: &PageKey, page: &Page) -> u64 {
        page.body.len() as u64 + ENTRY_OVERHEAD
    }
}

/// A cache of pages, bounded in bytes.
pub struct PageCache(Option<Cache<PageKey, Page, ByBytes>>);

impl PageCache {
    /// Makes a cache of so many bytes; 0 is none at all.
    pub fn new(bytes: u64) -> Self {
        // An average page is taken as 8 KiB; the estimate only sizes the table.
        let pages = (bytes / 8_192).clamp(16, 65_536) as usize;
        Self((bytes > 0).then(|| Cache::with_weighter(pages, bytes, ByBytes)))
    }

    /// Finds a page.
    pub fn get(&self, key: &PageKey) -> Option<Page> {
        self.0.as_ref()?.get(key)
    }

    /// Forgets all pages.
    pub fn clear(&self) {
        if let Some(cache) = &self.0 {
            cache.clear();
        }
    }

    /// Keeps a page.
    pub fn insert(&self, key: PageKey, page: Page) {
        if let Some(cache) = &self.0 {
            cache.insert(key, page);
        }
    }
}
