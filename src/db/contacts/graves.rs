//! Contacts that were deleted or erased, for restores of older backups.

use crate::db::sql::{self, Connection, params};

use super::erasures::{HISTORY_BATCH, delete_event_history};
use crate::db::Inspection;
use crate::domain::ids::{BlobId, ContactId, SiteId};

/// A contact that was deleted or erased, with the receipt of an erasure.
#[derive(Debug, Clone)]
pub struct ContactTombstone {
    site: SiteId,
    contact: ContactId,
    state: String,
    state_at_ms: i64,
    merged_into: Option<ContactId>,
    receipt: Option<[u8; 16]>,
    rows_erased_at_ms: Option<i64>,
    completed_at_ms: Option<i64>,
}

impl Inspection {
    /// Contacts that were deleted or erased.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn contact_tombstones(&self) -> anyhow::Result<Vec<ContactTombstone>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT c.site_id, c.contact_id, c.state, c.state_at_ms, c.merged_into, \
             e.receipt_id, e.rows_erased_at_ms, e.completed_at_ms FROM contacts c \
             LEFT JOIN erasures e ON e.site_id = c.site_id AND e.contact_id = c.contact_id \
             WHERE c.state IN ('deleted', 'erased')",
        )?;
        let rows = statement.query_map(&[], |row| {
            Ok(ContactTombstone {
                site: row.get(0)?,
                contact: row.get(1)?,
                state: row.get(2)?,
                state_at_ms: row.get(3)?,
                merged_into: row.get(4)?,
                receipt: row.get(5)?,
                rows_erased_at_ms: row.get(6)?,
                completed_at_ms: row.get(7)?,
            })
        })?;
        Ok(rows)
    }
}

/// Inside a restore: deletes everything of a deleted or erased contact, and keeps it deleted.
/// Returns the blobs to remove. The caller recounts.
pub(in crate::db) fn apply_contact_tombstone(
    connection: &Connection,
    contact: &ContactTombstone,
) -> sql::Result<Vec<(SiteId, BlobId)>> {
    let key = params![contact.site, contact.contact];
    let mut to_remove = Vec::new();
    for statement in [
        "DELETE FROM attachments WHERE site_id = $1 AND contact_id = $2 RETURNING blob_id",
        "DELETE FROM trashed_attachments WHERE site_id = $1 AND contact_id = $2 \
         RETURNING blob_id",
    ] {
        let mut statement = connection.prepare_cached(statement)?;
        let blobs: Vec<BlobId> = statement.query_map(key, |row| row.get(0))?;
        to_remove.extend(blobs.into_iter().map(|blob| (contact.site, blob)));
    }
    while delete_event_history(connection, contact.site, contact.contact, HISTORY_BATCH)? > 0 {}
    connection
        .prepare_cached("DELETE FROM contact_closings WHERE site_id = $1 AND contact_id = $2")?
        .execute(key)?;
    connection
        .prepare_cached(
            "INSERT INTO contacts (site_id, contact_id, attachment_count, total_bytes, revision, \
             last_created_at_ms, state, state_at_ms, merged_into) \
             VALUES ($1, $2, 0, 0, 1, 0, $3, $4, $5) ON CONFLICT (site_id, contact_id) DO UPDATE \
             SET state = excluded.state, state_at_ms = excluded.state_at_ms, \
             merged_into = excluded.merged_into, label = NULL, label_folded = NULL, announced_at_ms = NULL, \
             purge_at_ms = NULL",
        )?
        .execute(params![
            contact.site,
            contact.contact,
            contact.state,
            contact.state_at_ms,
            contact.merged_into
        ])?;
    if let Some(receipt) = contact.receipt {
        connection
            .prepare_cached(
                "INSERT INTO erasures (site_id, receipt_id, contact_id, requested_at_ms, \
                 rows_erased_at_ms, completed_at_ms) VALUES ($1, $2, $3, $4, $5, $6) \
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                contact.site,
                receipt,
                contact.contact,
                contact.state_at_ms,
                // A restore deletes the rows and the bytes before its folder gets its final name.
                contact.rows_erased_at_ms.unwrap_or(contact.state_at_ms),
                contact.completed_at_ms,
            ])?;
    }
    Ok(to_remove)
}
