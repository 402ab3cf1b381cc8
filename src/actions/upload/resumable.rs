//! Resumable uploads (contract §9): begun, gone on with, ended. Each piece is durable before it
//! is acknowledged; the last one ends in the same commit as a PUT. An offset that is written
//! down is always less than the length, so that nobody is told "done" before that commit.

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
use crate::db::{Begun, Standing, UploadInFlight};
use crate::domain::attachment::Attachment;
use crate::domain::ids::BlobId;
use crate::domain::signing::UploadGrant;
use crate::domain::sniff::Sent;
use crate::domain::tus::Checksum;
use crate::error::{Error, Result, UploadRefused};
use crate::turns::Turn;

/// An upload that nobody goes on with ends after seven days, as the vendor's do (contract §9).
pub(super) const LIFE_MS: i64 = 7 * 24 * 60 * 60 * 1_000;

/// How far an upload has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are durable.
    pub offset_bytes: u64,
    /// The whole size, once it is known.
    pub length_bytes: Option<u64>,
    /// Until when it can be gone on with; `None` when it is complete.
    pub expires_at_ms: Option<i64>,
}

/// A piece as its request describes it.
#[derive(Debug, Clone, Default)]
pub struct PieceRequest {
    /// Where it begins.
    pub offset_bytes: u64,
    /// The whole size, from a client that did not know it before.
    pub length_bytes: Option<u64>,
    /// The piece's checksum.
    pub checksum: Option<Checksum>,
    /// Its announced size.
    pub content_length: Option<u64>,
}

/// Begins an upload; one that was begun before with the same upload URL is ended. Returns the id
/// that it is gone on with, and until when.
///
/// # Errors
///
/// When the upload URL was used, or does not allow this size.
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
    let expires_at_ms = now_ms + LIFE_MS;
    let begun = app.db.begin_upload(UploadInFlight {
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
    let begun = begun.await;
    // From here on its row speaks for it; a file without one goes with the next recovery.
    app.blobs.abandon(staged);
    match begun? {
        Begun::Spent => {
            remove_staged(app, staged).await?;
            Err(SPENT)
        }
        Begun::New(replaced) => {
            // Who still writes to it finds its row gone; who does not leave is left to the next
            // recovery.
            if let Some(replaced) = replaced
                && let Some(_turn) = app.turns.take(replaced).await
                && app.db.standing(grant.site_id, grant.attachment_id, replaced).await?
                    == Standing::Unknown
            {
                remove_staged(app, StagedKey { key: key(grant, replaced), ..staged }).await?;
            }
            Ok((staged.key.blob, expires_at_ms))
        }
    }
}

/// How far an upload has come. A request that is adding to it is sent away first, so that the
/// answer stays true.
///
/// # Errors
///
/// [`UploadRefused::Gone`] when it was ended, replaced, or has expired.
pub async fn progress(app: &Arc<App>, grant: &UploadGrant, upload: BlobId) -> Result<Progress> {
    let _turn = turn(app, upload).await?;
    match find(app, grant, upload).await {
        Ok(found) => Ok(Progress {
            offset_bytes: found.offset_bytes,
            length_bytes: found.length_bytes,
            expires_at_ms: Some(found.expires_at_ms),
        }),
        Err(Error::Upload(UploadRefused::Complete { size_bytes })) => Ok(complete(size_bytes)),
        Err(error) => Err(error),
    }
}

/// Adds a piece. What arrives of it is kept also when the client is cut off, unless it came with
/// a checksum. The last piece makes the attachment.
///
/// # Errors
///
/// See [`UploadRefused`]; when the whole file is refused as by a PUT, the upload is ended.
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
    let place = app.upload_places.take(grant.key_id).ok_or(BUSY)?;
    let turn = turn(app, upload).await?;
    let mut found = find(app, &grant, upload).await?;
    if request.offset_bytes != found.offset_bytes {
        return Err(UploadRefused::Offset { offset_bytes: found.offset_bytes }.into());
    }
    if found.contact_id.is_none() {
        adopt(app, &grant, &mut found).await?;
    }
    found.length_bytes = joined_length(&grant, &found, request.length_bytes)?;
    let most = found.length_bytes.unwrap_or(grant.max_bytes) - found.offset_bytes;
    if request.content_length.is_some_and(|length| length > most) {
        return Err(too_large(found.length_bytes.unwrap_or(grant.max_bytes)));
    }
    if request.content_length.is_none_or(|length| length == most) {
        // It may be the last piece.
        preview::expect(app, &grant.mime_type);
    }
    let pace = Pace::of(&app.config);
    let wanted = turn.wanted();
    let (send, queue) = mpsc::channel(BATCHES);
    let staged = staged(&grant, upload);
    let whole = Upload {
        grant,
        file_name: None,
        sent: Sent::Unspecified,
        content_length: None,
        sha256: None,
    };
    let piece = Piece::new(app, Writer::new(app, staged, whole), found, request.checksum);
    let shared = Arc::clone(app);
    // Goes on without its client, and gives its place and its turn back only when it is done.
    let keeping = app.tasks.spawn(async move {
        let kept = keep(&shared, staged, piece, queue).await;
        drop((place, turn));
        kept
    });
    // Not in the request's own future, which is dropped with its connection, and with it what had
    // arrived.
    let pumping = app.tasks.spawn(async move {
        let body = std::pin::pin!(body.take_until(wanted));
        pump(Paced::new(body, pace, most), &send).await
    });
    let pumped = pumping.await.map_err(anyhow::Error::from)?;
    let kept = keeping.await.map_err(anyhow::Error::from)?;
    pumped?;
    kept
}

