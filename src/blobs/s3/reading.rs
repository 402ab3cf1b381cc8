//! Reads originals from the bucket: ranges, as a stream of which little is in memory, counted.

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::signer::{Method, SignedUrlOptions, Signer as _};
use object_store::{GetOptions, GetRange, ObjectStore as _, ObjectStoreExt as _};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::link::{away, explained, other_version};
use super::{DEADLINE, PRESIGNED_LIFE, write_all};

/// Pieces of an answer that wait for their reader; the store sends pieces of some tens of KiB.
const PIECES: usize = 4;

/// An original in the bucket.
#[derive(Clone)]
pub struct Remote {
    client: Arc<AmazonS3>,
    path: Path,
    size_bytes: u64,
    /// What it must be; whatever it is, if `None`.
    version: Option<String>,
    runtime: Handle,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("size_bytes", &self.size_bytes).finish_non_exhaustive()
    }
}

impl Remote {
    pub(super) fn new(client: Arc<AmazonS3>, path: Path, size_bytes: u64, runtime: Handle) -> Self {
        Self { client, path, size_bytes, version: None, runtime }
    }

    pub(super) fn of_version(self, version: Option<String>) -> Self {
        Self { version, ..self }
    }

    /// Its size.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Looks whether it is there with its size, and what version it is: what is read later is of
    /// the same. Blocks.
    ///
    /// # Errors
    ///
    /// `NotFound`, `InvalidData` for another size, and `NetworkDown` when the store is away.
    pub fn look(self) -> io::Result<Self> {
        let (send, answer) = std::sync::mpsc::sync_channel(1);
        let (client, path) = (Arc::clone(&self.client), self.path.clone());
        self.runtime.spawn(async move {
            let head = tokio::time::timeout(DEADLINE, client.head(&path)).await;
            let _ = send.send(head);
        });
        let meta = match answer.recv() {
            Ok(Ok(head)) => head.map_err(|error| explained(&error))?,
            _ => return Err(away("the store did not answer in time")),
        };
        if meta.size != self.size_bytes {
            let problem = format!("{} bytes, {} expected", meta.size, self.size_bytes);
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        Ok(self.of_version(meta.e_tag))
    }

    /// Begins to read a range that lies inside.
    pub fn read(&self, offset: u64, length: u64) -> Reading {
        let (send, pieces) = mpsc::channel(PIECES);
        if length > 0 {
            let (client, path) = (Arc::clone(&self.client), self.path.clone());
            let options = GetOptions {
                range: Some(GetRange::Bounded(offset..offset + length)),
                if_match: self.version.clone(),
                ..GetOptions::default()
            };
            let version = self.version.clone();
            // Some stores do not compare it themselves.
            let is_other = move |now: &Option<String>| version.is_some() && *now != version;
            self.runtime.spawn(async move {
                let asked = tokio::time::timeout(DEADLINE, client.get_opts(&path, options)).await;
                let asked = match asked {
                    Ok(answer) => answer.map_err(|error| explained(&error)),
                    Err(_) => Err(away("the store did not answer in time")),
                };
                match asked {
                    Err(error) => drop(send.send(Err(error)).await),
                    Ok(answer) if is_other(&answer.meta.e_tag) => {
                        drop(send.send(Err(other_version())).await);
                    }
                    Ok(answer) => {
                        let mut stream = answer.into_stream();
                        while let Some(piece) = stream.next().await {
                            let piece = piece.map_err(|error| explained(&error));
                            let is_over = piece.is_err();
                            // Fails when the reader has gone.
                            if send.send(piece).await.is_err() || is_over {
                                return;
                            }
                        }
                    }
                }
            });
        }
        Reading { pieces, left: length }
    }

    /// A URL that opens it at the store for some minutes, to be answered with these headers.
    ///
    /// # Errors
    ///
    /// When it cannot be signed.
    pub async fn presigned(&self, headers: &[(&str, &str)]) -> io::Result<String> {
        let query = headers.iter().map(|(name, value)| (format!("response-{name}"), *value));
        let options = SignedUrlOptions::default().with_query(query);
        // Nothing is asked of the store.
        let signed = self.client.signed_url_opts(Method::GET, &self.path, PRESIGNED_LIFE, &options);
        Ok(signed.await.map_err(|error| explained(&error))?.into())
    }

    /// Reads all of it. Blocks; the caller has seen that it is small.
    ///
    /// # Errors
    ///
    /// As [`Reading::next`].
    pub fn bytes(&self) -> io::Result<Bytes> {
        let mut reading = self.read(0, self.size_bytes);
        let mut bytes = Vec::with_capacity(self.size_bytes as usize);
        while let Some(piece) = reading.blocking_next()? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes.into())
    }

    /// Fills a buffer with what lies from an offset on. Blocks.
    pub(in super::super) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let (mut reading, mut filled) = (self.read(offset, buffer.len() as u64), 0);
        while let Some(piece) = reading.blocking_next()? {
            buffer[filled..filled + piece.len()].copy_from_slice(&piece);
            filled += piece.len();
        }
        Ok(())
    }

    /// Copies a range to where a file stands. Blocks.
    pub(super) fn copy_to(&self, offset: u64, length: u64, file: &mut File) -> io::Result<()> {
        write_all(self.read(offset, length), file)
    }
}

/// A range that arrives.
pub struct Reading {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    left: u64,
}

impl Reading {
    /// The next piece; `None` when all of the range has come.
    ///
    /// # Errors
    ///
    /// When the store fails, or sends less or more than was asked for.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self.left == 0 {
            return Ok(None);
        }
        let piece = self.pieces.recv().await;
        self.counted(piece)
    }

    pub(super) fn blocking_next(&mut self) -> io::Result<Option<Bytes>> {
        if self.left == 0 {
            return Ok(None);
        }
        let piece = self.pieces.blocking_recv();
        self.counted(piece)
    }

    fn counted(&mut self, piece: Option<io::Result<Bytes>>) -> io::Result<Option<Bytes>> {
        let Some(piece) = piece else {
            let problem = format!("the store's answer ended {} bytes early", self.left);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, problem));
        };
        let piece = piece?;
        let Some(left) = self.left.checked_sub(piece.len() as u64) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the store sent too much"));
        };
        self.left = left;
        Ok(Some(piece))
    }
}
