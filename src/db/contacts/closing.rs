//! Closes a contact, by deletion or erasure. One transaction makes the contact and everything it
//! has unreachable and uncounted, and deletes the first attachments; the others of a large contact
//! follow in batches, each in a transaction that can be repeated after a crash.

use crate::db::sql::{self, Connection, OptionalExtension as _, params};
use uuid::Uuid;

use super::{Contact, ContactState, Removal, create_if_unknown, erasures, find};
use crate::db::attachments::count_site;
use crate::db::engine::Done;
use crate::db::events::{self, NewEvent};
use crate::db::{Db, contacts::trash};
use crate::domain::ids::{AttachmentId, BlobId, ContactId, SiteId};
use crate::domain::webhook::{Cause, EventType};
use crate::error::{Error, Result};

/// Maximum attachments deleted by one transaction.
const BATCH: usize = 500;

/// How to close a contact.
#[derive(Debug, Clone)]
pub struct Closing {
    /// How to delete its attachments.
    pub removal: Removal,
    /// The cause, for the events.
    pub cause: Cause,
    /// For an erasure, which deletes all data of the contact permanently: the receipt's id.
    pub erase: Option<Uuid>,
    /// Whether to close an unknown contact as well, so that uploads for it are rejected.
    pub create_unknown: bool,
}

/// A closing that has begun.
struct ClosingInProgress {
    site: SiteId,
    contact: ContactId,
    removal: Removal,
    cause: Cause,
    receipt: Option<Uuid>,
}

impl Db {
    /// Closes a contact: from now on nothing of it is reachable. Returns whether attachments are
    /// left for [`Db::continue_closing`], and the receipt of an erasure; for a contact that was
    /// erased before, that is the existing receipt.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when there is no such contact any more.
    pub async fn close_contact(
        &self,
        site: SiteId,
        contact: ContactId,
        closing: Closing,
    ) -> Result<(bool, Option<Uuid>)> {
        let outbox = self.outbox.clone();
        self.engine
            .write(site, move |connection| {
                let value = close(connection, (site, contact), &closing)?;
                connection.notify(&outbox);
                Ok(Done { value, changed: Some((site, contact)) })
            })
            .await
    }

    /// Whether contacts are being closed, or erasures are incomplete.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn has_unfinished_closings(&self) -> Result<bool> {
        self.engine
            .read(|connection| {
                connection
                    .prepare_cached(
                        "SELECT 1 FROM contact_closings UNION ALL \
                         SELECT 1 FROM erasures WHERE completed_at_ms IS NULL LIMIT 1",
                    )?
                    .exists(&[])
            })
            .await
    }

    /// Deletes a batch of the attachments of any contact that is being closed; whether there may be
    /// more of it or of others.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn continue_closing(&self, now_ms: i64) -> Result<bool> {
        let outbox = self.outbox.clone();
        self.engine
            .write_across(move |connection| {
                let found = next_closing(connection)?;
                if let Some((site, contact)) = found {
                    connection.lock_site(site)?;
                    // Another node may have finished it while this one waited for the lock.
                    if let Some(closing) = closing_in_progress(connection, site, contact)? {
                        batch(connection, &closing, now_ms)?;
                        connection.notify(&outbox);
                    }
                }
                Ok(Done { value: found.is_some(), changed: None })
            })
            .await
    }
}

/// Inside a write: [`Db::close_contact`].
pub(in crate::db) fn close(
    connection: &Connection,
    (site, contact): (SiteId, ContactId),
    closing: &Closing,
) -> Result<(bool, Option<Uuid>)> {
    let now_ms = closing.removal.now_ms;
    let found = find(connection, site, contact)?;
    if found.is_none() && closing.create_unknown {
        create_if_unknown(connection, (site, contact), now_ms)?;
    }
    let state = match &found {
        None if closing.create_unknown => ContactState::Active,
        None => return Err(Error::no_contact(contact)),
        Some(found) => found.state,
    };
    let receipt = match (closing.erase, state) {
        (_, ContactState::Merged) => return Err(Error::no_contact(contact)),
        (Some(_), ContactState::Erased) => {
            let existing = erasures::receipt_of(connection, site, contact)?;
            return existing
                .map(|receipt| (false, Some(receipt)))
                .ok_or(Error::no_contact(contact));
        }
        (Some(receipt), _) => Some(receipt),
        (None, ContactState::Active) => None,
        (None, _) => return Err(Error::no_contact(contact)),
    };
    close_row(connection, (site, contact), found.as_ref(), closing, receipt)?;
    let closing_in_progress = ClosingInProgress {
        site,
        contact,
        removal: closing.removal,
        cause: closing.cause.clone(),
        receipt,
    };
    begin(connection, &closing_in_progress)?;
    let more = batch(connection, &closing_in_progress, now_ms)?;
    Ok((more, receipt))
}

