//! Tests every operation that the server needs on a bucket, for `dossier doctor`, and leaves
//! nothing behind.

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

use super::link::{StoreErrorKind, error_kind};
use super::{DEADLINE, Remote, S3};

const CONTENT: &[u8] = b"Dossier wrote this object to test its access to this bucket.";
/// A range within the content.
const FROM: usize = 8;
const TO: usize = 16;

/// The result of a probe.
#[derive(Debug, Default)]
pub struct Probe {
    /// Each operation that the server needs, as far as it could be tested.
    pub steps: Vec<ProbeStep>,
    /// The time at the store, in Unix milliseconds.
    pub store_ms: Option<i64>,
}

/// One operation that the server needs.
#[derive(Debug)]
pub struct ProbeStep {
    /// Its name in the report.
    pub name: &'static str,
    /// The AWS name of the permission for it.
    pub permission: &'static str,
    /// Whether it works.
    pub outcome: Result<(), StepFailure>,
}

/// Why an operation does not work.
#[derive(Debug)]
pub struct StepFailure {
    /// What to fix; `None` when the store does it, but wrongly.
    pub kind: Option<StoreErrorKind>,
    /// The problem, for the operator.
    pub problem: String,
}

impl S3 {
    pub(in super::super) fn probe(&self) -> Probe {
        let path = self.path(&format!("probe/{}", Uuid::new_v4().simple()));
        let mut probe = Probe::default();
        probe.record("listing", "s3:ListBucket", self.check());
        if probe.is_hopeless() {
            return probe;
        }
        let has_written = probe.record("writing", "s3:PutObject", self.put(path.clone(), CONTENT));
        let can_read = self.probe_reading(&mut probe, &path, has_written);
        let deleted = self.delete(path.clone()).and_then(|()| self.check_deleted(&path, can_read));
        let deleted = deleted.map_err(|error| add_leftover(error, &path, has_written));
        let can_delete = probe.record("deleting", "s3:DeleteObject", deleted);
        if has_written {
            let aborted =
                self.begin_multipart(&path).and_then(|upload| self.abort_multipart(&path, upload));
            probe.record("discarding parts", "s3:AbortMultipartUpload", aborted);
        }
        if has_written && can_read && can_delete {
            let parts = self.test_multipart(&path);
            // Deletes nothing if the parts were not assembled.
            let parts = parts.and(self.delete(path.clone()));
            probe.record("uploads in parts", "s3:PutObject", parts);
        }
        probe
    }

    /// Reads the written object. Without one, tests that looking up a missing object is permitted.
    fn probe_reading(&self, probe: &mut Probe, path: &Path, has_written: bool) -> bool {
        let permission = "s3:GetObject";
        if !has_written {
            return probe.record("reading", permission, self.head(path).map(drop));
        }
        let can_read = probe.record("reading a range", permission, self.read_range(path));
        if can_read {
            let opened = self.open_presigned(self.written(path));
            let opened = opened.map(|date_ms| probe.store_ms = date_ms);
            probe.record("presigned URLs", permission, opened);
        }
        can_read
    }

    fn written(&self, path: &Path) -> Remote {
        let (client, handle) = (Arc::clone(&self.client), self.handle.clone());
        Remote::new(client, path.clone(), CONTENT.len() as u64, handle)
    }

    fn read_range(&self, path: &Path) -> io::Result<()> {
        let remote = self.written(path).pin()?;
        let mut read = [0; TO - FROM];
        remote.read_exact_at(&mut read, FROM as u64)?;
        if read == CONTENT[FROM..TO] { Ok(()) } else { Err(wrong_bytes()) }
    }

    fn check_deleted(&self, path: &Path, can_read: bool) -> io::Result<()> {
        if can_read && self.head(path)?.is_some() {
            return Err(io::Error::other("the deleted object still exists"));
        }
        Ok(())
    }

    /// Reads through a presigned URL; returns the store's time.
    fn open_presigned(&self, remote: Remote) -> io::Result<Option<i64>> {
        let options = self.options.clone();
        let (response, read) = self.wait(DEADLINE, async move {
            let url = remote.presigned(&[("content-type", "text/plain")]).await.map_err(generic)?;
            let client = ReqwestConnector::default().connect(&options)?;
            let request = Request::get(url).body(HttpRequestBody::empty()).map_err(generic)?;
            let response = client.execute(request).await.map_err(generic)?;
            let (head, body) = response.into_parts();
            let chunks: Vec<Bytes> = body.bytes_stream().try_collect().await.map_err(generic)?;
            Ok((head, chunks.concat()))
        })?;
        if !response.status.is_success() || read != CONTENT {
            return Err(io::Error::other(format!("the store returned {}", response.status)));
        }
        let date = response.headers.get(DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
        let since = date.and_then(|date| date.duration_since(UNIX_EPOCH).ok());
        Ok(since.map(|since| since.as_millis() as i64))
    }

    /// Begins a multipart upload and sends one part.
    fn begin_multipart(
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

    fn abort_multipart<P>(&self, path: &Path, (upload, _): (String, P)) -> io::Result<()> {
        let (client, path) = (Arc::clone(&self.client), path.clone());
        self.wait(DEADLINE, async move { client.abort_multipart(&path, &upload).await })
    }

    /// Completes an upload of one part and reads it back.
    fn test_multipart(&self, path: &Path) -> io::Result<()> {
        let (upload, parts) = self.begin_multipart(path)?;
        let (client, at, id) = (Arc::clone(&self.client), path.clone(), upload.clone());
        let complete = async move { client.complete_multipart(&at, &id, parts).await.map(drop) };
        if let Err(error) = self.wait(DEADLINE, complete) {
            let _ = self.abort_multipart(path, (upload, ()));
            let is_lost = error.kind() == io::ErrorKind::NotFound;
            let problem =
                "the store does not recognise parts by the ETags that it returned for them";
            return Err(if is_lost { io::Error::other(problem) } else { error });
        }
        let read = self.written(path).pin()?.bytes()?;
        if read == CONTENT { Ok(()) } else { Err(wrong_bytes()) }
    }
}

impl Probe {
    /// Records an outcome; returns whether the operation works.
    fn record(
        &mut self,
        name: &'static str,
        permission: &'static str,
        outcome: io::Result<()>,
    ) -> bool {
        let outcome = outcome
            .map_err(|error| StepFailure { kind: error_kind(&error), problem: error.to_string() });
        let works = outcome.is_ok();
        self.steps.push(ProbeStep { name, permission, outcome });
        works
    }

    /// Whether every further step would fail for the same reason.
    fn is_hopeless(&self) -> bool {
        let last = self.steps.last().and_then(|step| step.outcome.as_ref().err());
        last.is_some_and(|failed| failed.kind != Some(StoreErrorKind::Permission))
    }
}

/// Adds to the error of a rejected delete which object remains.
fn add_leftover(error: io::Error, path: &Path, has_written: bool) -> io::Error {
    match error_kind(&error) {
        Some(StoreErrorKind::Permission) if has_written => {
            super::link::permission_denied(format!("{error}; the object {path} remains"))
        }
        _ => error,
    }
}

fn wrong_bytes() -> io::Error {
    io::Error::other("the bytes read differ from those written")
}

fn generic(error: impl std::error::Error + Send + Sync + 'static) -> object_store::Error {
    object_store::Error::Generic { store: "S3", source: Box::new(error) }
}
