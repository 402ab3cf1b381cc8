//! Streams parts of a file as a response body: large reads, one at a time, never the whole file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;

use crate::actions::download::Content;
use crate::blobs::{RangeReader, Remote};

/// Bytes of one read.
const READ_BYTES: usize = 128 * 1024;

/// A segment of a body.
pub(super) enum Segment {
    /// Bytes in memory, such as the head of a multipart part.
    Bytes(Bytes),
    /// A range of the file.
    File { offset: u64, length: u64 },
}

impl Segment {
    /// Its length in bytes.
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { length, .. } => *length,
        }
    }
}

/// A body that sends segments of `content` in order.
pub(super) fn body(content: Content, segments: Vec<Segment>) -> Body {
    match content {
        Content::File(file) => from_file(file, segments),
        Content::Bytes(bytes) => from_memory(&bytes, segments),
        Content::Remote(remote) => from_bucket(remote, segments),
        // Never read: redirects and HEAD responses have no body.
        Content::Redirect(_) => Body::empty(),
    }
}

fn from_memory(bytes: &Bytes, segments: Vec<Segment>) -> Body {
    let mut parts = segments.into_iter().map(|segment| match segment {
        Segment::Bytes(bytes) => bytes,
        // In bounds: ranges are checked against the content's length.
        Segment::File { offset, length } => {
            bytes.slice(offset as usize..(offset + length) as usize)
        }
    });
    match (parts.next(), parts.len()) {
        (Some(only), 0) => Body::from(only),
        (first, _) => {
            let parts: Vec<_> = first.into_iter().chain(parts).map(Ok::<_, io::Error>).collect();
            Body::from_stream(stream::iter(parts))
        }
    }
}

/// Bytes missing from the bucket abort the connection, as in [`from_file`].
fn from_bucket(remote: Remote, segments: Vec<Segment>) -> Body {
    let reading: Option<RangeReader> = None;
    let state = (remote, segments.into_iter(), reading);
    Body::from_stream(stream::try_unfold(state, async |(remote, mut segments, mut reading)| {
        loop {
            if let Some(active) = &mut reading
                && let Some(bytes) = active.next().await?
            {
                return Ok::<_, io::Error>(Some((bytes, (remote, segments, reading))));
            }
            match segments.next() {
                None => return Ok(None),
                Some(Segment::Bytes(bytes)) => return Ok(Some((bytes, (remote, segments, None)))),
                Some(Segment::File { offset, length }) => {
                    reading = Some(remote.read(offset, length));
                }
            }
        }
    }))
}

/// A file shorter than expected aborts the connection, so that no client takes it for complete.
fn from_file(file: File, segments: Vec<Segment>) -> Body {
    let state = (Arc::new(file), segments.into_iter().collect::<std::collections::VecDeque<_>>());
    Body::from_stream(stream::try_unfold(state, async |(file, mut segments)| {
        let bytes = match segments.pop_front() {
            None => return Ok::<_, io::Error>(None),
            Some(Segment::Bytes(bytes)) => bytes,
            Some(Segment::File { offset, length }) => {
                let bytes = read(&file, offset, length.min(READ_BYTES as u64) as usize).await?;
                let read = bytes.len() as u64;
                if length > read {
                    segments
                        .push_front(Segment::File { offset: offset + read, length: length - read });
                }
                bytes
            }
        };
        Ok(Some((bytes, (file, segments))))
    }))
}

/// Reads at most `length` bytes: inline if they are in the page cache, which is as quick as any
/// other work, or else on a blocking thread.
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
    // Any failure falls back to the blocking read, which reports real disk errors.
    let count = preadv2(file, &mut target, offset, ReadWriteFlags::NOWAIT).ok()?;
    bytes.truncate(count);
    (count > 0).then(|| Bytes::from(bytes))
}

#[cfg(not(target_os = "linux"))]
fn read_cached(_: &File, _: u64, _: usize) -> Option<Bytes> {
    None
}
