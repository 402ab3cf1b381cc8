//! Resumable uploads (contract §9): create, append, terminate. Each piece is durable before it is
//! acknowledged; the last one is committed exactly as a PUT is. A stored offset is always less than
//! the length, so that no client sees a complete upload before that commit.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use serde_json::json;
use tokio::sync::mpsc;

use super::pace::{Pace, Paced};
use super::piece::{Outcome, Piece};
use super::receive::{BATCHES, Message, Writer, initial_hash_state, pump};
use super::{BUSY, SPENT, Upload, bad_upload, check_contact, commit, preview, too_large};
use crate::app::App;
use crate::blobs::{BlobKey, StagedKey};
use crate::config::ContactsPolicy;
use crate::db::{BlobOwner, ResumableUpload, UploadStart};
use crate::domain::attachment::Attachment;
use crate::domain::ids::BlobId;
use crate::domain::signing::UploadGrant;
use crate::domain::sniff::SentContentType;
use crate::domain::tus::Checksum;
use crate::error::{Error, Result, UploadError};
use crate::turns::UploadLock;

/// An upload expires after seven days without progress, as the vendor's do (contract §9).
pub(super) const EXPIRY_MS: i64 = 7 * 24 * 60 * 60 * 1_000;

/// The progress of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Durable bytes.
    pub offset_bytes: u64,
    /// The final size, once it is known.
    pub length_bytes: Option<u64>,
    /// When it expires; `None` when it is complete.
    pub expires_at_ms: Option<i64>,
}

/// The metadata of a request that appends a piece.
#[derive(Debug, Clone, Default)]
pub struct PieceRequest {
    /// The offset at which it begins.
    pub offset_bytes: u64,
    /// The final size, from a client that deferred it.
    pub length_bytes: Option<u64>,
    /// The checksum of the piece.
    pub checksum: Option<Checksum>,
    /// The declared size of the piece.
    pub content_length: Option<u64>,
}

/// Creates an upload; an earlier one of the same upload URL ends. Returns the upload's id and its
/// expiry in Unix milliseconds.
///
/// # Errors
///
/// When the upload URL was used, or does not allow this size or contact.
pub async fn create(
    app: &Arc<App>,
    grant: &UploadGrant,
    length_bytes: Option<u64>,
) -> Result<(BlobId, i64)> {
    check_site(app, grant)?;
    check_length(grant, length_bytes)?;
    let size_bytes = length_bytes.unwrap_or(0);
    check_contact(app, grant.site_id, grant.contact_id, size_bytes).await?;
    let now_ms = app.clock.now_ms();
    let staged = staged(grant, BlobId(uuid::Uuid::new_v4()));
    let blobs = Arc::clone(&app.blobs);
    blocking(app, move || blobs.begin(staged, now_ms)).await??;
    let expires_at_ms = now_ms + EXPIRY_MS;
    let created = app.db.begin_upload(ResumableUpload {
        site_id: grant.site_id,
        contact_id: Some(grant.contact_id),
        attachment_id: grant.attachment_id,
        blob_id: staged.key.blob,
        length_bytes,
        offset_bytes: 0,
        hash_state: initial_hash_state(),
        created_at_ms: now_ms,
        expires_at_ms,
    });
    let created = created.await;
    // From here on its row protects it; a file without a row is removed by the next recovery.
    app.blobs.abandon(staged);
    match created? {
        UploadStart::Spent => {
            remove_staged(app, staged).await?;
            Err(SPENT)
        }
        UploadStart::New(replaced) => {
            // A request that still writes to the replaced upload finds its row gone. If it does not
            // release the lock in time, the next recovery removes the bytes.
            if let Some(replaced) = replaced
                && let Some(_lock) = app.upload_locks.acquire(replaced).await
                && app.db.blob_owner(grant.site_id, grant.attachment_id, replaced).await?
                    == BlobOwner::Unknown
            {
                remove_staged(app, StagedKey { key: key(grant, replaced), ..staged }).await?;
            }
            Ok((staged.key.blob, expires_at_ms))
        }
    }
}

