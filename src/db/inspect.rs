//! Reads the database next to a server, or without one: what `dossier fsck` compares with the
//! stored bytes. Read-only, in its own snapshots; repairs need the data folder's lock.

use std::path::Path;

use crate::db::sql::{self, Connection, OptionalExtension as _, params};
use anyhow::{Context as _, bail};
use rusqlite::OpenFlags;

use super::backups::Tombstone;
use super::sqlite::BUSY_TIMEOUT;
use super::{ContactTombstone, DatabaseLocation, SCHEMA_VERSION, postgres};
use crate::domain::ids::{AttachmentId, BlobId, ContactId, SiteId};

/// The blob of an attachment, as its row describes it.
#[derive(Debug, Clone, Copy)]
pub struct BlobRow {
    /// The tenant.
    pub site_id: SiteId,
    /// The blob.
    pub blob_id: BlobId,
    /// The attachment.
    pub attachment_id: AttachmentId,
    /// Expected size.
    pub size_bytes: u64,
    /// Expected SHA-256.
    pub sha256: [u8; 32],
}

/// A resumable upload and its expected bytes.
#[derive(Debug, Clone, Copy)]
pub struct UploadRow {
    /// The tenant.
    pub site_id: SiteId,
    /// The future attachment.
    pub attachment_id: AttachmentId,
    /// The blob.
    pub blob_id: BlobId,
    /// Minimum number of bytes in the file.
    pub offset_bytes: u64,
}

/// A contact, or a site when there is no contact, whose counters are wrong.
#[derive(Debug, Clone, Copy)]
pub struct Drift {
    /// The tenant.
    pub site_id: SiteId,
    /// The contact.
    pub contact_id: Option<ContactId>,
}

/// The columns of a [`BlobRow`], in its order.
macro_rules! blob_columns {
    () => {
        "site_id, blob_id, attachment_id, size_bytes, sha256"
    };
}
pub(super) use blob_columns;

/// Reads [`blob_columns`].
pub(super) fn blob_row(row: sql::Row<'_>) -> sql::Result<BlobRow> {
    Ok(BlobRow {
        site_id: row.get(0)?,
        blob_id: row.get(1)?,
        attachment_id: row.get(2)?,
        size_bytes: row.get::<i64>(3)? as u64,
        sha256: row.get(4)?,
    })
}

/// A connection for inspection and repair.
pub struct Inspection {
    pub(super) connection: Connection,
}

/// Contacts whose row differs from their attachments, or is missing.
const CONTACTS: &str = "SELECT site_id, contact_id FROM (\
     SELECT site_id, contact_id, attachment_count AS n, total_bytes AS bytes FROM contacts \
     UNION ALL \
     SELECT site_id, contact_id, -count(*), -sum(size_bytes) \
     FROM counted_attachments GROUP BY site_id, contact_id) AS counted \
     GROUP BY site_id, contact_id HAVING sum(n) <> 0 OR sum(bytes) <> 0";

/// Sites whose row differs from their attachments, or is missing.
const SITES: &str = "SELECT site_id FROM (\
     SELECT site_id, attachment_count AS n, total_bytes AS bytes FROM site_usage \
     UNION ALL \
     SELECT site_id, -count(*), -sum(size_bytes) FROM counted_attachments \
     GROUP BY site_id) AS counted \
     GROUP BY site_id HAVING sum(n) <> 0 OR sum(bytes) <> 0";

/// Recounts all counters from the attachments.
const RECOUNT: &str = "INSERT INTO contacts (site_id, contact_id, attachment_count, \
     total_bytes, revision, last_created_at_ms) \
     SELECT site_id, contact_id, 0, 0, 1, max(created_at_ms) FROM counted_attachments \
     WHERE true GROUP BY site_id, contact_id ON CONFLICT DO NOTHING; \
     UPDATE contacts SET revision = revision + 1, \
     attachment_count = (SELECT count(*) FROM counted_attachments a \
     WHERE a.site_id = contacts.site_id AND a.contact_id = contacts.contact_id), \
     total_bytes = (SELECT coalesce(sum(size_bytes), 0) FROM counted_attachments a \
     WHERE a.site_id = contacts.site_id AND a.contact_id = contacts.contact_id); \
     DELETE FROM site_usage; \
     INSERT INTO site_usage (site_id, attachment_count, total_bytes) \
     SELECT site_id, count(*), sum(size_bytes) FROM counted_attachments GROUP BY site_id;";

impl Inspection {
    /// Opens the database for reading.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or has another release's schema.
    pub fn open(location: &DatabaseLocation) -> anyhow::Result<Self> {
        match location {
            DatabaseLocation::File(file) => Self::open_with(file, OpenFlags::SQLITE_OPEN_READ_ONLY),
            DatabaseLocation::Postgres(location) => {
                Ok(Self { connection: postgres::Postgres::connect(location)? })
            }
        }
    }

