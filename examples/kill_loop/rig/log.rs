//! What the clients know: each upload, and what was acknowledged of it.

use std::collections::HashMap;

use super::files::{Dice, File};
use super::tus::InFlight;

/// What is known of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Bytes were sent, no answer came: it may be there whole, or not at all.
    Sent,
    /// Acknowledged: it must be there.
    Kept,
    /// A delete was sent, no answer came: it may be there whole, or not at all.
    Deleting,
    /// The delete was acknowledged: it must be gone.
    Deleted,
    /// It was not there after a crash and was not sent again: it must stay away.
    GivenUp,
}

/// How a file is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
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
    pub(crate) way: Way,
    /// Of a resumable upload that is not acknowledged yet.
    pub(crate) in_flight: InFlight,
    pub(crate) sha256: String,
    pub(crate) state: State,
    /// The file's id in the answer.
    pub(crate) media_id: String,
    /// The link to its bytes, without the host.
    pub(crate) link: String,
    /// Not looked at since its state changed.
    pub(crate) is_new: bool,
}

/// All uploads of a run.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) entries: Vec<Entry>,
    /// Where a file's name stands.
    pub(crate) places: HashMap<String, usize>,
    /// Places of those that are kept.
    kept: Vec<usize>,
    names: usize,
    pub(crate) uploads: u64,
    pub(crate) deletes: u64,
}

impl Log {
    /// A number that no other file of this run has.
    pub(crate) fn new_name(&mut self) -> usize {
        self.names += 1;
        self.names
    }

    pub(crate) fn sent(&mut self, entry: Entry) -> usize {
        let place = self.entries.len();
        self.places.insert(entry.file.name.clone(), place);
        self.entries.push(entry);
        place
    }

    /// Notes an acknowledged upload, or that it was found.
    pub(crate) fn keep(&mut self, place: usize, media_id: String, link: String) {
        let entry = &mut self.entries[place];
        (entry.media_id, entry.link) = (media_id, link);
        (entry.state, entry.is_new) = (State::Kept, true);
        self.kept.push(place);
    }

    /// Notes an acknowledged delete.
    pub(crate) fn deleted(&mut self, place: usize) {
        self.set(place, State::Deleted);
        self.deletes += 1;
    }

    /// Notes an outcome other than [`State::Kept`].
    pub(crate) fn set(&mut self, place: usize, state: State) {
        let entry = &mut self.entries[place];
        (entry.state, entry.is_new) = (state, true);
    }

    pub(crate) fn kept(&self) -> usize {
        self.kept.len()
    }

    /// One of those that are kept.
    pub(crate) fn any_kept(&self, dice: &mut Dice) -> Option<(usize, Entry)> {
        let index = dice.between(0, self.kept.len().max(1) as u64) as usize;
        self.kept.get(index).map(|place| (*place, self.entries[*place].clone()))
    }

    /// Takes one of those that are kept, to be deleted by the caller alone.
    pub(crate) fn take_kept(&mut self, dice: &mut Dice) -> Option<(usize, Entry)> {
        let index = dice.between(0, self.kept.len().max(1) as u64) as usize;
        let place = (index < self.kept.len()).then(|| self.kept.swap_remove(index))?;
        self.set(place, State::Deleting);
        Some((place, self.entries[place].clone()))
    }
}
