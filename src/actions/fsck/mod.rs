//! Compares rows with files (R3, R22). Works beside a running server: suspects are checked a second
//! time at the end, so that uploads and deletes in progress are not reported.
//!
//! Memory is bounded: rows are read in passes of about a million, by the first byte of their blob
//! id, and files by directory. No request concerns a single file.

mod compare;
mod repair;

use std::collections::{HashMap, HashSet};

use crate::blobs::{BlobKey, Blobs};
use crate::db::{BlobRow, Inspection, UploadRow};
use compare::Comparison;

pub use repair::{Repairs, plan, repair};

/// Rows per pass, about 80 bytes each.
const PASS_ROWS: u64 = 1_000_000;
/// Findings kept with their details; all are counted.
pub const MAX_FINDINGS: usize = 10_000;

/// The kind of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// An attachment whose file is missing.
    RowWithoutBytes,
    /// A file without an attachment.
    BytesWithoutRow,
    /// A file whose size differs from its row's.
    WrongSize,
    /// A file whose SHA-256 differs from its row's.
    WrongHash,
    /// A staging file that belongs to no upload.
    StaleStaging,
    /// A resumable upload whose file is missing, or shorter than its acknowledged offset.
    UploadWithoutBytes,
    /// Counters of a contact or a site that differ from its attachments.
    CounterDrift,
    /// A file name that Dossier never creates.
    ForeignName,
}

impl Kind {
    /// All kinds, in display order.
    pub const ALL: [Self; 8] = [
        Self::RowWithoutBytes,
        Self::BytesWithoutRow,
        Self::WrongSize,
        Self::WrongHash,
        Self::StaleStaging,
        Self::UploadWithoutBytes,
        Self::CounterDrift,
        Self::ForeignName,
    ];

    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::RowWithoutBytes => "rowWithoutBytes",
            Self::BytesWithoutRow => "bytesWithoutRow",
            Self::WrongSize => "wrongSize",
            Self::WrongHash => "wrongHash",
            Self::StaleStaging => "staleStaging",
            Self::UploadWithoutBytes => "uploadWithoutBytes",
            Self::CounterDrift => "counterDrift",
            Self::ForeignName => "foreignName",
        }
    }
}

/// A finding.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Its kind.
    pub kind: Kind,
    /// Ids and numbers, as one line.
    pub detail: String,
    pub(crate) subject: Subject,
}

/// The target of a repair.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Subject {
    Row(BlobRow),
    Bytes(BlobKey),
    Staged(crate::blobs::StagedKey),
    Upload(UploadRow),
    Nothing,
}

/// The result of a check.
#[derive(Debug, Default)]
pub struct Report {
    /// Attachments.
    pub rows: u64,
    /// Originals on disk.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Originals read and hashed.
    pub hashed: u64,
    /// Resumable uploads in progress.
    pub uploads: u64,
    /// The first [`MAX_FINDINGS`].
    pub findings: Vec<Finding>,
    /// The number of findings of each kind.
    pub counts: HashMap<Kind, u64>,
}

impl Report {
    /// The number of findings of a kind.
    pub fn count(&self, kind: Kind) -> u64 {
        self.counts.get(&kind).copied().unwrap_or(0)
    }

    /// The total number of findings.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    fn add(&mut self, kind: Kind, detail: String, subject: Subject) {
        *self.counts.entry(kind).or_default() += 1;
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(Finding { kind, detail, subject });
        }
    }
}

/// The options of a check.
#[derive(Debug, Clone, Copy)]
pub struct CheckOptions {
    /// Reads and hashes every original.
    pub hash: bool,
    /// No server is running, so staging files without an upload are leftovers.
    pub offline: bool,
}

/// Checks all rows and files.
///
/// # Errors
///
/// When rows or files cannot be read.
pub fn check(rows: &Inspection, blobs: &Blobs, options: CheckOptions) -> anyhow::Result<Report> {
    let mut report = Report::default();
    rows.snapshot(|rows| {
        for drift in rows.drift()? {
            let detail = match drift.contact_id {
                Some(contact) => format!("contact {contact} of site {}", drift.site_id),
                None => format!("site {}", drift.site_id),
            };
            report.add(Kind::CounterDrift, detail, Subject::Nothing);
        }
        Ok(())
    })?;
    let mut comparison = Comparison::new(blobs, options);
    let passes = rows.attachment_count()?.div_ceil(PASS_ROWS).clamp(1, 256) as u16;
    for pass in 0..passes {
        let first = (256 * pass / passes) as u8;
        let last = (256 * (pass + 1) / passes - 1) as u8;
        comparison.pass(rows, &mut report, first..=last)?;
    }
    comparison.settle(rows, &mut report)?;
    check_staging(rows, blobs, options, &mut report)?;
    Ok(report)
}

fn check_staging(
    rows: &Inspection,
    blobs: &Blobs,
    options: CheckOptions,
    report: &mut Report,
) -> anyhow::Result<()> {
    let uploads = rows.uploads()?;
    report.uploads = uploads.len() as u64;
    let (staged, foreign) = blobs.all_staged()?;
    for name in foreign {
        report.add(Kind::ForeignName, name, Subject::Nothing);
    }
    let sizes: HashMap<_, _> = staged.iter().map(|(staged, size)| (staged.key, *size)).collect();
    let mut known = HashSet::new();
    let mut suspects = Vec::new();
    for upload in uploads {
        let key = BlobKey { site: upload.site_id, blob: upload.blob_id };
        known.insert(key);
        let size = sizes.get(&key).copied();
        if size.is_none_or(|size| size < upload.offset_bytes) {
            suspects.push((upload, size));
        }
    }
    // Files were listed after rows: an upload that has ended in between has no row any more.
    let still_present: HashSet<_> = rows.uploads()?.iter().map(|upload| upload.blob_id).collect();
    for (upload, size) in suspects {
        if still_present.contains(&upload.blob_id) {
            let detail = format!(
                "upload of attachment {} of site {}: {} bytes were acknowledged, {} are stored",
                upload.attachment_id,
                upload.site_id,
                upload.offset_bytes,
                size.unwrap_or(0)
            );
            report.add(Kind::UploadWithoutBytes, detail, Subject::Upload(upload));
        }
    }
    if options.offline {
        for (staged, size) in staged {
            if !known.contains(&staged.key) {
                let detail = format!(
                    "{size} bytes for attachment {} of site {}",
                    staged.attachment, staged.key.site
                );
                report.add(Kind::StaleStaging, detail, Subject::Staged(staged));
            }
        }
    }
    Ok(())
}
