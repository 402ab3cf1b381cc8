//! Queries on resumable uploads in flight.

use crate::db::sql::{self, Connection, OptionalExtension as _, params};

use super::Db;
use crate::db::engine::Done;
use crate::domain::attachment::Attachment;
use crate::domain::ids::{AttachmentId, BlobId, ContactId, SiteId};
use crate::error::Result;

/// A resumable upload in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadInFlight {
    /// The tenant.
    pub site_id: SiteId,
    /// Whose file it is to become; `None` of one that an older release began.
    pub contact_id: Option<ContactId>,
    /// What it is to become; also what its upload URL names.
    pub attachment_id: AttachmentId,
    /// Its bytes, and what tells it from another upload of the same URL.
    pub blob_id: BlobId,
    /// The whole size, once its client has said it.
    pub length_bytes: Option<u64>,
    /// Bytes that are synced to disk. Less than the length: the last piece is counted by the
    /// transaction that makes the attachment.
    pub offset_bytes: u64,
    /// State of the SHA-256 over exactly those bytes.
    pub hash_state: Vec<u8>,
    /// When it began, in Unix milliseconds.
    pub created_at_ms: i64,
    /// Until when it can be gone on with, in Unix milliseconds.
    pub expires_at_ms: i64,
}

/// How the beginning of an upload ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// It is known now; the blob is that of an upload that it has replaced.
    New(Option<BlobId>),
    /// The upload URL was used before.
    Spent,
}

/// What a name in staging stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// An attachment has these bytes, or one in the trash.
    Attached,
    /// A resumable upload goes on with them.
    InFlight,
    /// Nobody knows them.
    Unknown,
}

impl Db {
    /// Makes a resumable upload known, in place of another one of the same upload URL.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn begin_upload(&self, upload: UploadInFlight) -> Result<Begun> {
        self.engine
            .write(upload.site_id, move |connection| {
                let value = begin(connection, &upload)?;
                Ok(Done { value, changed: None })
            })
            .await
    }

    /// Finds the upload in flight of an upload URL.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn upload_in_flight(
        &self,
        site: SiteId,
        attachment: AttachmentId,
    ) -> Result<Option<UploadInFlight>> {
        self.engine
            .read(move |connection| {
                connection
                    .prepare_cached(
                        "SELECT site_id, attachment_id, blob_id, length_bytes, offset_bytes, \
                         hash_state, created_at_ms, expires_at_ms, contact_id FROM uploads \
                         WHERE site_id = $1 AND attachment_id = $2",
                    )?
                    .query_row(params![site, attachment], upload)
                    .optional()
            })
            .await
    }

    /// Writes down how far an upload has come from where it stood, and whose it is; false when it is no
    /// longer known, or over, or its contact has gone, or another node has gone on with it.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn checkpoint_upload(
        &self,
        upload: UploadInFlight,
        from_offset_bytes: u64,
    ) -> Result<bool> {
        self.engine
            .write(upload.site_id, move |connection| {
                let changed = connection
                    .prepare_cached(
                        "UPDATE uploads SET length_bytes = $1, offset_bytes = $2, \
                         placing_sha256 = NULL, hash_state = $3, expires_at_ms = $4, contact_id = $5 \
                         WHERE site_id = $6 AND attachment_id = $7 AND blob_id = $8 \
                         AND offset_bytes = $9 AND expires_at_ms > 0 \
                         AND NOT EXISTS (SELECT 1 FROM contacts c \
                         WHERE c.site_id = $6 AND c.contact_id = $5 AND c.state <> 'active')",
                    )
                    .and_then(|mut statement| {
                        statement.execute(params![
                            upload.length_bytes.map(|bytes| bytes as i64),
                            upload.offset_bytes as i64,
                            upload.hash_state,
                            upload.expires_at_ms,
                            upload.contact_id,
                            upload.site_id,
                            upload.attachment_id,
                            upload.blob_id,
                            from_offset_bytes as i64,
                        ])
                    })?;
                Ok(Done { value: changed > 0, changed: None })
            })
            .await
    }

    /// Writes down which bytes are put to an upload's place from where it stands; false when others are on
    /// their way there, or another node has gone on with it, or it is over.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn place_upload(&self, upload: &UploadInFlight, sha256: [u8; 32]) -> Result<bool> {
        let (site, attachment) = (upload.site_id, upload.attachment_id);
        let (blob, offset) = (upload.blob_id, upload.offset_bytes as i64);
        self.engine
            .write(site, move |connection| {
                let placing = connection
                    .prepare_cached(
                        "UPDATE uploads SET placing_sha256 = $1 WHERE site_id = $2 \
                         AND attachment_id = $3 AND blob_id = $4 AND offset_bytes = $5 \
                         AND expires_at_ms > 0 \
                         AND (placing_sha256 IS NULL OR placing_sha256 = $1)",
                    )
                    .and_then(|mut statement| {
                        statement.execute(params![&sha256[..], site, attachment, blob, offset])
                    })?;
                Ok(Done { value: placing > 0, changed: None })
            })
            .await
    }

    /// Forgets an upload that expires by `expiring_by_ms`; false when there is none.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn end_upload(
        &self,
        site: SiteId,
        attachment: AttachmentId,
        blob: BlobId,
        expiring_by_ms: i64,
    ) -> Result<bool> {
        self.engine
            .write(site, move |connection| {
                let ended = connection
                    .prepare_cached(
                        "DELETE FROM uploads WHERE site_id = $1 AND attachment_id = $2 \
                         AND blob_id = $3 AND expires_at_ms <= $4",
                    )
                    .and_then(|mut statement| {
                        statement.execute(params![site, attachment, blob, expiring_by_ms])
                    })?;
                Ok(Done { value: ended > 0, changed: None })
            })
            .await
    }

    /// Uploads that nobody has gone on with in time, at most `limit`.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn expired_uploads(&self, now_ms: i64, limit: u32) -> Result<Vec<UploadInFlight>> {
        self.engine
            .read(move |connection| {
                connection
                    .prepare_cached(
                        "SELECT site_id, attachment_id, blob_id, length_bytes, offset_bytes, \
                         hash_state, created_at_ms, expires_at_ms, contact_id FROM uploads \
                         WHERE expires_at_ms <= $1 ORDER BY expires_at_ms LIMIT $2",
                    )?
                    .query_map(params![now_ms, limit], upload)
            })
            .await
    }

    /// Whose bytes these are, from one snapshot: an upload that is being committed is one or
    /// the other.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn standing(
        &self,
        site: SiteId,
        attachment: AttachmentId,
        blob: BlobId,
    ) -> Result<Standing> {
        self.engine
            .read(move |connection| {
                let attached = connection
                    .prepare_cached(
                        "SELECT 1 FROM stored_attachments \
                         WHERE site_id = $1 AND attachment_id = $2 AND blob_id = $3",
                    )?
                    .exists(params![site, attachment, blob])?;
                if attached {
                    return Ok(Standing::Attached);
                }
                let in_flight = connection
                    .prepare_cached(
                        "SELECT 1 FROM uploads \
                         WHERE site_id = $1 AND attachment_id = $2 AND blob_id = $3",
                    )?
                    .exists(params![site, attachment, blob])?;
                Ok(if in_flight { Standing::InFlight } else { Standing::Unknown })
            })
            .await
    }
}

