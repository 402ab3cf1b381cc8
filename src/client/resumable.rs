//! Resumable uploads by tus 1.0.0: resumed after every broken connection, and by a later command.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use reqwest::{Body, Method, Response, header};
use serde_json::{Value, json};
use uuid::Uuid;

use super::backoff::Backoff;
use super::journal::{Journal, UploadRef};
use super::source::{self, Activity, PrefixHash};
use super::upload::{Stored, UploadRequest, send_checked, verify_stored};
use super::{Client, Failure, OnProgress, ProgressEvent, Result};
use crate::domain::tus;

/// Most attempts to start an upload, if the server keeps ending it.
const MAX_STARTS: u32 = 3;
const OFFSET: &str = "upload-offset";
const LENGTH: &str = "upload-length";

/// An upload that exists on the server.
pub(super) struct Resumable {
    upload: UploadRef,
}

impl Resumable {
    /// Creates an upload. Without a size, the length is sent with the last piece.
    pub(super) async fn create(
        client: &Client,
        request: &UploadRequest,
        size_bytes: Option<u64>,
    ) -> Result<Self> {
        let bound: Vec<_> =
            size_bytes.map(|size| ("sizeInBytes", json!(size))).into_iter().collect();
        let token = client.upload_token(request, &bound).await?;
        let mut backoff = Backoff::default();
        let response = loop {
            let request = tus_request(client, Method::POST, &format!("upload/{token}"))?;
            let request = match size_bytes {
                Some(size) => request.header(LENGTH, size),
                None => request.header("upload-defer-length", 1),
            };
            // A retry may create a second upload, which ends the first. The first is still empty.
            match send_checked(client, request, &Activity::new()).await {
                Ok(response) => break response,
                Err(failure) => client.wait_to_retry(&mut backoff, failure, &|_| {}).await?,
            }
        };
        let location = response.headers().get(header::LOCATION);
        let location = location.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let id = location.rsplit('/').next().and_then(|id| Uuid::try_parse(id).ok());
        let id = id.ok_or_else(|| client.not_dossier())?.simple().to_string();
        Ok(Self { upload: UploadRef { token, id } })
    }

    fn path(&self) -> String {
        format!("upload/tus/{}/{}", self.upload.token, self.upload.id)
    }

    /// Fetches the offset: how many bytes the server has.
    async fn offset(&self, client: &Client) -> Result<u64> {
        let request = tus_request(client, Method::HEAD, &self.path())?;
        offset_in(client, &send_checked(client, request, &Activity::new()).await?)
    }

    /// Appends bytes at `offset`; returns the new offset.
    async fn append(
        &self,
        client: &Client,
        (offset, size_bytes): (u64, u64),
        length: Option<u64>,
        (body, activity): (Body, &Activity),
    ) -> Result<u64> {
        let mut request = tus_request(client, Method::PATCH, &self.path())?
            .header(header::CONTENT_TYPE, tus::PATCH_CONTENT_TYPE)
            .header(header::CONTENT_LENGTH, size_bytes)
            .header(OFFSET, offset)
            .body(body);
        if let Some(length) = length {
            request = request.header(LENGTH, length);
        }
        offset_in(client, &send_checked(client, request, activity).await?)
    }

    /// Sends a piece that is in memory, with retries.
    pub(super) async fn send_piece(
        &self,
        client: &Client,
        piece: Bytes,
        begin: u64,
        length: Option<u64>,
        on_progress: &OnProgress,
    ) -> Result<()> {
        let end = begin + piece.len() as u64;
        let (mut offset, mut backoff) = (begin, Backoff::default());
        while offset < end {
            let rest = piece.slice((offset - begin) as usize..);
            let size_bytes = rest.len() as u64;
            let body = (Body::from(rest), &Activity::new());
            let sent = self.append(client, (offset, size_bytes), length, body).await;
            offset = match sent {
                Ok(offset) => offset,
                Err(failure) if can_resume(&failure) => {
                    self.offset_after_failure(client, failure, &mut backoff, on_progress).await?
                }
                Err(failure) => return Err(failure),
            };
            if !(begin..=end).contains(&offset) {
                return Err(client.not_dossier());
            }
            on_progress(ProgressEvent::Position(offset));
        }
        Ok(())
    }

