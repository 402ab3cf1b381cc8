//! Support for backups: a snapshot of the rows, holds on the removal of bytes, and tombstones.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use rusqlite::{Connection, OpenFlags};
use uuid::Uuid;

use super::Db;
use super::engine::Done;
use super::sql::params;
use super::sqlite::BUSY_TIMEOUT;
use crate::domain::ids::{AttachmentId, SiteId};
use crate::error::Result;

/// A deleted attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tombstone {
    /// The tenant.
    pub site_id: SiteId,
    /// The attachment.
    pub attachment_id: AttachmentId,
    /// When it was deleted, in Unix milliseconds.
    pub deleted_at_ms: i64,
}

impl Db {
    /// Suspends the removal of bytes until a time; call again with the same id to extend it.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn hold_removals(&self, hold: Uuid, until_ms: i64) -> Result<()> {
        self.engine
            .write_across(move |connection| {
                connection
                    .prepare_cached(
                        "INSERT INTO backup_holds (hold_id, expires_at_ms) VALUES ($1, $2) \
                         ON CONFLICT (hold_id) DO UPDATE SET expires_at_ms = excluded.expires_at_ms",
                    )
                    .and_then(|mut statement| statement.execute(params![hold, until_ms]))
                    ?;
                Ok(Done { value: (), changed: None })
            })
            .await
    }

    /// Ends a hold, and deletes expired ones.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn release_removals(&self, hold: Uuid, now_ms: i64) -> Result<()> {
        self.engine
            .write_across(move |connection| {
                connection
                    .prepare_cached(
                        "DELETE FROM backup_holds WHERE hold_id = $1 OR expires_at_ms <= $2",
                    )
                    .and_then(|mut statement| statement.execute(params![hold, now_ms]))?;
                Ok(Done { value: (), changed: None })
            })
            .await
    }

    /// Deletes tombstones that are older than any backup, at most `limit`; returns how many.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn delete_old_tombstones(&self, before_ms: i64, limit: u32) -> Result<usize> {
        self.engine
            .write_across(move |connection| {
                let deleted = connection
                    .prepare_cached(
                        "DELETE FROM tombstones WHERE (site_id, attachment_id) IN \
                         (SELECT site_id, attachment_id FROM tombstones \
                         WHERE deleted_at_ms < $1 ORDER BY deleted_at_ms LIMIT $2) \
                         AND deleted_at_ms < $1",
                    )
                    .and_then(|mut statement| statement.execute(params![before_ms, limit]))?;
                Ok(Done { value: deleted, changed: None })
            })
            .await
    }
}

/// Copies a snapshot of the rows, next to a server or without one, into a new self-contained file.
/// What only the running store needs is left out: uploads in progress, bytes to remove, leases,
/// sessions.
///
/// # Errors
///
/// When the database cannot be read or the copy cannot be written.
pub fn copy_rows(database: &Path, copy: &Path) -> anyhow::Result<()> {
    // SQLite writes into an existing empty file, and keeps its mode.
    OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(copy)
        .with_context(|| format!("cannot write {}", copy.display()))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(database, flags)
        .with_context(|| format!("cannot open the database {}", database.display()))?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let target = copy.to_str().context("the name of a backup must be UTF-8")?;
    connection
        .execute("VACUUM INTO $1", [target])
        .with_context(|| format!("cannot copy the rows to {}", copy.display()))?;
    let copied = Connection::open_with_flags(copy, flags)?;
    copied.execute_batch(
        "PRAGMA journal_mode = DELETE; PRAGMA secure_delete = ON; BEGIN; DELETE FROM uploads; \
         DELETE FROM blob_removals; DELETE FROM backup_holds; DELETE FROM job_leases; \
         DELETE FROM damaged_blobs; DELETE FROM inbound_events; DELETE FROM sessions; \
         DELETE FROM sign_in_links; COMMIT; VACUUM;",
    )?;
    Ok(())
}
