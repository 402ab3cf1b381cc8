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

use super::link::{Trouble, trouble};
use super::{DEADLINE, Remote, S3};

const CONTENT: &[u8] = b"Dossier was here to see whether it can work in this bucket.";
/// A range inside.
const FROM: usize = 8;
const TO: usize = 16;

/// What was tried.
#[derive(Debug, Default)]
pub struct Probe {
    /// Each thing that the server needs, as far as it could be tried.
    pub steps: Vec<Step>,
    /// The time at the store, in Unix milliseconds.
    pub store_ms: Option<i64>,
}

/// One thing that the server needs.
#[derive(Debug)]
pub struct Step {
    /// What it is.
    pub what: &'static str,
    /// The right to it, as AWS calls it.
    pub right: &'static str,
    /// Why it does not work, if so.
    pub outcome: Result<(), Failed>,
}

/// Why a thing does not work.
#[derive(Debug)]
pub struct Failed {
    /// What to do something about; `None` when the store does it, and does it wrong.
    pub trouble: Option<Trouble>,
    /// In words.
    pub problem: String,
}

impl S3 {
    pub(in super::super) fn probe(&self) -> Probe {
        let path = self.path(&format!("probe/{}", Uuid::new_v4().simple()));
        let mut probe = Probe::default();
        probe.note("listing", "s3:ListBucket", self.check());
        if probe.is_hopeless() {
            return probe;
        }
        let has_written = probe.note("writing", "s3:PutObject", self.put(path.clone(), CONTENT));
        let can_read = self.probe_reading(&mut probe, &path, has_written);
        let deleted = self.delete(path.clone()).and_then(|()| self.is_gone(&path, can_read));
        let deleted = deleted.map_err(|error| left(error, &path, has_written));
        let can_delete = probe.note("deleting", "s3:DeleteObject", deleted);
        if has_written {
            let aborted = self.begin_parts(&path).and_then(|upload| self.give_up(&path, upload));
            probe.note("giving parts up", "s3:AbortMultipartUpload", aborted);
        }
        if has_written && can_read && can_delete {
            let parts = self.put_together(&path);
            // Nothing, if it was not put together.
            let parts = parts.and(self.delete(path.clone()));
            probe.note("uploads in parts", "s3:PutObject", parts);
        }
        probe
    }

    /// Reads what was written, or sees that it may look for what is not there.
    fn probe_reading(&self, probe: &mut Probe, path: &Path, has_written: bool) -> bool {
        let right = "s3:GetObject";
        if !has_written {
            return probe.note("reading", right, self.head(path).map(drop));
        }
        let can_read = probe.note("reading a range", right, self.read_range(path));
        if can_read {
            let opened = self.open_presigned(self.written(path));
            let opened = opened.map(|date_ms| probe.store_ms = date_ms);
            probe.note("presigned URLs", right, opened);
        }
        can_read
    }

    fn written(&self, path: &Path) -> Remote {
        let (client, handle) = (Arc::clone(&self.client), self.handle.clone());
        Remote::new(client, path.clone(), CONTENT.len() as u64, handle)
    }

    fn read_range(&self, path: &Path) -> io::Result<()> {
        let remote = self.written(path).look()?;
        let mut read = [0; TO - FROM];
        remote.read_exact_at(&mut read, FROM as u64)?;
        if read == CONTENT[FROM..TO] { Ok(()) } else { Err(other_bytes()) }
    }

    fn is_gone(&self, path: &Path, can_read: bool) -> io::Result<()> {
        if can_read && self.head(path)?.is_some() {
            return Err(io::Error::other("what was deleted is still there"));
        }
        Ok(())
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

    /// Begins an upload and puts one part of it.
    fn begin_parts(
        &self,
        path: &Path,
    ) -> io::Result<(String, Vec<object_store::multipart::PartId>)> {
        let (client, path) = (Arc::clone(&self.client), path.clone());
        self.wait(DEADLINE, async move {
            let upload = client.create_multipart(&path).await?;
            let part = client.put_part(&path, &upload, 0, CONTENT.into()).await?;
            Ok((upload, vec![part]))
        })
    }

    fn give_up<P>(&self, path: &Path, (upload, _): (String, P)) -> io::Result<()> {
        let (client, path) = (Arc::clone(&self.client), path.clone());
        self.wait(DEADLINE, async move { client.abort_multipart(&path, &upload).await })
    }

    /// Puts an upload of one part together and looks at it.
    fn put_together(&self, path: &Path) -> io::Result<()> {
        let (upload, parts) = self.begin_parts(path)?;
        let (client, at, id) = (Arc::clone(&self.client), path.clone(), upload.clone());
        let complete = async move { client.complete_multipart(&at, &id, parts).await.map(drop) };
        if let Err(error) = self.wait(DEADLINE, complete) {
            let _ = self.give_up(path, (upload, ()));
            let is_lost = error.kind() == io::ErrorKind::NotFound;
            let problem = "the store does not know the parts by the ETags that it gave them";
            return Err(if is_lost { io::Error::other(problem) } else { error });
        }
        let read = self.written(path).look()?.bytes()?;
        if read == CONTENT { Ok(()) } else { Err(other_bytes()) }
    }
}

impl Probe {
    /// Notes an outcome; returns whether it works.
    fn note(&mut self, what: &'static str, right: &'static str, outcome: io::Result<()>) -> bool {
        let outcome = outcome
            .map_err(|error| Failed { trouble: trouble(&error), problem: error.to_string() });
        let works = outcome.is_ok();
        self.steps.push(Step { what, right, outcome });
        works
    }

    /// Whether everything else would fail for the same reason.
    fn is_hopeless(&self) -> bool {
        let last = self.steps.last().and_then(|step| step.outcome.as_ref().err());
        last.is_some_and(|failed| failed.trouble != Some(Trouble::Right))
    }
}

/// Says what a delete that is refused leaves.
fn left(error: io::Error, path: &Path, has_written: bool) -> io::Error {
    match trouble(&error) {
        Some(Trouble::Right) if has_written => {
            super::link::lacks_right(format!("{error}; {path} stays there"))
        }
        _ => error,
    }
}

fn other_bytes() -> io::Error {
    io::Error::other("other bytes came than were written")
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> object_store::Error {
    object_store::Error::Generic { store: "S3", source: Box::new(error) }
}
