//! Moves originals to another place, beside a running server or without one (R25). What is there already
//! with its name and size was looked at before; all else is copied and compared. Nothing is taken away
//! from the old place.
//!
//! A row that goes meanwhile takes its bytes along: the server removes them from both places, and a copy
//! that came after that is removed by whoever made it, because the row is looked up after the copy.

use std::collections::HashSet;
use std::io;
use std::sync::Mutex;
use std::sync::mpsc::sync_channel;

use anyhow::Context as _;

use crate::blobs::{BlobKey, Blobs, MoveFailed, Part, StagedKey, Whole};
use crate::db::{BlobRow, Inspection};
use crate::domain::ids::SiteId;

/// Originals that are copied at the same time.
const AT_ONCE: usize = 4;
/// Rows that one slice holds, about 80 bytes each.
const SLICE_ROWS: u64 = 1_000_000;
/// How often the whole store is gone through while there is more to copy: what is uploaded to the old
/// place meanwhile is found in the next pass.
const MOST_PASSES: u32 = 5;
/// Problems that are told by name.
const MOST_PROBLEMS: usize = 1_000;

/// From where to where.
pub struct Places<'a> {
    /// The old place.
    pub from: &'a Blobs,
    /// The new place.
    pub to: &'a Blobs,
}

/// What was done, and what is left.
#[derive(Debug, Clone, Default)]
pub struct Moved {
    /// Attachments that there were at the last look.
    pub rows: u64,
    /// Those whose bytes were at the new place already at the last look.
    pub there: u64,
    /// Originals that were copied and compared.
    pub copied: u64,
    /// Bytes of these.
    pub copied_bytes: u64,
    /// Originals whose attachment was deleted while they were copied.
    pub gone: u64,
    /// Originals that are not at the new place.
    pub left: u64,
    /// Bytes of these.
    pub left_bytes: u64,
    /// Uploads that are under way at the old place.
    pub uploads: u64,
    /// Why originals were not copied; the first thousand.
    pub problems: Vec<String>,
}

impl Moved {
    /// Whether the old place is needed no longer.
    pub fn is_complete(&self) -> bool {
        self.left == 0 && self.uploads == 0
    }
}

/// Says what is left, and changes nothing.
///
/// # Errors
///
/// When rows or a place cannot be read.
pub fn look(rows: &Inspection, places: &Places<'_>) -> anyhow::Result<Moved> {
    let mut quietly = |_: &Moved| {};
    let mut work = Work::new(rows, places, &mut quietly);
    work.unsettled = places.to.unsettled_moves()?.iter().map(|named| named.key).collect();
    work.pass(&|work, missing| {
        work.moved.left += missing.len() as u64;
        work.moved.left_bytes += missing.iter().map(|row| row.size_bytes).sum::<u64>();
        Ok(())
    })?;
    work.ended()
}

/// Copies what is not there. `show` is told now and then how far it has come.
///
/// # Errors
///
/// When rows cannot be read, or a place cannot be read or written at all; what was copied stays, and
/// the next run goes on.
pub fn migrate(
    rows: &Inspection,
    places: &Places<'_>,
    show: &mut dyn FnMut(&Moved),
) -> anyhow::Result<Moved> {
    let mut work = Work::new(rows, places, show);
    for _ in 0..MOST_PASSES {
        work.settle_old()?;
        let before = work.moved.copied;
        work.pass(&Work::copy)?;
        if work.moved.copied == before {
            break;
        }
    }
    work.settle_old()?;
    work.ended()
}

struct Work<'a> {
    rows: &'a Inspection,
    from: &'a Blobs,
    to: &'a Blobs,
    show: &'a mut dyn FnMut(&Moved),
    moved: Moved,
    /// What an earlier run may have copied without having compared it.
    unsettled: HashSet<BlobKey>,
}

impl<'a> Work<'a> {
    fn new(rows: &'a Inspection, places: &Places<'a>, show: &'a mut dyn FnMut(&Moved)) -> Self {
        let Places { from, to } = *places;
        Self { rows, from, to, show, moved: Moved::default(), unsettled: HashSet::new() }
    }

    /// Takes away what was copied for rows that are gone, and remembers what is to be copied again.
    fn settle_old(&mut self) -> anyhow::Result<()> {
        for named in self.to.unsettled_moves()? {
            self.to.give_up_move(named)?;
            if self.is_named(named)? {
                self.unsettled.insert(named.key);
            } else {
                self.to.remove(named.key)?;
                self.to.settle_move(named)?;
            }
        }
        Ok(())
    }

    fn is_named(&self, named: StagedKey) -> anyhow::Result<bool> {
        self.rows.names_blob(named.key.site, named.attachment, named.key.blob)
    }

