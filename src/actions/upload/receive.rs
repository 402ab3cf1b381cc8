//! Writes a body to disk: counted, hashed, inspected, synced. The async side pumps the body into a
//! short queue and a blocking thread writes it, so that an upload of any size holds a few hundred
//! KiB (R28).

use std::io::{self, Seek as _, SeekFrom};
use std::sync::Arc;

use bytes::Bytes;
use dossier_image::RenderLimits;
use futures_util::Stream;
use serde_json::json;
use sha2::digest::common::hazmat::SerializableState as _;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::pace::Paced;
use super::{Upload, bad_upload};
use crate::app::App;
use crate::blobs::{Blobs, Staged, StagedKey};
use crate::domain::attachment::Attachment;
use crate::domain::hex;
use crate::domain::media_type::{MediaType, media_extension};
use crate::domain::sniff::{self, ContentKind, TypeMismatch};
use crate::error::{Error, Result};

/// Bytes handed to the writing thread at a time.
const BATCH_BYTES: usize = 128 * 1024;
/// Batches queued for the writing thread.
pub(super) const BATCHES: usize = 2;

/// Durable bytes, and the row to commit for them.
pub(super) struct Received {
    /// The staging entry, to be settled after the commit.
    pub(super) staged: StagedKey,
    /// The row, with the time at which the upload began.
    pub(super) attachment: Attachment,
    /// When the upload URL expires, in Unix seconds.
    pub(super) expires_s: u32,
}

/// A message from the pump to the writer.
pub(super) enum Message {
    /// More of the body.
    Bytes(Vec<Bytes>),
    /// The end of a complete body. Without it the writer discards everything.
    End,
}

/// Reads a body only to hash it.
pub(super) async fn hash_only<S>(mut body: Paced<S>) -> Result<[u8; 32]>
where
    S: Stream<Item = Result<Bytes>> + Unpin,
{
    let mut sha256 = Sha256::new();
    while let Some(chunk) = body.next().await? {
        sha256.update(&chunk);
    }
    Ok(sha256.finalize().into())
}

/// Sends the body to the writer in batches. Returns early, without an error, when the writer has
/// stopped.
pub(super) async fn pump<S>(mut body: Paced<S>, send: &mpsc::Sender<Message>) -> Result<()>
where
    S: Stream<Item = Result<Bytes>> + Unpin,
{
    let (mut batch, mut batch_bytes) = (Vec::new(), 0);
    loop {
        let chunk = match body.next().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(error) => {
                // A resumable upload keeps the bytes received so far.
                let _ = send.send(Message::Bytes(batch)).await;
                return Err(error);
            }
        };
        batch_bytes += chunk.len();
        batch.push(chunk);
        if batch_bytes >= BATCH_BYTES {
            batch_bytes = 0;
            if send.send(Message::Bytes(std::mem::take(&mut batch))).await.is_err() {
                return Ok(());
            }
        }
    }
    if send.send(Message::Bytes(batch)).await.is_ok() {
        let _ = send.send(Message::End).await;
    }
    Ok(())
}

/// Writes a body and decides its type.
pub(super) struct Writer {
    blobs: Arc<Blobs>,
    limits: RenderLimits,
    now_ms: i64,
    staged: StagedKey,
    upload: Upload,
}

impl Writer {
    pub(super) fn new(app: &App, staged: StagedKey, upload: Upload) -> Self {
        Self {
            blobs: Arc::clone(&app.blobs),
            limits: app.previews.limits,
            now_ms: app.clock.now_ms(),
            staged,
            upload,
        }
    }

    /// Writes the queued body; `None` when it was abandoned.
    pub(super) fn run(self, mut queue: mpsc::Receiver<Message>) -> Result<Option<Received>> {
        let mut file = self.blobs.stage(self.staged, self.upload.content_length, self.now_ms)?;
        let mut sha256 = Sha256::new();
        loop {
            match queue.blocking_recv() {
                None => return Ok(None),
                Some(Message::End) => break,
                Some(Message::Bytes(batch)) => {
                    for chunk in batch {
                        file.append(&chunk)?;
                        sha256.update(&chunk);
                    }
                }
            }
        }
        self.seal(file, sha256.finalize().into()).map(Some)
    }

