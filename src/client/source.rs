//! Reads a file ahead of the network, on a thread of its own, and hashes it on the way.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::Stream;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// What is read at once.
const CHUNK_BYTES: usize = 512 * 1024;
/// Chunks that wait for the network.
const CHUNKS_AHEAD: usize = 4;

/// The hash of a file's beginning.
#[derive(Clone, Default)]
pub(super) struct Hashed {
    hash: Sha256,
    /// So many bytes.
    pub(super) bytes: u64,
}

impl Hashed {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    pub(super) fn digest(self) -> [u8; 32] {
        self.hash.finalize().into()
    }
}

/// When something moved last.
#[derive(Clone)]
pub(super) struct Pulse(Arc<Mutex<Instant>>);

impl Pulse {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    pub(super) fn beat(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something, but not while nothing moves: `None`.
    pub(super) async fn while_moving<T>(
        &self,
        patience: std::time::Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let mut work = std::pin::pin!(work);
        loop {
            let last = self.last();
            tokio::select! {
                done = &mut work => return Some(done),
                () = tokio::time::sleep_until(last + patience) => {
                    if self.last() == last {
                        return None;
                    }
                }
            }
        }
    }
}

/// Bytes of a file on their way.
pub(super) struct Reading {
    /// The bytes; an error when the file ends early.
    pub(super) chunks: mpsc::Receiver<io::Result<Bytes>>,
    /// The hash of all that was read.
    pub(super) hashing: JoinHandle<io::Result<Hashed>>,
}

/// Reads `[from, to)`. What lies before `from` and is not in `hashed` yet is hashed first.
pub(super) fn read(file: File, (from, to): (u64, u64), hashed: Hashed) -> Reading {
    let (send, chunks) = mpsc::channel(CHUNKS_AHEAD);
    let hashing = tokio::task::spawn_blocking(move || {
        let read = pump(file, (from, to), hashed, &send);
        if let Err(error) = &read {
            // Nobody waits for it when the connection has broken.
            let _ = send.blocking_send(Err(io::Error::new(error.kind(), error.to_string())));
        }
        read
    });
    Reading { chunks, hashing }
}

fn pump(
    mut file: File,
    (from, to): (u64, u64),
    hashed: Hashed,
    send: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<Hashed> {
    let mut hashed = if hashed.bytes <= from { hashed } else { Hashed::default() };
    file.seek(SeekFrom::Start(hashed.bytes))?;
    while hashed.bytes < to {
        let begin = hashed.bytes;
        let end = if begin < from { from } else { to };
        let most = CHUNK_BYTES.min((end - begin) as usize);
        let mut chunk = Vec::with_capacity(most);
        if (&mut file).take(most as u64).read_to_end(&mut chunk)? == 0 {
            return Err(io::Error::other("the file has become shorter while it was sent"));
        }
        hashed.update(&chunk);
        if begin >= from && send.blocking_send(Ok(Bytes::from(chunk))).is_err() {
            break;
        }
    }
    Ok(hashed)
}

/// The bytes as the body of a request; `sent` is told how many have gone.
pub(super) fn body(
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    sent: impl Fn(usize) + Send + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    futures_util::stream::unfold((chunks, sent), |(mut chunks, sent)| async {
        let chunk = chunks.recv().await?;
        if let Ok(chunk) = &chunk {
            sent(chunk.len());
        }
        Some((chunk, (chunks, sent)))
    })
}