/// The progress of an upload. Preempts a request that is appending to it, so that the returned
/// offset stays true.
///
/// # Errors
///
/// [`UploadError::Gone`] when it was terminated or replaced, or has expired.
pub async fn progress(app: &Arc<App>, grant: &UploadGrant, upload: BlobId) -> Result<Progress> {
    let _lock = lock(app, upload).await?;
    match find(app, grant, upload).await {
        Ok(found) => Ok(Progress {
            offset_bytes: found.offset_bytes,
            length_bytes: found.length_bytes,
            expires_at_ms: Some(found.expires_at_ms),
        }),
        Err(Error::Upload(UploadError::Complete { size_bytes })) => Ok(complete(size_bytes)),
        Err(error) => Err(error),
    }
}

/// Appends a piece. If the client disconnects, the bytes received so far are kept, unless the piece
/// has a checksum. The last piece creates the attachment.
///
/// # Errors
///
/// See [`UploadError`]. When the complete file is rejected as a PUT's would be, the upload ends.
pub async fn append<S>(
    app: &Arc<App>,
    grant: UploadGrant,
    upload: BlobId,
    request: PieceRequest,
    body: S,
) -> Result<Progress>
where
    S: Stream<Item = Result<Bytes>> + Send + 'static,
{
    check_site(app, &grant)?;
    let slot = app.upload_slots.acquire(grant.key_id).ok_or(BUSY)?;
    let lock = lock(app, upload).await?;
    let mut found = find(app, &grant, upload).await?;
    if request.offset_bytes != found.offset_bytes {
        return Err(UploadError::Offset { offset_bytes: found.offset_bytes }.into());
    }
    if found.contact_id.is_none() {
        adopt(app, &grant, &mut found).await?;
    }
    found.length_bytes = resolve_length(&grant, &found, request.length_bytes)?;
    let max_bytes = found.length_bytes.unwrap_or(grant.max_bytes) - found.offset_bytes;
    if request.content_length.is_some_and(|length| length > max_bytes) {
        return Err(too_large(found.length_bytes.unwrap_or(grant.max_bytes)));
    }
    if request.content_length.is_none_or(|length| length == max_bytes) {
        // This may be the last piece.
        preview::start_worker_ahead(app, &grant.mime_type);
    }
    let pace = Pace::from_config(&app.config);
    let preempted = lock.preempted();
    let (send, queue) = mpsc::channel(BATCHES);
    let staged = staged(&grant, upload);
    let upload_metadata = Upload {
        grant,
        file_name: None,
        content_type: SentContentType::Unspecified,
        content_length: None,
        sha256: None,
    };
    let piece = Piece::new(app, Writer::new(app, staged, upload_metadata), found, request.checksum);
    let shared = Arc::clone(app);
    // Continues if the client disconnects, and releases its slot and its lock only when it is done.
    let writing = app.tasks.spawn(async move {
        let written = write_and_commit(&shared, staged, piece, queue).await;
        drop((slot, lock));
        written
    });
    // Not part of the request's future, which is dropped with its connection and would lose the
    // bytes received so far.
    let pumping = app.tasks.spawn(async move {
        let body = std::pin::pin!(body.take_until(preempted));
        pump(Paced::new(body, pace, max_bytes), &send).await
    });
    let pumped = pumping.await.map_err(anyhow::Error::from)?;
    let written = writing.await.map_err(anyhow::Error::from)?;
    pumped?;
    written
}

/// Sets the contact of an upload created by an older release, whose row does not name one. Deleting
/// the contact did not end such an upload, so it ends here.
async fn adopt(app: &App, grant: &UploadGrant, found: &mut ResumableUpload) -> Result<()> {
    let (site, contact) = (grant.site_id, grant.contact_id);
    let registered_only = app.config.contacts_policy == ContactsPolicy::Registered;
    if !app.db.accepts_uploads(site, contact, registered_only).await? {
        end(app, staged(grant, found.blob_id), i64::MAX).await?;
        return Err(UploadError::Gone.into());
    }
    found.contact_id = Some(contact);
    Ok(())
}

