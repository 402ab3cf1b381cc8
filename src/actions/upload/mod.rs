//! Receives the body of an upload URL and creates the attachment (contract §8): bytes are made
//! durable first, then one short transaction commits the row, then the response is sent. A failure
//! before the commit leaves nothing visible, and nothing at all after the next recovery.

mod pace;
mod piece;
mod receive;
pub mod resumable;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::mpsc;

use self::pace::{Pace, Paced};
use self::receive::{BATCHES, Message, Received, Writer, hash_only, pump};
use super::preview;
use crate::app::App;
use crate::blobs::{BlobKey, StagedKey};
use crate::config::ContactsPolicy;
use crate::db::{BlobOwner, Commit};
use crate::domain::attachment::Attachment;
use crate::domain::file_name::FileName;
use crate::domain::ids::{BlobId, ContactId, SiteId};
use crate::domain::signing::UploadGrant;
use crate::domain::sniff::SentContentType;
use crate::error::{Error, Result};

/// A used upload URL is remembered for this long after it expires, because an upload may begin in
/// time and end late.
const SPENT_MARGIN_MS: i64 = 24 * 60 * 60 * 1_000;

/// For a URL whose attachment was created and has since been deleted.
const SPENT: Error = Error::InvalidUploadToken { problem: "this upload URL was already used" };

/// Returned when all upload slots are in use.
const BUSY: Error = Error::Busy { retry_after_seconds: 1 };

/// The metadata of an upload request.
#[derive(Debug)]
pub struct Upload {
    /// What the URL grants.
    pub grant: UploadGrant,
    /// The name in the query; it overrides the grant's (contract §16).
    pub file_name: Option<FileName>,
    /// The request's content type.
    pub content_type: SentContentType,
    /// The declared size.
    pub content_length: Option<u64>,
    /// The declared SHA-256 (`Content-Digest`, RFC 9530).
    pub sha256: Option<[u8; 32]>,
}

impl Upload {
    /// The attachment's final name.
    fn final_name(&self) -> &str {
        self.file_name.as_ref().map_or(&self.grant.file_name, FileName::as_str)
    }
}

/// Receives the body and creates the attachment. Sending the same bytes to the same URL again
/// returns the same attachment, so an upload whose response was lost is safe to retry (R17). An
/// error from the body stream is returned as is.
///
/// # Errors
///
/// See [`Error`] for which body is rejected how. No error leaves anything stored.
pub async fn upload<S>(app: &Arc<App>, upload: Upload, body: S) -> Result<Attachment>
where
    S: Stream<Item = Result<Bytes>> + Unpin,
{
    let slot = app.upload_slots.acquire(upload.grant.key_id).ok_or(BUSY)?;
    let grant = &upload.grant;
    if app.registry.site(grant.site_id).is_none() {
        return Err(Error::InvalidUploadToken { problem: "this upload URL's site was deleted" });
    }
    let declared = upload.content_length.unwrap_or(0);
    if declared > grant.max_bytes {
        return Err(too_large(grant.max_bytes));
    }
    preview::start_worker_ahead(app, &grant.mime_type);
    let body = Paced::new(body, Pace::from_config(&app.config), grant.max_bytes);
    match app.db.spent_upload(grant.site_id, grant.attachment_id).await? {
        Some(None) => return Err(SPENT),
        Some(Some(existing)) => {
            let sha256 = hash_only(body).await?;
            return existing_or_conflict(existing, sha256);
        }
        None => {}
    }
    // Fails early, before the client sends bytes in vain. The check in the commit is authoritative.
    check_contact(app, grant.site_id, grant.contact_id, declared).await?;
    let staged = StagedKey {
        key: BlobKey { site: grant.site_id, blob: BlobId(uuid::Uuid::new_v4()) },
        attachment: grant.attachment_id,
    };
    let (send, queue) = mpsc::channel(BATCHES);
    // A separate task: once the body is complete, the work continues even if the client
    // disconnects.
    let writer = Writer::new(app, staged, upload);
    let shared = Arc::clone(app);
    let writing = app.tasks.spawn(async move {
        let committed = write_and_commit(shared, writer, queue).await;
        drop(slot);
        committed
    });
    let pumped = pump(body, &send).await;
    drop(send);
    // Always awaited, so that nothing is stored when an error response is sent.
    let committed = writing.await.map_err(anyhow::Error::from)?;
    pumped?;
    committed?.ok_or_else(|| {
        Error::Internal(anyhow::anyhow!("the writer stopped before the end of the body"))
    })
}

