//! When commands over all data ended and how, for those who administer a server: kept beside the leases
//! of the jobs that a server does by itself.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::inspect::Inspection;
use super::{Place, sql::Connection};
use crate::db::sql::{self, OptionalExtension as _, params};

/// The last backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastBackup {
    /// The moment that it shows, in Unix milliseconds.
    pub of_ms: i64,
    /// Attachments in it.
    pub attachments: u64,
    /// Bytes of these.
    pub bytes: u64,
}

/// The last comparison of rows and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastCheck {
    /// When it ended, in Unix milliseconds.
    pub ended_at_ms: i64,
    /// What it found, after its repairs.
    pub findings: u64,
    /// Whether it read every file.
    pub hashed: bool,
}

/// What is kept under a name of its own.
pub trait Kept: Serialize + for<'a> Deserialize<'a> {
    /// The name, which no job of a server has.
    const NAME: &'static str;
}

impl Kept for LastBackup {
    const NAME: &'static str = "backup";
}

impl Kept for LastCheck {
    const NAME: &'static str = "fsck";
}

/// Keeps it in the place of the one before; a server may be at work.
///
/// # Errors
///
/// When the database cannot be written, which a check does not need otherwise.
pub fn keep<K: Kept>(place: &Place, last: &K) -> anyhow::Result<()> {
    let text = serde_json::to_string(last)?;
    // No lease: the holder is nobody, until a moment that has passed.
    Inspection::open_for_notes(place)?
        .connection()
        .prepare_cached(
            "INSERT INTO job_leases (job, holder, fence, leased_until_ms, progress) \
             VALUES ($1, $2, 0, 0, $3) ON CONFLICT (job) DO UPDATE SET progress = excluded.progress",
        )?
        .execute(params![K::NAME, Uuid::nil(), text])?;
    Ok(())
}

/// What was kept last; `None` when nothing was, or nothing that this release can read.
pub(super) fn last<K: Kept>(connection: &Connection) -> sql::Result<Option<K>> {
    let text = progress(connection, K::NAME)?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// How far a job of all sites has come, as its holder wrote it down.
pub(super) fn progress(connection: &Connection, job: &str) -> sql::Result<Option<String>> {
    connection
        .prepare_cached("SELECT progress FROM job_leases WHERE job = $1")?
        .query_row(params![job], |row| row.get(0))
        .optional()
}