fn begin(connection: &Connection, upload: &UploadInFlight) -> sql::Result<Begun> {
    let (site, attachment) = (upload.site_id, upload.attachment_id);
    let spent = connection
        .prepare_cached("SELECT 1 FROM spent_uploads WHERE site_id = $1 AND attachment_id = $2")?
        .exists(params![site, attachment])?;
    if spent {
        return Ok(Begun::Spent);
    }
    let replaced = connection
        .prepare_cached("SELECT blob_id FROM uploads WHERE site_id = $1 AND attachment_id = $2")?
        .query_row(params![site, attachment], |row| row.get(0))
        .optional()?;
    connection
        .prepare_cached(
            "INSERT INTO uploads (site_id, attachment_id, blob_id, length_bytes, offset_bytes, \
             hash_state, created_at_ms, expires_at_ms, contact_id) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
             ON CONFLICT (site_id, attachment_id) DO UPDATE SET blob_id = excluded.blob_id, \
             length_bytes = excluded.length_bytes, offset_bytes = excluded.offset_bytes, \
             hash_state = excluded.hash_state, created_at_ms = excluded.created_at_ms, \
             expires_at_ms = excluded.expires_at_ms, contact_id = excluded.contact_id, \
             placing_sha256 = NULL",
        )?
        .execute(params![
            site,
            attachment,
            upload.blob_id,
            upload.length_bytes.map(|bytes| bytes as i64),
            upload.offset_bytes as i64,
            upload.hash_state,
            upload.created_at_ms,
            upload.expires_at_ms,
            upload.contact_id,
        ])?;
    Ok(Begun::New(replaced))
}

/// What a commit of the same upload URL leaves of an upload in flight: nothing. Returns its blob.
pub(super) fn forget(
    connection: &Connection,
    attachment: &Attachment,
) -> sql::Result<Option<BlobId>> {
    connection
        .prepare_cached(
            "DELETE FROM uploads WHERE site_id = $1 AND attachment_id = $2 RETURNING blob_id",
        )?
        .query_row(params![attachment.site_id, attachment.id], |row| row.get(0))
        .optional()
}

fn upload(row: sql::Row<'_>) -> sql::Result<UploadInFlight> {
    Ok(UploadInFlight {
        site_id: row.get(0)?,
        contact_id: row.get(8)?,
        attachment_id: row.get(1)?,
        blob_id: row.get(2)?,
        length_bytes: row.get::<Option<i64>>(3)?.map(|bytes| bytes as u64),
        offset_bytes: row.get::<i64>(4)? as u64,
        hash_state: row.get(5)?,
        created_at_ms: row.get(6)?,
        expires_at_ms: row.get(7)?,
    })
}
