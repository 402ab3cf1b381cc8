//! Downloads: to a file that appears only when complete, resumed after a broken connection or a
//! kill, and verified by the server's hash.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use reqwest::{Method, Response, StatusCode, header};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::backoff::Backoff;
use super::source::{Activity, PrefixHash};
use super::upload::{IDLE_TIMEOUT, send_checked, stalled};
use super::{Attachment, Client, Failure, Kind, OnProgress, ProgressEvent, Result};
use crate::domain::hex;

/// Read size when hashing what an earlier command has downloaded.
const CHUNK_BYTES: usize = 256 * 1024;
/// Chunks buffered between the network and the disk.
const CHUNKS_AHEAD: usize = 64;

/// An attachment to download, and its target.
pub struct DownloadRequest {
    /// The contact.
    pub contact: Uuid,
    /// The attachment.
    pub attachment: Attachment,
    /// The file to create.
    pub path: PathBuf,
    /// Whether an existing file is overwritten.
    pub force: bool,
}

/// A finished download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The size.
    pub size_bytes: u64,
    /// The SHA-256.
    pub sha256: [u8; 32],
    /// Whether the server sent a hash to verify against.
    pub is_verified: bool,
    /// Bytes that an earlier command had already downloaded.
    pub resumed_bytes: u64,
}

/// The response to `HEAD` of a link.
struct Head {
    size_bytes: u64,
    /// The strong `ETag`, for `If-Range`.
    etag: Option<String>,
    /// The SHA-256, which is the `ETag` of an original.
    sha256: Option<[u8; 32]>,
}

/// Downloads an attachment to its file.
///
/// # Errors
///
/// If the file exists, cannot be written, or the server stays unreachable. What was downloaded
/// until then is kept in a part file, so that the next call can resume.
pub async fn download(
    client: &Client,
    request: &DownloadRequest,
    on_progress: &OnProgress,
) -> Result<Fetched> {
    if !request.force && request.path.symlink_metadata().is_ok() {
        return Err(already_exists(&request.path));
    }
    let (part, mut file) = open_part(request)?;
    let mut link = request.attachment.link.clone();
    let head = head(client, &link, on_progress).await?;
    on_progress(ProgressEvent::Size(head.size_bytes));
    let mut hashed =
        hash_of(&mut file, head.size_bytes).map_err(|error| Failure::file(&part, &error))?;
    let resumed_bytes = hashed.bytes;
    let mut backoff = Backoff::default();
    while hashed.bytes < head.size_bytes {
        on_progress(ProgressEvent::Position(hashed.bytes));
        let before = hashed.bytes;
        let sink = file.try_clone().map_err(|error| Failure::file(&part, &error))?;
        let (now, outcome) = fetch_rest(client, &link, &head, (sink, hashed), on_progress).await?;
        hashed = now;
        if hashed.bytes > before {
            backoff.reset();
        }
        if let Err(failure) = outcome {
            // The link has expired; a fresh one opens the same bytes.
            if failure.code.as_deref() != Some("INVALID_LINK") {
                client.wait_to_retry(&mut backoff, failure, on_progress).await?;
            } else if backoff.next_delay(None).is_none() {
                return Err(failure);
            }
            link = client.get(request.contact, request.attachment.id).await?.link;
        }
    }
    on_progress(ProgressEvent::Position(hashed.bytes));
    let sha256 = hashed.digest();
    if head.sha256.is_some_and(|expected| expected != sha256) {
        // The next attempt starts from the beginning.
        let _ = std::fs::remove_file(&part);
        return Err(Failure::failed(
            "the SHA-256 of the received bytes does not match the server's",
        )
        .next(
            "run the same command again; if it fails again, run dossier fsck --hash on the server",
        ));
    }
    file.sync_all().map_err(|error| Failure::file(&part, &error))?;
    rename_into_place(&part, &request.path, request.force)?;
    let (size_bytes, is_verified) = (head.size_bytes, head.sha256.is_some());
    Ok(Fetched { size_bytes, sha256, is_verified, resumed_bytes })
}

