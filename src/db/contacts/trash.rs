//! The trash: deleted attachments that can be restored for a while. They are in a table of their
//! own, so that no query that lists, opens or counts attachments can find them.

use crate::db::sql::{self, Connection, OptionalExtension as _, params};

use super::{Removal, active, find, is_closing};
use crate::db::attachments::{self, count_site};
use crate::db::engine::Done;
use crate::db::events::{self, NewEvent};
use crate::db::rows::{AttachmentRow, annotation_columns, attachment_columns};
use crate::db::{ContactState, Db};
use crate::domain::ids::{AttachmentId, BlobId, ContactId, SiteId};
use crate::domain::quota::{Amount, Quotas};
use crate::domain::webhook::{Cause, EventType};
use crate::error::{Error, Result};

/// Maximum attachments restored by one transaction.
const BATCH: i64 = 500;

/// An attachment in the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trashed {
    /// Its id.
    pub id: AttachmentId,
    /// The name as the user gave it.
    pub file_name: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// When it was deleted, in Unix milliseconds.
    pub deleted_at_ms: i64,
    /// Until when it can be restored, in Unix milliseconds.
    pub purge_at_ms: i64,
}

/// Progress of restoring a contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// Attachments restored by this call.
    pub count: usize,
    /// Whether there may be more.
    pub more: bool,
}

impl Db {
    /// Attachments of a contact in the trash, in the order of their ids, after one of them, at most
    /// `limit`.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn trashed(
        &self,
        site: SiteId,
        contact: ContactId,
        after: Option<AttachmentId>,
        limit: u32,
    ) -> Result<Vec<Trashed>> {
        self.engine
            .read(move |connection| {
                let from = after.map_or([0; 16], |after| *after.as_bytes());
                connection
                    .prepare_cached(
                        "SELECT attachment_id, file_name, size_bytes, deleted_at_ms, purge_at_ms \
                         FROM trashed_attachments WHERE site_id = $1 AND contact_id = $2 \
                         AND attachment_id >= $3 AND attachment_id IS DISTINCT FROM $4 \
                         ORDER BY attachment_id LIMIT $5",
                    )?
                    .query_map(params![site, contact, from, after, limit], |row| {
                        Ok(Trashed {
                            id: row.get(0)?,
                            file_name: row.get(1)?,
                            size_bytes: row.get::<i64>(2)? as u64,
                            deleted_at_ms: row.get(3)?,
                            purge_at_ms: row.get(4)?,
                        })
                    })
            })
            .await
    }

    /// Restores an attachment from the trash.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when this contact of this site has no such attachment in the trash, or
    /// it has expired; [`Error::QuotaExceeded`].
    pub async fn restore_attachment(
        &self,
        (site, contact): (SiteId, ContactId),
        id: AttachmentId,
        quotas: Quotas,
        now_ms: i64,
    ) -> Result<()> {
        let outbox = self.outbox.clone();
        self.engine
            .write(site, move |connection| {
                // First, so that another site's contact looks like one without such an attachment.
                let found = restorable_size(connection, (site, contact), id, now_ms);
                let Some(size_bytes) = found? else {
                    return Err(Error::no_attachment(contact, id));
                };
                active(connection, (site, contact), false, now_ms)?;
                let held = attachments::usage(connection, site, contact)?;
                quotas.check(held.0, held.1, size_bytes)?;
                restore_row(connection, (site, contact), id, now_ms)?;
                connection.notify(&outbox);
                Ok(Done { value: (), changed: Some((site, contact)) })
            })
            .await
    }

    /// Restores a contact from the trash, and a batch of the attachments that were trashed with it:
    /// to be repeated while there are more.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when there is no such contact in the trash; [`Error::Busy`] while it is
    /// still being moved there; [`Error::QuotaExceeded`].
    pub async fn restore_contact(
        &self,
        site: SiteId,
        contact: ContactId,
        quotas: Quotas,
        now_ms: i64,
    ) -> Result<Restored> {
        let outbox = self.outbox.clone();
        self.engine
            .write(site, move |connection| {
                let value = restore(connection, (site, contact), quotas, now_ms)?;
                connection.notify(&outbox);
                Ok(Done { value, changed: Some((site, contact)) })
            })
            .await
    }

    /// Permanently deletes what has expired in the trash, at most `limit` attachments and `limit`
    /// contacts; returns the larger of the two counts.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn purge_trash(&self, now_ms: i64, limit: u32) -> Result<usize> {
        let due = |connection: &Connection, now_ms: i64| {
            connection
                .prepare_cached(
                    "SELECT 1 FROM trashed_attachments WHERE purge_at_ms <= $1 \
                     UNION ALL SELECT 1 FROM contacts WHERE purge_at_ms <= $1 LIMIT 1",
                )?
                .exists(params![now_ms])
        };
        if !self.engine.read(move |connection| due(connection, now_ms)).await? {
            return Ok(0);
        }
        self.engine
            .write_across(move |connection| {
                let value = purge_due(connection, now_ms, limit)?;
                Ok(Done { value, changed: None })
            })
            .await
    }
}

