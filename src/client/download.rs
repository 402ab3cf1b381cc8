//! Downloads: into a file that is whole or not there at all, gone on with after a cut or a kill, and
//! compared with the hash that the server states.

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
use super::source::{Hashed, Pulse};
use super::upload::{STALL, sent, stalled};
use super::{Attachment, Client, Event, Failure, Kind, Result, Told};
use crate::domain::hex;

/// What is read again at once, to hash what an earlier command has fetched.
const CHUNK_BYTES: usize = 256 * 1024;
/// Chunks between the network and the disk.
const CHUNKS_AHEAD: usize = 64;

/// What is fetched, and where it goes.
pub struct Wanted {
    /// The contact.
    pub contact: Uuid,
    /// The attachment.
    pub attachment: Attachment,
    /// The file that it becomes.
    pub path: PathBuf,
    /// A file that is there is replaced.
    pub force: bool,
}

/// What was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Its size.
    pub size_bytes: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
    /// Whether the server's hash was known, and compared.
    pub is_verified: bool,
    /// So many bytes an earlier command had fetched already.
    pub resumed_bytes: u64,
}

/// What a link's head says.
struct Head {
    size_bytes: u64,
    /// The strong tag, for ranges.
    tag: Option<String>,
    /// The SHA-256, which the tag of an original is.
    sha256: Option<[u8; 32]>,
}

/// Fetches an attachment into its file.
///
/// # Errors
///
/// When a file is there already, nothing can be written, or the network stays away; what was fetched
/// until then stays beside it for the next time.
pub async fn download(client: &Client, wanted: &Wanted, told: &Told) -> Result<Fetched> {
    if !wanted.force && wanted.path.symlink_metadata().is_ok() {
        return Err(is_there(&wanted.path));
    }
    let (part, mut file) = open_part(wanted)?;
    let mut link = wanted.attachment.link.clone();
    let head = head(client, &link, told).await?;
    told(Event::Size(head.size_bytes));
    let mut hashed =
        hash_of(&mut file, head.size_bytes).map_err(|error| Failure::file(&part, &error))?;
    let resumed_bytes = hashed.bytes;
    let mut backoff = Backoff::default();
    while hashed.bytes < head.size_bytes {
        told(Event::At(hashed.bytes));
        let before = hashed.bytes;
        let sink = file.try_clone().map_err(|error| Failure::file(&part, &error))?;
        let (now, outcome) = fetch_rest(client, &link, &head, (sink, hashed), told).await?;
        hashed = now;
        if hashed.bytes > before {
            backoff.forget();
        }
        if let Err(failure) = outcome {
            // A link ends; a fresh one shows the same bytes.
            if failure.code.as_deref() != Some("INVALID_LINK") {
                client.wait(&mut backoff, failure, told).await?;
            } else if backoff.wait(None).is_none() {
                return Err(failure);
            }
            link = client.get(wanted.contact, wanted.attachment.id).await?.link;
        }
    }
    told(Event::At(hashed.bytes));
    let sha256 = hashed.digest();
    if head.sha256.is_some_and(|expected| expected != sha256) {
        // Fetched from the beginning the next time.
        let _ = std::fs::remove_file(&part);
        return Err(Failure::failed("other bytes came than the server says it has")
            .next("the same command again; if it stays so: dossier fsck --hash on the server"));
    }
    file.sync_all().map_err(|error| Failure::file(&part, &error))?;
    put_in_place(&part, &wanted.path, wanted.force)?;
    let (size_bytes, is_verified) = (head.size_bytes, head.sha256.is_some());
    Ok(Fetched { size_bytes, sha256, is_verified, resumed_bytes })
}

/// Fetches an attachment and writes it, such as to standard output. Nothing is tried again once
/// bytes were written. A reader that leaves ends it without a failure.
///
/// # Errors
///
/// When it does not come whole, or cannot be written.
pub async fn print(client: &Client, attachment: &Attachment, out: &mut impl Write) -> Result<()> {
    let mut answer =
        client.accepted(client.send(request(client, &attachment.link)?).await?).await?;
    let expected = sha256_of(&answer);
    let mut hashed = Hashed::default();
    let pulse = Pulse::new();
    loop {
        pulse.beat();
        let chunk = pulse.while_moving(STALL, answer.chunk()).await;
        let chunk = chunk.ok_or_else(stalled)?;
        let Some(chunk) = chunk.map_err(|error| Failure::no_answer(&error, client.address()))?
        else {
            break;
        };
        hashed.update(&chunk);
        match out.write_all(&chunk) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            written => written.map_err(|error| Failure::failed(format!("the output: {error}")))?,
        }
    }
    if expected.is_some_and(|expected| expected != hashed.digest()) {
        return Err(Failure::failed("other bytes came than the server says it has"));
    }
    match out.flush() {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("the output: {error}")))
        }
        _ => Ok(()),
    }
}

/// The same path on the address that the client knows to lead there: what links begin with may be a
/// name that this machine does not know.
fn request(client: &Client, link: &str) -> Result<reqwest::RequestBuilder> {
    client.bare(Method::GET, path_of(client, link)?)
}

fn path_of<'a>(client: &Client, link: &'a str) -> Result<&'a str> {
    let begin = ["/media/", "/ugd/"].iter().find_map(|folder| link.find(folder));
    begin.map(|begin| &link[begin + 1..]).ok_or_else(|| client.is_no_server())
}

