//! Resumable uploads by tus 1.0.0: begun once, gone on with after every cut, by another command too.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use reqwest::{Body, Method, Response, header};
use serde_json::{Value, json};
use uuid::Uuid;

use super::backoff::Backoff;
use super::journal::{Begun, Journal};
use super::source::{self, Hashed, Pulse};
use super::upload::{Sending, Stored, sent, stored};
use super::{Client, Event, Failure, Result, Told};
use crate::domain::tus;

/// How often an upload that has ended at the server is begun anew.
const MOST_BEGINNINGS: u32 = 3;
const OFFSET: &str = "upload-offset";
const LENGTH: &str = "upload-length";

/// An upload that was begun.
pub(super) struct Resumable {
    begun: Begun,
}

impl Resumable {
    /// Begins one; without a size it is told with the last piece.
    pub(super) async fn begin(
        client: &Client,
        sending: &Sending,
        size_bytes: Option<u64>,
    ) -> Result<Self> {
        let bound: Vec<_> =
            size_bytes.map(|size| ("sizeInBytes", json!(size))).into_iter().collect();
        let token = client.upload_token(sending, &bound).await?;
        let mut backoff = Backoff::default();
        let answer = loop {
            let request = spoken(client, Method::POST, &format!("upload/{token}"))?;
            let request = match size_bytes {
                Some(size) => request.header(LENGTH, size),
                None => request.header("upload-defer-length", 1),
            };
            // A second one ends the first: nothing was sent to it yet.
            match sent(client, request, &Pulse::new()).await {
                Ok(answer) => break answer,
                Err(failure) => client.wait(&mut backoff, failure, &|_| {}).await?,
            }
        };
        let location = answer.headers().get(header::LOCATION);
        let location = location.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let upload = location.rsplit('/').next().and_then(|id| Uuid::try_parse(id).ok());
        let upload = upload.ok_or_else(|| client.is_no_server())?.simple().to_string();
        Ok(Self { begun: Begun { token, upload } })
    }

    fn path(&self) -> String {
        format!("upload/tus/{}/{}", self.begun.token, self.begun.upload)
    }

    /// How many bytes the server has.
    async fn offset(&self, client: &Client) -> Result<u64> {
        let request = spoken(client, Method::HEAD, &self.path())?;
        offset_in(client, &sent(client, request, &Pulse::new()).await?)
    }

    /// Adds bytes behind `offset`; returns how many the server has then.
    async fn append(
        &self,
        client: &Client,
        (offset, size_bytes): (u64, u64),
        length: Option<u64>,
        (body, pulse): (Body, &Pulse),
    ) -> Result<u64> {
        let mut request = spoken(client, Method::PATCH, &self.path())?
            .header(header::CONTENT_TYPE, tus::PIECE_TYPE)
            .header(header::CONTENT_LENGTH, size_bytes)
            .header(OFFSET, offset)
            .body(body);
        if let Some(length) = length {
            request = request.header(LENGTH, length);
        }
        offset_in(client, &sent(client, request, pulse).await?)
    }

    /// Sends a piece that is in memory, whatever it takes.
    pub(super) async fn send_piece(
        &self,
        client: &Client,
        piece: Bytes,
        begin: u64,
        length: Option<u64>,
        told: &Told,
    ) -> Result<()> {
        let end = begin + piece.len() as u64;
        let (mut offset, mut backoff) = (begin, Backoff::default());
        while offset < end {
            let rest = piece.slice((offset - begin) as usize..);
            let size_bytes = rest.len() as u64;
            let body = (Body::from(rest), &Pulse::new());
            let sent = self.append(client, (offset, size_bytes), length, body).await;
            offset = match sent {
                Ok(offset) => offset,
                Err(failure) if may_go_on(&failure) => {
                    self.offset_again(client, failure, &mut backoff, told).await?
                }
                Err(failure) => return Err(failure),
            };
            if !(begin..=end).contains(&offset) {
                return Err(client.is_no_server());
            }
            told(Event::At(offset));
        }
        Ok(())
    }

    /// Asks after a cut how far it has come, until there is an answer.
    async fn offset_again(
        &self,
        client: &Client,
        mut failure: Failure,
        backoff: &mut Backoff,
        told: &Told,
    ) -> Result<u64> {
        loop {
            client.wait(backoff, failure, told).await?;
            match self.offset(client).await {
                Ok(offset) => return Ok(offset),
                Err(again) => failure = again,
            }
        }
    }

    /// What the upload has become.
    pub(super) async fn finish(&self, client: &Client, told: &Told) -> Result<Value> {
        let mut backoff = Backoff::default();
        loop {
            let path = format!("upload/tus/{}", self.begun.token);
            let request = client.bare(Method::PUT, &path)?.body("{}");
            match client.once(request).await {
                Ok((_, answer)) => return Ok(answer),
                Err(failure) => client.wait(&mut backoff, failure, told).await?,
            }
        }
    }
}

/// How many bytes the server has, as its answer says.
fn offset_in(client: &Client, answer: &Response) -> Result<u64> {
    let offset = answer.headers().get(OFFSET);
    let offset = offset.and_then(|value| value.to_str().ok()?.parse().ok());
    offset.ok_or_else(|| client.is_no_server())
}

fn spoken(client: &Client, method: Method, path: &str) -> Result<reqwest::RequestBuilder> {
    Ok(client.bare(method, path)?.header("tus-resumable", tus::VERSION))
}