/// Learns whose an upload is that an older release began, whose row does not say so: it did not end with
/// its contact, so it ends here.
async fn adopt(app: &App, grant: &UploadGrant, found: &mut UploadInFlight) -> Result<()> {
    let (site, contact) = (grant.site_id, grant.contact_id);
    let only_announced = app.config.contacts_policy == ContactsPolicy::Registered;
    if !app.db.may_receive(site, contact, only_announced).await? {
        end(app, staged(grant, found.blob_id), i64::MAX).await?;
        return Err(UploadRefused::Gone.into());
    }
    found.contact_id = Some(contact);
    Ok(())
}

async fn keep(
    app: &Arc<App>,
    staged: StagedKey,
    piece: Piece,
    queue: mpsc::Receiver<Message>,
) -> Result<Progress> {
    match blocking(app, move || piece.run(queue)).await? {
        Ok(Outcome::More(progress)) => Ok(progress),
        Ok(Outcome::Whole(received)) => {
            let committed = commit(app, *received).await;
            if let Err(Error::OverQuota(_) | Error::NotFound { .. }) = committed {
                end(app, staged, i64::MAX).await?;
            }
            Ok(complete(committed?.size_bytes))
        }
        Err(error @ Error::BadUpload { .. }) => {
            // Sending it again would not help.
            end(app, staged, i64::MAX).await?;
            Err(error)
        }
        Err(Error::Internal(error)) if is_lost(&error) => {
            tracing::error!(%error, blob = %staged.key.blob, "the store has lost an upload in pieces");
            end(app, staged, i64::MAX).await?;
            Err(UploadRefused::Gone.into())
        }
        Err(error) => Err(error),
    }
}