async fn write_and_commit(
    app: &Arc<App>,
    staged: StagedKey,
    piece: Piece,
    queue: mpsc::Receiver<Message>,
) -> Result<Progress> {
    match blocking(app, move || piece.run(queue)).await? {
        Ok(Outcome::Incomplete(progress)) => Ok(progress),
        Ok(Outcome::Complete(received)) => {
            let committed = commit(app, *received).await;
            if let Err(Error::QuotaExceeded(_) | Error::NotFound { .. }) = committed {
                end(app, staged, i64::MAX).await?;
            }
            Ok(complete(committed?.size_bytes))
        }
        Err(error @ Error::BadUpload { .. }) => {
            // Retrying would not help.
            end(app, staged, i64::MAX).await?;
            Err(error)
        }
        Err(Error::Internal(error)) if is_lost(&error) => {
            tracing::error!(%error, blob = %staged.key.blob, "the store lost acknowledged bytes");
            end(app, staged, i64::MAX).await?;
            Err(UploadError::Gone.into())
        }
        Err(error) => Err(error),
    }
}

/// Whether the store has lost acknowledged bytes, so that the upload cannot be resumed.
fn is_lost(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// Terminates an upload: removes its row and its bytes.
///
/// # Errors
///
/// [`UploadError::Gone`] when there is none, [`UploadError::Complete`] when it is already an
/// attachment.
pub async fn terminate(app: &Arc<App>, grant: &UploadGrant, upload: BlobId) -> Result<()> {
    let _lock = lock(app, upload).await?;
    find(app, grant, upload).await?;
    end(app, staged(grant, upload), i64::MAX).await.map(|_| ())
}

/// The attachment that the upload has become: the last step of the vendor's documented code. Safe
/// to repeat.
///
/// # Errors
///
/// [`UploadError::Unfinished`] when bytes are missing; [`Error::InvalidUploadToken`] when the
/// attachment was deleted.
pub async fn finished(app: &Arc<App>, grant: &UploadGrant) -> Result<Attachment> {
    let (site, id) = (grant.site_id, grant.attachment_id);
    if let Some(attachment) = app.db.attachment(site, id).await? {
        return Ok(attachment);
    }
    if app.db.spent_upload(site, id).await?.is_some() {
        return Err(SPENT);
    }
    let found = app.db.resumable_upload(site, id).await?;
    let offset_bytes = found.as_ref().map_or(0, |found| found.offset_bytes);
    let length_bytes = found.and_then(|found| found.length_bytes);
    Err(UploadError::Unfinished { offset_bytes, length_bytes }.into())
}

/// Ends at most `limit` expired uploads; returns how many.
///
/// # Errors
///
/// When the database or the store fails; completed removals persist.
pub async fn end_expired(app: &Arc<App>, limit: u32) -> Result<usize> {
    let now_ms = app.clock.now_ms();
    let mut ended = 0;
    for expired in app.db.expired_uploads(now_ms, limit).await? {
        let key = BlobKey { site: expired.site_id, blob: expired.blob_id };
        let staged = StagedKey { key, attachment: expired.attachment_id };
        let Some(_lock) = app.upload_locks.acquire(key.blob).await else { continue };
        ended += usize::from(end(app, staged, now_ms).await?);
    }
    Ok(ended)
}

/// Removes the bytes of an upload superseded by another one of the same URL. Runs in the background
/// and preempts a request that still writes to it; if it fails, recovery does it.
pub(super) fn discard(app: &Arc<App>, staged: StagedKey) {
    let shared = Arc::clone(app);
    app.tasks.spawn(async move {
        let Some(_lock) = shared.upload_locks.acquire(staged.key.blob).await else { return };
        if let Err(error) = remove_staged(&shared, staged).await {
            tracing::warn!(?error, "bytes of a superseded upload remain until the next recovery");
        }
    });
}

/// Deletes the row of an upload that expires by `expiring_by_ms`, and its bytes.
async fn end(app: &App, staged: StagedKey, expiring_by_ms: i64) -> Result<bool> {
    let (site, blob) = (staged.key.site, staged.key.blob);
    let ended = app.db.end_upload(site, staged.attachment, blob, expiring_by_ms).await?;
    if ended {
        remove_staged(app, staged).await?;
    }
    Ok(ended)
}

/// Removes bytes without a row, also from their final location, where a failed commit may have put
/// them. The caller holds the lock of a resumable upload.
pub(super) async fn remove_staged(app: &App, staged: StagedKey) -> Result<()> {
    let blobs = Arc::clone(&app.blobs);
    let removed = blocking(app, move || {
        blobs.remove(staged.key)?;
        blobs.settle(staged)
    });
    Ok(removed.await??)
}

async fn lock(app: &Arc<App>, upload: BlobId) -> Result<UploadLock> {
    app.upload_locks.acquire(upload).await.ok_or_else(|| UploadError::Locked.into())
}

/// The upload, if it can be resumed.
async fn find(app: &App, grant: &UploadGrant, upload: BlobId) -> Result<ResumableUpload> {
    let (site, id) = (grant.site_id, grant.attachment_id);
    let found = app.db.resumable_upload(site, id).await?;
    let now_ms = app.clock.now_ms();
    if let Some(found) = found {
        let is_current = found.blob_id == upload && found.expires_at_ms > now_ms;
        return if is_current { Ok(found) } else { Err(UploadError::Gone.into()) };
    }
    match app.db.attachment(site, id).await? {
        Some(attachment) if attachment.blob_id == upload => {
            Err(UploadError::Complete { size_bytes: attachment.size_bytes }.into())
        }
        _ => Err(UploadError::Gone.into()),
    }
}

fn complete(size_bytes: u64) -> Progress {
    Progress { offset_bytes: size_bytes, length_bytes: Some(size_bytes), expires_at_ms: None }
}

fn check_site(app: &App, grant: &UploadGrant) -> Result<()> {
    match app.registry.site(grant.site_id) {
        Some(_) => Ok(()),
        None => Err(Error::InvalidUploadToken { problem: "this upload URL's site was deleted" }),
    }
}

/// The final length: known already, or stated by this request.
fn resolve_length(
    grant: &UploadGrant,
    found: &ResumableUpload,
    stated: Option<u64>,
) -> Result<Option<u64>> {
    let (known, Some(stated)) = (found.length_bytes, stated) else { return Ok(found.length_bytes) };
    if known.is_some_and(|known| known != stated) || stated < found.offset_bytes {
        let problem = "Upload-Length contradicts an earlier one or the bytes received";
        return Err(bad_upload("SIZE_MISMATCH", problem, json!({})));
    }
    check_length(grant, Some(stated))?;
    Ok(Some(stated))
}

/// Checks a size against the upload URL.
fn check_length(grant: &UploadGrant, length_bytes: Option<u64>) -> Result<()> {
    let Some(length) = length_bytes else { return Ok(()) };
    if length == 0 {
        return Err(bad_upload("EMPTY_FILE", "the file is empty", json!({})));
    }
    if length > grant.max_bytes {
        return Err(too_large(grant.max_bytes));
    }
    match grant.size_bytes {
        Some(expected) if expected != length => {
            let data = json!({ "expected": expected, "received": length });
            Err(bad_upload("SIZE_MISMATCH", "the file does not have the declared size", data))
        }
        _ => Ok(()),
    }
}

fn key(grant: &UploadGrant, blob: BlobId) -> BlobKey {
    BlobKey { site: grant.site_id, blob }
}

fn staged(grant: &UploadGrant, blob: BlobId) -> StagedKey {
    StagedKey { key: key(grant, blob), attachment: grant.attachment_id }
}

async fn blocking<T: Send + 'static>(
    app: &App,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    Ok(app.tasks.spawn_blocking(work).await.map_err(anyhow::Error::from)?)
}
