//! Migrates originals to another location, beside a running server or without one (R25). A file
//! already at the new location with the right name and size was verified earlier; all others are
//! copied and verified. Nothing is removed from the old location.
//!
//! When a row is deleted during the migration, the server removes its bytes from both locations. A
//! copy that completes after that is removed by the migration, because it looks the row up after
//! the copy.

use std::collections::HashSet;
use std::io;
use std::sync::Mutex;
use std::sync::mpsc::sync_channel;

use anyhow::Context as _;

use crate::blobs::{BlobKey, Blobs, ExpectedOriginal, MoveError, Part, StagedKey};
use crate::db::{BlobRow, Inspection};
use crate::domain::ids::SiteId;

/// Concurrent copies.
const CONCURRENT_COPIES: usize = 4;
/// Rows per slice, about 80 bytes each.
const SLICE_ROWS: u64 = 1_000_000;
/// Maximum number of passes over the store while there is more to copy: the next pass finds files
/// uploaded to the old location in the meantime.
const MAX_PASSES: u32 = 5;
/// Maximum number of problems reported individually.
const MAX_PROBLEMS: usize = 1_000;

/// The stores to migrate between.
pub struct Stores<'a> {
    /// The old location.
    pub from: &'a Blobs,
    /// The new location.
    pub to: &'a Blobs,
}

/// What was done, and what remains.
#[derive(Debug, Clone, Default)]
pub struct MigrationReport {
    /// Attachments in the last pass.
    pub rows: u64,
    /// Those whose bytes were at the new location in the last pass.
    pub present: u64,
    /// Originals copied and verified.
    pub copied: u64,
    /// Bytes of these.
    pub copied_bytes: u64,
    /// Originals whose attachment was deleted while they were copied.
    pub gone: u64,
    /// Originals that are not at the new location.
    pub left: u64,
    /// Bytes of these.
    pub left_bytes: u64,
    /// Uploads in progress at the old location.
    pub uploads: u64,
    /// Why originals were not copied; the first thousand reasons.
    pub problems: Vec<String>,
}

impl MigrationReport {
    /// Whether the old location is no longer needed.
    pub fn is_complete(&self) -> bool {
        self.left == 0 && self.uploads == 0
    }
}

/// Reports what remains, without changing anything.
///
/// # Errors
///
/// When rows or a location cannot be read.
pub fn dry_run(rows: &Inspection, stores: &Stores<'_>) -> anyhow::Result<MigrationReport> {
    let mut no_progress = |_: &MigrationReport| {};
    let mut migration = Migration::new(rows, stores, &mut no_progress);
    migration.unsettled = stores.to.unsettled_moves()?.iter().map(|staged| staged.key).collect();
    migration.pass(&|migration, missing| {
        migration.report.left += missing.len() as u64;
        migration.report.left_bytes += missing.iter().map(|row| row.size_bytes).sum::<u64>();
        Ok(())
    })?;
    migration.finish()
}

/// Copies what is missing. `on_progress` is called now and then with the progress.
///
/// # Errors
///
/// When rows cannot be read, or a location cannot be read or written at all; completed copies
/// persist, and the next run continues.
pub fn migrate(
    rows: &Inspection,
    stores: &Stores<'_>,
    on_progress: &mut dyn FnMut(&MigrationReport),
) -> anyhow::Result<MigrationReport> {
    let mut migration = Migration::new(rows, stores, on_progress);
    for _ in 0..MAX_PASSES {
        migration.settle_interrupted()?;
        let before = migration.report.copied;
        migration.pass(&Migration::copy)?;
        if migration.report.copied == before {
            break;
        }
    }
    migration.settle_interrupted()?;
    migration.finish()
}

struct Migration<'a> {
    rows: &'a Inspection,
    from: &'a Blobs,
    to: &'a Blobs,
    on_progress: &'a mut dyn FnMut(&MigrationReport),
    report: MigrationReport,
    /// Blobs that an interrupted run may have copied but not verified.
    unsettled: HashSet<BlobKey>,
}