    /// Opens the database for repairs; the caller holds the data folder's lock.
    ///
    /// # Errors
    ///
    /// As [`Inspection::open`].
    pub fn open_for_repair(file: &Path) -> anyhow::Result<Self> {
        Self::open_with(file, OpenFlags::SQLITE_OPEN_READ_WRITE)
    }

    /// Opens the database to record that a command has ended; a server may be running.
    pub(super) fn open_for_notes(location: &DatabaseLocation) -> anyhow::Result<Self> {
        match location {
            DatabaseLocation::File(file) => {
                Self::open_with(file, OpenFlags::SQLITE_OPEN_READ_WRITE)
            }
            DatabaseLocation::Postgres(_) => Self::open(location),
        }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    fn open_with(file: &Path, access: OpenFlags) -> anyhow::Result<Self> {
        let connection =
            rusqlite::Connection::open_with_flags(file, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)
                .with_context(|| format!("cannot open the database {}", file.display()))?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        let found: i64 = connection
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .with_context(|| format!("cannot read the database {}", file.display()))?;
        if found != SCHEMA_VERSION {
            bail!(
                "the data in {} has schema {found}, this release supports {SCHEMA_VERSION}; start \
                 `dossier serve` of the newer release once",
                file.display()
            );
        }
        Ok(Self { connection: Connection::Sqlite(connection) })
    }

    /// Runs a read in one snapshot.
    ///
    /// # Errors
    ///
    /// When the database or the read fails.
    pub fn snapshot<T>(&self, read: impl FnOnce(&Self) -> anyhow::Result<T>) -> anyhow::Result<T> {
        self.connection.execute_batch(match self.connection {
            Connection::Sqlite(_) => "BEGIN DEFERRED",
            Connection::Postgres(_) => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        })?;
        let result = read(self);
        self.connection.execute_batch("COMMIT")?;
        result
    }

    /// Number of attachments.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn attachment_count(&self) -> anyhow::Result<u64> {
        let count: i64 = self
            .connection
            .prepare_cached("SELECT count(*) FROM stored_attachments")?
            .query_row(&[], |row| row.get(0))?;
        Ok(count as u64)
    }

