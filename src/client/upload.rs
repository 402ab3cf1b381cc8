//! Uploads: small files in one request, others resumable. The size and SHA-256 that the server
//! returns are compared with what was sent.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::{Method, header};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use uuid::Uuid;

use super::backoff::Backoff;
use super::journal::Journal;
use super::resumable::{self, Resumable};
use super::source::Activity;
use super::{Client, Failure, Kind, OnProgress, ProgressEvent, Result};
use crate::domain::attachment::MediaId;
use crate::domain::file_name::FileName;
use crate::domain::hex;
use crate::domain::media_type::MediaType;

/// A file of up to this size is buffered and sent in one request.
const SMALL_BYTES: u64 = 4 << 20;
/// A stream of unknown size is sent in pieces of this size; two of them are in memory.
const PIECE_BYTES: u64 = 8 << 20;
/// Idle timeout while bytes are sent, or synced on the server.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_mins(2);

/// The target contact, name and type of an upload.
#[derive(Debug, Clone)]
pub struct UploadRequest {
    /// The contact.
    pub contact: Uuid,
    /// The file name.
    pub file_name: String,
    /// The media type.
    pub mime_type: MediaType,
}

impl UploadRequest {
    /// Creates a request and checks the file name by the contract's rules.
    ///
    /// # Errors
    ///
    /// If the name is empty or too long.
    pub fn new(contact: Uuid, file_name: String, mime_type: MediaType) -> Result<Self> {
        let name = FileName::new(file_name);
        let name = name.map_err(|error| {
            Failure::failed(format!("its name {error}")).next("use --name to set another name")
        })?;
        Ok(Self { contact, file_name: name.as_str().to_owned(), mime_type })
    }
}

/// A finished and verified upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The attachment's id.
    pub id: Uuid,
    /// The size.
    pub size_bytes: u64,
    /// The SHA-256.
    pub sha256: [u8; 32],
    /// Bytes that an earlier command had already sent.
    pub resumed_bytes: u64,
}

