//! Caches serialized list responses. Only a cache: without it, the responses are the same.

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::db::Change;
use crate::domain::ids::{ContactId, SiteId};
use crate::domain::paging::Paging;

/// Which fields of a media reference a page includes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaView {
    /// `id` and `url`.
    Both,
    /// `url` alone.
    Url,
}

/// Everything a response depends on, except the contact's changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PageKey {
    /// The site.
    pub site: SiteId,
    /// The contact.
    pub contact: ContactId,
    /// The page of the list.
    pub paging: Paging,
    /// When its links expire, in Unix seconds.
    pub links_expire_s: u32,
    /// The fields of its media references.
    pub view: MediaView,
}

/// A cached response.
#[derive(Debug, Clone)]
pub struct Page {
    /// The contact's change at the time of the read: the page is valid until it differs.
    pub change: Change,
    /// The JSON body.
    pub body: Bytes,
    /// Its strong `ETag`, with quotes.
    pub etag: Bytes,
}

#[derive(Clone)]
struct ByBytes;

/// Approximate overhead of an entry besides its body.
const ENTRY_OVERHEAD: u64 = 256;

impl Weighter<PageKey, Page> for ByBytes {
    fn weight(&self, _: &PageKey, page: &Page) -> u64 {
        page.body.len() as u64 + ENTRY_OVERHEAD
    }
}

/// A cache of pages, bounded in bytes.
pub struct PageCache(Option<Cache<PageKey, Page, ByBytes>>);

impl PageCache {
    /// Creates a cache of at most `bytes`; 0 disables it.
    pub fn new(bytes: u64) -> Self {
        // Assumes an average page of 8 KiB; the estimate only sizes the table.
        let pages = (bytes / 8_192).clamp(16, 65_536) as usize;
        Self((bytes > 0).then(|| Cache::with_weighter(pages, bytes, ByBytes)))
    }

    /// Looks up a page.
    pub fn get(&self, key: &PageKey) -> Option<Page> {
        self.0.as_ref()?.get(key)
    }

    /// Removes all pages.
    pub fn clear(&self) {
        if let Some(cache) = &self.0 {
            cache.clear();
        }
    }

    /// Stores a page.
    pub fn insert(&self, key: PageKey, page: Page) {
        if let Some(cache) = &self.0 {
            cache.insert(key, page);
        }
    }
}
