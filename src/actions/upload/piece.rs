//! Writes one piece of a resumable upload on a blocking thread: appended, hashed, and saved at
//! checkpoints. A checkpoint syncs in the background while more bytes arrive, so a crash loses at
//! most twice [`CHECKPOINT_BYTES`].

use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::receive::{Message, Received, Writer, hash_state, restore_hash};
use super::resumable::{EXPIRY_MS, Progress};
use crate::app::App;
use crate::blobs::{ResumePoint, Staged};
use crate::db::ResumableUpload;
use crate::domain::tus::{Checksum, Verifier};
use crate::error::{Error, Result, UploadError};

/// Bytes after which a running piece is synced and its offset saved.
const CHECKPOINT_BYTES: u64 = 64 << 20;

/// The outcome of a piece.
pub(super) enum Outcome {
    /// Bytes are still missing.
    Incomplete(Progress),
    /// It was the last piece; the file is durable at its final location.
    Complete(Box<Received>),
}

/// A piece that is being written.
pub(super) struct Piece {
    app: Arc<App>,
    runtime: Handle,
    writer: Writer,
    upload: ResumableUpload,
    verifier: Option<Verifier>,
    /// The offset at which the last checkpoint started.
    checkpoint_offset: u64,
    /// A checkpoint that may not be saved yet.
    checkpoint: Option<Checkpoint>,
}

/// A checkpoint in progress. `saved` yields false when the row has changed and nothing was saved.
struct Checkpoint {
    upload: ResumableUpload,
    saved: JoinHandle<Result<bool>>,
}

impl Piece {
    /// `upload` is the stored state, with the length as known now.
    pub(super) fn new(
        app: &Arc<App>,
        writer: Writer,
        upload: ResumableUpload,
        checksum: Option<Checksum>,
    ) -> Self {
        let verifier = checksum.map(|checksum| checksum.verifier());
        let (runtime, checkpoint_offset) = (Handle::current(), upload.offset_bytes);
        let app = Arc::clone(app);
        Self { app, runtime, writer, upload, verifier, checkpoint_offset, checkpoint: None }
    }

    /// Writes the queued piece.
    pub(super) fn run(mut self, queue: mpsc::Receiver<Message>) -> Result<Outcome> {
        let outcome = self.write(queue);
        // Also after a failure: no checkpoint of this piece may run once another piece can begin.
        let awaited = self.await_checkpoint();
        outcome.and_then(|outcome| awaited.map(|()| outcome))
    }

    fn write(&mut self, mut queue: mpsc::Receiver<Message>) -> Result<Outcome> {
        let blobs = Arc::clone(&self.app.blobs);
        let (staged, now_ms) = (self.writer.staged(), self.writer.now_ms());
        let mut sha256 = restore_hash(&self.upload.hash_state)?;
        let resume_point = resume_point(self.upload.offset_bytes, &sha256);
        let mut file = blobs.resume(staged, &resume_point, now_ms)?;
        let mut is_complete_piece = false;
        while let Some(message) = queue.blocking_recv() {
            let Message::Bytes(batch) = message else {
                is_complete_piece = true;
                break;
            };
            for chunk in batch {
                file.append(&chunk)?;
                sha256.update(&chunk);
                if let Some(verifier) = &mut self.verifier {
                    verifier.update(&chunk);
                }
            }
            let uncheckpointed_bytes = file.len_bytes() - self.checkpoint_offset;
            let is_last = Some(file.len_bytes()) == self.upload.length_bytes;
            if uncheckpointed_bytes >= CHECKPOINT_BYTES && !is_last && self.verifier.is_none() {
                self.checkpoint_in_background(&mut file, &sha256)?;
            }
        }
        self.await_checkpoint()?;
        let verifier = self.verifier.take();
        if verifier.is_some_and(|verifier| !is_complete_piece || !verifier.matches_expected()) {
            file.truncate(self.upload.offset_bytes)?;
            return Err(UploadError::Checksum.into());
        }
        let is_last = Some(file.len_bytes()) == self.upload.length_bytes;
        if is_last && !is_complete_piece {
            // Its body continued past the end of the file, or broke there. It is not saved, so that
            // the client sends the last piece again.
            file.truncate(self.upload.offset_bytes)?;
            return Ok(Outcome::Incomplete(self.progress()));
        }
        if !is_last {
            self.save_checkpoint(&mut file, &sha256)?;
            return Ok(Outcome::Incomplete(self.progress()));
        }
        let sha256 = sha256.finalize().into();
        if blobs.is_shared() {
            self.claim_placement(sha256)?;
        }
        let received = self.writer.seal(file, sha256)?;
        Ok(Outcome::Complete(Box::new(received)))
    }

