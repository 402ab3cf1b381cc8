//! Writes one piece of a resumable upload on a blocking thread: appended, hashed, synced and
//! written down at checkpoints. The disk is waited for beside what arrives next, so a crash costs at most
//! twice [`CHECKPOINT_BYTES`] of it.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::receive::{Message, Received, Writer, hash_state, restored};
use super::resumable::{LIFE_MS, Progress};
use crate::app::App;
use crate::blobs::{Reached, Staged};
use crate::db::UploadInFlight;
use crate::domain::tus::{Checksum, Verifier};
use crate::error::{Error, Result, UploadRefused};

/// Bytes after which a running piece is synced and written down.
const CHECKPOINT_BYTES: u64 = 64 << 20;

/// How a piece ended.
pub(super) enum Outcome {
    /// There is more to come.
    More(Progress),
    /// It was the last one; the file is durable at its place.
    Whole(Box<Received>),
}

/// A piece that is being written.
pub(super) struct Piece {
    app: Arc<App>,
    runtime: Handle,
    writer: Writer,
    upload: UploadInFlight,
    verifier: Option<Verifier>,
    /// Where the last checkpoint was begun.
    checked_bytes: u64,
    /// One that is not known to be written down yet.
    checking: Option<Checking>,
}

/// A checkpoint on its way; false when it could not be written down.
struct Checking {
    upload: UploadInFlight,
    written_down: JoinHandle<Result<bool>>,
}

impl Piece {
    /// `upload` is what is written down now, with the length that is known now.
    pub(super) fn new(
        app: &Arc<App>,
        writer: Writer,
        upload: UploadInFlight,
        checksum: Option<Checksum>,
    ) -> Self {
        let verifier = checksum.map(|checksum| checksum.verifier());
        let (runtime, checked_bytes) = (Handle::current(), upload.offset_bytes);
        let app = Arc::clone(app);
        Self { app, runtime, writer, upload, verifier, checked_bytes, checking: None }
    }

    /// Writes what comes.
    pub(super) fn run(mut self, queue: mpsc::Receiver<Message>) -> Result<Outcome> {
        let outcome = self.write(queue);
        // Also after a failure: nothing of this piece goes on when another one may begin.
        let checked = self.checked();
        outcome.and_then(|outcome| checked.map(|()| outcome))
    }

    fn write(&mut self, mut queue: mpsc::Receiver<Message>) -> Result<Outcome> {
        let blobs = Arc::clone(&self.app.blobs);
        let (staged, now_ms) = (self.writer.staged(), self.writer.now_ms());
        let mut sha256 = restored(&self.upload.hash_state)?;
        let reached = reached(self.upload.offset_bytes, &sha256);
        let mut file = blobs.resume(staged, &reached, now_ms)?;
        let mut is_whole_piece = false;
        while let Some(message) = queue.blocking_recv() {
            let Message::Bytes(batch) = message else {
                is_whole_piece = true;
                break;
            };
            for chunk in batch {
                file.append(&chunk)?;
                sha256.update(&chunk);
                if let Some(verifier) = &mut self.verifier {
                    verifier.update(&chunk);
                }
            }
            let unchecked = file.len_bytes() - self.checked_bytes;
            let is_last = Some(file.len_bytes()) == self.upload.length_bytes;
            if unchecked >= CHECKPOINT_BYTES && !is_last && self.verifier.is_none() {
                self.checkpoint_beside(&mut file, &sha256)?;
            }
        }
        self.checked()?;
        let announced = self.verifier.take();
        if announced.is_some_and(|verifier| !is_whole_piece || !verifier.is_as_announced()) {
            file.cut(self.upload.offset_bytes)?;
            return Err(UploadRefused::Checksum.into());
        }
        let is_last = Some(file.len_bytes()) == self.upload.length_bytes;
        if is_last && !is_whole_piece {
            // Its body went on behind the end of the file, or broke there: not written down, so
            // that the last piece is sent again.
            file.cut(self.upload.offset_bytes)?;
            return Ok(Outcome::More(self.progress()));
        }
        if !is_last {
            self.checkpoint(&mut file, &sha256)?;
            return Ok(Outcome::More(self.progress()));
        }
        let sha256 = sha256.finalize().into();
        if blobs.is_shared() {
            self.claim_place(sha256)?;
        }
        let received = self.writer.seal(file, sha256)?;
        Ok(Outcome::Whole(Box::new(received)))
    }