    /// Goes through all rows and hands on those whose bytes are not there.
    fn pass(
        &mut self,
        hand_on: &dyn Fn(&mut Self, Vec<BlobRow>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let Moved { copied, copied_bytes, gone, .. } = self.moved;
        self.moved = Moved { copied, copied_bytes, gone, ..Moved::default() };
        let slices = self.rows.attachment_count()?.div_ceil(SLICE_ROWS).clamp(1, 256) as u16;
        for slice in 0..slices {
            let bytes = (256 * slice / slices) as u8..=(256 * (slice + 1) / slices - 1) as u8;
            let mut expected = Vec::new();
            // Before the files: a row is there only when its bytes are.
            self.rows.snapshot(|rows| {
                rows.each_blob(|row| {
                    if bytes.contains(&row.blob_id.as_bytes()[0]) {
                        expected.push(row);
                    }
                })
            })?;
            expected.sort_unstable_by_key(|row| (row.site_id, row.blob_id));
            let mut missing = Vec::new();
            for directory in expected.chunk_by(|one, two| place(one) == place(two)) {
                self.compare(directory, &mut missing)?;
            }
            hand_on(self, missing)?;
        }
        Ok(())
    }

    /// Looks at the rows of one directory.
    fn compare(&mut self, rows: &[BlobRow], missing: &mut Vec<BlobRow>) -> anyhow::Result<()> {
        let Some((site, first)) = rows.first().map(place) else { return Ok(()) };
        let (stored, _) = self.to.stored(site, first)?;
        let there: HashSet<_> = stored
            .into_iter()
            .filter(|file| file.part == Some(Part::Original))
            .map(|file| (file.key, file.size_bytes))
            .collect();
        for row in rows {
            let key = whole(row).named.key;
            self.moved.rows += 1;
            if there.contains(&(key, row.size_bytes)) && !self.unsettled.contains(&key) {
                self.moved.there += 1;
            } else {
                missing.push(*row);
            }
        }
        (self.show)(&self.moved);
        Ok(())
    }

    fn copy(&mut self, missing: Vec<BlobRow>) -> anyhow::Result<()> {
        let (from, to) = (self.from, self.to);
        let queue = Mutex::new(missing.into_iter());
        let next = || queue.lock().ok()?.next();
        std::thread::scope(|scope| {
            let (send, copied) = sync_channel(AT_ONCE);
            for _ in 0..AT_ONCE {
                let (send, next) = (send.clone(), &next);
                scope.spawn(move || {
                    while let Some(row) = next() {
                        // Fails when the others have given up.
                        if send.send((row, to.take_over(from, &whole(&row)))).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(send);
            copied.iter().try_for_each(|(row, outcome)| self.settle(&row, outcome))
        })
    }

    /// Looks whether the row is still there, now that its bytes are.
    fn settle(&mut self, row: &BlobRow, outcome: Result<(), MoveFailed>) -> anyhow::Result<()> {
        let named = whole(row).named;
        let is_named = self.is_named(named)?;
        let outcome = match outcome {
            // The server has removed it with its row before it was read back.
            Err(MoveFailed::Target(error))
                if !is_named && error.kind() == io::ErrorKind::NotFound =>
            {
                Ok(())
            }
            outcome => outcome,
        };
        match outcome {
            Ok(()) if is_named => {
                self.moved.copied += 1;
                self.moved.copied_bytes += row.size_bytes;
                self.to.settle_move(named)?;
                self.unsettled.remove(&named.key);
            }
            Ok(()) => {
                self.moved.gone += 1;
                self.to.remove(named.key)?;
                self.to.settle_move(named)?;
            }
            // Its bytes went with it.
            Err(MoveFailed::Source(_)) if !is_named => self.moved.gone += 1,
            Err(failed) => {
                // What concerns one original must not keep the others.
                let (MoveFailed::Source(error) | MoveFailed::Target(error)) = &failed;
                let is_own = match &failed {
                    MoveFailed::Source(_) => error.kind() != io::ErrorKind::NetworkDown,
                    MoveFailed::Target(_) => error.kind() == io::ErrorKind::InvalidData,
                };
                if !is_own {
                    return Err(failed).context("the same command again goes on from here");
                }
                self.moved.left += 1;
                self.moved.left_bytes += row.size_bytes;
                if self.moved.problems.len() < MOST_PROBLEMS {
                    self.moved.problems.push(format!(
                        "attachment {} of site {}, blob {}: {failed}",
                        row.attachment_id, row.site_id, row.blob_id
                    ));
                }
            }
        }
        (self.show)(&self.moved);
        Ok(())
    }

    fn ended(mut self) -> anyhow::Result<Moved> {
        self.moved.uploads = self.from.all_staged()?.0.len() as u64;
        Ok(self.moved)
    }
}

fn place(row: &BlobRow) -> (SiteId, u8) {
    (row.site_id, row.blob_id.as_bytes()[0])
}

fn whole(row: &BlobRow) -> Whole {
    let key = BlobKey { site: row.site_id, blob: row.blob_id };
    let named = StagedKey { key, attachment: row.attachment_id };
    Whole { named, size_bytes: row.size_bytes, sha256: row.sha256 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{Db, Place};
    use crate::domain::ids::{AttachmentId, BlobId};

    #[test]
    fn what_is_removed_with_its_row_before_it_is_read_back_is_gone_and_no_failure() {
        let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let [from, to] = [&folders[0], &folders[1]].map(|at| Blobs::local(at.path()).unwrap());
        let place = Place::File(folders[2].path().join("dossier.db"));
        drop(Db::open(&place, 1).unwrap());
        let rows = Inspection::open(&place).unwrap();
        let row = BlobRow {
            site_id: SiteId::from_bytes([1; 16]),
            blob_id: BlobId::from_bytes([2; 16]),
            attachment_id: AttachmentId::from_bytes([3; 16]),
            size_bytes: 3,
            sha256: [0; 32],
        };
        let mut quietly = |_: &Moved| {};
        let mut work = Work::new(&rows, &Places { from: &from, to: &to }, &mut quietly);
        let failed = |kind: io::ErrorKind| Err(MoveFailed::Target(kind.into()));
        work.settle(&row, failed(io::ErrorKind::NotFound)).unwrap();
        assert_eq!((work.moved.gone, work.moved.left), (1, 0));
        work.settle(&row, failed(io::ErrorKind::NetworkDown)).unwrap_err();
    }
}
