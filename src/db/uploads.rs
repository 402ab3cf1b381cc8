//! Queries on resumable uploads in progress.

use crate::db::sql::{self, Connection, OptionalExtension as _, params};

use super::Db;
use crate::db::engine::Done;
use crate::domain::attachment::Attachment;
use crate::domain::ids::{AttachmentId, BlobId, ContactId, SiteId};
use crate::error::Result;

/// A resumable upload in progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumableUpload {
    /// The tenant.
    pub site_id: SiteId,
    /// The contact of the future attachment; `None` if an older release began it.
    pub contact_id: Option<ContactId>,
    /// The id of the future attachment, which is also in its upload URL.
    pub attachment_id: AttachmentId,
    /// The id of its bytes, which distinguishes it from another upload of the same URL.
    pub blob_id: BlobId,
    /// The total size, once the client has sent it.
    pub length_bytes: Option<u64>,
    /// Bytes that are synced to disk. Always less than the length, because the transaction that
    /// creates the attachment counts the last piece.
    pub offset_bytes: u64,
    /// State of the SHA-256 over exactly those bytes.
    pub hash_state: Vec<u8>,
    /// When it began, in Unix milliseconds.
    pub created_at_ms: i64,
    /// Until when it can be resumed, in Unix milliseconds.
    pub expires_at_ms: i64,
}

/// The outcome of beginning an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UploadStart {
    /// It was recorded; the blob is that of an upload that it replaced.
    New(Option<BlobId>),
    /// The upload URL was used before.
    Spent,
}

/// What a staged file belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobOwner {
    /// An attachment, possibly in the trash.
    Attached,
    /// A resumable upload in progress.
    InProgress,
    /// Nothing: an orphan.
    Unknown,
}

impl Db {
    /// Records a resumable upload, replacing another one of the same upload URL.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn begin_upload(&self, upload: ResumableUpload) -> Result<UploadStart> {
        self.engine
            .write(upload.site_id, move |connection| {
                let value = begin(connection, &upload)?;
                Ok(Done { value, changed: None })
            })
            .await
    }

    /// Finds the upload in progress of an upload URL.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn resumable_upload(
        &self,
        site: SiteId,
        attachment: AttachmentId,
    ) -> Result<Option<ResumableUpload>> {
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

    /// Records a checkpoint: an upload's progress since `from_offset_bytes`, and its contact. False
    /// when it no longer exists, has ended or lost its contact, or another node has resumed it.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn checkpoint_upload(
        &self,
        upload: ResumableUpload,
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

    /// Records the SHA-256 of the bytes that are about to be moved to an upload's final place.
    /// False when different bytes are being moved there, another node has resumed the upload, or it
    /// has ended.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn claim_placement(
        &self,
        upload: &ResumableUpload,
        sha256: [u8; 32],
    ) -> Result<bool> {
        let (site, attachment) = (upload.site_id, upload.attachment_id);
        let (blob, offset) = (upload.blob_id, upload.offset_bytes as i64);
        self.engine
            .write(site, move |connection| {
                let claimed = connection
                    .prepare_cached(
                        "UPDATE uploads SET placing_sha256 = $1 WHERE site_id = $2 \
                         AND attachment_id = $3 AND blob_id = $4 AND offset_bytes = $5 \
                         AND expires_at_ms > 0 \
                         AND (placing_sha256 IS NULL OR placing_sha256 = $1)",
                    )
                    .and_then(|mut statement| {
                        statement.execute(params![&sha256[..], site, attachment, blob, offset])
                    })?;
                Ok(Done { value: claimed > 0, changed: None })
            })
            .await
    }

    /// Deletes an upload that expires by `expiring_by_ms`; false when there is none.
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

    /// Uploads that were not resumed in time, at most `limit`.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn expired_uploads(&self, now_ms: i64, limit: u32) -> Result<Vec<ResumableUpload>> {
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

    /// The owner of a blob, from one snapshot: an upload that is being committed is either an
    /// upload or an attachment.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn blob_owner(
        &self,
        site: SiteId,
        attachment: AttachmentId,
        blob: BlobId,
    ) -> Result<BlobOwner> {
        self.engine
            .read(move |connection| {
                let attached = connection
                    .prepare_cached(
                        "SELECT 1 FROM stored_attachments \
                         WHERE site_id = $1 AND attachment_id = $2 AND blob_id = $3",
                    )?
                    .exists(params![site, attachment, blob])?;
                if attached {
                    return Ok(BlobOwner::Attached);
                }
                let in_flight = connection
                    .prepare_cached(
                        "SELECT 1 FROM uploads \
                         WHERE site_id = $1 AND attachment_id = $2 AND blob_id = $3",
                    )?
                    .exists(params![site, attachment, blob])?;
                Ok(if in_flight { BlobOwner::InProgress } else { BlobOwner::Unknown })
            })
            .await
    }
}

fn begin(connection: &Connection, upload: &ResumableUpload) -> sql::Result<UploadStart> {
    let (site, attachment) = (upload.site_id, upload.attachment_id);
    let spent = connection
        .prepare_cached("SELECT 1 FROM spent_uploads WHERE site_id = $1 AND attachment_id = $2")?
        .exists(params![site, attachment])?;
    if spent {
        return Ok(UploadStart::Spent);
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
    Ok(UploadStart::New(replaced))
}

/// Deletes the upload in progress of a committed upload URL. Returns its blob.
pub(super) fn delete(
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

fn upload(row: sql::Row<'_>) -> sql::Result<ResumableUpload> {
    Ok(ResumableUpload {
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