async fn head(client: &Client, link: &str, told: &Told) -> Result<Head> {
    let mut backoff = Backoff::default();
    let answer = loop {
        let request = client.bare(Method::HEAD, path_of(client, link)?)?;
        match sent(client, request, &Pulse::new()).await {
            Ok(answer) => break answer,
            Err(failure) => client.wait(&mut backoff, failure, told).await?,
        }
    };
    let text = |name: header::HeaderName| answer.headers().get(name).and_then(|v| v.to_str().ok());
    let size_bytes = text(header::CONTENT_LENGTH).and_then(|size| size.parse().ok());
    Ok(Head {
        size_bytes: size_bytes.ok_or_else(|| client.is_no_server())?,
        tag: text(header::ETAG).filter(|tag| tag.starts_with('"')).map(str::to_owned),
        sha256: sha256_of(&answer),
    })
}

/// The hash of an original is its tag; a bucket's own tags are something else.
fn sha256_of(answer: &Response) -> Option<[u8; 32]> {
    let tag = answer.headers().get(header::ETAG)?.to_str().ok()?;
    hex::decode_32(tag.strip_prefix('"')?.strip_suffix('"')?)
}

fn is_there(path: &Path) -> Failure {
    Failure::failed(format!("{} is there already", path.display()))
        .next("-o gives it another place, --force replaces it")
}

/// The file beside the wanted one that bytes are fetched into, known by the attachment.
fn open_part(wanted: &Wanted) -> Result<(PathBuf, File)> {
    let folder = match wanted.path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let part = folder.join(format!(".dossier-{}.part", wanted.attachment.id));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&part)
        .map_err(|error| Failure::file(&part, &error))?;
    file.try_lock().map_err(|_| {
        Failure::failed("another dossier get is fetching it to the same folder")
            .next("wait for it, or give another folder: -o")
    })?;
    Ok((part, file))
}

/// Hashes what is there already; what cannot be a beginning is thrown away.
fn hash_of(file: &mut File, size_bytes: u64) -> std::io::Result<Hashed> {
    let mut hashed = Hashed::default();
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

/// Fetches what is missing. Returns how far it came, and why no farther.
async fn fetch_rest(
    client: &Client,
    link: &str,
    head: &Head,
    (mut file, mut hashed): (File, Hashed),
    told: &Told,
) -> Result<(Hashed, Result<()>)> {
    let mut request = request(client, link)?;
    if hashed.bytes > 0 {
        request = request.header(header::RANGE, format!("bytes={}-", hashed.bytes));
        if let Some(tag) = &head.tag {
            request = request.header(header::IF_RANGE, tag);
        }
    }
    let answer = match sent(client, request, &Pulse::new()).await {
        Ok(answer) => answer,
        Err(failure) => return Ok((hashed, Err(failure))),
    };
    if answer.status() != StatusCode::PARTIAL_CONTENT {
        hashed = Hashed::default();
    }
    let begin = hashed.bytes;
    let most = head.size_bytes - begin;
    let (send, queue) = mpsc::channel::<Bytes>(CHUNKS_AHEAD);
    let writing = tokio::task::spawn_blocking(move || -> std::io::Result<Hashed> {
        let mut queue = queue;
        file.set_len(begin)?;
        file.seek(SeekFrom::Start(begin))?;
        while let Some(chunk) = queue.blocking_recv() {
            file.write_all(&chunk)?;
            hashed.update(&chunk);
        }
        Ok(hashed)
    });
    let came = receive(client, answer, (begin, most), &send, told).await;
    drop(send);
    let written = writing.await.map_err(|_| Failure::failed("the file's writer has stopped"))?;
    let hashed = written.map_err(|error| {
        Failure::failed(format!("cannot be written: {error}"))
            .next("make room, then the same command again: it goes on where it stopped")
    })?;
    Ok((hashed, came))
}

async fn receive(
    client: &Client,
    mut answer: Response,
    (begin, most): (u64, u64),
    send: &mpsc::Sender<Bytes>,
    told: &Told,
) -> Result<()> {
    let mut came = 0;
    loop {
        let chunk = Pulse::new().while_moving(STALL, answer.chunk()).await.ok_or_else(stalled)?;
        let chunk = chunk.map_err(|error| Failure::no_answer(&error, client.address()))?;
        let Some(chunk) = chunk else { break };
        came += chunk.len() as u64;
        if came > most {
            return Err(Failure::failed("more bytes came than the server says it has"));
        }
        if send.send(chunk).await.is_err() {
            // Why, the writer says.
            return Ok(());
        }
        told(Event::At(begin + came));
    }
    if came == most {
        return Ok(());
    }
    let early = Failure::new(Kind::Unreachable, "the answer ended early");
    Err(Failure { passes: true, ..early })
}

/// Gives the file its name. Without force it never takes the place of another one, whoever makes
/// that one meanwhile.
fn put_in_place(part: &Path, path: &Path, force: bool) -> Result<()> {
    if force {
        return std::fs::rename(part, path).map_err(|error| Failure::file(path, &error));
    }
    match renameat_with(CWD, part, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => Err(is_there(path)),
        // A file system that cannot do it in one step.
        Err(Errno::INVAL | Errno::NOSYS) => {
            let linked = std::fs::hard_link(part, path);
            linked.map_err(|error| match error.kind() {
                ErrorKind::AlreadyExists => is_there(path),
                _ => Failure::file(path, &error),
            })?;
            // Its other name is the one that counts.
            let _ = std::fs::remove_file(part);
            Ok(())
        }
        Err(error) => Err(Failure::file(path, &error.into())),
    }
}
