//! Erasures: the data beyond attachments that they delete, and their receipts.

use crate::db::sql::{self, Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;

use crate::db::Db;
use crate::db::engine::Done;
use crate::domain::ids::{AttachmentId, BlobId, ContactId, EventId, SiteId};
use crate::error::Result;

/// Approximate maximum of event and delivery rows deleted by one transaction; it may be exceeded by
/// a few rows.
pub(super) const HISTORY_BATCH: usize = 1_000;

/// The erasure of a contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// The tenant.
    pub site_id: SiteId,
    /// The receipt's id.
    pub receipt_id: Uuid,
    /// The erased contact.
    pub contact_id: ContactId,
    /// Contacts that had been merged into it and were erased with it.
    pub merged: Vec<ContactId>,
    /// When it was requested, in Unix milliseconds; from then on nothing was reachable.
    pub requested_at_ms: i64,
    /// When the last row was deleted, in Unix milliseconds.
    pub rows_erased_at_ms: Option<i64>,
    /// When everything was deleted, including from the database's log, in Unix milliseconds.
    pub completed_at_ms: Option<i64>,
    /// Total number of erased attachments.
    pub file_count: u64,
    /// The first of these by id.
    pub files: Vec<ErasedFile>,
}

/// An erased attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErasedFile {
    /// Its id.
    pub attachment_id: AttachmentId,
    /// When its bytes and its renditions were deleted, in Unix milliseconds.
    pub erased_at_ms: Option<i64>,
}

impl Db {
    /// Finds an erasure by its receipt's id, with at most `limit` files.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn erasure(
        &self,
        site: SiteId,
        receipt: Uuid,
        limit: u32,
    ) -> Result<Option<Erasure>> {
        self.engine
            .read(move |connection| {
                let found = connection
                    .prepare_cached(
                        "SELECT site_id, receipt_id, contact_id, requested_at_ms, \
                         rows_erased_at_ms, completed_at_ms FROM erasures \
                         WHERE site_id = $1 AND receipt_id = $2",
                    )?
                    .query_row(params![site, receipt.as_bytes()], erasure)
                    .optional()?;
                found.map(|found| with_files(connection, found, limit)).transpose()
            })
            .await
    }

    /// Completes erasures whose bytes are all deleted; returns how many. Truncates the database's
    /// log first, because it may still hold erased rows.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn complete_erasures(&self, now_ms: i64) -> Result<usize> {
        if self.engine.read(ready).await?.is_empty() {
            return Ok(0);
        }
        // A reader needs the log: the next sweep retries.
        if !self.engine.truncate_log().await? {
            return Ok(0);
        }
        self.engine
            .write_across(move |connection| {
                let ready = ready(connection)?;
                for (site, receipt) in &ready {
                    connection.lock_site(*site)?;
                    connection
                        .prepare_cached(
                            "UPDATE erasures SET completed_at_ms = $1 \
                             WHERE site_id = $2 AND receipt_id = $3",
                        )
                        .and_then(|mut statement| {
                            statement.execute(params![now_ms, site, receipt])
                        })?;
                }
                Ok(Done { value: ready.len(), changed: None })
            })
            .await
    }
}

/// Erasures that only wait for the log to be truncated. An upload that an older release began may
/// belong to any contact of its site: until it has ended or its contact is known, no erasure of the
/// site is complete.
fn ready(connection: &Connection) -> sql::Result<Vec<(SiteId, [u8; 16])>> {
    connection
        .prepare_cached(
            "SELECT e.site_id, e.receipt_id FROM erasures e WHERE e.completed_at_ms IS NULL \
             AND e.rows_erased_at_ms IS NOT NULL AND NOT EXISTS (SELECT 1 FROM erased_files f \
             WHERE f.site_id = e.site_id AND f.receipt_id = e.receipt_id \
             AND f.erased_at_ms IS NULL) AND NOT EXISTS (SELECT 1 FROM uploads u \
             WHERE u.site_id = e.site_id AND (u.contact_id = e.contact_id OR u.contact_id IS NULL)) \
             LIMIT 1000",
        )?
        .query_map(&[], |row| Ok((row.get(0)?, row.get(1)?)))
}

/// Inside the write that closes a contact: creates the receipt, and erases the contacts merged into
/// it. The attachments and the event history are deleted in batches.
pub(super) fn begin(
    connection: &Connection,
    (site, contact): (SiteId, ContactId),
    receipt: Uuid,
    now_ms: i64,
) -> sql::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO erasures (site_id, receipt_id, contact_id, requested_at_ms) \
             VALUES ($1, $2, $3, $4)",
        )?
        .execute(params![site, receipt.as_bytes(), contact, now_ms])?;
    connection
        .prepare_cached(
            "UPDATE contacts SET state = 'erased', state_at_ms = $1, label = NULL, \
             label_folded = NULL \
             WHERE site_id = $2 AND merged_into = $3",
        )?
        .execute(params![now_ms, site, contact])?;
    Ok(())
}

