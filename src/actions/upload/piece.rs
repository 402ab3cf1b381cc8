//! Writes one piece of a resumable upload on a blocking thread: appended, hashed, synced and
//! written down at checkpoints, so that a crash costs at most [`CHECKPOINT_BYTES`] of it.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::receive::{Message, Received, Writer, hash_state, restored};
use super::resumable::{LIFE_MS, Progress};
use crate::app::App;
use crate::blobs::Staged;
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
        Self { app: Arc::clone(app), runtime: Handle::current(), writer, upload, verifier }
    }

    /// Writes what comes.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Message>) -> Result<Outcome> {
        let blobs = Arc::clone(&self.app.blobs);
        let (staged, now_ms) = (self.writer.staged(), self.writer.now_ms());
        let mut file = blobs.resume(staged, self.upload.offset_bytes, now_ms)?;
        let mut sha256 = restored(&self.upload.hash_state)?;
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
            let unwritten = file.len_bytes() - self.upload.offset_bytes;
            let is_last = Some(file.len_bytes()) == self.upload.length_bytes;
            if unwritten >= CHECKPOINT_BYTES && !is_last && self.verifier.is_none() {
                self.checkpoint(&mut file, &sha256)?;
            }
        }
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
        let received = self.writer.seal(file, sha256.finalize().into())?;
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
        file.sync()?;
        let from_offset_bytes = self.upload.offset_bytes;
        self.upload.offset_bytes = file.len_bytes();
        self.upload.hash_state = hash_state(sha256);
        self.upload.expires_at_ms = self.app.clock.now_ms() + LIFE_MS;
        let (db, upload) = (&self.app.db, self.upload.clone());
        let (site, attachment, blob) = (upload.site_id, upload.attachment_id, upload.blob_id);
        if self.runtime.block_on(db.checkpoint_upload(upload, from_offset_bytes))? {
            return Ok(());
        }
        // Of two nodes that go on with one upload, one does.
        let standing = self.runtime.block_on(db.upload_in_flight(site, attachment))?;
        Err(Error::Upload(match standing {
            Some(standing)
                if standing.blob_id == blob && standing.offset_bytes != from_offset_bytes =>
            {
                UploadRefused::Offset { offset_bytes: standing.offset_bytes }
            }
            _ => UploadRefused::Gone,
        }))
    }
}