impl<'a> Migration<'a> {
    fn new(
        rows: &'a Inspection,
        stores: &Stores<'a>,
        on_progress: &'a mut dyn FnMut(&MigrationReport),
    ) -> Self {
        let Stores { from, to } = *stores;
        Self {
            rows,
            from,
            to,
            on_progress,
            report: MigrationReport::default(),
            unsettled: HashSet::new(),
        }
    }

    /// Removes interrupted copies whose rows are gone, and marks the others to be copied again.
    fn settle_interrupted(&mut self) -> anyhow::Result<()> {
        for staged in self.to.unsettled_moves()? {
            self.to.abort_move(staged)?;
            if self.has_row(staged)? {
                self.unsettled.insert(staged.key);
            } else {
                self.to.remove(staged.key)?;
                self.to.settle_move(staged)?;
            }
        }
        Ok(())
    }

    fn has_row(&self, staged: StagedKey) -> anyhow::Result<bool> {
        self.rows.has_blob(staged.key.site, staged.attachment, staged.key.blob)
    }

    /// Goes through all rows and passes those with missing bytes to `handle_missing`.
    fn pass(
        &mut self,
        handle_missing: &dyn Fn(&mut Self, Vec<BlobRow>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let MigrationReport { copied, copied_bytes, gone, .. } = self.report;
        self.report = MigrationReport { copied, copied_bytes, gone, ..MigrationReport::default() };
        let slices = self.rows.attachment_count()?.div_ceil(SLICE_ROWS).clamp(1, 256) as u16;
        for slice in 0..slices {
            let bytes = (256 * slice / slices) as u8..=(256 * (slice + 1) / slices - 1) as u8;
            let mut expected = Vec::new();
            // Rows before files: a row exists only if its bytes do.
            self.rows.snapshot(|rows| {
                rows.each_blob(|row| {
                    if bytes.contains(&row.blob_id.as_bytes()[0]) {
                        expected.push(row);
                    }
                })
            })?;
            expected.sort_unstable_by_key(|row| (row.site_id, row.blob_id));
            let mut missing = Vec::new();
            for rows in expected.chunk_by(|a, b| directory(a) == directory(b)) {
                self.compare(rows, &mut missing)?;
            }
            handle_missing(self, missing)?;
        }
        Ok(())
    }

    /// Compares the rows of one directory with its files.
    fn compare(&mut self, rows: &[BlobRow], missing: &mut Vec<BlobRow>) -> anyhow::Result<()> {
        let Some((site, first)) = rows.first().map(directory) else { return Ok(()) };
        let (stored, _) = self.to.stored(site, first)?;
        let present: HashSet<_> = stored
            .into_iter()
            .filter(|file| file.part == Some(Part::Original))
            .map(|file| (file.key, file.size_bytes))
            .collect();
        for row in rows {
            let key = expected_original(row).staged.key;
            self.report.rows += 1;
            if present.contains(&(key, row.size_bytes)) && !self.unsettled.contains(&key) {
                self.report.present += 1;
            } else {
                missing.push(*row);
            }
        }
        (self.on_progress)(&self.report);
        Ok(())
    }

    fn copy(&mut self, missing: Vec<BlobRow>) -> anyhow::Result<()> {
        let (from, to) = (self.from, self.to);
        let queue = Mutex::new(missing.into_iter());
        let next = || queue.lock().ok()?.next();
        std::thread::scope(|scope| {
            let (send, copied) = sync_channel(CONCURRENT_COPIES);
            for _ in 0..CONCURRENT_COPIES {
                let (send, next) = (send.clone(), &next);
                scope.spawn(move || {
                    while let Some(row) = next() {
                        // Fails when the receiver has stopped.
                        if send.send((row, to.copy_from(from, &expected_original(&row)))).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(send);
            copied.iter().try_for_each(|(row, outcome)| self.settle(&row, outcome))
        })
    }

    /// Checks that the row still exists, now that its bytes are copied.
    fn settle(&mut self, row: &BlobRow, outcome: Result<(), MoveError>) -> anyhow::Result<()> {
        let staged = expected_original(row).staged;
        let has_row = self.has_row(staged)?;
        let outcome = match outcome {
            // The server removed the copy with its row before it was read back.
            Err(MoveError::Target(error))
                if !has_row && error.kind() == io::ErrorKind::NotFound =>
            {
                Ok(())
            }
            outcome => outcome,
        };
        match outcome {
            Ok(()) if has_row => {
                self.report.copied += 1;
                self.report.copied_bytes += row.size_bytes;
                self.to.settle_move(staged)?;
                self.unsettled.remove(&staged.key);
            }
            Ok(()) => {
                self.report.gone += 1;
                self.to.remove(staged.key)?;
                self.to.settle_move(staged)?;
            }
            // The bytes were removed with the row.
            Err(MoveError::Source(_)) if !has_row => self.report.gone += 1,
            Err(move_error) => {
                // A problem with one original must not stop the others.
                let (MoveError::Source(error) | MoveError::Target(error)) = &move_error;
                let is_isolated = match &move_error {
                    MoveError::Source(_) => error.kind() != io::ErrorKind::NetworkDown,
                    MoveError::Target(_) => error.kind() == io::ErrorKind::InvalidData,
                };
                if !is_isolated {
                    return Err(move_error).context("run the same command again to continue");
                }
                self.report.left += 1;
                self.report.left_bytes += row.size_bytes;
                if self.report.problems.len() < MAX_PROBLEMS {
                    self.report.problems.push(format!(
                        "attachment {} of site {}, blob {}: {move_error}",
                        row.attachment_id, row.site_id, row.blob_id
                    ));
                }
            }
        }
        (self.on_progress)(&self.report);
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<MigrationReport> {
        self.report.uploads = self.from.all_staged()?.0.len() as u64;
        Ok(self.report)
    }
}

fn directory(row: &BlobRow) -> (SiteId, u8) {
    (row.site_id, row.blob_id.as_bytes()[0])
}

fn expected_original(row: &BlobRow) -> ExpectedOriginal {
    let key = BlobKey { site: row.site_id, blob: row.blob_id };
    let staged = StagedKey { key, attachment: row.attachment_id };
    ExpectedOriginal { staged, size_bytes: row.size_bytes, sha256: row.sha256 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{DatabaseLocation, Db};
    use crate::domain::ids::{AttachmentId, BlobId};

    #[test]
    fn a_copy_removed_with_its_row_before_verification_is_not_a_failure() {
        let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let [from, to] = [&folders[0], &folders[1]].map(|at| Blobs::local(at.path()).unwrap());
        let location = DatabaseLocation::File(folders[2].path().join("dossier.db"));
        drop(Db::open(&location, 1).unwrap());
        let rows = Inspection::open(&location).unwrap();
        let row = BlobRow {
            site_id: SiteId::from_bytes([1; 16]),
            blob_id: BlobId::from_bytes([2; 16]),
            attachment_id: AttachmentId::from_bytes([3; 16]),
            size_bytes: 3,
            sha256: [0; 32],
        };
        let mut no_progress = |_: &MigrationReport| {};
        let mut migration =
            Migration::new(&rows, &Stores { from: &from, to: &to }, &mut no_progress);
        let failed = |kind: io::ErrorKind| Err(MoveError::Target(kind.into()));
        migration.settle(&row, failed(io::ErrorKind::NotFound)).unwrap();
        assert_eq!((migration.report.gone, migration.report.left), (1, 0));
        migration.settle(&row, failed(io::ErrorKind::NetworkDown)).unwrap_err();
    }
}