    /// Fetches the offset after a failure, with retries.
    async fn offset_after_failure(
        &self,
        client: &Client,
        mut failure: Failure,
        backoff: &mut Backoff,
        on_progress: &OnProgress,
    ) -> Result<u64> {
        loop {
            client.wait_to_retry(backoff, failure, on_progress).await?;
            match self.offset(client).await {
                Ok(offset) => return Ok(offset),
                Err(next_failure) => failure = next_failure,
            }
        }
    }

    /// Completes the upload and returns its file descriptor.
    pub(super) async fn finish(&self, client: &Client, on_progress: &OnProgress) -> Result<Value> {
        let mut backoff = Backoff::default();
        loop {
            let path = format!("upload/tus/{}", self.upload.token);
            let request = client.request_without_key(Method::PUT, &path)?.body("{}");
            match client.send_once(request).await {
                Ok((_, response)) => return Ok(response),
                Err(failure) => client.wait_to_retry(&mut backoff, failure, on_progress).await?,
            }
        }
    }
}

/// Reads the offset from a response.
fn offset_in(client: &Client, response: &Response) -> Result<u64> {
    let offset = response.headers().get(OFFSET);
    let offset = offset.and_then(|value| value.to_str().ok()?.parse().ok());
    offset.ok_or_else(|| client.not_dossier())
}

fn tus_request(client: &Client, method: Method, path: &str) -> Result<reqwest::RequestBuilder> {
    Ok(client.request_without_key(method, path)?.header("tus-resumable", tus::VERSION))
}

/// Whether the upload still exists after this failure: the offset differs, or the server is
/// unavailable.
fn can_resume(failure: &Failure) -> bool {
    failure.is_retryable || failure.code.as_deref() == Some("UPLOAD_OFFSET_CONFLICT")
}

/// Whether the upload has ended on the server, so that only a new one can succeed.
fn has_ended(failure: &Failure) -> bool {
    matches!(
        failure.code.as_deref(),
        Some("UPLOAD_GONE" | "INVALID_UPLOAD_TOKEN" | "NOT_FOUND" | "ALREADY_EXISTS")
    )
}

/// The transfer of a large file.
struct Transfer<'a> {
    client: &'a Client,
    request: &'a UploadRequest,
    file: File,
    size_bytes: u64,
    hashed: PrefixHash,
    on_progress: &'a OnProgress,
}

/// Uploads a file, resuming an earlier command's upload if there is one.
pub(super) async fn put(
    client: &Client,
    request: &UploadRequest,
    file: File,
    mut journal: Journal,
    on_progress: &OnProgress,
) -> Result<Stored> {
    let size_bytes = file.metadata().map_err(|error| Failure::failed(error.to_string()))?.len();
    let hashed = PrefixHash::default();
    let mut transfer = Transfer { client, request, file, size_bytes, hashed, on_progress };
    let mut earlier = journal.load();
    for _ in 0..MAX_STARTS {
        let is_earlier = earlier.is_some();
        let upload = if let Some(upload) = earlier.take() {
            Resumable { upload }
        } else {
            let created = Resumable::create(client, request, Some(size_bytes)).await;
            let upload = created.inspect_err(|_| journal.remove())?;
            journal.save(&upload.upload)?;
            upload
        };
        let outcome = transfer.send(&upload, is_earlier).await;
        // After a broken connection or a full disk the upload still exists.
        let can_resume_later =
            outcome.as_ref().is_err_and(|failure| failure.is_retryable || failure.code.is_none());
        match outcome {
            Err(failure) if has_ended(&failure) => {}
            outcome => {
                if !can_resume_later {
                    journal.remove();
                }
                return outcome;
            }
        }
    }
    journal.remove();
    Err(Failure::failed("the server keeps ending the upload")
        .next("check whether another program is deleting the contact"))
}