/// Copies an attachment's row into the trash; the caller deletes the row.
pub(in crate::db) fn move_to_trash(
    connection: &Connection,
    (site, id): (SiteId, AttachmentId),
    (now_ms, purge_at_ms): (i64, i64),
    with_contact: bool,
) -> sql::Result<usize> {
    connection
        .prepare_cached(concat!(
            "INSERT INTO trashed_attachments (",
            attachment_columns!(),
            ", ",
            annotation_columns!(),
            ", event_sequence, deleted_at_ms, purge_at_ms, with_contact) SELECT ",
            attachment_columns!(),
            ", ",
            annotation_columns!(),
            ", event_sequence + 1, $1, $2, $3 FROM attachments \
             WHERE site_id = $4 AND attachment_id = $5"
        ))?
        .execute(params![now_ms, purge_at_ms, with_contact, site, id])
}

/// Schedules the removal of bytes.
pub(in crate::db) fn schedule_removal(
    connection: &Connection,
    (site, blob): (SiteId, BlobId),
    removal: &Removal,
) -> sql::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO blob_removals (site_id, blob_id, remove_after_ms) VALUES ($1, $2, $3) \
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![site, blob, removal.now_ms + removal.grace_ms])?;
    Ok(())
}

/// Records that an attachment was deleted, so that restoring an older backup does not bring it
/// back.
pub(in crate::db) fn record_tombstone(
    connection: &Connection,
    (site, id): (SiteId, AttachmentId),
    now_ms: i64,
) -> sql::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO tombstones (site_id, attachment_id, deleted_at_ms) VALUES ($1, $2, $3) \
             ON CONFLICT (site_id, attachment_id) DO UPDATE SET \
             deleted_at_ms = excluded.deleted_at_ms",
        )?
        .execute(params![site, id, now_ms])?;
    Ok(())
}

/// A contact's attachments in the trash, at most `limit`.
pub(super) fn trashed_of(
    connection: &Connection,
    (site, contact): (SiteId, ContactId),
    limit: i64,
) -> sql::Result<Vec<(AttachmentId, BlobId)>> {
    connection
        .prepare_cached(
            "SELECT attachment_id, blob_id FROM trashed_attachments \
             WHERE site_id = $1 AND contact_id = $2 LIMIT $3",
        )?
        .query_map(params![site, contact, limit], |row| Ok((row.get(0)?, row.get(1)?)))
}

/// Deletes an attachment from the trash permanently.
pub(super) fn purge(
    connection: &Connection,
    (site, id, blob): (SiteId, AttachmentId, BlobId),
    removal: &Removal,
) -> sql::Result<()> {
    let deleted = connection
        .prepare_cached(
            "DELETE FROM trashed_attachments WHERE site_id = $1 AND attachment_id = $2",
        )?
        .execute(params![site, id])?;
    if deleted == 0 {
        // It was restored meanwhile.
        return Ok(());
    }
    schedule_removal(connection, (site, blob), removal)?;
    // With the new time, so that restoring a backup that has it in the trash deletes it as well.
    record_tombstone(connection, (site, id), removal.now_ms)
}