/// Closes the contact's own row: state, counters, uploads in progress.
fn close_row(
    connection: &Connection,
    (site, contact): (SiteId, ContactId),
    found: Option<&Contact>,
    closing: &Closing,
    receipt: Option<Uuid>,
) -> sql::Result<()> {
    let state = match (receipt, closing.removal.purge_at_ms) {
        (Some(_), _) => ContactState::Erased,
        (None, Some(_)) => ContactState::Trashed,
        (None, None) => ContactState::Deleted,
    };
    let purge_at_ms = closing.removal.purge_at_ms.filter(|_| state == ContactState::Trashed);
    connection
        .prepare_cached(
            "UPDATE contacts SET state = $1, state_at_ms = $2, purge_at_ms = $3, \
             label = CASE WHEN $1 = 'trashed' THEN label END, \
             label_folded = CASE WHEN $1 = 'trashed' THEN label_folded END, \
             announced_at_ms = CASE WHEN $1 = 'trashed' THEN announced_at_ms END, \
             attachment_count = 0, total_bytes = 0, revision = revision + 1 \
             WHERE site_id = $4 AND contact_id = $5",
        )?
        .execute(params![state.as_str(), closing.removal.now_ms, purge_at_ms, site, contact])?;
    if let Some(found) = found {
        let (files, bytes) = (found.attachment_count as i64, found.total_bytes as i64);
        count_site(connection, site, -files, -bytes)?;
    }
    end_uploads(connection, site, contact)?;
    if let Some(receipt) = receipt {
        erasures::begin(connection, (site, contact), receipt, closing.removal.now_ms)?;
    }
    Ok(())
}

/// Ends the contact's uploads in progress: resuming one fails, and the sweep deletes its bytes.
pub(super) fn end_uploads(
    connection: &Connection,
    site: SiteId,
    contact: ContactId,
) -> sql::Result<usize> {
    connection
        .prepare_cached(
            "UPDATE uploads SET expires_at_ms = 0 WHERE site_id = $1 AND contact_id = $2",
        )?
        .execute(params![site, contact])
}

fn begin(connection: &Connection, closing: &ClosingInProgress) -> sql::Result<usize> {
    connection
        .prepare_cached(
            "INSERT INTO contact_closings (site_id, contact_id, begun_at_ms, grace_ms, \
             purge_at_ms, originated_from, by_anonymize_request, receipt_id) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (site_id, contact_id) DO UPDATE \
             SET grace_ms = excluded.grace_ms, purge_at_ms = excluded.purge_at_ms, \
             originated_from = excluded.originated_from, \
             by_anonymize_request = excluded.by_anonymize_request, \
             receipt_id = excluded.receipt_id",
        )?
        .execute(params![
            closing.site,
            closing.contact,
            closing.removal.now_ms,
            closing.removal.grace_ms,
            closing.removal.purge_at_ms,
            closing.cause.originated_from,
            closing.cause.by_anonymize_request,
            closing.receipt.map(Uuid::into_bytes),
        ])
}

