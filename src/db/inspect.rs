//! Looks at the rows from beside a server, or without one: what `dossier fsck` compares with the
//! bytes. Read-only, in snapshots of its own; the repairs need the folder for themselves.

use std::path::Path;

use crate::db::sql::{self, Connection, OptionalExtension as _, params};
use anyhow::{Context as _, bail};
use rusqlite::OpenFlags;

use super::backups::Tombstone;
use super::sqlite::BUSY_TIMEOUT;
use super::{Grave, Place, SCHEMA_VERSION, contacts, postgres};
use crate::domain::ids::{AttachmentId, BlobId, ContactId, SiteId};

/// What a row says of its bytes.
#[derive(Debug, Clone, Copy)]
pub struct BlobRow {
    /// The tenant.
    pub site_id: SiteId,
    /// The bytes.
    pub blob_id: BlobId,
    /// Whose bytes they are.
    pub attachment_id: AttachmentId,
    /// How many there must be.
    pub size_bytes: u64,
    /// Their SHA-256.
    pub sha256: [u8; 32],
}

/// A resumable upload, as far as its bytes go.
#[derive(Debug, Clone, Copy)]
pub struct UploadRow {
    /// The tenant.
    pub site_id: SiteId,
    /// What it is to become.
    pub attachment_id: AttachmentId,
    /// The bytes.
    pub blob_id: BlobId,
    /// Bytes that must be there at least.
    pub offset_bytes: u64,
}

/// A contact, or a site when there is no contact, whose counters are not true.
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

/// A view of the rows.
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

/// Makes every counter that of its attachments.
const COUNT_ANEW: &str = "INSERT INTO contacts (site_id, contact_id, attachment_count, \
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
    /// Opens the rows for reading.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is of another release.
    pub fn open(place: &Place) -> anyhow::Result<Self> {
        match place {
            Place::File(file) => Self::open_with(file, OpenFlags::SQLITE_OPEN_READ_ONLY),
            Place::Postgres(place) => Ok(Self { connection: postgres::Postgres::separate(place)? }),
        }
    }

    /// Opens the rows for repairs; the caller holds the folder's lock.
    ///
    /// # Errors
    ///
    /// As [`Inspection::open`].
    pub fn open_for_repair(file: &Path) -> anyhow::Result<Self> {
        Self::open_with(file, OpenFlags::SQLITE_OPEN_READ_WRITE)
    }

    /// Opens the rows to note beside them that a command has ended; a server may be at work.
    pub(super) fn open_for_notes(place: &Place) -> anyhow::Result<Self> {
        match place {
            Place::File(file) => Self::open_with(file, OpenFlags::SQLITE_OPEN_READ_WRITE),
            Place::Postgres(_) => Self::open(place),
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
                "the data in {} has schema {found}, this release knows {SCHEMA_VERSION}; start \
                 `dossier serve` of the newer release once",
                file.display()
            );
        }
        Ok(Self { connection: Connection::Sqlite(connection) })
    }

    /// Runs a look in one snapshot.
    ///
    /// # Errors
    ///
    /// When the database fails, or the look does.
    pub fn snapshot<T>(&self, look: impl FnOnce(&Self) -> anyhow::Result<T>) -> anyhow::Result<T> {
        self.connection.execute_batch(match self.connection {
            Connection::Sqlite(_) => "BEGIN DEFERRED",
            Connection::Postgres(_) => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        })?;
        let seen = look(self);
        self.connection.execute_batch("COMMIT")?;
        seen
    }

    /// Attachments in all.
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

    /// What SQLite's quick check finds first; `None` when the file is whole. PostgreSQL checks its
    /// files by itself, with checksums if its cluster has them.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn damage(&self) -> anyhow::Result<Option<String>> {
        let Connection::Sqlite(connection) = &self.connection else { return Ok(None) };
        let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        Ok((found != "ok").then_some(found))
    }

    /// When the newest attachment was made, in Unix milliseconds; `None` when there is none.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn newest_ms(&self) -> anyhow::Result<Option<i64>> {
        let statement = "SELECT max(last_created_at_ms) FROM contacts";
        Ok(self.connection.prepare_cached(statement)?.query_row(&[], |row| row.get(0))?)
    }

    /// Shows every attachment's bytes.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn each_blob(&self, mut show: impl FnMut(BlobRow)) -> anyhow::Result<()> {
        let statement = concat!("SELECT ", blob_columns!(), " FROM stored_attachments");
        self.show_blobs(statement, |row| {
            show(row);
            Ok(())
        })
    }

    /// Shows every attachment's bytes in the order of sites and blobs, until one fails.
    ///
    /// # Errors
    ///
    /// When the database fails, or `show` does.
    pub fn each_blob_in_order(
        &self,
        show: impl FnMut(BlobRow) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let statement = concat!(
            "SELECT ",
            blob_columns!(),
            " FROM stored_attachments ORDER BY site_id, blob_id"
        );
        self.show_blobs(statement, show)
    }

    fn show_blobs(
        &self,
        statement: &'static str,
        mut show: impl FnMut(BlobRow) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut shown = Ok(());
        self.connection.prepare_cached(statement)?.each(&[], |row| {
            shown = show(blob_row(row)?);
            Ok(shown.is_ok())
        })?;
        shown
    }

    /// Whether an attachment has these bytes.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn names_blob(
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

    /// Blobs whose row is gone and whose bytes are to go.
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

    /// Resumable uploads in flight.
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

    /// Contacts and sites whose counters are not true.
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

    /// Removes attachments whose bytes are gone and uploads whose file is gone, and counts all
    /// contacts and sites anew, in one transaction.
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
            transaction.execute_batch(COUNT_ANEW)?;
            Ok(())
        })
    }

    /// What was deleted, oldest first.
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

    /// Makes rows of a backup fit to be served again, in one transaction: what was deleted since
    /// goes, and every contact's revision becomes one that was never seen, so that what clients
    /// remember of later pages is not taken for theirs. Returns the bytes that are to go.
    ///
    /// # Errors
    ///
    /// When the database fails; then nothing is changed.
    pub fn settle_restored(
        &self,
        deleted: &[Tombstone],
        graves: &[Grave],
        now_ms: i64,
    ) -> anyhow::Result<Vec<(SiteId, BlobId)>> {
        self.connection.atomically(|transaction| {
            let mut gone = Vec::new();
            for tombstone in deleted {
                let key = params![tombstone.site_id, tombstone.attachment_id];
                let blob = transaction
                    .prepare_cached(
                        "DELETE FROM attachments WHERE site_id = $1 AND attachment_id = $2 \
                     RETURNING blob_id",
                    )?
                    .query_row(key, |row| row.get(0))
                    .optional()?;
                gone.extend(blob.map(|blob| (tombstone.site_id, blob)));
                // What lies in the trash was deleted before: only what was purged since goes.
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
                gone.extend(purged.map(|blob| (tombstone.site_id, blob)));
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
            for grave in graves {
                gone.extend(contacts::bury_contact(transaction, grave)?);
            }
            transaction.execute_batch(COUNT_ANEW)?;
            transaction
                .prepare_cached("UPDATE contacts SET revision = $1 WHERE revision < $1")?
                .execute(params![now_ms])?;
            Ok(gone)
        })
    }
}
