//! Mends what can be mended without destroying anything's only copy.

use anyhow::bail;

use super::{Kind, MOST_FINDINGS, Report, Subject};
use crate::blobs::Blobs;
use crate::db::Inspection;

/// What a repair does, counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Repairs {
    /// Rows of attachments whose bytes are gone: removed.
    pub rows_removed: u64,
    /// Files that belong to no row: moved to `lost+found`.
    pub files_set_aside: u64,
    /// Files left in staging: removed, as a start would.
    pub staging_removed: u64,
    /// Resumable uploads that cannot be gone on with: ended.
    pub uploads_ended: u64,
    /// Contacts and sites: counted anew.
    pub counters_set: u64,
    /// Findings that only a backup can mend, and names that are not ours: left as they are.
    pub left: u64,
}

/// What [`repair`] would do.
pub fn plan(report: &Report) -> Repairs {
    let count = |kind| report.count(kind);
    Repairs {
        rows_removed: count(Kind::RowWithoutBytes),
        files_set_aside: count(Kind::BytesWithoutRow),
        staging_removed: count(Kind::StaleStaging),
        uploads_ended: count(Kind::UploadWithoutBytes),
        counters_set: count(Kind::CounterDrift),
        left: count(Kind::WrongSize) + count(Kind::WrongHash) + count(Kind::ForeignName),
    }
}

/// Mends what a report found. The caller holds the folder's lock, since before the report.
///
/// # Errors
///
/// When something cannot be mended; what was done stays done, and a new report says what is
/// left. Also when there are more findings than a report keeps.
pub fn repair(rows: &Inspection, blobs: &Blobs, report: &Report) -> anyhow::Result<Repairs> {
    if report.total() > MOST_FINDINGS as u64 {
        bail!(
            "{} findings are too many to be an accident of one crash: restore a backup",
            report.total()
        );
    }
    let (mut lost, mut uploads) = (Vec::new(), Vec::new());
    for finding in &report.findings {
        match (finding.kind, finding.subject) {
            (Kind::RowWithoutBytes, Subject::Row(row)) => lost.push(row),
            (Kind::UploadWithoutBytes, Subject::Upload(upload)) => uploads.push(upload),
            (_, Subject::Bytes(key)) => blobs.set_aside(key)?,
            (_, Subject::Staged(staged)) => {
                // As the recovery of a start does.
                let (site, blob) = (staged.key.site, staged.key.blob);
                if !rows.names_blob(site, staged.attachment, blob)? {
                    blobs.remove(staged.key)?;
                }
                blobs.settle(staged)?;
            }
            _ => {}
        }
    }
    let are_rows_wrong =
        !lost.is_empty() || !uploads.is_empty() || report.count(Kind::CounterDrift) > 0;
    if are_rows_wrong {
        rows.repair(&lost, &uploads)?;
    }
    Ok(plan(report))
}
