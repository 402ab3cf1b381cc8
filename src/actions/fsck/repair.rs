//! Repairs what can be repaired without destroying the only copy of anything.

use anyhow::bail;

use super::{Kind, MAX_FINDINGS, Report, Subject};
use crate::blobs::Blobs;
use crate::db::Inspection;

/// The number of repairs of each kind.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Repairs {
    /// Rows of attachments whose file is missing: removed.
    pub rows_removed: u64,
    /// Files without a row: moved to `lost+found`.
    pub files_set_aside: u64,
    /// Leftover staging files: removed, as at a start.
    pub staging_removed: u64,
    /// Resumable uploads that cannot be resumed: ended.
    pub uploads_ended: u64,
    /// Contacts and sites: recounted.
    pub counters_set: u64,
    /// Findings that need a backup, and foreign names: left unchanged.
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

/// Repairs the findings of a report. The caller has held the folder's lock since before the check.
///
/// # Errors
///
/// When something cannot be repaired; completed repairs persist, and a new check reports the rest.
/// Also when there are more findings than a report keeps.
pub fn repair(rows: &Inspection, blobs: &Blobs, report: &Report) -> anyhow::Result<Repairs> {
    if report.total() > MAX_FINDINGS as u64 {
        bail!("{} findings are too many for a single crash: restore a backup", report.total());
    }
    let (mut lost, mut uploads) = (Vec::new(), Vec::new());
    for finding in &report.findings {
        match (finding.kind, finding.subject) {
            (Kind::RowWithoutBytes, Subject::Row(row)) => lost.push(row),
            (Kind::UploadWithoutBytes, Subject::Upload(upload)) => uploads.push(upload),
            (_, Subject::Bytes(key)) => blobs.set_aside(key)?,
            (_, Subject::Staged(staged)) => {
                // As recovery does at a start.
                let (site, blob) = (staged.key.site, staged.key.blob);
                if !rows.has_blob(site, staged.attachment, blob)? {
                    blobs.remove(staged.key)?;
                }
                blobs.settle(staged)?;
            }
            _ => {}
        }
    }
    let has_row_findings =
        !lost.is_empty() || !uploads.is_empty() || report.count(Kind::CounterDrift) > 0;
    if has_row_findings {
        rows.repair(&lost, &uploads)?;
    }
    Ok(plan(report))
}