    fn progress(&self) -> Progress {
        Progress {
            offset_bytes: self.upload.offset_bytes,
            length_bytes: self.upload.length_bytes,
            expires_at_ms: Some(self.upload.expires_at_ms),
        }
    }

    /// Makes what has arrived durable, then writes it down.
    fn checkpoint(&mut self, file: &mut Staged<'_>, sha256: &Sha256) -> Result<()> {
        file.sync(&reached(file.len_bytes(), sha256))?;
        let upload = self.reaching(file, sha256);
        let written_down = self.write_down(upload.clone());
        let is_written_down = self.runtime.block_on(written_down)?;
        self.reached(upload, is_written_down)
    }

    /// Begins with that beside what arrives next, once the checkpoint before is written down.
    fn checkpoint_beside(&mut self, file: &mut Staged<'_>, sha256: &Sha256) -> Result<()> {
        self.checked()?;
        self.checked_bytes = file.len_bytes();
        let Some(sync) = file.sync_elsewhere()? else { return self.checkpoint(file, sha256) };
        let upload = self.reaching(file, sha256);
        let write_down = self.write_down(upload.clone());
        let synced = self.app.tasks.spawn_blocking(sync);
        let written_down = self.app.tasks.spawn(async move {
            synced.await.map_err(anyhow::Error::from)??;
            write_down.await
        });
        self.checking = Some(Checking { upload, written_down });
        Ok(())
    }

    /// Waits until the checkpoint on its way is written down.
    fn checked(&mut self) -> Result<()> {
        let Some(Checking { upload, written_down }) = self.checking.take() else { return Ok(()) };
        let is_written_down =
            self.runtime.block_on(written_down).map_err(anyhow::Error::from)??;
        self.reached(upload, is_written_down)
    }

    /// How the upload stands with all that has arrived.
    fn reaching(&self, file: &Staged<'_>, sha256: &Sha256) -> UploadInFlight {
        UploadInFlight {
            offset_bytes: file.len_bytes(),
            hash_state: hash_state(sha256),
            expires_at_ms: self.app.clock.now_ms() + LIFE_MS,
            ..self.upload.clone()
        }
    }

    fn write_down(
        &self,
        upload: UploadInFlight,
    ) -> impl Future<Output = Result<bool>> + Send + 'static {
        let (app, from_offset_bytes) = (Arc::clone(&self.app), self.upload.offset_bytes);
        async move { app.db.checkpoint_upload(upload, from_offset_bytes).await }
    }

    fn reached(&mut self, upload: UploadInFlight, is_written_down: bool) -> Result<()> {
        if !is_written_down {
            // Where it stood, it is over: its contact has gone.
            return self.refuse(self.upload.offset_bytes, UploadRefused::Gone);
        }
        self.upload = upload;
        Ok(())
    }

    /// Nobody puts other bytes to the place of the whole file from here on.
    fn claim_place(&self, sha256: [u8; 32]) -> Result<()> {
        let claimed = self.app.db.place_upload(&self.upload, sha256);
        if self.runtime.block_on(claimed)? {
            return Ok(());
        }
        // Where it stands, another node is about to end it.
        self.refuse(self.upload.offset_bytes, UploadRefused::Locked)
    }

    /// Of two nodes that go on with one upload, one does. `unmoved` is why there was nothing to do for an
    /// upload that nobody has gone on with.
    fn refuse(&self, from_offset_bytes: u64, unmoved: UploadRefused) -> Result<()> {
        let (site, attachment) = (self.upload.site_id, self.upload.attachment_id);
        let standing = self.runtime.block_on(self.app.db.upload_in_flight(site, attachment))?;
        // One that was ended with its contact waits for the sweep with a time of 0.
        let standing = standing.filter(|standing| {
            standing.blob_id == self.upload.blob_id && standing.expires_at_ms > 0
        });
        Err(Error::Upload(match standing.map(|standing| standing.offset_bytes) {
            None => UploadRefused::Gone,
            Some(offset_bytes) if offset_bytes == from_offset_bytes => unmoved,
            Some(offset_bytes) => UploadRefused::Offset { offset_bytes },
        }))
    }
}

fn reached(offset_bytes: u64, sha256: &Sha256) -> Reached {
    Reached { offset_bytes, sha256: sha256.clone().finalize().into() }
}
