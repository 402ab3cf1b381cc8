//! The end of a contact, by deletion or erasure. One transaction makes it and everything of it
//! unreachable and uncounted, and takes away the first attachments; a large contact's others follow
//! in batches, each in a transaction of its own that can be repeated after a crash.

use crate::db::sql::{self, Connection, OptionalExtension as _, params};
use uuid::Uuid;

use super::{Contact, ContactState, Removal, erasures, find, make_known};
use crate::db::attachments::count_site;
use crate::db::engine::Done;
use crate::db::events::{self, News};
use crate::db::{Db, contacts::trash};
use crate::domain::ids::{AttachmentId, BlobId, ContactId, SiteId};
use crate::domain::webhook::{Cause, EventType};
use crate::error::{Error, Result};

/// Attachments that one transaction takes away at most.
const BATCH: usize = 500;

/// How a contact is to end.
#[derive(Debug, Clone)]
pub struct Closing {
    /// How its attachments go.
    pub removal: Removal,
    /// Why, as the events say it.
    pub cause: Cause,
    /// Whether everything of the person goes, for good and with a receipt of this id.
    pub erase: Option<Uuid>,
    /// Whether one that was never seen is closed as well, so that uploads for it are refused.
    pub unknown_too: bool,
}

/// The closing of a contact that is under way.
struct UnderWay {
    site: SiteId,
    contact: ContactId,
    removal: Removal,
    cause: Cause,
    receipt: Option<Uuid>,
}

