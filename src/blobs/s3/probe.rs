//! Tries all that the server needs of a bucket, for `dossier doctor`, and leaves nothing.

use std::io;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use hyper::Request;
use hyper::header::DATE;
use object_store::client::{HttpConnector as _, HttpRequestBody, ReqwestConnector};
use object_store::multipart::MultipartStore as _;
use object_store::path::Path;
use uuid::Uuid;

use super::{DEADLINE, Remote, S3};

const CONTENT: &[u8] = b"Dossier was here to see whether it can work in this bucket.";
/// A range inside.
const FROM: usize = 8;
const TO: usize = 16;

/// What was tried.
#[derive(Debug)]
pub struct Probe {
    /// Each thing that the server needs, and why it does not work, if so.
    pub steps: Vec<(&'static str, Result<(), String>)>,
    /// The time at the store, in Unix milliseconds.
    pub store_ms: Option<i64>,
}

impl S3 {
    pub(in super::super) fn probe(&self) -> Probe {
        let path = self.path(&format!("probe/{}", Uuid::new_v4().simple()));
        let mut probe = Probe { steps: Vec::new(), store_ms: None };
        probe.note("listing", self.list("staging/").map(drop));
        let wrote = self.put(path.clone(), CONTENT);
        let has_written = wrote.is_ok();
        probe.note("writing", wrote);
        if has_written {
            let size_bytes = CONTENT.len() as u64;
            let remote = Remote::new(
                Arc::clone(&self.client),
                path.clone(),
                size_bytes,
                self.handle.clone(),
            );
            probe.note("reading a range", range(&remote));
            let opened = self.open_presigned(remote).map(|date_ms| probe.store_ms = date_ms);
            probe.note("presigned URLs", opened);
            let deleted = self.delete(path.clone()).and_then(|()| match self.head(&path)? {
                None => Ok(()),
                Some(_) => Err(io::Error::other("what was deleted is still there")),
            });
            probe.note("deleting", deleted);
        }
        probe.note("uploads in parts", self.begin_and_abort(path));
        probe
    }

    /// Reads through a presigned URL; returns what time the store says it is.
    fn open_presigned(&self, remote: Remote) -> io::Result<Option<i64>> {
        let options = self.options.clone();
        let (answer, read) = self.wait(DEADLINE, async move {
            let url = remote.presigned(&[("content-type", "text/plain")]).await.map_err(other)?;
            let client = ReqwestConnector::default().connect(&options)?;
            let request = Request::get(url).body(HttpRequestBody::empty()).map_err(other)?;
            let answer = client.execute(request).await.map_err(other)?;
            let (head, body) = answer.into_parts();
            let pieces: Vec<Bytes> = body.bytes_stream().try_collect().await.map_err(other)?;
            Ok((head, pieces.concat()))
        })?;
        if !answer.status.is_success() || read != CONTENT {
            return Err(io::Error::other(format!("the store answered {}", answer.status)));
        }
        let date = answer.headers.get(DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
        let since = date.and_then(|date| date.duration_since(UNIX_EPOCH).ok());
        Ok(since.map(|since| since.as_millis() as i64))
    }

    fn begin_and_abort(&self, path: Path) -> io::Result<()> {
        let client = Arc::clone(&self.client);
        self.wait(DEADLINE, async move {
            let upload = client.create_multipart(&path).await?;
            client.abort_multipart(&path, &upload).await
        })
    }
}

impl Probe {
    fn note(&mut self, what: &'static str, outcome: io::Result<()>) {
        self.steps.push((what, outcome.map_err(|error| error.to_string())));
    }
}

fn range(remote: &Remote) -> io::Result<()> {
    let mut reading = remote.read(FROM as u64, (TO - FROM) as u64);
    let mut read = Vec::new();
    while let Some(piece) = reading.blocking_next()? {
        read.extend_from_slice(&piece);
    }
    if read == CONTENT[FROM..TO] {
        Ok(())
    } else {
        Err(io::Error::other("other bytes came than were written"))
    }
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> object_store::Error {
    object_store::Error::Generic { store: "S3", source: Box::new(error) }
}