/// Downloads an attachment to a writer, such as standard output. Does not retry once bytes were
/// written. A closed pipe is not a failure.
///
/// # Errors
///
/// If the download is incomplete or cannot be written.
pub async fn print(client: &Client, attachment: &Attachment, out: &mut impl Write) -> Result<()> {
    let mut response =
        client.check_status(client.send(link_request(client, &attachment.link)?).await?).await?;
    let expected = sha256_of(&response);
    let mut hashed = PrefixHash::default();
    let activity = Activity::new();
    loop {
        activity.touch();
        let chunk = activity.with_idle_timeout(IDLE_TIMEOUT, response.chunk()).await;
        let chunk = chunk.ok_or_else(stalled)?;
        let Some(chunk) =
            chunk.map_err(|error| Failure::from_transport(&error, client.address()))?
        else {
            break;
        };
        hashed.update(&chunk);
        match out.write_all(&chunk) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            written => written.map_err(|error| {
                Failure::failed(format!("cannot write to standard output: {error}"))
            })?,
        }
    }
    if expected.is_some_and(|expected| expected != hashed.digest()) {
        return Err(Failure::failed(
            "the SHA-256 of the received bytes does not match the server's",
        ));
    }
    match out.flush() {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Requests a link's path at the client's own server URL: the host in the link may not resolve on
/// this machine.
fn link_request(client: &Client, link: &str) -> Result<reqwest::RequestBuilder> {
    client.request_without_key(Method::GET, path_of(client, link)?)
}

fn path_of<'a>(client: &Client, link: &'a str) -> Result<&'a str> {
    let start = ["/media/", "/ugd/"].iter().find_map(|folder| link.find(folder));
    start.map(|start| &link[start + 1..]).ok_or_else(|| client.not_dossier())
}

async fn head(client: &Client, link: &str, on_progress: &OnProgress) -> Result<Head> {
    let mut backoff = Backoff::default();
    let response = loop {
        let request = client.request_without_key(Method::HEAD, path_of(client, link)?)?;
        match send_checked(client, request, &Activity::new()).await {
            Ok(response) => break response,
            Err(failure) => client.wait_to_retry(&mut backoff, failure, on_progress).await?,
        }
    };
    let text =
        |name: header::HeaderName| response.headers().get(name).and_then(|v| v.to_str().ok());
    let size_bytes = text(header::CONTENT_LENGTH).and_then(|size| size.parse().ok());
    Ok(Head {
        size_bytes: size_bytes.ok_or_else(|| client.not_dossier())?,
        etag: text(header::ETAG).filter(|etag| etag.starts_with('"')).map(str::to_owned),
        sha256: sha256_of(&response),
    })
}

/// The `ETag` of an original is its SHA-256. The `ETag` of a bucket does not parse as one.
fn sha256_of(response: &Response) -> Option<[u8; 32]> {
    let etag = response.headers().get(header::ETAG)?.to_str().ok()?;
    hex::decode_32(etag.strip_prefix('"')?.strip_suffix('"')?)
}

fn already_exists(path: &Path) -> Failure {
    Failure::failed(format!("{} already exists", path.display()))
        .next("use -o to save it elsewhere, or --force to overwrite")
}

/// Opens and locks the part file. It lies beside the target and is named after the attachment.
fn open_part(request: &DownloadRequest) -> Result<(PathBuf, File)> {
    let folder = match request.path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let part = folder.join(format!(".dossier-{}.part", request.attachment.id));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&part)
        .map_err(|error| Failure::file(&part, &error))?;
    file.try_lock().map_err(|_| {
        Failure::failed("another dossier get is downloading it to the same folder")
            .next("wait until it ends, or choose another folder with -o")
    })?;
    Ok((part, file))
}