impl Db {
    /// Closes a contact: from now on nothing of it is reachable. Returns whether there are
    /// attachments left to be taken away by [`Db::close_on`], and the receipt of an erasure; one
    /// that was erased before has its receipt already.
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
                connection.wake(&outbox);
                Ok(Done { value, changed: Some((site, contact)) })
            })
            .await
    }

    /// Whether contacts are being closed, or receipts wait to be completed.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn has_contact_work(&self) -> Result<bool> {
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

    /// Takes away a batch of the attachments of a contact that is being closed; whether there may
    /// be more of it or of others.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn close_on(&self, now_ms: i64) -> Result<bool> {
        let outbox = self.outbox.clone();
        self.engine
            .write_across(move |connection| {
                let found = any_under_way(connection)?;
                if let Some((site, contact)) = found {
                    connection.lock_site(site)?;
                    // Another node may have ended it while this one waited.
                    if let Some(one) = under_way(connection, site, contact)? {
                        batch(connection, &one, now_ms)?;
                        connection.wake(&outbox);
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
    if found.is_none() && closing.unknown_too {
        make_known(connection, (site, contact), now_ms)?;
    }
    let state = match &found {
        None if closing.unknown_too => ContactState::Active,
        None => return Err(Error::no_contact(contact)),
        Some(found) => found.state,
    };
    let receipt = match (closing.erase, state) {
        (_, ContactState::Merged) => return Err(Error::no_contact(contact)),
        (Some(_), ContactState::Erased) => {
            let known = erasures::receipt_of(connection, site, contact)?;
            return known.map(|known| (false, Some(known))).ok_or(Error::no_contact(contact));
        }
        (Some(receipt), _) => Some(receipt),
        (None, ContactState::Active) => None,
        (None, _) => return Err(Error::no_contact(contact)),
    };
    end(connection, (site, contact), found.as_ref(), closing, receipt)?;
    let under_way =
        UnderWay { site, contact, removal: closing.removal, cause: closing.cause.clone(), receipt };
    begin(connection, &under_way)?;
    let more = batch(connection, &under_way, now_ms)?;
    Ok((more, receipt))
}

/// The contact itself: its state, its counters, its uploads in flight.
fn end(
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

/// Uploads in flight are over: whoever goes on with one is told so, and the sweep takes its bytes.
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

fn begin(connection: &Connection, one: &UnderWay) -> sql::Result<usize> {
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
            one.site,
            one.contact,
            one.removal.now_ms,
            one.removal.grace_ms,
            one.removal.purge_at_ms,
            one.cause.originated_from,
            one.cause.by_anonymize_request,
            one.receipt.map(Uuid::into_bytes),
        ])
}

fn any_under_way(connection: &Connection) -> sql::Result<Option<(SiteId, ContactId)>> {
    connection
        .prepare_cached("SELECT site_id, contact_id FROM contact_closings LIMIT 1")?
        .query_row(&[], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

fn under_way(
    connection: &Connection,
    site: SiteId,
    contact: ContactId,
) -> sql::Result<Option<UnderWay>> {
    connection
        .prepare_cached(
            "SELECT site_id, contact_id, begun_at_ms, grace_ms, purge_at_ms, originated_from, \
             by_anonymize_request, receipt_id FROM contact_closings \
             WHERE site_id = $1 AND contact_id = $2",
        )?
        .query_row(params![site, contact], |row| {
            Ok(UnderWay {
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

/// Takes away some of what is left; false when that was all.
fn batch(connection: &Connection, one: &UnderWay, now_ms: i64) -> sql::Result<bool> {
    let left: Vec<(AttachmentId, BlobId, i64)> = connection
        .prepare_cached(
            "SELECT attachment_id, blob_id, event_sequence FROM attachments \
             WHERE site_id = $1 AND contact_id = $2 LIMIT $3",
        )?
        .query_map(params![one.site, one.contact, BATCH as i64], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    for (attachment, blob, sequence) in &left {
        take_away(connection, one, (*attachment, *blob))?;
        let news = News {
            event_type: EventType::Deleted,
            contact: one.contact,
            attachment: *attachment,
            sequence: sequence + 1,
            occurred_at_ms: one.removal.now_ms,
            now_ms,
            cause: &one.cause,
            entity: None,
        };
        events::record(connection, one.site, events::new_id(), &news)?;
    }
    let mut gone = left.len();
    if gone < BATCH && one.removal.purge_at_ms.is_none() {
        // These were told of when they went into the trash.
        let rest = (BATCH - gone) as i64;
        let trashed = trash::of_contact(connection, (one.site, one.contact), rest)?;
        gone += trashed.len();
        for (attachment, blob) in trashed {
            trash::purge(connection, (one.site, attachment, blob), &one.removal)?;
            note_erased(connection, one, (attachment, blob))?;
        }
    }
    if gone == BATCH {
        return Ok(true);
    }
    // Last, so that also what was written while batches went on is forgotten.
    if one.receipt.is_some() && erasures::forget_told_of_all(connection, (one.site, one.contact))? {
        return Ok(true);
    }
    connection
        .prepare_cached("DELETE FROM contact_closings WHERE site_id = $1 AND contact_id = $2")?
        .execute(params![one.site, one.contact])?;
    if let Some(receipt) = one.receipt {
        erasures::rows_are_gone(connection, one.site, receipt, now_ms)?;
    }
    Ok(false)
}

fn take_away(
    connection: &Connection,
    one: &UnderWay,
    (attachment, blob): (AttachmentId, BlobId),
) -> sql::Result<()> {
    if let Some(purge_at_ms) = one.removal.purge_at_ms {
        let key = (one.site, attachment);
        trash::throw(connection, key, (one.removal.now_ms, purge_at_ms), true)?;
    }
    connection
        .prepare_cached("DELETE FROM attachments WHERE site_id = $1 AND attachment_id = $2")?
        .execute(params![one.site, attachment])?;
    if one.removal.purge_at_ms.is_none() {
        trash::remove_bytes(connection, (one.site, blob), &one.removal)?;
        note_erased(connection, one, (attachment, blob))?;
    }
    trash::bury(connection, (one.site, attachment), one.removal.now_ms)
}

fn note_erased(
    connection: &Connection,
    one: &UnderWay,
    file: (AttachmentId, BlobId),
) -> sql::Result<()> {
    match one.receipt {
        Some(receipt) => erasures::note_file(connection, (one.site, receipt), file),
        None => Ok(()),
    }
}