fn next_closing(connection: &Connection) -> sql::Result<Option<(SiteId, ContactId)>> {
    connection
        .prepare_cached("SELECT site_id, contact_id FROM contact_closings LIMIT 1")?
        .query_row(&[], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

fn closing_in_progress(
    connection: &Connection,
    site: SiteId,
    contact: ContactId,
) -> sql::Result<Option<ClosingInProgress>> {
    connection
        .prepare_cached(
            "SELECT site_id, contact_id, begun_at_ms, grace_ms, purge_at_ms, originated_from, \
             by_anonymize_request, receipt_id FROM contact_closings \
             WHERE site_id = $1 AND contact_id = $2",
        )?
        .query_row(params![site, contact], |row| {
            Ok(ClosingInProgress {
                site: row.get(0)?,
                contact: row.get(1)?,
                removal: Removal {
                    now_ms: row.get(2)?,
                    grace_ms: row.get(3)?,
                    purge_at_ms: row.get(4)?,
                },
                cause: Cause {
                    originated_from: row.get(5)?,
                    by_anonymize_request: row.get(6)?,
                    restored_deleted_at_ms: None,
                },
                receipt: row.get::<Option<[u8; 16]>>(7)?.map(Uuid::from_bytes),
            })
        })
        .optional()
}

/// Deletes a batch of what is left; false when that was all.
fn batch(connection: &Connection, closing: &ClosingInProgress, now_ms: i64) -> sql::Result<bool> {
    let remaining: Vec<(AttachmentId, BlobId, i64)> = connection
        .prepare_cached(
            "SELECT attachment_id, blob_id, event_sequence FROM attachments \
             WHERE site_id = $1 AND contact_id = $2 LIMIT $3",
        )?
        .query_map(params![closing.site, closing.contact, BATCH as i64], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    for (attachment, blob, sequence) in &remaining {
        remove_attachment(connection, closing, (*attachment, *blob))?;
        let new_event = NewEvent {
            event_type: EventType::Deleted,
            contact: closing.contact,
            attachment: *attachment,
            sequence: sequence + 1,
            occurred_at_ms: closing.removal.now_ms,
            now_ms,
            cause: &closing.cause,
            entity: None,
        };
        events::record(connection, closing.site, events::new_id(), &new_event)?;
    }
    let mut deleted = remaining.len();
    if deleted < BATCH && closing.removal.purge_at_ms.is_none() {
        // Their events were recorded when they were moved to the trash.
        let rest = (BATCH - deleted) as i64;
        let trashed = trash::trashed_of(connection, (closing.site, closing.contact), rest)?;
        deleted += trashed.len();
        for (attachment, blob) in trashed {
            trash::purge(connection, (closing.site, attachment, blob), &closing.removal)?;
            record_erased(connection, closing, (attachment, blob))?;
        }
    }
    if deleted == BATCH {
        return Ok(true);
    }
    // Last, so that history recorded while the batches ran is deleted too.
    if closing.receipt.is_some()
        && erasures::delete_all_event_history(connection, (closing.site, closing.contact))?
    {
        return Ok(true);
    }
    connection
        .prepare_cached("DELETE FROM contact_closings WHERE site_id = $1 AND contact_id = $2")?
        .execute(params![closing.site, closing.contact])?;
    if let Some(receipt) = closing.receipt {
        erasures::rows_erased(connection, closing.site, receipt, now_ms)?;
    }
    Ok(false)
}

fn remove_attachment(
    connection: &Connection,
    closing: &ClosingInProgress,
    (attachment, blob): (AttachmentId, BlobId),
) -> sql::Result<()> {
    if let Some(purge_at_ms) = closing.removal.purge_at_ms {
        let key = (closing.site, attachment);
        trash::move_to_trash(connection, key, (closing.removal.now_ms, purge_at_ms), true)?;
    }
    connection
        .prepare_cached("DELETE FROM attachments WHERE site_id = $1 AND attachment_id = $2")?
        .execute(params![closing.site, attachment])?;
    if closing.removal.purge_at_ms.is_none() {
        trash::schedule_removal(connection, (closing.site, blob), &closing.removal)?;
        record_erased(connection, closing, (attachment, blob))?;
    }
    trash::record_tombstone(connection, (closing.site, attachment), closing.removal.now_ms)
}

fn record_erased(
    connection: &Connection,
    closing: &ClosingInProgress,
    file: (AttachmentId, BlobId),
) -> sql::Result<()> {
    match closing.receipt {
        Some(receipt) => erasures::record_file(connection, (closing.site, receipt), file),
        None => Ok(()),
    }
}
