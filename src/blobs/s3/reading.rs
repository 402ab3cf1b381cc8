//! Reads byte ranges of originals in the bucket, as a counted stream with little in memory.

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

use super::link::{translate_error, unavailable, version_changed};
use super::{DEADLINE, PRESIGNED_LIFETIME, write_all};

/// Chunks of a response that wait for their reader; the store sends chunks of some tens of KiB.
const QUEUED_CHUNKS: usize = 4;

/// An original in the bucket.
#[derive(Clone)]
pub struct Remote {
    client: Arc<AmazonS3>,
    path: Path,
    size_bytes: u64,
    /// The `ETag` that it must have; any, if `None`.
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

    pub(super) fn with_version(self, version: Option<String>) -> Self {
        Self { version, ..self }
    }

    /// Its size.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Checks that the object exists with its size, and pins its version: later reads return bytes
    /// of that version only. Blocks.
    ///
    /// # Errors
    ///
    /// `NotFound`, `InvalidData` for a different size, and `NetworkDown` when the store is
    /// unavailable.
    pub fn pin(self) -> io::Result<Self> {
        let (send, response) = std::sync::mpsc::sync_channel(1);
        let (client, path) = (Arc::clone(&self.client), self.path.clone());
        self.runtime.spawn(async move {
            let head = tokio::time::timeout(DEADLINE, client.head(&path)).await;
            let _ = send.send(head);
        });
        let meta = match response.recv() {
            Ok(Ok(head)) => head.map_err(|error| translate_error(&error))?,
            _ => return Err(unavailable("the store did not respond in time")),
        };
        if meta.size != self.size_bytes {
            let problem = format!("{} bytes, {} expected", meta.size, self.size_bytes);
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        Ok(self.with_version(meta.e_tag))
    }

    /// Starts reading a range, which must lie within the object.
    pub fn read(&self, offset: u64, length: u64) -> RangeReader {
        let (send, chunks) = mpsc::channel(QUEUED_CHUNKS);
        if length > 0 {
            let (client, path) = (Arc::clone(&self.client), self.path.clone());
            let options = GetOptions {
                range: Some(GetRange::Bounded(offset..offset + length)),
                if_match: self.version.clone(),
                ..GetOptions::default()
            };
            let version = self.version.clone();
            // Some stores ignore `If-Match`.
            let is_other = move |now: &Option<String>| version.is_some() && *now != version;
            self.runtime.spawn(async move {
                let response =
                    tokio::time::timeout(DEADLINE, client.get_opts(&path, options)).await;
                let response = match response {
                    Ok(response) => response.map_err(|error| translate_error(&error)),
                    Err(_) => Err(unavailable("the store did not respond in time")),
                };
                match response {
                    Err(error) => drop(send.send(Err(error)).await),
                    Ok(response) if is_other(&response.meta.e_tag) => {
                        drop(send.send(Err(version_changed())).await);
                    }
                    Ok(response) => {
                        let mut stream = response.into_stream();
                        while let Some(chunk) = stream.next().await {
                            let chunk = chunk.map_err(|error| translate_error(&error));
                            let is_over = chunk.is_err();
                            // Fails when the reader was dropped.
                            if send.send(chunk).await.is_err() || is_over {
                                return;
                            }
                        }
                    }
                }
            });
        }
        RangeReader { chunks, remaining: length }
    }

    /// A presigned URL that opens the object for a few minutes. The store responds with these
    /// headers.
    ///
    /// # Errors
    ///
    /// When it cannot be signed.
    pub async fn presigned(&self, headers: &[(&str, &str)]) -> io::Result<String> {
        let query = headers.iter().map(|(name, value)| (format!("response-{name}"), *value));
        let options = SignedUrlOptions::default().with_query(query);
        // Signing makes no call to the store.
        let signed =
            self.client.signed_url_opts(Method::GET, &self.path, PRESIGNED_LIFETIME, &options);
        Ok(signed.await.map_err(|error| translate_error(&error))?.into())
    }

    /// Reads the whole object. Blocks; the caller has checked that it is small.
    ///
    /// # Errors
    ///
    /// As [`RangeReader::next`].
    pub fn bytes(&self) -> io::Result<Bytes> {
        let mut reader = self.read(0, self.size_bytes);
        let mut bytes = Vec::with_capacity(self.size_bytes as usize);
        while let Some(chunk) = reader.blocking_next()? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.into())
    }

    /// Fills a buffer with the bytes from an offset on. Blocks.
    pub(in super::super) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let (mut reader, mut filled) = (self.read(offset, buffer.len() as u64), 0);
        while let Some(chunk) = reader.blocking_next()? {
            buffer[filled..filled + chunk.len()].copy_from_slice(&chunk);
            filled += chunk.len();
        }
        Ok(())
    }

    /// Copies a range to the current position of a file. Blocks.
    pub(super) fn copy_to(&self, offset: u64, length: u64, file: &mut File) -> io::Result<()> {
        write_all(self.read(offset, length), file)
    }
}

/// A range that is being read.
pub struct RangeReader {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    remaining: u64,
}

impl RangeReader {
    /// The next chunk; `None` at the end of the range.
    ///
    /// # Errors
    ///
    /// When the store fails, or sends less or more than was requested.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self.remaining == 0 {
            return Ok(None);
        }
        let chunk = self.chunks.recv().await;
        self.count(chunk)
    }

    pub(super) fn blocking_next(&mut self) -> io::Result<Option<Bytes>> {
        if self.remaining == 0 {
            return Ok(None);
        }
        let chunk = self.chunks.blocking_recv();
        self.count(chunk)
    }

    fn count(&mut self, chunk: Option<io::Result<Bytes>>) -> io::Result<Option<Bytes>> {
        let Some(chunk) = chunk else {
            let problem = format!("the store's response ended {} bytes early", self.remaining);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, problem));
        };
        let chunk = chunk?;
        let Some(remaining) = self.remaining.checked_sub(chunk.len() as u64) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the store sent too many bytes",
            ));
        };
        self.remaining = remaining;
        Ok(Some(chunk))
    }
}