/// Writes the queued body and commits it; `None` when the body was abandoned.
async fn write_and_commit(
    app: Arc<App>,
    writer: Writer,
    queue: mpsc::Receiver<Message>,
) -> Result<Option<Attachment>> {
    let written = app.tasks.spawn_blocking(move || writer.run(queue)).await;
    match written.map_err(anyhow::Error::from)?? {
        Some(received) => commit(&app, received).await.map(Some),
        None => Ok(None),
    }
}

/// The same bytes again return the existing attachment; other bytes are a conflict.
fn existing_or_conflict(existing: Attachment, sha256: [u8; 32]) -> Result<Attachment> {
    if existing.sha256 == sha256 { Ok(existing) } else { Err(Error::AlreadyUploaded) }
}

async fn commit(app: &Arc<App>, received: Received) -> Result<Attachment> {
    let Received { staged, attachment, expires_s } = received;
    let sha256 = attachment.sha256;
    let spent_until_ms = i64::from(expires_s) * 1_000 + SPENT_MARGIN_MS;
    let quotas = app.quotas(attachment.site_id);
    let commit = match app.db.commit_upload(attachment, spent_until_ms, quotas).await {
        Ok(commit) => commit,
        Err(error @ (Error::QuotaExceeded(_) | Error::NotFound { .. })) => {
            remove(app, staged).await?;
            return Err(error);
        }
        Err(error) => {
            // It is unknown whether the commit succeeded: recovery will find out.
            app.blobs.abandon(staged);
            return Err(error);
        }
    };
    let blobs = Arc::clone(&app.blobs);
    match commit {
        Commit::Created(attachment, superseded) => {
            app.metrics.uploads.inc();
            app.metrics.upload_bytes.inc_by(attachment.size_bytes);
            app.tasks.spawn_blocking(move || log_failure(blobs.settle(staged)));
            if let Some(blob) = superseded {
                let key = BlobKey { blob, ..staged.key };
                resumable::discard(app, StagedKey { key, ..staged });
            }
            preview::warm(app, attachment.clone());
            Ok(attachment)
        }
        // Another request with the same URL committed first.
        Commit::Existing(existing) => {
            remove(app, staged).await?;
            existing_or_conflict(existing, sha256)
        }
        Commit::Spent => {
            remove(app, staged).await?;
            Err(SPENT)
        }
    }
}

/// Checks whether a contact accepts uploads and has quota for `size_bytes` more. Advisory: the
/// commit checks again.
///
/// # Errors
///
/// [`Error::NotFound`] when the contact was deleted, or is not registered and the policy requires
/// it; [`Error::QuotaExceeded`].
pub async fn check_contact(
    app: &App,
    site: SiteId,
    contact: ContactId,
    size_bytes: u64,
) -> Result<()> {
    let registered_only = app.config.contacts_policy == ContactsPolicy::Registered;
    if !app.db.accepts_uploads(site, contact, registered_only).await? {
        return Err(Error::no_contact(contact));
    }
    check_quota(app, site, contact, size_bytes).await
}

/// Checks whether a site and a contact have quota for one more file of `size_bytes`. Advisory: the
/// commit checks again.
///
/// # Errors
///
/// [`Error::QuotaExceeded`].
async fn check_quota(app: &App, site: SiteId, contact: ContactId, size_bytes: u64) -> Result<()> {
    let quotas = app.quotas(site);
    if !quotas.is_limited() {
        return Ok(());
    }
    let (site_usage, contact_usage) = app.db.usage(site, contact).await?;
    // No file is empty, so an unknown size counts as at least one byte.
    Ok(quotas.check(site_usage, contact_usage, size_bytes.max(1))?)
}

/// Removes bytes that did not become an attachment here. They stay if another node, which resumed
/// the same upload, committed them.
async fn remove(app: &App, staged: StagedKey) -> Result<()> {
    let (site, blob) = (staged.key.site, staged.key.blob);
    if app.db.blob_owner(site, staged.attachment, blob).await? != BlobOwner::Attached {
        return resumable::remove_staged(app, staged).await;
    }
    let blobs = Arc::clone(&app.blobs);
    let settled = app.tasks.spawn_blocking(move || blobs.settle(staged));
    Ok(settled.await.map_err(anyhow::Error::from)??)
}

fn log_failure(settled: std::io::Result<()>) {
    if let Err(error) = settled {
        tracing::warn!(%error, "a staging entry remains until the next recovery");
    }
}

fn too_large(limit_bytes: u64) -> Error {
    Error::TooLarge { code: "FILE_TOO_LARGE", limit_bytes }
}

fn bad_upload(code: &'static str, problem: impl Into<String>, data: serde_json::Value) -> Error {
    Error::BadUpload { code, problem: problem.into(), data }
}