/// Whether the store does not have what was acknowledged, so that nobody can go on from there.
fn is_lost(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// Ends an upload: its row and its bytes go.
///
/// # Errors
///
/// [`UploadRefused::Gone`] when there is none, [`UploadRefused::Complete`] when it is an
/// attachment already.
pub async fn terminate(app: &Arc<App>, grant: &UploadGrant, upload: BlobId) -> Result<()> {
    let _turn = turn(app, upload).await?;
    find(app, grant, upload).await?;
    end(app, staged(grant, upload), i64::MAX).await.map(|_| ())
}

/// What the last step of the vendor's documented code asks for: the attachment that the upload
/// has become. Repeating it is safe.
///
/// # Errors
///
/// [`UploadRefused::Unfinished`] when there is more to come; [`Error::InvalidUploadToken`] when
/// the attachment was deleted.
pub async fn finished(app: &Arc<App>, grant: &UploadGrant) -> Result<Attachment> {
    let (site, id) = (grant.site_id, grant.attachment_id);
    if let Some(attachment) = app.db.attachment(site, id).await? {
        return Ok(attachment);
    }
    if app.db.spent_upload(site, id).await?.is_some() {
        return Err(SPENT);
    }
    let found = app.db.upload_in_flight(site, id).await?;
    let offset_bytes = found.as_ref().map_or(0, |found| found.offset_bytes);
    let length_bytes = found.and_then(|found| found.length_bytes);
    Err(UploadRefused::Unfinished { offset_bytes, length_bytes }.into())
}

/// Ends uploads that nobody has gone on with in time, at most `limit`; returns how many.
///
/// # Errors
///
/// When the database or the store fails; what was done stays done.
pub async fn end_expired(app: &Arc<App>, limit: u32) -> Result<usize> {
    let now_ms = app.clock.now_ms();
    let mut ended = 0;
    for expired in app.db.expired_uploads(now_ms, limit).await? {
        let key = BlobKey { site: expired.site_id, blob: expired.blob_id };
        let staged = StagedKey { key, attachment: expired.attachment_id };
        let Some(_turn) = app.turns.take(key.blob).await else { continue };
        ended += usize::from(end(app, staged, now_ms).await?);
    }
    Ok(ended)
}

/// Removes the bytes of an upload that another one of the same URL has made needless. Whoever still
/// works on it is sent away, without anyone waiting for that; should it fail, recovery does it.
pub(super) fn discard(app: &Arc<App>, staged: StagedKey) {
    let shared = Arc::clone(app);
    app.tasks.spawn(async move {
        let Some(_turn) = shared.turns.take(staged.key.blob).await else { return };
        if let Err(error) = remove_staged(&shared, staged).await {
            tracing::warn!(?error, "bytes of an upload stay until the next recovery");
        }
    });
}

/// Forgets an upload that expires by then, and removes its bytes.
async fn end(app: &App, staged: StagedKey, expiring_by_ms: i64) -> Result<bool> {
    let (site, blob) = (staged.key.site, staged.key.blob);
    let ended = app.db.end_upload(site, staged.attachment, blob, expiring_by_ms).await?;
    if ended {
        remove_staged(app, staged).await?;
    }
    Ok(ended)
}

/// Removes what no row names, also where a commit that failed had put it. The caller of a resumable
/// upload has its turn.
pub(super) async fn remove_staged(app: &App, staged: StagedKey) -> Result<()> {
    let blobs = Arc::clone(&app.blobs);
    let removed = blocking(app, move || {
        blobs.remove(staged.key)?;
        blobs.settle(staged)
    });
    Ok(removed.await??)
}

async fn turn(app: &Arc<App>, upload: BlobId) -> Result<Turn> {
    app.turns.take(upload).await.ok_or_else(|| UploadRefused::Locked.into())
}

/// The upload, if it can be gone on with.
async fn find(app: &App, grant: &UploadGrant, upload: BlobId) -> Result<UploadInFlight> {
    let (site, id) = (grant.site_id, grant.attachment_id);
    let found = app.db.upload_in_flight(site, id).await?;
    let now_ms = app.clock.now_ms();
    if let Some(found) = found {
        let is_it = found.blob_id == upload && found.expires_at_ms > now_ms;
        return if is_it { Ok(found) } else { Err(UploadRefused::Gone.into()) };
    }
    match app.db.attachment(site, id).await? {
        Some(attachment) if attachment.blob_id == upload => {
            Err(UploadRefused::Complete { size_bytes: attachment.size_bytes }.into())
        }
        _ => Err(UploadRefused::Gone.into()),
    }
}

fn complete(size_bytes: u64) -> Progress {
    Progress { offset_bytes: size_bytes, length_bytes: Some(size_bytes), expires_at_ms: None }
}

fn check_site(app: &App, grant: &UploadGrant) -> Result<()> {
    match app.registry.site(grant.site_id) {
        Some(_) => Ok(()),
        None => Err(Error::InvalidUploadToken { problem: "this upload URL's site is gone" }),
    }
}

/// The length once it is known for good.
fn joined_length(
    grant: &UploadGrant,
    found: &UploadInFlight,
    said: Option<u64>,
) -> Result<Option<u64>> {
    let (known, Some(said)) = (found.length_bytes, said) else { return Ok(found.length_bytes) };
    if known.is_some_and(|known| known != said) || said < found.offset_bytes {
        let problem = "Upload-Length does not fit what was said and sent before";
        return Err(bad_upload("SIZE_MISMATCH", problem, json!({})));
    }
    check_length(grant, Some(said))?;
    Ok(Some(said))
}

/// What the upload URL says about the size.
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
            Err(bad_upload("SIZE_MISMATCH", "the file does not have the announced size", data))
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