impl Transfer<'_> {
    async fn send(&mut self, upload: &Resumable, is_earlier: bool) -> Result<Stored> {
        let mut backoff = Backoff::default();
        let mut offset = 0;
        if is_earlier {
            offset = match upload.offset(self.client).await {
                Err(failure) if can_resume(&failure) => {
                    upload
                        .offset_after_failure(self.client, failure, &mut backoff, self.on_progress)
                        .await?
                }
                found => found?,
            };
        }
        let resumed_bytes = offset;
        while offset < self.size_bytes {
            (self.on_progress)(ProgressEvent::Position(offset));
            let before = offset;
            offset = match self.send_rest(upload, offset).await {
                Ok(offset) => offset,
                Err(failure) if can_resume(&failure) => {
                    upload
                        .offset_after_failure(self.client, failure, &mut backoff, self.on_progress)
                        .await?
                }
                Err(failure) => return Err(failure),
            };
            if offset > before {
                backoff.reset();
            }
        }
        (self.on_progress)(ProgressEvent::Position(offset));
        let file = upload.finish(self.client, self.on_progress).await?;
        let hashed = self.whole_file_hash().await?;
        let sent = (self.size_bytes, hashed.digest());
        verify_stored(self.client, self.request.contact, &file, sent, resumed_bytes).await
    }

    /// Sends the rest of the file in one request; returns the new offset.
    async fn send_rest(&mut self, upload: &Resumable, offset: u64) -> Result<u64> {
        let file = self.file.try_clone().map_err(|error| Failure::failed(error.to_string()))?;
        let reading =
            source::read(file, (offset, self.size_bytes), std::mem::take(&mut self.hashed));
        let (activity, sent_to) = (Activity::new(), Arc::new(AtomicU64::new(offset)));
        let (touched, counter) = (activity.clone(), Arc::clone(&sent_to));
        let body = source::body(reading.chunks, move |count| {
            touched.touch();
            counter.fetch_add(count as u64, Ordering::Relaxed);
        });
        let body = (Body::wrap_stream(body), &activity);
        let rest = self.size_bytes - offset;
        let appending = upload.append(self.client, (offset, rest), None, body);
        let appended = self.report_while(appending, &sent_to).await;
        // The reader stops at once when the body, which receives its chunks, is dropped.
        match reading.hashing.await {
            Ok(Ok(hashed)) => self.hashed = hashed,
            Ok(Err(error)) => return Err(Failure::failed(error.to_string())),
            Err(_) => return Err(Failure::failed("the reader thread stopped unexpectedly")),
        }
        appended
    }

    /// Reports the position every 100 ms while `work` runs.
    async fn report_while<T>(&self, work: impl Future<Output = T>, position: &AtomicU64) -> T {
        let mut work = std::pin::pin!(work);
        let mut tick = tokio::time::interval(std::time::Duration::from_millis(100));
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = tick.tick() => {
                    let bytes = position.load(Ordering::Relaxed);
                    (self.on_progress)(ProgressEvent::Position(bytes));
                }
            }
        }
    }

    /// The hash of the whole file. Reads what is not hashed yet: bytes that an earlier command
    /// sent.
    async fn whole_file_hash(&mut self) -> Result<PrefixHash> {
        let hashed = std::mem::take(&mut self.hashed);
        if hashed.bytes == self.size_bytes {
            return Ok(hashed);
        }
        let file = self.file.try_clone().map_err(|error| Failure::failed(error.to_string()))?;
        let reading = source::read(file, (self.size_bytes, self.size_bytes), hashed);
        let hashed = reading.hashing.await;
        let hashed =
            hashed.map_err(|_| Failure::failed("the reader thread stopped unexpectedly"))?;
        hashed.map_err(|error| Failure::failed(error.to_string()))
    }
}
