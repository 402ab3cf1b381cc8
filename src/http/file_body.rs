//! Streams parts of a file as a body: large reads, one at a time, never the whole file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;

use crate::actions::download::Content;
use crate::blobs::{Reading, Remote};

/// Bytes read at once.
const READ_BYTES: usize = 128 * 1024;

/// A piece of a body.
pub(super) enum Piece {
    /// Bytes at hand, such as the head of a part.
    Bytes(Bytes),
    /// So many bytes of the file from an offset on.
    File { offset: u64, length: u64 },
}

impl Piece {
    /// How many bytes it sends.
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { length, .. } => *length,
        }
    }
}

/// A body that sends the pieces of a content one after the other.
pub(super) fn body(content: Content, pieces: Vec<Piece>) -> Body {
    match content {
        Content::File(file) => from_file(file, pieces),
        Content::Bytes(bytes) => from_memory(&bytes, pieces),
        Content::Remote(remote) => from_bucket(remote, pieces),
        // Only ever answered without a body.
        Content::Elsewhere(_) => Body::empty(),
    }
}

fn from_memory(bytes: &Bytes, pieces: Vec<Piece>) -> Body {
    let mut parts = pieces.into_iter().map(|piece| match piece {
        Piece::Bytes(bytes) => bytes,
        // Ranges were settled against its length.
        Piece::File { offset, length } => bytes.slice(offset as usize..(offset + length) as usize),
    });
    match (parts.next(), parts.len()) {
        (Some(only), 0) => Body::from(only),
        (first, _) => {
            let parts: Vec<_> = first.into_iter().chain(parts).map(Ok::<_, io::Error>).collect();
            Body::from_stream(stream::iter(parts))
        }
    }
}

/// What the store sends less than promised breaks the connection, like a file that is too short.
fn from_bucket(remote: Remote, pieces: Vec<Piece>) -> Body {
    let reading: Option<Reading> = None;
    let state = (remote, pieces.into_iter(), reading);
    Body::from_stream(stream::try_unfold(state, async |(remote, mut pieces, mut reading)| {
        loop {
            if let Some(going) = &mut reading
                && let Some(bytes) = going.next().await?
            {
                return Ok::<_, io::Error>(Some((bytes, (remote, pieces, reading))));
            }
            match pieces.next() {
                None => return Ok(None),
                Some(Piece::Bytes(bytes)) => return Ok(Some((bytes, (remote, pieces, None)))),
                Some(Piece::File { offset, length }) => reading = Some(remote.read(offset, length)),
            }
        }
    }))
}

/// A file that is shorter than promised
/// breaks the connection, so that no client takes it for whole.
fn from_file(file: File, pieces: Vec<Piece>) -> Body {
    let state = (Arc::new(file), pieces.into_iter().collect::<std::collections::VecDeque<_>>());
    Body::from_stream(stream::try_unfold(state, async |(file, mut pieces)| {
        let bytes = match pieces.pop_front() {
            None => return Ok::<_, io::Error>(None),
            Some(Piece::Bytes(bytes)) => bytes,
            Some(Piece::File { offset, length }) => {
                let bytes = read(&file, offset, length.min(READ_BYTES as u64) as usize).await?;
                let read = bytes.len() as u64;
                if length > read {
                    pieces.push_front(Piece::File { offset: offset + read, length: length - read });
                }
                bytes
            }
        };
        Ok(Some((bytes, (file, pieces))))
    }))
}

/// Reads at most so many bytes: what the system has in memory at once, which is as quick as
/// any other work; what it must fetch from the disk on a blocking thread.
async fn read(file: &Arc<File>, offset: u64, length: usize) -> io::Result<Bytes> {
    if let Some(bytes) = read_cached(file, offset, length) {
        return Ok(bytes);
    }
    let file = Arc::clone(file);
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(Bytes::from(bytes))
    });
    read.await.map_err(io::Error::other)?
}

#[cfg(target_os = "linux")]
fn read_cached(file: &File, offset: u64, length: usize) -> Option<Bytes> {
    use rustix::io::{ReadWriteFlags, preadv2};

    let mut bytes = vec![0; length];
    let mut target = [io::IoSliceMut::new(&mut bytes)];
    // A refusal only says that the disk is needed; an error of the disk shows there.
    let count = preadv2(file, &mut target, offset, ReadWriteFlags::NOWAIT).ok()?;
    bytes.truncate(count);
    (count > 0).then(|| Bytes::from(bytes))
}

#[cfg(not(target_os = "linux"))]
fn read_cached(_: &File, _: u64, _: usize) -> Option<Bytes> {
    None
}
