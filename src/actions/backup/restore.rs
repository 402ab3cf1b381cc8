//! Restores a backup into a folder of its own: everything is compared before the folder gets its
//! name, so nothing is ever restored half.

use std::path::Path;

use anyhow::{Context as _, bail};

use crate::actions::fsck::{Look, check};
use crate::archive::{self, Name, Partial};
use crate::blobs::{BlobKey, Blobs};
use crate::data_folder::DataFolder;
use crate::db::{Db, Inspection, Place};

/// Problems that are told by name.
const MOST_TOLD: usize = 20;

/// A backup that was restored.
#[derive(Debug, Clone)]
pub struct Restored {
    /// Attachments that are there now.
    pub attachments: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Attachments of the backup that were deleted since, and stay deleted.
    pub deleted: u64,
    /// The moment that the backup shows, as RFC 3339.
    pub created_at: String,
}

/// Restores a backup as the data folder `target`, which must not be there or be empty. What was
/// deleted in the store at `erased_in`, a data folder or a newer backup's folder, stays deleted.
///
/// # Errors
///
/// When anything in the backup is missing, altered or not of it, with the list: then nothing is
/// restored. When anything cannot be read or written.
pub fn restore(
    source: &Path,
    target: &Path,
    erased_in: Option<&Path>,
    now_ms: i64,
) -> anyhow::Result<Restored> {
    let (deleted, graves) = match erased_in {
        None => (Vec::new(), Vec::new()),
        Some(path) => {
            let rows = Inspection::open(&Place::File(DataFolder::existing(path)?.database()?))?;
            (rows.tombstones()?, rows.graves()?)
        }
    };
    let partial = Partial::make(target)?;
    let folder = DataFolder::open(&partial.content())?;
    let blobs = Blobs::local(folder.root())?;
    let outcome = archive::read(source, &mut |name, bytes| {
        match name {
            Name::Blob(key) => blobs.restore(key, bytes),
            Name::Database => folder.restore_database(bytes),
            Name::Secret(place) => folder.restore_secret(place, bytes),
        }
        .with_context(|| format!("cannot write {} into {}", name.path(), target.display()))
    })?;
    let problems = outcome.problems.len() as u64;
    let Some(about) = outcome.about.filter(|_| problems == 0) else {
        let told = &outcome.problems[..outcome.problems.len().min(MOST_TOLD)];
        bail!(
            "nothing was restored, because {} files of the backup are not as they were written:\
             \n  {}\n`dossier backup verify` lists all of them",
            outcome.problem_count,
            told.join("\n  ")
        );
    };
    let database = folder.existing_database()?;
    // Brings the rows of an older release to this one's form.
    drop(Db::open(&Place::File(database.clone()), 1)?);
    let rows = Inspection::open_for_repair(&database)?;
    let gone = rows.settle_restored(&deleted, &graves, now_ms)?;
    for (site, blob) in &gone {
        blobs.remove(BlobKey { site: *site, blob: *blob })?;
    }
    let report = check(&rows, &blobs, Look { hash: false, offline: true })?;
    drop(rows);
    if let Some(finding) = report.findings.first() {
        bail!(
            "nothing was restored, because the backup's rows and files do not fit: {} findings, \
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
