//! The last runs of commands over all data, for administrators. Stored next to the leases of a
//! server's own jobs.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::inspect::Inspection;
use super::{DatabaseLocation, sql::Connection};
use crate::db::sql::{self, OptionalExtension as _, params};

/// The last backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastBackup {
    /// The moment of its snapshot, in Unix milliseconds.
    pub of_ms: i64,
    /// Attachments in it.
    pub attachments: u64,
    /// Total size of these.
    pub bytes: u64,
}

/// The last comparison of the database and the stored bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastCheck {
    /// When it ended, in Unix milliseconds.
    pub ended_at_ms: i64,
    /// Findings that remained after repairs.
    pub findings: u64,
    /// Whether it hashed every file.
    pub hashed: bool,
}

/// The last run of a command, stored under a name of its own.
pub trait LastRun: Serialize + for<'a> Deserialize<'a> {
    /// The name, which no server job uses.
    const NAME: &'static str;
}

impl LastRun for LastBackup {
    const NAME: &'static str = "backup";
}

impl LastRun for LastCheck {
    const NAME: &'static str = "fsck";
}

/// Stores it in place of the previous one; a server may be running.
///
/// # Errors
///
/// When the database cannot be written, which the command itself does not need.
pub fn record_last_run<K: LastRun>(location: &DatabaseLocation, last: &K) -> anyhow::Result<()> {
    let text = serde_json::to_string(last)?;
    // No lease: the nil holder, until a time in the past.
    Inspection::open_for_notes(location)?
        .connection()
        .prepare_cached(
            "INSERT INTO job_leases (job, holder, fence, leased_until_ms, progress) \
             VALUES ($1, $2, 0, 0, $3) ON CONFLICT (job) DO UPDATE SET progress = excluded.progress",
        )?
        .execute(params![K::NAME, Uuid::nil(), text])?;
    Ok(())
}

/// The last stored run; `None` when there is none, or this release cannot parse it.
pub(super) fn last<K: LastRun>(connection: &Connection) -> sql::Result<Option<K>> {
    let text = progress(connection, K::NAME)?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// The progress of a job of all sites, as its holder stored it.
pub(super) fn progress(connection: &Connection, job: &str) -> sql::Result<Option<String>> {
    connection
        .prepare_cached("SELECT progress FROM job_leases WHERE job = $1")?
        .query_row(params![job], |row| row.get(0))
        .optional()
}