/// Hashes the part file; discards it if it is longer than the attachment.
fn hash_of(file: &mut File, size_bytes: u64) -> std::io::Result<PrefixHash> {
    let mut hashed = PrefixHash::default();
    if file.metadata()?.len() > size_bytes {
        file.set_len(0)?;
    }
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = file.read(&mut chunk)?;
        if count == 0 {
            return Ok(hashed);
        }
        hashed.update(&chunk[..count]);
    }
}

/// Downloads the rest. Returns the hash so far, and the failure that stopped it, if any.
async fn fetch_rest(
    client: &Client,
    link: &str,
    head: &Head,
    (mut file, mut hashed): (File, PrefixHash),
    on_progress: &OnProgress,
) -> Result<(PrefixHash, Result<()>)> {
    let mut request = link_request(client, link)?;
    if hashed.bytes > 0 {
        request = request.header(header::RANGE, format!("bytes={}-", hashed.bytes));
        if let Some(etag) = &head.etag {
            request = request.header(header::IF_RANGE, etag);
        }
    }
    let response = match send_checked(client, request, &Activity::new()).await {
        Ok(response) => response,
        Err(failure) => return Ok((hashed, Err(failure))),
    };
    if response.status() != StatusCode::PARTIAL_CONTENT {
        hashed = PrefixHash::default();
    }
    let begin = hashed.bytes;
    let expected = head.size_bytes - begin;
    let (send, queue) = mpsc::channel::<Bytes>(CHUNKS_AHEAD);
    let writing = tokio::task::spawn_blocking(move || -> std::io::Result<PrefixHash> {
        let mut queue = queue;
        file.set_len(begin)?;
        file.seek(SeekFrom::Start(begin))?;
        while let Some(chunk) = queue.blocking_recv() {
            file.write_all(&chunk)?;
            hashed.update(&chunk);
        }
        Ok(hashed)
    });
    let received = receive(client, response, (begin, expected), &send, on_progress).await;
    drop(send);
    let written =
        writing.await.map_err(|_| Failure::failed("the writer thread stopped unexpectedly"))?;
    let hashed = written.map_err(|error| {
        Failure::failed(format!("cannot write the file: {error}"))
            .next("free some space, then run the same command again to resume")
    })?;
    Ok((hashed, received))
}

async fn receive(
    client: &Client,
    mut response: Response,
    (begin, expected): (u64, u64),
    send: &mpsc::Sender<Bytes>,
    on_progress: &OnProgress,
) -> Result<()> {
    let mut received = 0;
    loop {
        let chunk = Activity::new()
            .with_idle_timeout(IDLE_TIMEOUT, response.chunk())
            .await
            .ok_or_else(stalled)?;
        let chunk = chunk.map_err(|error| Failure::from_transport(&error, client.address()))?;
        let Some(chunk) = chunk else { break };
        received += chunk.len() as u64;
        if received > expected {
            return Err(Failure::failed("the server sent more bytes than the attachment's size"));
        }
        if send.send(chunk).await.is_err() {
            // The writer reports why.
            return Ok(());
        }
        on_progress(ProgressEvent::Position(begin + received));
    }
    if received == expected {
        return Ok(());
    }
    let failure = Failure::new(Kind::Unreachable, "the response ended early");
    Err(Failure { is_retryable: true, ..failure })
}

/// Renames the part file to its target. Without `force` it never replaces a file, even one that is
/// created at the same time.
fn rename_into_place(part: &Path, path: &Path, force: bool) -> Result<()> {
    if force {
        return std::fs::rename(part, path).map_err(|error| Failure::file(path, &error));
    }
    match renameat_with(CWD, part, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => Err(already_exists(path)),
        // The file system does not support NOREPLACE.
        Err(Errno::INVAL | Errno::NOSYS) => {
            let linked = std::fs::hard_link(part, path);
            linked.map_err(|error| match error.kind() {
                ErrorKind::AlreadyExists => already_exists(path),
                _ => Failure::file(path, &error),
            })?;
            // Best effort: the target exists already.
            let _ = std::fs::remove_file(part);
            Ok(())
        }
        Err(error) => Err(Failure::file(path, &error.into())),
    }
}
