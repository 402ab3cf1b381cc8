//! Restores a backup into a separate folder. Everything is verified before the folder gets its
//! final name, so a restore is never partial.

use std::path::Path;

use anyhow::{Context as _, bail};

use crate::actions::fsck::{CheckOptions, check};
use crate::archive::{self, EntryName, Partial};
use crate::blobs::{BlobKey, Blobs};
use crate::data_folder::DataFolder;
use crate::db::{DatabaseLocation, Db, Inspection};

/// Problems reported individually.
const MAX_REPORTED: usize = 20;

/// A completed restore.
#[derive(Debug, Clone)]
pub struct Restored {
    /// Attachments restored.
    pub attachments: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Attachments of the backup that were deleted later, and stay deleted.
    pub deleted: u64,
    /// The time of the backup's snapshot, as RFC 3339.
    pub created_at: String,
}

/// Restores a backup as the data folder `target`, which must be empty or not exist. Attachments
/// recorded as deleted in `erased_in`, a data folder or the folder of a newer backup, stay deleted.
///
/// # Errors
///
/// When a file of the backup is missing, altered or unexpected, with a list: then nothing is
/// restored. When anything cannot be read or written.
pub fn restore(
    source: &Path,
    target: &Path,
    erased_in: Option<&Path>,
    now_ms: i64,
) -> anyhow::Result<Restored> {
    let (deleted, contacts) = match erased_in {
        None => (Vec::new(), Vec::new()),
        Some(path) => {
            let rows =
                Inspection::open(&DatabaseLocation::File(DataFolder::existing(path)?.database()?))?;
            (rows.tombstones()?, rows.contact_tombstones()?)
        }
    };
    let partial = Partial::create(target)?;
    let folder = DataFolder::open(&partial.content())?;
    let blobs = Blobs::local(folder.root())?;
    let outcome = archive::read(source, &mut |name, bytes| {
        match name {
            EntryName::Blob(key) => blobs.restore(key, bytes),
            EntryName::Database => folder.restore_database(bytes),
            EntryName::Secret(index) => folder.restore_secret(index, bytes),
        }
        .with_context(|| format!("cannot write {} into {}", name.path(), target.display()))
    })?;
    let problems = outcome.problems.len() as u64;
    let Some(about) = outcome.manifest.filter(|_| problems == 0) else {
        let reported = &outcome.problems[..outcome.problems.len().min(MAX_REPORTED)];
        bail!(
            "nothing was restored, because {} files of the backup differ from what was written:\
             \n  {}\n`dossier backup verify` lists all of them",
            outcome.problem_count,
            reported.join("\n  ")
        );
    };
    let database = folder.existing_database()?;
    // Migrates the schema of an older release.
    drop(Db::open(&DatabaseLocation::File(database.clone()), 1)?);
    let rows = Inspection::open_for_repair(&database)?;
    let gone = rows.prepare_restored(&deleted, &contacts, now_ms)?;
    for (site, blob) in &gone {
        blobs.remove(BlobKey { site: *site, blob: *blob })?;
    }
    let report = check(&rows, &blobs, CheckOptions { hash: false, offline: true })?;
    drop(rows);
    if let Some(finding) = report.findings.first() {
        bail!(
            "nothing was restored, because the backup's rows and files do not match: {} findings, \
             the first: {}: {}",
            report.total(),
            finding.kind.name(),
            finding.detail
        );
    }
    partial.complete()?;
    Ok(Restored {
        attachments: report.rows,
        bytes: report.bytes,
        deleted: gone.len() as u64,
        created_at: about.created_at,
    })
}