    /// The first finding of SQLite's quick check; `None` when the file is intact. PostgreSQL checks
    /// its files itself, with checksums if its cluster has them.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn damage(&self) -> anyhow::Result<Option<String>> {
        let Connection::Sqlite(connection) = &self.connection else { return Ok(None) };
        let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        Ok((found != "ok").then_some(found))
    }

    /// When the newest attachment was created, in Unix milliseconds; `None` when there is none.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn newest_ms(&self) -> anyhow::Result<Option<i64>> {
        let statement = "SELECT max(last_created_at_ms) FROM contacts";
        Ok(self.connection.prepare_cached(statement)?.query_row(&[], |row| row.get(0))?)
    }

    /// Calls `visit` with the blob of every attachment.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn each_blob(&self, mut visit: impl FnMut(BlobRow)) -> anyhow::Result<()> {
        let statement = concat!("SELECT ", blob_columns!(), " FROM stored_attachments");
        self.visit_blobs(statement, |row| {
            visit(row);
            Ok(())
        })
    }

    /// [`Inspection::each_blob`] in the order of sites and blobs, until `visit` fails.
    ///
    /// # Errors
    ///
    /// When the database or `visit` fails.
    pub fn each_blob_in_order(
        &self,
        visit: impl FnMut(BlobRow) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let statement = concat!(
            "SELECT ",
            blob_columns!(),
            " FROM stored_attachments ORDER BY site_id, blob_id"
        );
        self.visit_blobs(statement, visit)
    }

    fn visit_blobs(
        &self,
        statement: &'static str,
        mut visit: impl FnMut(BlobRow) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut visited = Ok(());
        self.connection.prepare_cached(statement)?.each(&[], |row| {
            visited = visit(blob_row(row)?);
            Ok(visited.is_ok())
        })?;
        visited
    }

    /// Whether an attachment has this blob.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn has_blob(
        &self,
        site: SiteId,
        attachment: AttachmentId,
        blob: BlobId,
    ) -> anyhow::Result<bool> {
        let mut statement = self.connection.prepare_cached(
            "SELECT 1 FROM stored_attachments \
             WHERE site_id = $1 AND attachment_id = $2 AND blob_id = $3",
        )?;
        Ok(statement.exists(params![site, attachment, blob])?)
    }

    /// Blobs of deleted rows whose bytes are to be removed.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn removals(&self) -> anyhow::Result<Vec<(SiteId, BlobId)>> {
        let mut statement =
            self.connection.prepare_cached("SELECT site_id, blob_id FROM blob_removals")?;
        let rows = statement.query_map(&[], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows)
    }

    /// Resumable uploads in progress.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn uploads(&self) -> anyhow::Result<Vec<UploadRow>> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT site_id, attachment_id, blob_id, offset_bytes FROM uploads")?;
        let rows = statement.query_map(&[], |row| {
            Ok(UploadRow {
                site_id: row.get(0)?,
                attachment_id: row.get(1)?,
                blob_id: row.get(2)?,
                offset_bytes: row.get::<i64>(3)? as u64,
            })
        })?;
        Ok(rows)
    }

    /// Contacts and sites whose counters are wrong.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn drift(&self) -> anyhow::Result<Vec<Drift>> {
        let mut contacts = self.connection.prepare_cached(CONTACTS)?;
        let mut found = contacts.query_map(&[], |row| {
            Ok(Drift { site_id: row.get(0)?, contact_id: Some(row.get(1)?) })
        })?;
        let mut sites = self.connection.prepare_cached(SITES)?;
        found.extend(
            sites.query_map(&[], |row| Ok(Drift { site_id: row.get(0)?, contact_id: None }))?,
        );
        Ok(found)
    }

    /// Deletes attachments whose bytes are lost and uploads whose file is lost, and recounts all
    /// contacts and sites, in one transaction.
    ///
    /// # Errors
    ///
    /// When the database fails; then nothing is changed.
    pub fn repair(&self, lost: &[BlobRow], uploads: &[UploadRow]) -> anyhow::Result<()> {
        self.connection.atomically(|transaction| {
            for row in lost {
                transaction
                    .prepare_cached(
                        "DELETE FROM attachments WHERE site_id = $1 AND attachment_id = $2 \
                     AND blob_id = $3",
                    )?
                    .execute(params![row.site_id, row.attachment_id, row.blob_id])?;
                transaction
                    .prepare_cached(
                        "DELETE FROM trashed_attachments WHERE site_id = $1 AND attachment_id = $2 \
                     AND blob_id = $3",
                    )?
                    .execute(params![row.site_id, row.attachment_id, row.blob_id])?;
            }
            for row in uploads {
                transaction
                    .prepare_cached(
                        "DELETE FROM uploads WHERE site_id = $1 AND attachment_id = $2 \
                     AND blob_id = $3",
                    )?
                    .execute(params![row.site_id, row.attachment_id, row.blob_id])?;
            }
            transaction.execute_batch(RECOUNT)?;
            Ok(())
        })
    }

    /// Tombstones of deleted attachments, oldest first.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn tombstones(&self) -> anyhow::Result<Vec<Tombstone>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT site_id, attachment_id, deleted_at_ms FROM tombstones ORDER BY deleted_at_ms",
        )?;
        let rows = statement.query_map(&[], |row| {
            Ok(Tombstone {
                site_id: row.get(0)?,
                attachment_id: row.get(1)?,
                deleted_at_ms: row.get(2)?,
            })
        })?;
        Ok(rows)
    }

    /// Prepares a restored backup for serving, in one transaction: deletes what was deleted after
    /// the backup, and sets every contact's revision to one that was never used, so that a client's
    /// cached later pages do not match. Returns the blobs to remove.
    ///
    /// # Errors
    ///
    /// When the database fails; then nothing is changed.
    pub fn prepare_restored(
        &self,
        deleted: &[Tombstone],
        contacts: &[ContactTombstone],
        now_ms: i64,
    ) -> anyhow::Result<Vec<(SiteId, BlobId)>> {
        self.connection.atomically(|transaction| {
            let mut blobs = Vec::new();
            for tombstone in deleted {
                let key = params![tombstone.site_id, tombstone.attachment_id];
                let blob = transaction
                    .prepare_cached(
                        "DELETE FROM attachments WHERE site_id = $1 AND attachment_id = $2 \
                     RETURNING blob_id",
                    )?
                    .query_row(key, |row| row.get(0))
                    .optional()?;
                blobs.extend(blob.map(|blob| (tombstone.site_id, blob)));
                // Rows in the trash were deleted before the backup: only those purged since are
                // deleted.
                let purged = transaction
                    .prepare_cached(
                        "DELETE FROM trashed_attachments WHERE site_id = $1 AND attachment_id = $2 \
                     AND deleted_at_ms < $3 RETURNING blob_id",
                    )?
                    .query_row(
                        params![
                            tombstone.site_id,
                            tombstone.attachment_id,
                            tombstone.deleted_at_ms
                        ],
                        |row| row.get(0),
                    )
                    .optional()?;
                blobs.extend(purged.map(|blob| (tombstone.site_id, blob)));
                transaction
                    .prepare_cached(
                        "INSERT INTO tombstones (site_id, attachment_id, deleted_at_ms) \
                     VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                    )?
                    .execute(params![
                        tombstone.site_id,
                        tombstone.attachment_id,
                        tombstone.deleted_at_ms
                    ])?;
            }
            for contact in contacts {
                blobs.extend(super::contacts::apply_contact_tombstone(transaction, contact)?);
            }
            transaction.execute_batch(RECOUNT)?;
            transaction
                .prepare_cached("UPDATE contacts SET revision = $1 WHERE revision < $1")?
                .execute(params![now_ms])?;
            Ok(blobs)
        })
    }
}
