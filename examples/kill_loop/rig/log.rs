//! What the clients know of each upload, and what was acknowledged.

use std::collections::HashMap;

use super::files::{File, Rng};
use super::tus::TusProgress;

/// The known state of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Bytes were sent without a response: it may be stored completely or not at all.
    Sent,
    /// Acknowledged: it must be stored.
    Kept,
    /// A delete was sent without a response: the file may be stored completely or not at all.
    Deleting,
    /// The delete was acknowledged: the file must be gone.
    Deleted,
    /// It was missing after a crash and not retried: it must stay missing.
    Abandoned,
}

/// How a file is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transfer {
    /// PUT of the bytes.
    Put,
    /// POST of a multipart form.
    Form,
    /// A resumable upload.
    Tus,
}

/// One upload.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) contact: usize,
    pub(crate) file: File,
    /// The upload URL, without the host.
    pub(crate) upload_path: String,
    pub(crate) transfer: Transfer,
    /// For a resumable upload that is not acknowledged yet.
    pub(crate) tus_progress: TusProgress,
    pub(crate) sha256: String,
    pub(crate) state: State,
    /// The file's id in the response.
    pub(crate) media_id: String,
    /// The link to its bytes, without the host.
    pub(crate) link: String,
    /// Not checked since its state changed.
    pub(crate) is_new: bool,
}

/// All uploads of a run.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) entries: Vec<Entry>,
    /// Index of each file by name.
    pub(crate) index_by_name: HashMap<String, usize>,
    /// Indexes of the uploads that are kept.
    kept: Vec<usize>,
    names: usize,
    pub(crate) uploads: u64,
    pub(crate) deletes: u64,
}

impl Log {
    /// A number unique within this run.
    pub(crate) fn new_name(&mut self) -> usize {
        self.names += 1;
        self.names
    }

    pub(crate) fn sent(&mut self, entry: Entry) -> usize {
        let index = self.entries.len();
        self.index_by_name.insert(entry.file.name.clone(), index);
        self.entries.push(entry);
        index
    }

    /// Records an upload that was acknowledged or found.
    pub(crate) fn keep(&mut self, index: usize, media_id: String, link: String) {
        let entry = &mut self.entries[index];
        (entry.media_id, entry.link) = (media_id, link);
        (entry.state, entry.is_new) = (State::Kept, true);
        self.kept.push(index);
    }

    /// Records an acknowledged delete.
    pub(crate) fn deleted(&mut self, index: usize) {
        self.set(index, State::Deleted);
        self.deletes += 1;
    }

    /// Records an outcome other than [`State::Kept`].
    pub(crate) fn set(&mut self, index: usize, state: State) {
        let entry = &mut self.entries[index];
        (entry.state, entry.is_new) = (state, true);
    }

    pub(crate) fn kept(&self) -> usize {
        self.kept.len()
    }

    /// A random kept upload.
    pub(crate) fn random_kept(&self, rng: &mut Rng) -> Option<(usize, Entry)> {
        let index = rng.between(0, self.kept.len().max(1) as u64) as usize;
        self.kept.get(index).map(|index| (*index, self.entries[*index].clone()))
    }

    /// Claims a random kept upload, to be deleted by the caller alone.
    pub(crate) fn claim_kept(&mut self, rng: &mut Rng) -> Option<(usize, Entry)> {
        let index = rng.between(0, self.kept.len().max(1) as u64) as usize;
        let index = (index < self.kept.len()).then(|| self.kept.swap_remove(index))?;
        self.set(index, State::Deleting);
        Some((index, self.entries[index].clone()))
    }
}
