//! Compares rows with files, one pass at a time, then checks suspects a second time.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read as _};
use std::ops::RangeInclusive;

use sha2::{Digest as _, Sha256};

use super::{CheckOptions, Kind, Report, Subject};
use crate::blobs::{BlobKey, Blobs, Part, StoredFile};
use crate::db::{BlobRow, Inspection};
use crate::domain::ids::SiteId;

/// Bytes read at a time.
const READ_BYTES: usize = 1 << 20;

/// The suspects of the first look.
pub(super) struct Comparison<'a> {
    blobs: &'a Blobs,
    options: CheckOptions,
    missing: Vec<BlobRow>,
    /// Rows whose bytes differ, and how.
    altered: Vec<(BlobRow, Kind, String)>,
    strays: Vec<StoredFile>,
    is_first: bool,
}

fn key(row: &BlobRow) -> BlobKey {
    BlobKey { site: row.site_id, blob: row.blob_id }
}

impl<'a> Comparison<'a> {
    pub(super) fn new(blobs: &'a Blobs, options: CheckOptions) -> Self {
        Self {
            blobs,
            options,
            missing: Vec::new(),
            altered: Vec::new(),
            strays: Vec::new(),
            is_first: true,
        }
    }

    /// Compares all blobs whose id begins with these bytes.
    pub(super) fn pass(
        &mut self,
        rows: &Inspection,
        report: &mut Report,
        bytes: RangeInclusive<u8>,
    ) -> anyhow::Result<()> {
        let mut expected = Vec::new();
        rows.snapshot(|rows| {
            rows.each_blob(|row| {
                if bytes.contains(&row.blob_id.as_bytes()[0]) {
                    expected.push(row);
                }
            })
        })?;
        report.rows += expected.len() as u64;
        expected.sort_unstable_by_key(|row| (row.site_id, row.blob_id));
        let (mut sites, foreign) = self.blobs.sites()?;
        if std::mem::take(&mut self.is_first) {
            for name in foreign {
                report.add(Kind::ForeignName, format!("blobs/{name}"), Subject::Nothing);
            }
        }
        sites.extend(expected.iter().map(|row| row.site_id));
        sites.sort_unstable();
        sites.dedup();
        for site in sites {
            for first in bytes.clone() {
                self.compare_directory(&expected, report, site, first)?;
            }
        }
        Ok(())
    }

    fn compare_directory(
        &mut self,
        expected: &[BlobRow],
        report: &mut Report,
        site: SiteId,
        first: u8,
    ) -> anyhow::Result<()> {
        let directory = |row: &BlobRow| (row.site_id, row.blob_id.as_bytes()[0]);
        let begin = expected.partition_point(|row| directory(row) < (site, first));
        let end = expected.partition_point(|row| directory(row) <= (site, first));
        let expected = &expected[begin..end];
        let (stored, foreign) = self.blobs.stored(site, first)?;
        for name in foreign {
            report.add(Kind::ForeignName, format!("blobs/{name}"), Subject::Nothing);
        }
        let mut sizes = HashMap::with_capacity(stored.len());
        for file in stored {
            let is_known = expected.binary_search_by_key(&file.key.blob, |row| row.blob_id).is_ok();
            if !is_known {
                self.strays.push(file);
            }
            if file.part == Some(Part::Original) {
                report.files += 1;
                report.bytes += file.size_bytes;
                sizes.insert(file.key.blob, file.size_bytes);
            }
        }
        for row in expected {
            match sizes.get(&row.blob_id) {
                None => self.missing.push(*row),
                Some(size) if *size != row.size_bytes => {
                    let problem = format!("{size} bytes, {} expected", row.size_bytes);
                    self.altered.push((*row, Kind::WrongSize, problem));
                }
                Some(_) if self.options.hash => self.hash(row, report),
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn hash(&mut self, row: &BlobRow, report: &mut Report) {
        report.hashed += 1;
        match sha256(self.blobs, key(row)) {
            Ok(sha256) if sha256 == row.sha256 => {}
            Ok(_) => {
                let problem = format!("SHA-256 mismatch in {} bytes", row.size_bytes);
                self.altered.push((*row, Kind::WrongHash, problem));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.missing.push(*row),
            Err(error) => {
                self.altered.push((*row, Kind::WrongHash, format!("cannot be read: {error}")));
            }
        }
    }

    /// Checks the suspects again, and reports those that are still wrong.
    pub(super) fn settle(self, rows: &Inspection, report: &mut Report) -> anyhow::Result<()> {
        if self.missing.is_empty() && self.altered.is_empty() && self.strays.is_empty() {
            return Ok(());
        }
        // Staging before rows: an entry leaves staging only when its row exists.
        let (staged, _) = self.blobs.all_staged()?;
        let mut excused: HashSet<BlobKey> = staged.iter().map(|(staged, _)| staged.key).collect();
        let mut suspects: HashSet<BlobKey> = self.strays.iter().map(|file| file.key).collect();
        suspects.extend(self.missing.iter().map(key));
        suspects.extend(self.altered.iter().map(|(row, ..)| key(row)));
        let mut with_rows = HashSet::new();
        rows.snapshot(|rows| {
            rows.each_blob(|row| {
                if suspects.contains(&key(&row)) {
                    with_rows.insert(key(&row));
                }
            })?;
            excused.extend(
                rows.removals()?.iter().map(|(site, blob)| BlobKey { site: *site, blob: *blob }),
            );
            Ok(())
        })?;
        for row in self.missing {
            if with_rows.contains(&key(&row)) && self.blobs.size_of(key(&row))?.is_none() {
                report.add(Kind::RowWithoutBytes, describe(&row), Subject::Row(row));
            }
        }
        for (row, kind, problem) in self.altered {
            if with_rows.contains(&key(&row)) {
                report.add(kind, format!("{}: {problem}", describe(&row)), Subject::Row(row));
            }
        }
        let mut reported = HashSet::new();
        for file in self.strays {
            let is_known = with_rows.contains(&file.key) || excused.contains(&file.key);
            if is_known || !reported.insert(file.key) || !exists(self.blobs, file)? {
                continue;
            }
            let detail = format!(
                "{} bytes in blob {} of site {}",
                file.size_bytes, file.key.blob, file.key.site
            );
            report.add(Kind::BytesWithoutRow, detail, Subject::Bytes(file.key));
        }
        Ok(())
    }
}

fn exists(blobs: &Blobs, file: StoredFile) -> io::Result<bool> {
    if file.part == Some(Part::Original) {
        return Ok(blobs.size_of(file.key)?.is_some());
    }
    let (stored, _) = blobs.stored(file.key.site, file.key.blob.as_bytes()[0])?;
    Ok(stored.iter().any(|found| found.key == file.key))
}

fn describe(row: &BlobRow) -> String {
    format!("attachment {} of site {}, blob {}", row.attachment_id, row.site_id, row.blob_id)
}

/// Reads an original and computes its SHA-256.
fn sha256(blobs: &Blobs, key: BlobKey) -> io::Result<[u8; 32]> {
    let mut file = blobs.open_part(key, Part::Original)?;
    let (mut sha256, mut buffer) = (Sha256::new(), vec![0; READ_BYTES]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(sha256.finalize().into()),
            read => sha256.update(&buffer[..read]),
        }
    }
}
