//! Queries on attachments and on the contact rows that count them; lists are in `pages`.

use crate::db::sql::{self, Connection, OptionalExtension as _, params};

use super::rows::{self, AttachmentRow, attachment_columns};
use super::{Db, Removal, contacts, events};
use crate::db::engine::Done;
use crate::domain::attachment::Attachment;
use crate::domain::folding::stored_fold;
use crate::domain::ids::{AttachmentId, BlobId, ContactId, SiteId};
use crate::domain::quota::{Amount, Quotas};
use crate::domain::webhook::{Cause, EventType};
use crate::error::{Error, Result};

/// The outcome of committing an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Commit {
    /// The attachment was created. The blob is that of a resumable upload of the same URL that it
    /// superseded, if any.
    Created(Attachment, Option<BlobId>),
    /// The upload URL had created this attachment before; nothing changed.
    Existing(Attachment),
    /// The upload URL was used before and its attachment is gone.
    Spent,
}

impl Db {
    /// Finds an attachment by its id.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn attachment(&self, site: SiteId, id: AttachmentId) -> Result<Option<Attachment>> {
        self.engine.read_single(move |connection| find_reachable(connection, site, id)).await
    }

    /// The attachment of a site whose upload began last.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn newest_attachment(&self, site: SiteId) -> Result<Option<Attachment>> {
        self.engine
            .read(move |connection| {
                connection
                    .prepare_cached(concat!(
                        "SELECT ",
                        attachment_columns!(),
                        " FROM attachments WHERE site_id = $1 ORDER BY attachment_id DESC LIMIT 1"
                    ))?
                    .query_row(params![site], rows::attachment)
                    .optional()
            })
            .await
    }

    /// `None` if an upload URL is unused, otherwise the attachment that it created, if that still
    /// exists.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn spent_upload(
        &self,
        site: SiteId,
        id: AttachmentId,
    ) -> Result<Option<Option<Attachment>>> {
        self.engine
            .read(move |connection| {
                let spent = connection
                    .prepare_cached(
                        "SELECT 1 FROM spent_uploads WHERE site_id = $1 AND attachment_id = $2",
                    )?
                    .exists(params![site, id])?;
                if spent { find_reachable(connection, site, id).map(Some) } else { Ok(None) }
            })
            .await
    }

    /// Creates an attachment whose bytes are durable, in one transaction with the contact's
    /// counters, the spent upload URL and the event (contract §8). If the clock is not past the
    /// contact's newest `created_at_ms`, the attachment's is set just after that one.
    ///
    /// # Errors
    ///
    /// [`Error::QuotaExceeded`] when it would exceed a quota of the site or the contact,
    /// [`Error::NotFound`] when the contact no longer exists: then nothing is stored. Otherwise
    /// only when the database fails, and then it is unknown whether the commit succeeded.
    pub async fn commit_upload(
        &self,
        attachment: Attachment,
        spent_until_ms: i64,
        quotas: Quotas,
    ) -> Result<Commit> {
        let outbox = self.outbox.clone();
        self.engine
            .write(attachment.site_id, move |connection| {
                let (site, contact) = (attachment.site_id, attachment.contact_id);
                let now_ms = attachment.created_at_ms;
                if contacts::is_inactive(connection, site, contact)? {
                    return Err(Error::no_contact(contact));
                }
                let commit = commit_upload(connection, attachment.clone(), spent_until_ms)?;
                if let Commit::Created(created, _) = &commit
                    && quotas.is_limited()
                {
                    // The counters include this upload already; an error rolls it back.
                    let (site_held, contact_held) = usage(connection, site, contact)?;
                    let before = |total: Amount| Amount {
                        files: total.files.saturating_sub(1),
                        bytes: total.bytes.saturating_sub(created.size_bytes),
                    };
                    quotas.check(before(site_held), before(contact_held), created.size_bytes)?;
                }
                if let Commit::Created(created, _) = &commit {
                    let event = created_event(created, now_ms);
                    let id = events::new_id();
                    if events::record(connection, site, id, &event)? > 0 {
                        connection.notify(&outbox);
                    }
                }
                let changed = matches!(commit, Commit::Created(..)).then_some((site, contact));
                Ok(Done { value: commit, changed })
            })
            .await
    }

    /// The usage of a site and of one of its contacts.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn usage(&self, site: SiteId, contact: ContactId) -> Result<(Amount, Amount)> {
        self.engine.read(move |connection| usage(connection, site, contact)).await
    }

    /// The usage of a site.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn site_held(&self, site: SiteId) -> Result<Amount> {
        let no_contact = ContactId::from_bytes([0; 16]);
        Ok(self.usage(site, no_contact).await?.0)
    }

    /// Deletes an attachment, in one transaction with the counters, the event, and either the order
    /// to remove its bytes or its row in the trash (contract §12).
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when this contact of this site has no such attachment.
    pub async fn delete(
        &self,
        site: SiteId,
        contact: ContactId,
        id: AttachmentId,
        removal: Removal,
        cause: Cause,
    ) -> Result<()> {
        let (_, unknown) = self.delete_many(site, contact, vec![id], removal, cause).await?;
        if unknown.is_empty() { Ok(()) } else { Err(Error::no_attachment(contact, id)) }
    }

    /// [`Db::delete`] for several in one transaction; returns the deleted ids and those that this
    /// contact of this site does not have. The caller bounds their number.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn delete_many(
        &self,
        site: SiteId,
        contact: ContactId,
        ids: Vec<AttachmentId>,
        removal: Removal,
        cause: Cause,
    ) -> Result<(Vec<AttachmentId>, Vec<AttachmentId>)> {
        let outbox = self.outbox.clone();
        self.engine
            .write(site, move |connection| {
                let (mut deleted, mut unknown) = (Vec::new(), Vec::new());
                for id in &ids {
                    let key = (site, contact, *id);
                    let sequence = delete(connection, key, &removal)?;
                    let Some(sequence) = sequence else {
                        unknown.push(*id);
                        continue;
                    };
                    if record_deleted(connection, key, sequence, (removal.now_ms, &cause))? {
                        connection.notify(&outbox);
                    }
                    deleted.push(*id);
                }
                let changed = (!deleted.is_empty()).then_some((site, contact));
                Ok(Done { value: (deleted, unknown), changed })
            })
            .await
    }

    /// Records that no preview can be made, so that lists stop offering one.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn clear_preview(&self, site: SiteId, id: AttachmentId) -> Result<()> {
        self.engine
            .write(site, move |connection| {
                let contact = connection
                    .prepare_cached(
                        "UPDATE attachments SET has_preview = 0 \
                         WHERE site_id = $1 AND attachment_id = $2 RETURNING contact_id",
                    )
                    .and_then(|mut statement| {
                        statement.query_row(params![site, id], |row| row.get(0)).optional()
                    })?;
                let Some(contact) = contact else { return Ok(Done { value: (), changed: None }) };
                bump_revision(connection, site, contact)?;
                Ok(Done { value: (), changed: Some((site, contact)) })
            })
            .await
    }
}

