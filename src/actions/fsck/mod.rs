//! Compares the rows with the bytes (R3, R22). Works beside a running server: what looks wrong is
//! looked at once more at the end, so that uploads and deletes under way are no findings.
//!
//! Memory is bounded: rows are taken in passes of about a million, by the first byte of their
//! blob, and files by directory; nothing is asked for each file alone.

mod compare;
mod repair;

use std::collections::{HashMap, HashSet};

use crate::blobs::{BlobKey, Blobs};
use crate::db::{BlobRow, Inspection, UploadRow};
use compare::Comparison;

pub use repair::{Repairs, plan, repair};

/// Rows that one pass holds, about 80 bytes each.
const PASS_ROWS: u64 = 1_000_000;
/// Findings that are kept with their details; all are counted.
pub const MOST_FINDINGS: usize = 10_000;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// An attachment whose file is gone.
    RowWithoutBytes,
    /// A file that no attachment names.
    BytesWithoutRow,
    /// A file of another size than its row says.
    WrongSize,
    /// A file with another SHA-256 than its row says.
    WrongHash,
    /// A file in staging that belongs to no upload.
    StaleStaging,
    /// A resumable upload whose file is gone or shorter than what was acknowledged.
    UploadWithoutBytes,
    /// Counters of a contact or a site that are not those of its attachments.
    CounterDrift,
    /// A name that Dossier would never give.
    ForeignName,
}

impl Kind {
    /// All kinds, in the order in which they are shown.
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

/// One thing that is wrong.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What kind of thing.
    pub kind: Kind,
    /// Ids and numbers, as one line.
    pub detail: String,
    pub(crate) subject: Subject,
}

/// What a repair works on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Subject {
    Row(BlobRow),
    Bytes(BlobKey),
    Staged(crate::blobs::StagedKey),
    Upload(UploadRow),
    Nothing,
}

/// What was looked at, and what is wrong.
#[derive(Debug, Default)]
pub struct Report {
    /// Attachments.
    pub rows: u64,
    /// Originals on disk.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Originals that were read and hashed.
    pub hashed: u64,
    /// Resumable uploads in flight.
    pub uploads: u64,
    /// The first [`MOST_FINDINGS`].
    pub findings: Vec<Finding>,
    /// How many there are of each kind.
    pub counts: HashMap<Kind, u64>,
}

impl Report {
    /// Findings of a kind.
    pub fn count(&self, kind: Kind) -> u64 {
        self.counts.get(&kind).copied().unwrap_or(0)
    }

    /// Findings in all.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    fn add(&mut self, kind: Kind, detail: String, subject: Subject) {
        *self.counts.entry(kind).or_default() += 1;
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(Finding { kind, detail, subject });
        }
    }
}

/// How to look.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// Read and hash every original.
    pub hash: bool,
    /// No server runs: what lies in staging is nobody's.
    pub offline: bool,
}

/// Looks at everything.
///
/// # Errors
///
/// When rows or files cannot be read.
pub fn check(rows: &Inspection, blobs: &Blobs, look: Look) -> anyhow::Result<Report> {
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
    let mut comparison = Comparison::new(blobs, look);
    let passes = rows.attachment_count()?.div_ceil(PASS_ROWS).clamp(1, 256) as u16;
    for pass in 0..passes {
        let first = (256 * pass / passes) as u8;
        let last = (256 * (pass + 1) / passes - 1) as u8;
        comparison.pass(rows, &mut report, first..=last)?;
    }
    comparison.settle(rows, &mut report)?;
    staging(rows, blobs, look, &mut report)?;
    Ok(report)
}

fn staging(
    rows: &Inspection,
    blobs: &Blobs,
    look: Look,
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
    // Files were listed after the rows: an upload that has ended since has no row any more.
    let still: HashSet<_> = rows.uploads()?.iter().map(|upload| upload.blob_id).collect();
    for (upload, size) in suspects {
        if still.contains(&upload.blob_id) {
            let detail = format!(
                "upload of attachment {} of site {}: {} bytes were acknowledged, {} are there",
                upload.attachment_id,
                upload.site_id,
                upload.offset_bytes,
                size.unwrap_or(0)
            );
            report.add(Kind::UploadWithoutBytes, detail, Subject::Upload(upload));
        }
    }
    if look.offline {
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