/// Whether the upload is still there after such a failure: the server stands elsewhere, or is away.
fn may_go_on(failure: &Failure) -> bool {
    failure.passes || failure.code.as_deref() == Some("UPLOAD_OFFSET_CONFLICT")
}

/// Whether the upload has ended at the server, so that a new one may go better.
fn has_ended(failure: &Failure) -> bool {
    matches!(
        failure.code.as_deref(),
        Some("UPLOAD_GONE" | "INVALID_UPLOAD_TOKEN" | "NOT_FOUND" | "ALREADY_EXISTS")
    )
}

/// A large file on its way.
struct Way<'a> {
    client: &'a Client,
    sending: &'a Sending,
    file: File,
    size_bytes: u64,
    hashed: Hashed,
    told: &'a Told,
}

/// Sends a file, from where an earlier command stopped.
pub(super) async fn put(
    client: &Client,
    sending: &Sending,
    file: File,
    mut journal: Journal,
    told: &Told,
) -> Result<Stored> {
    let size_bytes = file.metadata().map_err(|error| Failure::failed(error.to_string()))?.len();
    let hashed = Hashed::default();
    let mut way = Way { client, sending, file, size_bytes, hashed, told };
    let mut earlier = journal.begun();
    for _ in 0..MOST_BEGINNINGS {
        let is_earlier = earlier.is_some();
        let upload = if let Some(begun) = earlier.take() {
            Resumable { begun }
        } else {
            let begun = Resumable::begin(client, sending, Some(size_bytes)).await;
            let upload = begun.inspect_err(|_| journal.forget())?;
            journal.remember(&upload.begun)?;
            upload
        };
        let outcome = way.send(&upload, is_earlier).await;
        // After a cut or a full disk the upload is still there.
        let goes_on =
            outcome.as_ref().is_err_and(|failure| failure.passes || failure.code.is_none());
        match outcome {
            Err(failure) if has_ended(&failure) => {}
            outcome => {
                if !goes_on {
                    journal.forget();
                }
                return outcome;
            }
        }
    }
    journal.forget();
    Err(Failure::failed("the server ends the upload again and again")
        .next("look whether another program is deleting the contact"))
}

impl Way<'_> {
    async fn send(&mut self, upload: &Resumable, is_earlier: bool) -> Result<Stored> {
        let mut backoff = Backoff::default();
        let mut offset = 0;
        if is_earlier {
            offset = match upload.offset(self.client).await {
                Err(failure) if may_go_on(&failure) => {
                    upload.offset_again(self.client, failure, &mut backoff, self.told).await?
                }
                found => found?,
            };
        }
        let resumed_bytes = offset;
        while offset < self.size_bytes {
            (self.told)(Event::At(offset));
            let before = offset;
            offset = match self.send_rest(upload, offset).await {
                Ok(offset) => offset,
                Err(failure) if may_go_on(&failure) => {
                    upload.offset_again(self.client, failure, &mut backoff, self.told).await?
                }
                Err(failure) => return Err(failure),
            };
            if offset > before {
                backoff.forget();
            }
        }
        (self.told)(Event::At(offset));
        let file = upload.finish(self.client, self.told).await?;
        let hashed = self.all_hashed().await?;
        let sent = (self.size_bytes, hashed.digest());
        stored(self.client, self.sending.contact, &file, sent, resumed_bytes).await
    }

    /// Sends what is left of the file in one request; returns how many bytes the server has.
    async fn send_rest(&mut self, upload: &Resumable, offset: u64) -> Result<u64> {
        let file = self.file.try_clone().map_err(|error| Failure::failed(error.to_string()))?;
        let reading =
            source::read(file, (offset, self.size_bytes), std::mem::take(&mut self.hashed));
        let (pulse, gone) = (Pulse::new(), Arc::new(AtomicU64::new(offset)));
        let (beating, counting) = (pulse.clone(), Arc::clone(&gone));
        let body = source::body(reading.chunks, move |count| {
            beating.beat();
            counting.fetch_add(count as u64, Ordering::Relaxed);
        });
        let body = (Body::wrap_stream(body), &pulse);
        let rest = self.size_bytes - offset;
        let appending = upload.append(self.client, (offset, rest), None, body);
        let appended = self.watched(appending, &gone).await;
        // It ends at once when nobody takes its chunks any more.
        match reading.hashing.await {
            Ok(Ok(hashed)) => self.hashed = hashed,
            Ok(Err(error)) => return Err(Failure::failed(error.to_string())),
            Err(_) => return Err(Failure::failed("the file's reader has stopped")),
        }
        appended
    }

    /// Tells now and then how many bytes have gone.
    async fn watched<T>(&self, work: impl Future<Output = T>, gone: &AtomicU64) -> T {
        let mut work = std::pin::pin!(work);
        let mut tick = tokio::time::interval(std::time::Duration::from_millis(100));
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = tick.tick() => (self.told)(Event::At(gone.load(Ordering::Relaxed))),
            }
        }
    }

    /// The hash of the whole file; what an earlier command had sent may not have been read yet.
    async fn all_hashed(&mut self) -> Result<Hashed> {
        let hashed = std::mem::take(&mut self.hashed);
        if hashed.bytes == self.size_bytes {
            return Ok(hashed);
        }
        let file = self.file.try_clone().map_err(|error| Failure::failed(error.to_string()))?;
        let reading = source::read(file, (self.size_bytes, self.size_bytes), hashed);
        let hashed = reading.hashing.await;
        let hashed = hashed.map_err(|_| Failure::failed("the file's reader has stopped"))?;
        hashed.map_err(|error| Failure::failed(error.to_string()))
    }
}
