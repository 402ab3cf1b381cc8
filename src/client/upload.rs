//! Uploads: small files in one request, others resumable. What the server says that it has is compared
//! with what was sent.

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
use super::source::Pulse;
use super::{Client, Event, Failure, Kind, Result, Told};
use crate::domain::attachment::MediaId;
use crate::domain::file_name::FileName;
use crate::domain::hex;
use crate::domain::media_type::MediaType;

/// A file up to so many bytes is read whole and sent in one request.
const SMALL_BYTES: u64 = 4 << 20;
/// What has no known size is sent in pieces of so many bytes, two of which are in memory.
const PIECE_BYTES: u64 = 8 << 20;
/// How long nothing may move while bytes are sent, or synced at the server.
pub(super) const STALL: Duration = Duration::from_mins(2);

/// Whose it will be, and what it is.
#[derive(Debug, Clone)]
pub struct Sending {
    /// The contact.
    pub contact: Uuid,
    /// The name that it is kept under.
    pub file_name: String,
    /// Its type.
    pub mime_type: MediaType,
}

impl Sending {
    /// Checks a name by the contract's rules.
    ///
    /// # Errors
    ///
    /// When it is too long or empty.
    pub fn new(contact: Uuid, file_name: String, mime_type: MediaType) -> Result<Self> {
        let name = FileName::new(file_name);
        let name = name.map_err(|refused| {
            Failure::failed(format!("its name {refused}")).next("--name gives it another one")
        })?;
        Ok(Self { contact, file_name: name.as_str().to_owned(), mime_type })
    }
}

/// What the server has, compared with what was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The attachment.
    pub id: Uuid,
    /// Its size.
    pub size_bytes: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
    /// So many bytes an earlier command had sent already.
    pub resumed_bytes: u64,
}

