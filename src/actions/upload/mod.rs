//! Takes the bytes of an upload URL and makes the attachment (design §4): bytes durable
//! first, then one short transaction, then the answer. Whatever fails before that leaves
//! nothing visible, and nothing at all after the next recovery.

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
use crate::db::{Commit, Standing};
use crate::domain::attachment::Attachment;
use crate::domain::file_name::FileName;
use crate::domain::ids::{BlobId, ContactId, SiteId};
use crate::domain::signing::UploadGrant;
use crate::domain::sniff::Sent;
use crate::error::{Error, Result};

/// A used upload URL is remembered this much longer than it could be used, for uploads that
/// began in time and end late.
const SPENT_MARGIN_MS: i64 = 24 * 60 * 60 * 1_000;

/// Said of a URL whose attachment was made and deleted since.
const SPENT: Error = Error::InvalidUploadToken { problem: "this upload URL was already used" };

/// Said when every place is taken.
const BUSY: Error = Error::Busy { retry_after_seconds: 1 };

/// What an upload request says about its body.
#[derive(Debug)]
pub struct Upload {
    /// What the URL allows.
    pub grant: UploadGrant,
    /// The name in the query, which wins over the grant's (contract §16).
    pub file_name: Option<FileName>,
    /// The request's content type.
    pub sent: Sent,
    /// The announced size.
    pub content_length: Option<u64>,
    /// The announced SHA-256 (`Content-Digest`, RFC 9530).
    pub sha256: Option<[u8; 32]>,
}

impl Upload {
    /// The name that the attachment will have.
    fn final_name(&self) -> &str {
        self.file_name.as_ref().map_or(&self.grant.file_name, FileName::as_str)
    }
}

/// Takes the body and makes the attachment. The same bytes sent again to the same URL get the
/// same answer, so a lost answer is safe to retry (R17). An error that the body yields is the
/// upload's.
///
/// # Errors
///
/// All of them leave nothing behind: see [`Error`] for which body is refused how.
pub async fn upload<S>(app: &Arc<App>, upload: Upload, body: S) -> Result<Attachment>
where
    S: Stream<Item = Result<Bytes>> + Unpin,
{
    let place = app.upload_places.take(upload.grant.key_id).ok_or(BUSY)?;
    let grant = &upload.grant;
    if app.registry.site(grant.site_id).is_none() {
        return Err(Error::InvalidUploadToken { problem: "this upload URL's site is gone" });
    }
    let announced = upload.content_length.unwrap_or(0);
    if announced > grant.max_bytes {
        return Err(too_large(grant.max_bytes));
    }
    preview::expect(app, &grant.mime_type);
    let body = Paced::new(body, Pace::of(&app.config), grant.max_bytes);
    match app.db.spent_upload(grant.site_id, grant.attachment_id).await? {
        Some(None) => return Err(SPENT),
        Some(Some(existing)) => {
            let sha256 = hash_only(body).await?;
            return repeated(existing, sha256);
        }
        None => {}
    }
    // Before the bytes are sent in vain; what counts is the check of the commit.
    check_contact(app, grant.site_id, grant.contact_id, announced).await?;
    let staged = StagedKey {
        key: BlobKey { site: grant.site_id, blob: BlobId(uuid::Uuid::new_v4()) },
        attachment: grant.attachment_id,
    };
    let (send, queue) = mpsc::channel(BATCHES);
    // A task of its own: once the body is whole, the work goes on when the client has gone.
    let writer = Writer::new(app, staged, upload);
    let shared = Arc::clone(app);
    let keeping = app.tasks.spawn(async move {
        let kept = keep(shared, writer, queue).await;
        drop(place);
        kept
    });
    let pumped = pump(body, &send).await;
    drop(send);
    // Awaited in any case, so that nothing is left when a refusal is answered.
    let kept = keeping.await.map_err(anyhow::Error::from)?;
    pumped?;
    kept?.ok_or_else(|| Error::Internal(anyhow::anyhow!("the writer stopped early")))
}

/// Writes what comes through the queue and commits it; `None` when the body was given up.
async fn keep(
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

/// The same bytes again are the same answer; others are a conflict.
fn repeated(existing: Attachment, sha256: [u8; 32]) -> Result<Attachment> {
    if existing.sha256 == sha256 { Ok(existing) } else { Err(Error::AlreadyUploaded) }
}

async fn commit(app: &Arc<App>, received: Received) -> Result<Attachment> {
    let Received { staged, attachment, expires_s } = received;
    let sha256 = attachment.sha256;
    let spent_until_ms = i64::from(expires_s) * 1_000 + SPENT_MARGIN_MS;
    let quotas = app.quotas(attachment.site_id);
    let commit = match app.db.commit_upload(attachment, spent_until_ms, quotas).await {
        Ok(commit) => commit,
        Err(error @ (Error::OverQuota(_) | Error::NotFound { .. })) => {
            remove(app, staged).await?;
            return Err(error);
        }
        Err(error) => {
            // It is not known whether the commit went through: recovery will look.
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
        // Another request with the same URL was faster.
        Commit::Existing(existing) => {
            remove(app, staged).await?;
            repeated(existing, sha256)
        }
        Commit::Spent => {
            remove(app, staged).await?;
            Err(SPENT)
        }
    }
}

/// Whether a contact may have attachments, and hold one more of so many bytes, as far as that is
/// known.
///
/// # Errors
///
/// [`Error::NotFound`] when the contact is gone, or was never announced where only such may have
/// any; [`Error::OverQuota`].
pub async fn check_contact(
    app: &App,
    site: SiteId,
    contact: ContactId,
    size_bytes: u64,
) -> Result<()> {
    let only_announced = app.config.contacts_policy == ContactsPolicy::Registered;
    if !app.db.may_receive(site, contact, only_announced).await? {
        return Err(Error::no_contact(contact));
    }
    check_quota(app, site, contact, size_bytes).await
}

/// Whether a site and a contact may hold one more file of so many bytes, as far as that is known.
///
/// # Errors
///
/// [`Error::OverQuota`].
async fn check_quota(app: &App, site: SiteId, contact: ContactId, size_bytes: u64) -> Result<()> {
    let quotas = app.quotas(site);
    if !quotas.any() {
        return Ok(());
    }
    let (of_site, of_contact) = app.db.usage(site, contact).await?;
    // No file is empty.
    Ok(quotas.allow(of_site, of_contact, size_bytes.max(1))?)
}

/// Removes bytes that became no attachment here. Another node, which went on with the same resumable
/// upload, may have made it of them: then they stay.
async fn remove(app: &App, staged: StagedKey) -> Result<()> {
    let (site, blob) = (staged.key.site, staged.key.blob);
    if app.db.standing(site, staged.attachment, blob).await? != Standing::Attached {
        return resumable::remove_staged(app, staged).await;
    }
    let blobs = Arc::clone(&app.blobs);
    let settled = app.tasks.spawn_blocking(move || blobs.settle(staged));
    Ok(settled.await.map_err(anyhow::Error::from)??)
}

fn log_failure(settled: std::io::Result<()>) {
    if let Err(error) = settled {
        tracing::warn!(%error, "a staging name stays until the next recovery");
    }
}

fn too_large(limit_bytes: u64) -> Error {
    Error::TooLarge { code: "FILE_TOO_LARGE", limit_bytes }
}

fn bad_upload(code: &'static str, problem: impl Into<String>, data: serde_json::Value) -> Error {
    Error::BadUpload { code, problem: problem.into(), data }
}