/// Uploads a file. A large one resumes an earlier command's upload of the same file.
///
/// # Errors
///
/// If the file cannot be read or is rejected, or the server stays unreachable.
pub async fn put_file(
    client: &Client,
    request: &UploadRequest,
    path: &Path,
    on_progress: &OnProgress,
) -> Result<Stored> {
    let failed = |error: std::io::Error| Failure::failed(error.to_string());
    let mut file = File::open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() {
        return Err(Failure::failed("not a regular file")
            .next("to upload standard input, use `-` with --name"));
    }
    on_progress(ProgressEvent::Size(found.len()));
    if found.len() > SMALL_BYTES {
        let key = hex::encode(&Sha256::digest(client.key.as_bytes()));
        let site = client.site.map(|site| site.to_string()).unwrap_or_default();
        let contact = request.contact.to_string();
        let (name, mime) = (request.file_name.as_str(), request.mime_type.as_str());
        let identity = [client.address(), &key, &site, &contact, name, mime];
        let journal = Journal::open(&identity, path, found)?;
        return resumable::put(client, request, file, journal, on_progress).await;
    }
    let mut bytes = Vec::with_capacity(found.len() as usize);
    (&mut file).take(SMALL_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > SMALL_BYTES {
        return Err(Failure::failed("the file grew while it was read").next("try again"));
    }
    send_whole(client, request, Bytes::from(bytes), on_progress).await
}

/// Uploads a stream of any size. A later command cannot resume it.
///
/// # Errors
///
/// As [`put_file`].
pub async fn put_stream(
    client: &Client,
    request: &UploadRequest,
    mut source: impl AsyncRead + Unpin,
    on_progress: &OnProgress,
) -> Result<Stored> {
    let mut piece = read_piece(&mut source).await?;
    let mut next = read_piece(&mut source).await?;
    if next.is_empty() {
        return send_whole(client, request, piece, on_progress).await;
    }
    let (mut hash, mut begin) = (Sha256::new(), 0);
    let upload = Resumable::create(client, request, None).await?;
    let size_bytes = loop {
        hash.update(&piece);
        let end = begin + piece.len() as u64;
        let length = next.is_empty().then_some(end);
        upload.send_piece(client, piece, begin, length, on_progress).await?;
        if length.is_some() {
            break end;
        }
        begin = end;
        piece = next;
        next = read_piece(&mut source).await?;
    };
    let file = upload.finish(client, on_progress).await?;
    verify_stored(client, request.contact, &file, (size_bytes, hash.finalize().into()), 0).await
}

async fn read_piece(source: &mut (impl AsyncRead + Unpin)) -> Result<Bytes> {
    let mut piece = Vec::new();
    let read = source.take(PIECE_BYTES).read_to_end(&mut piece).await;
    read.map_err(|error| Failure::failed(format!("standard input: {error}")))?;
    Ok(Bytes::from(piece))
}

/// Uploads in one request. It is retried: the same bytes to the same URL get the same response.
async fn send_whole(
    client: &Client,
    request: &UploadRequest,
    bytes: Bytes,
    on_progress: &OnProgress,
) -> Result<Stored> {
    let sha256: [u8; 32] = Sha256::digest(&bytes).into();
    let size_bytes = bytes.len() as u64;
    on_progress(ProgressEvent::Size(size_bytes));
    let bound = [("sizeInBytes", json!(size_bytes)), ("sha256", json!(hex::encode(&sha256)))];
    let token = client.upload_token(request, &bound).await?;
    let digest = format!("sha-256=:{}:", STANDARD.encode(sha256));
    let mut backoff = Backoff::default();
    let file = loop {
        let put = client
            .request_without_key(Method::PUT, &format!("upload/{token}"))?
            .header(header::CONTENT_TYPE, request.mime_type.as_str())
            .header("content-digest", &digest)
            .body(bytes.clone());
        match send_checked(client, put, &Activity::new()).await {
            Ok(response) => break client.json(response).await?,
            Err(failure) => client.wait_to_retry(&mut backoff, failure, on_progress).await?,
        }
    };
    on_progress(ProgressEvent::Position(size_bytes));
    verify_stored(client, request.contact, &file, (size_bytes, sha256), 0).await
}

/// Sends a request with an idle timeout, and returns the response if it is a success.
pub(super) async fn send_checked(
    client: &Client,
    request: reqwest::RequestBuilder,
    activity: &Activity,
) -> Result<reqwest::Response> {
    let exchange = async { client.check_status(client.send(request).await?).await };
    activity.with_idle_timeout(IDLE_TIMEOUT, exchange).await.unwrap_or_else(|| Err(stalled()))
}

/// The failure after [`IDLE_TIMEOUT`].
pub(super) fn stalled() -> Failure {
    let what = format!("no data was transferred for {} seconds", IDLE_TIMEOUT.as_secs());
    Failure { is_retryable: true, ..Failure::new(Kind::Unreachable, what) }
}

impl Client {
    pub(super) async fn json(&self, response: reqwest::Response) -> Result<Value> {
        let body = self.body(response).await?;
        serde_json::from_slice(&body).map_err(|_| self.not_dossier())
    }
}

/// Compares the file descriptor with what was sent. If it differs, the attachment is deleted, so
/// that a failed command leaves nothing on the server.
pub(super) async fn verify_stored(
    client: &Client,
    contact: Uuid,
    descriptor: &Value,
    (size_bytes, sha256): (u64, [u8; 32]),
    resumed_bytes: u64,
) -> Result<Stored> {
    let file = &descriptor["file"];
    let id = file["id"].as_str().and_then(MediaId::parse).map(|id| id.attachment_id.0);
    let id = id.ok_or_else(|| client.not_dossier())?;
    let same_hash = file["hash"].as_str().and_then(hex::decode_32) == Some(sha256);
    let same_size = file["sizeInBytes"] == json!(size_bytes.to_string());
    if same_hash && same_size {
        return Ok(Stored { id, size_bytes, sha256, resumed_bytes });
    }
    let removed = client.delete(contact, id).await.is_ok();
    let cleanup = if removed { "it was deleted there" } else { "it could not be deleted" };
    let what = format!("the server stored different bytes than were sent; {cleanup}");
    let failure = Failure::failed(what).next(if removed {
        "the file may have changed during the upload; try again".to_owned()
    } else {
        format!("run dossier rm {contact} {id}, then try again")
    });
    Err(Failure { code: Some("BYTES_DIFFER".to_owned()), ..failure })
}