pub(super) fn find(
    connection: &Connection,
    site: SiteId,
    id: AttachmentId,
) -> sql::Result<Option<Attachment>> {
    connection
        .prepare_cached(concat!(
            "SELECT ",
            attachment_columns!(),
            " FROM attachments WHERE site_id = $1 AND attachment_id = $2"
        ))?
        .query_row(params![site, id], rows::attachment)
        .optional()
}

/// [`find`] without the attachments of a contact that is being closed.
pub(super) fn find_reachable(
    connection: &Connection,
    site: SiteId,
    id: AttachmentId,
) -> sql::Result<Option<Attachment>> {
    connection
        .prepare_cached(concat!(
            "SELECT ",
            attachment_columns!(),
            " FROM counted_attachments WHERE site_id = $1 AND attachment_id = $2"
        ))?
        .query_row(params![site, id], rows::attachment)
        .optional()
}

fn commit_upload(
    connection: &Connection,
    mut attachment: Attachment,
    spent_until_ms: i64,
) -> sql::Result<Commit> {
    let (site, contact) = (attachment.site_id, attachment.contact_id);
    let first = connection
        .prepare_cached(
            "INSERT INTO spent_uploads (site_id, attachment_id, expires_at_ms) \
             VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        )?
        .execute(params![site, attachment.id, spent_until_ms])?;
    if first == 0 {
        let existing = find(connection, site, attachment.id)?;
        return Ok(existing.map_or(Commit::Spent, Commit::Existing));
    }
    attachment.created_at_ms = connection
        .prepare_cached(
            "INSERT INTO contacts (site_id, contact_id, attachment_count, total_bytes, \
             revision, last_created_at_ms) VALUES ($1, $2, 1, $3, 1, $4) \
             ON CONFLICT (site_id, contact_id) DO UPDATE SET \
             attachment_count = contacts.attachment_count + 1, \
             total_bytes = contacts.total_bytes + excluded.total_bytes, \
             revision = contacts.revision + 1, \
             last_created_at_ms = CASE \
             WHEN excluded.last_created_at_ms > contacts.last_created_at_ms \
             THEN excluded.last_created_at_ms ELSE contacts.last_created_at_ms + 1 END \
             RETURNING last_created_at_ms",
        )?
        .query_row(
            params![site, contact, attachment.size_bytes as i64, attachment.created_at_ms],
            |row| row.get(0),
        )?;
    insert(connection, &attachment)?;
    count_site(connection, site, 1, attachment.size_bytes as i64)?;
    let replaced = super::uploads::delete(connection, &attachment)?;
    let superseded = replaced.filter(|blob| *blob != attachment.blob_id);
    Ok(Commit::Created(attachment, superseded))
}

fn created_event(created: &Attachment, now_ms: i64) -> events::NewEvent<'_> {
    static NO_OTHER_CAUSE: Cause =
        Cause { originated_from: None, by_anonymize_request: false, restored_deleted_at_ms: None };
    events::NewEvent {
        event_type: EventType::Created,
        contact: created.contact_id,
        attachment: created.id,
        sequence: 1,
        occurred_at_ms: created.created_at_ms,
        now_ms,
        cause: &NO_OTHER_CAUSE,
        entity: Some(AttachmentRow::from(created)),
    }
}