/// Deletes a batch of the event history of a contact and of those merged into it; whether there may
/// be more. Until all of it is deleted, the deliverer skips the events.
pub(super) fn delete_all_event_history(
    connection: &Connection,
    (site, contact): (SiteId, ContactId),
) -> sql::Result<bool> {
    let mut deleted = 0;
    for contact in merged_into(connection, site, contact)?.iter().chain([&contact]) {
        deleted += delete_event_history(
            connection,
            site,
            *contact,
            HISTORY_BATCH.saturating_sub(deleted),
        )?;
        if deleted >= HISTORY_BATCH {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Deletes events that contain an attachment of the contact, and the stored responses of receivers
/// to any of its events. Events that only report a deletion stay: a receiver that was sent the file
/// must also be sent its deletion. Returns how many rows were deleted: fewer than `limit` if those
/// were all, and at most a few more than `limit`.
pub(super) fn delete_event_history(
    connection: &Connection,
    site: SiteId,
    contact: ContactId,
    limit: usize,
) -> sql::Result<usize> {
    let events: Vec<EventId> = connection
        .prepare_cached(
            "SELECT event_id FROM events WHERE site_id = $1 AND contact_id = $2 \
             AND file_name IS NOT NULL LIMIT $3",
        )?
        .query_map(params![site, contact, limit as i64], |row| row.get(0))?;
    let mut rows = 0;
    for event in events {
        if rows >= limit {
            return Ok(rows);
        }
        for statement in [
            "DELETE FROM delivery_attempts WHERE site_id = $1 AND event_id = $2",
            "DELETE FROM deliveries WHERE site_id = $1 AND event_id = $2",
            "DELETE FROM events WHERE site_id = $1 AND event_id = $2",
        ] {
            rows += connection.prepare_cached(statement)?.execute(params![site, event])?;
        }
    }
    rows += connection
        .prepare_cached(
            "DELETE FROM delivery_attempts WHERE (site_id, event_id, subscription_id, attempt) IN \
             (SELECT a.site_id, a.event_id, a.subscription_id, a.attempt FROM events e \
             JOIN delivery_attempts a ON a.site_id = e.site_id AND a.event_id = e.event_id \
             WHERE e.site_id = $1 AND e.contact_id = $2 LIMIT $3)",
        )?
        .execute(params![site, contact, limit.saturating_sub(rows) as i64])?;
    Ok(rows)
}

pub(super) fn receipt_of(
    connection: &Connection,
    site: SiteId,
    contact: ContactId,
) -> sql::Result<Option<Uuid>> {
    // A merged contact that was erased with its target has the target's receipt.
    connection
        .prepare_cached(
            "SELECT receipt_id FROM erasures WHERE site_id = $1 AND contact_id IN ($2, \
             (SELECT merged_into FROM contacts WHERE site_id = $1 AND contact_id = $2))",
        )?
        .query_row(params![site, contact], |row| row.get(0).map(Uuid::from_bytes))
        .optional()
}

pub(super) fn record_file(
    connection: &Connection,
    (site, receipt): (SiteId, Uuid),
    (attachment, blob): (AttachmentId, BlobId),
) -> sql::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO erased_files (site_id, receipt_id, attachment_id, blob_id) \
             VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        )?
        .execute(params![site, receipt.as_bytes(), attachment, blob])?;
    Ok(())
}

pub(super) fn rows_erased(
    connection: &Connection,
    site: SiteId,
    receipt: Uuid,
    now_ms: i64,
) -> sql::Result<()> {
    connection
        .prepare_cached(
            "UPDATE erasures SET rows_erased_at_ms = $1 WHERE site_id = $2 AND receipt_id = $3",
        )?
        .execute(params![now_ms, site, receipt.as_bytes()])?;
    Ok(())
}

/// Inside the write that completes a removal: records that the blob's bytes are deleted.
pub(in crate::db) fn blob_erased(
    connection: &Connection,
    (site, blob): (SiteId, BlobId),
    now_ms: i64,
) -> sql::Result<usize> {
    connection
        .prepare_cached(
            "UPDATE erased_files SET erased_at_ms = $1 \
             WHERE site_id = $2 AND blob_id = $3 AND erased_at_ms IS NULL",
        )?
        .execute(params![now_ms, site, blob])
}

fn merged_into(
    connection: &Connection,
    site: SiteId,
    contact: ContactId,
) -> sql::Result<Vec<ContactId>> {
    connection
        .prepare_cached(
            "SELECT contact_id FROM contacts WHERE site_id = $1 AND merged_into = $2 \
             ORDER BY contact_id",
        )?
        .query_map(params![site, contact], |row| row.get(0))
}

fn erasure(row: Row<'_>) -> sql::Result<Erasure> {
    Ok(Erasure {
        site_id: row.get(0)?,
        receipt_id: Uuid::from_bytes(row.get(1)?),
        contact_id: row.get(2)?,
        merged: Vec::new(),
        requested_at_ms: row.get(3)?,
        rows_erased_at_ms: row.get(4)?,
        completed_at_ms: row.get(5)?,
        file_count: 0,
        files: Vec::new(),
    })
}

fn with_files(connection: &Connection, mut found: Erasure, limit: u32) -> sql::Result<Erasure> {
    let key = (found.site_id, found.receipt_id.into_bytes());
    found.merged = merged_into(connection, found.site_id, found.contact_id)?;
    let count: i64 = connection
        .prepare_cached("SELECT count(*) FROM erased_files WHERE site_id = $1 AND receipt_id = $2")?
        .query_row(params![key.0, key.1], |row| row.get(0))?;
    found.file_count = count as u64;
    found.files = connection
        .prepare_cached(
            "SELECT attachment_id, erased_at_ms FROM erased_files \
             WHERE site_id = $1 AND receipt_id = $2 ORDER BY attachment_id LIMIT $3",
        )?
        .query_map(params![key.0, key.1, limit], |row| {
            Ok(ErasedFile { attachment_id: row.get(0)?, erased_at_ms: row.get(1)? })
        })?;
    Ok(found)
}
