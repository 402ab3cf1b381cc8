//! Reads and hashes a file ahead of the network, on a thread of its own.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::Stream;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Size of one read.
const CHUNK_BYTES: usize = 512 * 1024;
/// Chunks buffered ahead of the network.
const CHUNKS_AHEAD: usize = 4;

/// The running hash of a file's first bytes.
#[derive(Clone, Default)]
pub(super) struct PrefixHash {
    hash: Sha256,
    /// The number of bytes hashed.
    pub(super) bytes: u64,
}

impl PrefixHash {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    pub(super) fn digest(self) -> [u8; 32] {
        self.hash.finalize().into()
    }
}

/// The time of the last activity, for idle timeouts.
#[derive(Clone)]
pub(super) struct Activity(Arc<Mutex<Instant>>);

impl Activity {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    pub(super) fn touch(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work`; returns `None` once there was no activity for `timeout`.
    pub(super) async fn with_idle_timeout<T>(
        &self,
        timeout: std::time::Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let mut work = std::pin::pin!(work);
        loop {
            let last = self.last();
            tokio::select! {
                done = &mut work => return Some(done),
                () = tokio::time::sleep_until(last + timeout) => {
                    if self.last() == last {
                        return None;
                    }
                }
            }
        }
    }
}

/// A file that is being read.
pub(super) struct Reading {
    /// The bytes; an error if the file ends early.
    pub(super) chunks: mpsc::Receiver<io::Result<Bytes>>,
    /// The hash of all bytes from the start to the end of what was read.
    pub(super) hashing: JoinHandle<io::Result<PrefixHash>>,
}

/// Reads `[from, to)`. Bytes before `from` that are not in `hashed` are hashed first.
pub(super) fn read(file: File, (from, to): (u64, u64), hashed: PrefixHash) -> Reading {
    let (send, chunks) = mpsc::channel(CHUNKS_AHEAD);
    let hashing = tokio::task::spawn_blocking(move || {
        let read = pump(file, (from, to), hashed, &send);
        if let Err(error) = &read {
            // The receiver is gone if the connection broke.
            let _ = send.blocking_send(Err(io::Error::new(error.kind(), error.to_string())));
        }
        read
    });
    Reading { chunks, hashing }
}

fn pump(
    mut file: File,
    (from, to): (u64, u64),
    hashed: PrefixHash,
    send: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<PrefixHash> {
    let mut hashed = if hashed.bytes <= from { hashed } else { PrefixHash::default() };
    file.seek(SeekFrom::Start(hashed.bytes))?;
    while hashed.bytes < to {
        let begin = hashed.bytes;
        let end = if begin < from { from } else { to };
        let max = CHUNK_BYTES.min((end - begin) as usize);
        let mut chunk = Vec::with_capacity(max);
        if (&mut file).take(max as u64).read_to_end(&mut chunk)? == 0 {
            return Err(io::Error::other("the file became shorter during the upload"));
        }
        hashed.update(&chunk);
        if begin >= from && send.blocking_send(Ok(Bytes::from(chunk))).is_err() {
            break;
        }
    }
    Ok(hashed)
}

/// Turns the chunks into a request body; `sent` is called with the size of each chunk.
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