    fn progress(&self) -> Progress {
        Progress {
            offset_bytes: self.upload.offset_bytes,
            length_bytes: self.upload.length_bytes,
            expires_at_ms: Some(self.upload.expires_at_ms),
        }
    }

    /// Makes the received bytes durable, then saves the offset.
    fn save_checkpoint(&mut self, file: &mut Staged<'_>, sha256: &Sha256) -> Result<()> {
        file.sync(&resume_point(file.len_bytes(), sha256))?;
        let upload = self.current_state(file, sha256);
        let saved = self.save(upload.clone());
        let is_saved = self.runtime.block_on(saved)?;
        self.apply(upload, is_saved)
    }

    /// Starts a checkpoint in the background, once the previous one is saved.
    fn checkpoint_in_background(&mut self, file: &mut Staged<'_>, sha256: &Sha256) -> Result<()> {
        self.await_checkpoint()?;
        self.checkpoint_offset = file.len_bytes();
        let Some(sync) = file.deferred_sync()? else { return self.save_checkpoint(file, sha256) };
        let upload = self.current_state(file, sha256);
        let save = self.save(upload.clone());
        let synced = self.app.tasks.spawn_blocking(sync);
        let saved = self.app.tasks.spawn(async move {
            synced.await.map_err(anyhow::Error::from)??;
            save.await
        });
        self.checkpoint = Some(Checkpoint { upload, saved });
        Ok(())
    }

    /// Waits until the checkpoint in progress is saved.
    fn await_checkpoint(&mut self) -> Result<()> {
        let Some(Checkpoint { upload, saved }) = self.checkpoint.take() else { return Ok(()) };
        let is_saved = self.runtime.block_on(saved).map_err(anyhow::Error::from)??;
        self.apply(upload, is_saved)
    }

    /// The upload's state with all bytes received so far.
    fn current_state(&self, file: &Staged<'_>, sha256: &Sha256) -> ResumableUpload {
        ResumableUpload {
            offset_bytes: file.len_bytes(),
            hash_state: hash_state(sha256),
            expires_at_ms: self.app.clock.now_ms() + EXPIRY_MS,
            ..self.upload.clone()
        }
    }

    fn save(&self, upload: ResumableUpload) -> impl Future<Output = Result<bool>> + Send + 'static {
        let (app, from_offset_bytes) = (Arc::clone(&self.app), self.upload.offset_bytes);
        async move { app.db.checkpoint_upload(upload, from_offset_bytes).await }
    }

    fn apply(&mut self, upload: ResumableUpload, is_saved: bool) -> Result<()> {
        if !is_saved {
            // If the offset has not moved, the upload has ended: its contact was deleted.
            return self.lost_race(self.upload.offset_bytes, UploadError::Gone);
        }
        self.upload = upload;
        Ok(())
    }

    /// Claims the final location: from here on, no other node can put different bytes there.
    fn claim_placement(&self, sha256: [u8; 32]) -> Result<()> {
        let claim = self.app.db.claim_placement(&self.upload, sha256);
        if self.runtime.block_on(claim)? {
            return Ok(());
        }
        // If the offset has not moved, another node is about to complete it.
        self.lost_race(self.upload.offset_bytes, UploadError::Locked)
    }

    /// Of two nodes that resume one upload, only one proceeds. `unmoved` is the error when the
    /// stored offset has not moved.
    fn lost_race(&self, from_offset_bytes: u64, unmoved: UploadError) -> Result<()> {
        let (site, attachment) = (self.upload.site_id, self.upload.attachment_id);
        let stored = self.runtime.block_on(self.app.db.resumable_upload(site, attachment))?;
        // An upload that ended with its contact has an expiry of 0 until the sweep removes it.
        let stored = stored
            .filter(|stored| stored.blob_id == self.upload.blob_id && stored.expires_at_ms > 0);
        Err(Error::Upload(match stored.map(|stored| stored.offset_bytes) {
            None => UploadError::Gone,
            Some(offset_bytes) if offset_bytes == from_offset_bytes => unmoved,
            Some(offset_bytes) => UploadError::Offset { offset_bytes },
        }))
    }
}

fn resume_point(offset_bytes: u64, sha256: &Sha256) -> ResumePoint {
    ResumePoint { offset_bytes, sha256: sha256.clone().finalize().into() }
}
