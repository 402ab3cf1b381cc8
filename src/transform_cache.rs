//! Finished transforms on disk within a budget of bytes; what was used last stays. Only a cache: a
//! server without it gives the same answers. All functions but [`TransformCache::forget`] block.
//!
//! A file is looked for by its name; the index only says what to remove. So nothing is lost when it
//! is not complete yet, after a start.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::blobs::{BlobKey, Blobs};
use crate::domain::transform::ResultId;

/// The least that a file takes of the disk; it bounds the index as well.
const BLOCK_BYTES: u64 = 4_096;

/// One file.
type Name = (BlobKey, ResultId);

/// The files that are known, by name and by their last use.
#[derive(Default)]
struct Index {
    /// Size and last use.
    files: BTreeMap<Name, (u64, u64)>,
    by_use: BTreeSet<(u64, Name)>,
    bytes: u64,
    uses: u64,
}

/// Finished transforms.
pub struct TransformCache {
    blobs: Arc<Blobs>,
    budget_bytes: u64,
    index: Mutex<Index>,
}

impl Index {
    /// Notes a use of a file.
    fn note(&mut self, name: Name, size_bytes: u64, used: u64) {
        let size = size_bytes.next_multiple_of(BLOCK_BYTES).max(BLOCK_BYTES);
        self.forget(name);
        self.files.insert(name, (size, used));
        self.by_use.insert((used, name));
        self.bytes += size;
    }

    fn forget(&mut self, name: Name) {
        if let Some((size, used)) = self.files.remove(&name) {
            self.by_use.remove(&(used, name));
            self.bytes -= size;
        }
    }

    /// Takes what has not been used for longest, as long as there is too much.
    fn pop_over(&mut self, budget_bytes: u64) -> Option<Name> {
        if self.bytes <= budget_bytes {
            return None;
        }
        let (_, name) = self.by_use.pop_first()?;
        if let Some((size, _)) = self.files.remove(&name) {
            self.bytes -= size;
        }
        Some(name)
    }

    /// A use that is later than all before, also than those before the start, which are Unix times.
    fn next_use(&mut self) -> u64 {
        self.uses += 1;
        (1 << 63) + self.uses
    }
}

impl TransformCache {
    /// Makes a cache of so many bytes on disk; 0 is none at all.
    pub fn new(blobs: Arc<Blobs>, budget_bytes: u64) -> Self {
        Self { blobs, budget_bytes, index: Mutex::default() }
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a finished transform. `None` when there is none that can be read: it is made again.
    pub fn open(&self, key: BlobKey, result: ResultId) -> Option<File> {
        if self.budget_bytes == 0 {
            return None;
        }
        let opened = self.blobs.open_result(key, result);
        match opened.and_then(|file| Ok((file.metadata()?.len(), file))) {
            Ok((size_bytes, file)) => {
                let mut index = self.index();
                let used = index.next_use();
                index.note((key, result), size_bytes, used);
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

    /// Keeps a finished transform, if it can be: whoever made it has it anyway.
    pub fn keep(&self, key: BlobKey, result: ResultId, bytes: &[u8]) {
        let size_bytes = bytes.len() as u64;
        if size_bytes > self.budget_bytes {
            return;
        }
        match self.blobs.put_result(key, result, bytes) {
            Ok(()) => {
                let mut index = self.index();
                let used = index.next_use();
                index.note((key, result), size_bytes, used);
            }
            // Deleted meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, "a transform could not be kept"),
        }
        self.shrink();
    }

    /// Forgets what was made of a blob that was removed.
    pub fn forget(&self, key: BlobKey) {
        let mut index = self.index();
        let first = (key, ResultId::from_bytes([0; 16]));
        let last = (key, ResultId::from_bytes([0xff; 16]));
        let names: Vec<Name> = index.files.range(first..=last).map(|(name, _)| *name).collect();
        for name in names {
            index.forget(name);
        }
    }

    /// Looks through what earlier processes have left: removes what belongs to no blob and what is
    /// over the budget, the oldest first. Memory is bounded by the budget.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn rebuild(&self) -> io::Result<()> {
        self.blobs.results(&mut |found| {
            let name = (found.key, found.result);
            let mut index = self.index();
            if !index.files.contains_key(&name) {
                index.note(name, found.size_bytes, found.written_s);
            }
            drop(index);
            self.shrink();
        })
    }

    /// What the known files take of the disk, in bytes.
    pub fn bytes(&self) -> u64 {
        self.index().bytes
    }

    fn shrink(&self) {
        loop {
            let Some((key, result)) = self.index().pop_over(self.budget_bytes) else { return };
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

    fn name(number: u8) -> Name {
        let key = BlobKey { site: SiteId::from_bytes([1; 16]), blob: BlobId::from_bytes([2; 16]) };
        (key, ResultId::from_bytes([number; 16]))
    }

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let mut index = Index::default();
        for number in 0..4 {
            let used = index.next_use();
            index.note(name(number), 1, used);
        }
        // Left by an earlier process.
        index.note(name(9), 5_000, 1_900_000_000);
        let used = index.next_use();
        index.note(name(0), 1, used);
        assert_eq!(index.bytes, 6 * BLOCK_BYTES);
        let mut gone = Vec::new();
        while let Some(name) = index.pop_over(BLOCK_BYTES) {
            gone.push(name);
        }
        assert_eq!(gone, [9, 1, 2, 3].map(name));
        assert_eq!((index.bytes, index.files.len(), index.by_use.len()), (BLOCK_BYTES, 1, 1));
    }
}