    /// The staging entry that is being written.
    pub(super) fn staged(&self) -> StagedKey {
        self.staged
    }

    /// When the upload, or its piece, began, in Unix milliseconds.
    pub(super) fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// Inspects a complete file and makes it durable at its final location.
    pub(super) fn seal(&self, mut file: Staged<'_>, sha256: [u8; 32]) -> Result<Received> {
        let size_bytes = file.len_bytes();
        let attachment = self.examine(file.whole()?, size_bytes, sha256)?;
        let expires_s = self.upload.grant.expires_s;
        Ok(Received { staged: file.seal()?, attachment, expires_s })
    }

    /// Every check that can reject the bytes, before they are made durable.
    fn examine(
        &self,
        file: &mut std::fs::File,
        size_bytes: u64,
        sha256: [u8; 32],
    ) -> Result<Attachment> {
        let (grant, name) = (&self.upload.grant, self.upload.final_name());
        if size_bytes == 0 {
            return Err(bad_upload("EMPTY_FILE", "the file is empty", json!({})));
        }
        if let Some(expected) = grant.size_bytes.filter(|expected| *expected != size_bytes) {
            let data = json!({ "expected": expected, "received": size_bytes });
            return Err(bad_upload(
                "SIZE_MISMATCH",
                "the file does not have the declared size",
                data,
            ));
        }
        for expected in [grant.sha256, self.upload.sha256].into_iter().flatten() {
            if expected != sha256 {
                let data = json!({
                    "expected": hex::encode(&expected),
                    "received": hex::encode(&sha256),
                });
                let problem = "the file does not have the declared SHA-256";
                return Err(bad_upload("CHECKSUM_MISMATCH", problem, data));
            }
        }
        let found = rewind(file).and_then(|file| sniff::sniff(file, size_bytes))?;
        let declared = MediaType::from_stored(grant.mime_type.clone());
        let media_type = sniff::decide(&declared, self.upload.content_type.clone(), name, &found)
            .map_err(|mismatch| type_mismatch(&mismatch))?;
        let header =
            if media_type.is_image() { dossier_image::read_header(rewind(file)?) } else { None };
        let has_preview = match &header {
            Some(header) => dossier_image::can_preview(header, size_bytes, &self.limits),
            None if found == ContentKind::Pdf => {
                dossier_image::can_preview_document(rewind(file)?, size_bytes, &self.limits)
            }
            None => false,
        };
        let (width, height) = header.map_or((0, 0), |header| (header.width, header.height));
        Ok(Attachment {
            site_id: grant.site_id,
            contact_id: grant.contact_id,
            id: grant.attachment_id,
            created_at_ms: self.now_ms,
            file_name: name.to_owned(),
            media_extension: media_extension(&media_type, name),
            mime_type: media_type.as_str().to_owned(),
            size_bytes,
            sha256,
            blob_id: self.staged.key.blob,
            width,
            height,
            has_preview,
        })
    }
}

/// The SHA-256 state from which an upload resumes, also after a restart.
pub(super) fn hash_state(sha256: &Sha256) -> Vec<u8> {
    sha256.serialize().to_vec()
}

/// The state of an empty upload.
pub(super) fn initial_hash_state() -> Vec<u8> {
    hash_state(&Sha256::new())
}

/// Restores a SHA-256 from its stored state.
pub(super) fn restore_hash(state: &[u8]) -> Result<Sha256> {
    let state = state.try_into().ok().and_then(|state| Sha256::deserialize(&state).ok());
    state.ok_or_else(|| Error::Internal(anyhow::anyhow!("a stored SHA-256 state is invalid")))
}

fn rewind(file: &mut std::fs::File) -> io::Result<&mut std::fs::File> {
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

fn type_mismatch(mismatch: &TypeMismatch) -> Error {
    bad_upload("MIME_TYPE_MISMATCH", mismatch.to_string(), json!({}))
}