fn purge_due(connection: &Connection, now_ms: i64, limit: u32) -> sql::Result<usize> {
    let due: Vec<(SiteId, AttachmentId, BlobId)> = connection
        .prepare_cached(
            "SELECT site_id, attachment_id, blob_id FROM trashed_attachments \
             WHERE purge_at_ms <= $1 ORDER BY purge_at_ms LIMIT $2",
        )?
        .query_map(params![now_ms, limit], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let removal = Removal { now_ms, grace_ms: 0, purge_at_ms: None };
    for row in &due {
        connection.lock_site(row.0)?;
        purge(connection, *row, &removal)?;
    }
    let contacts = connection
        .prepare_cached(
            "UPDATE contacts SET state = 'deleted', state_at_ms = $1, purge_at_ms = NULL, \
             label = NULL, label_folded = NULL, announced_at_ms = NULL WHERE (site_id, contact_id) IN \
             (SELECT site_id, contact_id FROM contacts WHERE purge_at_ms <= $1 LIMIT $2) \
             AND purge_at_ms <= $1",
        )?
        .execute(params![now_ms, limit])?;
    Ok(due.len().max(contacts))
}

/// The size of an attachment in the trash that can still be restored.
fn restorable_size(
    connection: &Connection,
    (site, contact): (SiteId, ContactId),
    id: AttachmentId,
    now_ms: i64,
) -> sql::Result<Option<u64>> {
    connection
        .prepare_cached(
            "SELECT size_bytes FROM trashed_attachments \
             WHERE site_id = $1 AND attachment_id = $2 AND contact_id = $3 AND purge_at_ms > $4",
        )?
        .query_row(params![site, id, contact, now_ms], |row| {
            row.get::<i64>(0).map(|bytes| bytes as u64)
        })
        .optional()
}

fn restore(
    connection: &Connection,
    (site, contact): (SiteId, ContactId),
    quotas: Quotas,
    now_ms: i64,
) -> Result<Restored> {
    let found = find(connection, site, contact)?;
    let Some(found) = found else { return Err(Error::no_contact(contact)) };
    let (batch, all) = trashed_with_contact(connection, (site, contact), now_ms)?;
    match found.state {
        ContactState::Trashed if found.purge_at_ms.is_some_and(|purge| purge > now_ms) => {
            if is_closing(connection, site, contact)? {
                return Err(Error::Busy { retry_after_seconds: 1 });
            }
            let held = attachments::usage(connection, site, contact)?;
            let added = |held: Amount| Amount {
                files: held.files + all.files.saturating_sub(1),
                bytes: held.bytes,
            };
            if all.files > 0 {
                quotas.check(added(held.0), added(held.1), all.bytes)?;
            }
        }
        // Continues an earlier restore that was interrupted.
        ContactState::Active if !batch.is_empty() => {}
        _ => return Err(Error::no_contact(contact)),
    }
    let active = connection
        .prepare_cached(
            "UPDATE contacts SET state = 'active', state_at_ms = $1, purge_at_ms = NULL \
             WHERE site_id = $2 AND contact_id = $3",
        )
        .and_then(|mut statement| statement.execute(params![now_ms, site, contact]));
    active?;
    for id in &batch {
        restore_row(connection, (site, contact), *id, now_ms)?;
    }
    Ok(Restored { count: batch.len(), more: all.files > batch.len() as u64 })
}

/// A batch of the attachments that were trashed with their contact, and the count and size of all
/// of them.
fn trashed_with_contact(
    connection: &Connection,
    (site, contact): (SiteId, ContactId),
    now_ms: i64,
) -> sql::Result<(Vec<AttachmentId>, Amount)> {
    let batch = connection
        .prepare_cached(
            "SELECT attachment_id FROM trashed_attachments WHERE site_id = $1 \
             AND contact_id = $2 AND with_contact = 1 AND purge_at_ms > $3 LIMIT $4",
        )?
        .query_map(params![site, contact, now_ms, BATCH], |row| row.get(0))?;
    let all = connection
        .prepare_cached(
            "SELECT count(*), CAST(coalesce(sum(size_bytes), 0) AS BIGINT) FROM trashed_attachments \
             WHERE site_id = $1 AND contact_id = $2 AND with_contact = 1 AND purge_at_ms > $3",
        )?
        .query_row(params![site, contact, now_ms], |row| {
            Ok(Amount { files: row.get::<i64>(0)? as u64, bytes: row.get::<i64>(1)? as u64 })
        })?;
    Ok((batch, all))
}

/// Moves a row back, counts it, and records its event, which is that of a created attachment.
fn restore_row(
    connection: &Connection,
    (site, contact): (SiteId, ContactId),
    id: AttachmentId,
    now_ms: i64,
) -> sql::Result<()> {
    connection
        .prepare_cached(concat!(
            "INSERT INTO attachments (",
            attachment_columns!(),
            ", ",
            annotation_columns!(),
            ", event_sequence) SELECT ",
            attachment_columns!(),
            ", ",
            annotation_columns!(),
            ", event_sequence + 1 FROM trashed_attachments \
             WHERE site_id = $1 AND attachment_id = $2"
        ))?
        .execute(params![site, id])?;
    let (sequence, deleted_at_ms) = connection
        .prepare_cached(
            "DELETE FROM trashed_attachments WHERE site_id = $1 AND attachment_id = $2 \
             RETURNING event_sequence, deleted_at_ms",
        )?
        .query_row(params![site, id], |row| Ok((row.get::<i64>(0)?, row.get(1)?)))?;
    connection
        .prepare_cached("DELETE FROM tombstones WHERE site_id = $1 AND attachment_id = $2")?
        .execute(params![site, id])?;
    let found = attachments::find(connection, site, id)?;
    let attachment = found.ok_or(sql::Error::NoRow)?;
    let bytes = attachment.size_bytes as i64;
    connection
        .prepare_cached(
            "UPDATE contacts SET attachment_count = attachment_count + 1, \
             total_bytes = total_bytes + $1, revision = revision + 1 \
             WHERE site_id = $2 AND contact_id = $3",
        )?
        .execute(params![bytes, site, contact])?;
    count_site(connection, site, 1, bytes)?;
    let cause = Cause { restored_deleted_at_ms: Some(deleted_at_ms), ..Cause::default() };
    let new_event = NewEvent {
        event_type: EventType::Created,
        contact,
        attachment: id,
        sequence: sequence + 1,
        occurred_at_ms: now_ms,
        now_ms,
        cause: &cause,
        entity: Some(AttachmentRow::from(&attachment)),
    };
    events::record(connection, site, events::new_id(), &new_event)?;
    Ok(())
}