/// Records the event of a deletion; whether it has deliveries.
fn record_deleted(
    connection: &Connection,
    (site, contact, attachment): (SiteId, ContactId, AttachmentId),
    sequence: i64,
    (now_ms, cause): (i64, &Cause),
) -> sql::Result<bool> {
    let event = events::NewEvent {
        event_type: EventType::Deleted,
        contact,
        attachment,
        sequence,
        occurred_at_ms: now_ms,
        now_ms,
        cause,
        entity: None,
    };
    Ok(events::record(connection, site, events::new_id(), &event)? > 0)
}

/// The usage of a site and of a contact.
pub(super) fn usage(
    connection: &Connection,
    site: SiteId,
    contact: ContactId,
) -> sql::Result<(Amount, Amount)> {
    let amount = |row: sql::Row<'_>| {
        Ok(Amount { files: row.get::<i64>(0)? as u64, bytes: row.get::<i64>(1)? as u64 })
    };
    let of_site = connection
        .prepare_cached("SELECT attachment_count, total_bytes FROM site_usage WHERE site_id = $1")?
        .query_row(params![site], amount)
        .optional()?;
    let of_contact = connection
        .prepare_cached(
            "SELECT attachment_count, total_bytes FROM contacts \
             WHERE site_id = $1 AND contact_id = $2",
        )?
        .query_row(params![site, contact], amount)
        .optional()?;
    Ok((of_site.unwrap_or_default(), of_contact.unwrap_or_default()))
}

/// Updates the totals of a site, kept next to the counters of its contacts.
pub(super) fn count_site(
    connection: &Connection,
    site: SiteId,
    attachments: i64,
    bytes: i64,
) -> sql::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO site_usage (site_id, attachment_count, total_bytes) VALUES ($1, $2, $3) \
             ON CONFLICT (site_id) DO UPDATE SET \
             attachment_count = site_usage.attachment_count + excluded.attachment_count, \
             total_bytes = site_usage.total_bytes + excluded.total_bytes",
        )?
        .execute(params![site, attachments, bytes])?;
    Ok(())
}

fn insert(connection: &Connection, attachment: &Attachment) -> sql::Result<()> {
    connection
        .prepare_cached(concat!(
            "INSERT INTO attachments (",
            attachment_columns!(),
            ", name_folded) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
        ))?
        .execute(params![
            attachment.id,
            attachment.file_name,
            attachment.mime_type,
            attachment.media_extension,
            attachment.width,
            attachment.height,
            attachment.has_preview,
            attachment.created_at_ms,
            attachment.site_id,
            attachment.contact_id,
            attachment.size_bytes as i64,
            attachment.sha256,
            attachment.blob_id,
            stored_fold(&attachment.file_name),
        ])?;
    Ok(())
}

/// Returns the sequence number of the deletion's event; `None` when there is no such attachment.
fn delete(
    connection: &Connection,
    (site, contact, id): (SiteId, ContactId, AttachmentId),
    removal: &Removal,
) -> sql::Result<Option<i64>> {
    let now_ms = removal.now_ms;
    if let Some(purge_at_ms) = removal.purge_at_ms {
        let found = find_reachable(connection, site, id)?;
        if found.is_none_or(|found| found.contact_id != contact) {
            return Ok(None);
        }
        contacts::move_to_trash(connection, (site, id), (now_ms, purge_at_ms), false)?;
    }
    let deleted = connection
        .prepare_cached(
            "DELETE FROM attachments \
             WHERE site_id = $1 AND attachment_id = $2 AND contact_id = $3 \
             AND NOT EXISTS (SELECT 1 FROM contact_closings c \
             WHERE c.site_id = attachments.site_id AND c.contact_id = attachments.contact_id) \
             RETURNING blob_id, size_bytes, event_sequence",
        )?
        .query_row(params![site, id, contact], |row| {
            Ok((row.get::<BlobId>(0)?, row.get::<i64>(1)?, row.get::<i64>(2)?))
        })
        .optional()?;
    let Some((blob_id, size_bytes, sequence)) = deleted else { return Ok(None) };
    connection
        .prepare_cached(
            "UPDATE contacts SET attachment_count = attachment_count - 1, \
             total_bytes = total_bytes - $1, revision = revision + 1 \
             WHERE site_id = $2 AND contact_id = $3",
        )?
        .execute(params![size_bytes, site, contact])?;
    count_site(connection, site, -1, -size_bytes)?;
    if removal.purge_at_ms.is_none() {
        contacts::schedule_removal(connection, (site, blob_id), removal)?;
    }
    contacts::record_tombstone(connection, (site, id), now_ms)?;
    Ok(Some(sequence + 1))
}

fn bump_revision(connection: &Connection, site: SiteId, contact: ContactId) -> sql::Result<usize> {
    connection
        .prepare_cached(
            "UPDATE contacts SET revision = revision + 1 WHERE site_id = $1 AND contact_id = $2",
        )?
        .execute(params![site, contact])
}