/// Sends a file. A large one goes on where an earlier command with the same file stopped.
///
/// # Errors
///
/// When it cannot be read or is refused, or the network stays away.
pub async fn put_file(
    client: &Client,
    sending: &Sending,
    path: &Path,
    told: &Told,
) -> Result<Stored> {
    let failed = |error: std::io::Error| Failure::failed(error.to_string());
    let mut file = File::open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() {
        return Err(Failure::failed("is no file").next("`-` with --name sends standard input"));
    }
    told(Event::Size(found.len()));
    if found.len() > SMALL_BYTES {
        let key = hex::encode(&Sha256::digest(client.key.as_bytes()));
        let site = client.site.map(|site| site.to_string()).unwrap_or_default();
        let contact = sending.contact.to_string();
        let (name, mime) = (sending.file_name.as_str(), sending.mime_type.as_str());
        let identity = [client.address(), &key, &site, &contact, name, mime];
        let journal = Journal::take(&identity, path, found)?;
        return resumable::put(client, sending, file, journal, told).await;
    }
    let mut bytes = Vec::with_capacity(found.len() as usize);
    (&mut file).take(SMALL_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > SMALL_BYTES {
        return Err(Failure::failed("the file has grown while it was read").next("try it again"));
    }
    whole(client, sending, Bytes::from(bytes), told).await
}

/// Sends what comes, of any size; it cannot be gone on with by another command.
///
/// # Errors
///
/// As [`put_file`].
pub async fn put_stream(
    client: &Client,
    sending: &Sending,
    mut source: impl AsyncRead + Unpin,
    told: &Told,
) -> Result<Stored> {
    let mut piece = read_piece(&mut source).await?;
    let mut next = read_piece(&mut source).await?;
    if next.is_empty() {
        return whole(client, sending, piece, told).await;
    }
    let (mut hash, mut begin) = (Sha256::new(), 0);
    let upload = Resumable::begin(client, sending, None).await?;
    let size_bytes = loop {
        hash.update(&piece);
        let end = begin + piece.len() as u64;
        let length = next.is_empty().then_some(end);
        upload.send_piece(client, piece, begin, length, told).await?;
        if length.is_some() {
            break end;
        }
        begin = end;
        piece = next;
        next = read_piece(&mut source).await?;
    };
    let file = upload.finish(client, told).await?;
    stored(client, sending.contact, &file, (size_bytes, hash.finalize().into()), 0).await
}

async fn read_piece(source: &mut (impl AsyncRead + Unpin)) -> Result<Bytes> {
    let mut piece = Vec::new();
    let read = source.take(PIECE_BYTES).read_to_end(&mut piece).await;
    read.map_err(|error| Failure::failed(format!("standard input: {error}")))?;
    Ok(Bytes::from(piece))
}

/// One request. It may be repeated: the same bytes to the same URL get the same answer.
async fn whole(client: &Client, sending: &Sending, bytes: Bytes, told: &Told) -> Result<Stored> {
    let sha256: [u8; 32] = Sha256::digest(&bytes).into();
    let size_bytes = bytes.len() as u64;
    told(Event::Size(size_bytes));
    let bound = [("sizeInBytes", json!(size_bytes)), ("sha256", json!(hex::encode(&sha256)))];
    let token = client.upload_token(sending, &bound).await?;
    let digest = format!("sha-256=:{}:", STANDARD.encode(sha256));
    let mut backoff = Backoff::default();
    let file = loop {
        let request = client
            .bare(Method::PUT, &format!("upload/{token}"))?
            .header(header::CONTENT_TYPE, sending.mime_type.as_str())
            .header("content-digest", &digest)
            .body(bytes.clone());
        match sent(client, request, &Pulse::new()).await {
            Ok(answer) => break client.json(answer).await?,
            Err(failure) => client.wait(&mut backoff, failure, told).await?,
        }
    };
    told(Event::At(size_bytes));
    stored(client, sending.contact, &file, (size_bytes, sha256), 0).await
}

/// Sends a request that takes its time, and reads the answer's head if it is a success.
pub(super) async fn sent(
    client: &Client,
    request: reqwest::RequestBuilder,
    pulse: &Pulse,
) -> Result<reqwest::Response> {
    let exchange = async { client.accepted(client.send(request).await?).await };
    pulse.while_moving(STALL, exchange).await.unwrap_or_else(|| Err(stalled()))
}

/// Nothing has moved for as long as [`STALL`].
pub(super) fn stalled() -> Failure {
    let what = format!("nothing moves for {} seconds", STALL.as_secs());
    Failure { passes: true, ..Failure::new(Kind::Unreachable, what) }
}

impl Client {
    pub(super) async fn json(&self, answer: reqwest::Response) -> Result<Value> {
        let body = self.body(answer).await?;
        serde_json::from_slice(&body).map_err(|_| self.is_no_server())
    }
}

/// Compares the file descriptor with what was sent. What differs is taken away again: a command that
/// failed leaves nothing behind.
pub(super) async fn stored(
    client: &Client,
    contact: Uuid,
    descriptor: &Value,
    (size_bytes, sha256): (u64, [u8; 32]),
    resumed_bytes: u64,
) -> Result<Stored> {
    let file = &descriptor["file"];
    let id = file["id"].as_str().and_then(MediaId::parse).map(|id| id.attachment_id.0);
    let id = id.ok_or_else(|| client.is_no_server())?;
    let same_hash = file["hash"].as_str().and_then(hex::decode_32) == Some(sha256);
    let same_size = file["sizeInBytes"] == json!(size_bytes.to_string());
    if same_hash && same_size {
        return Ok(Stored { id, size_bytes, sha256, resumed_bytes });
    }
    let removed = client.delete(contact, id).await.is_ok();
    let rest = if removed { "it was removed there again" } else { "it could not be removed" };
    let what = format!("the server has other bytes than were read here; {rest}");
    let failure = Failure::failed(what).next(if removed {
        "the file has changed while it was sent: try it again".to_owned()
    } else {
        format!("dossier rm {contact} {id}, then try it again")
    });
    Err(Failure { code: Some("BYTES_DIFFER".to_owned()), ..failure })
}
