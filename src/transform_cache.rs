//! Caches finished transforms on disk within a byte budget, and evicts the least recently used.
//! Only a cache: without it, the responses are the same. All functions but
//! [`TransformCache::forget`] block.
//!
//! Files are looked up by name; the index only decides evictions. So nothing is lost while it is
//! incomplete after a start.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::blobs::{BlobKey, Blobs};
use crate::domain::transform::ResultId;

/// The least disk space a file takes; it also bounds the index.
const BLOCK_BYTES: u64 = 4_096;

/// The name of one file.
type ResultName = (BlobKey, ResultId);

/// The known files, by name and by last use.
#[derive(Default)]
struct Index {
    /// Size and last use.
    files: BTreeMap<ResultName, (u64, u64)>,
    by_use: BTreeSet<(u64, ResultName)>,
    bytes: u64,
    uses: u64,
}

/// A cache of finished transforms.
pub struct TransformCache {
    blobs: Arc<Blobs>,
    budget_bytes: u64,
    index: Mutex<Index>,
}

impl Index {
    /// Records a use of a file.
    fn record(&mut self, name: ResultName, size_bytes: u64, used: u64) {
        let size = size_bytes.next_multiple_of(BLOCK_BYTES).max(BLOCK_BYTES);
        self.forget(name);
        self.files.insert(name, (size, used));
        self.by_use.insert((used, name));
        self.bytes += size;
    }

    fn forget(&mut self, name: ResultName) {
        if let Some((size, used)) = self.files.remove(&name) {
            self.by_use.remove(&(used, name));
            self.bytes -= size;
        }
    }

    /// Removes and returns the least recently used file while the budget is exceeded.
    fn evict_over(&mut self, budget_bytes: u64) -> Option<ResultName> {
        if self.bytes <= budget_bytes {
            return None;
        }
        let (_, name) = self.by_use.pop_first()?;
        if let Some((size, _)) = self.files.remove(&name) {
            self.bytes -= size;
        }
        Some(name)
    }

    /// A use later than all earlier ones, including those before the start, which are Unix times.
    fn next_use(&mut self) -> u64 {
        self.uses += 1;
        (1 << 63) + self.uses
    }
}

impl TransformCache {
    /// Creates a cache of at most `budget_bytes` on disk; 0 disables it.
    pub fn new(blobs: Arc<Blobs>, budget_bytes: u64) -> Self {
        Self { blobs, budget_bytes, index: Mutex::default() }
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a finished transform. `None` when there is none, or it cannot be read and must be made
    /// again.
    pub fn open(&self, key: BlobKey, result: ResultId) -> Option<File> {
        if self.budget_bytes == 0 {
            return None;
        }
        let opened = self.blobs.open_result(key, result);
        match opened.and_then(|file| Ok((file.metadata()?.len(), file))) {
            Ok((size_bytes, file)) => {
                let mut index = self.index();
                let used = index.next_use();
                index.record((key, result), size_bytes, used);
                Some(file)
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(%error, "a cached transform could not be read");
                }
                self.index().forget((key, result));
                None
            }
        }
    }

    /// Stores a finished transform, best effort: the caller has its bytes anyway.
    pub fn insert(&self, key: BlobKey, result: ResultId, bytes: &[u8]) {
        let size_bytes = bytes.len() as u64;
        if size_bytes > self.budget_bytes {
            return;
        }
        match self.blobs.put_result(key, result, bytes) {
            Ok(()) => {
                let mut index = self.index();
                let used = index.next_use();
                index.record((key, result), size_bytes, used);
            }
            // Deleted meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, "a transform could not be cached"),
        }
        self.shrink();
    }

    /// Removes the transforms of a removed blob from the index.
    pub fn forget(&self, key: BlobKey) {
        let mut index = self.index();
        let first = (key, ResultId::from_bytes([0; 16]));
        let last = (key, ResultId::from_bytes([0xff; 16]));
        let names: Vec<ResultName> =
            index.files.range(first..=last).map(|(name, _)| *name).collect();
        for name in names {
            index.forget(name);
        }
    }

    /// Indexes the files of earlier processes: removes those without a blob, and the oldest ones
    /// over the budget. Memory is bounded by the budget.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn rebuild(&self) -> io::Result<()> {
        self.blobs.results(&mut |found| {
            let name = (found.key, found.result);
            let mut index = self.index();
            if !index.files.contains_key(&name) {
                index.record(name, found.size_bytes, found.written_s);
            }
            drop(index);
            self.shrink();
        })
    }

    /// The disk usage of the known files, in bytes.
    pub fn bytes(&self) -> u64 {
        self.index().bytes
    }

    fn shrink(&self) {
        loop {
            let Some((key, result)) = self.index().evict_over(self.budget_bytes) else { return };
            if let Err(error) = self.blobs.remove_result(key, result) {
                tracing::warn!(%error, "a cached transform could not be removed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{BlobId, SiteId};

    fn name(number: u8) -> ResultName {
        let key = BlobKey { site: SiteId::from_bytes([1; 16]), blob: BlobId::from_bytes([2; 16]) };
        (key, ResultId::from_bytes([number; 16]))
    }

    #[test]
    fn the_least_recently_used_is_evicted_first() {
        let mut index = Index::default();
        for number in 0..4 {
            let used = index.next_use();
            index.record(name(number), 1, used);
        }
        // From an earlier process.
        index.record(name(9), 5_000, 1_900_000_000);
        let used = index.next_use();
        index.record(name(0), 1, used);
        assert_eq!(index.bytes, 6 * BLOCK_BYTES);
        let mut evicted = Vec::new();
        while let Some(name) = index.evict_over(BLOCK_BYTES) {
            evicted.push(name);
        }
        assert_eq!(evicted, [9, 1, 2, 3].map(name));
        assert_eq!((index.bytes, index.files.len(), index.by_use.len()), (BLOCK_BYTES, 1, 1));
    }
}
