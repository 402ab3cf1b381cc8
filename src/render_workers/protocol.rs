//! The protocol between the server and a render worker, over a socket: a request with the open file
//! of the original, a reply with the bytes of the picture. Each message is its length in four
//! bytes, then JSON.
//!
//! The server does not trust replies: a worker has read an untrusted file.

use std::fs::File;
use std::io::{self, Cursor, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use dossier_image::{Recipe, RenderLimits, Rendered, read_header};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Largest message, without the bytes of a picture.
const MAX_MESSAGE_BYTES: usize = 4 * 1024;
/// Largest finished picture.
const MAX_PICTURE_BYTES: u64 = 32 * 1024 * 1024;
/// Characters of a reason that are sent and logged.
const MAX_REASON_CHARS: usize = 200;
/// Shortest timeout of a socket.
const MIN_TIMEOUT: Duration = Duration::from_millis(1);
/// The media types of a finished picture, with their first bytes.
const MEDIA_TYPES: [(&str, &[u8]); 3] =
    [("image/jpeg", b"\xff\xd8\xff"), ("image/png", b"\x89PNG\r\n\x1a\n"), ("image/webp", b"RIFF")];

/// What to render from the file that comes with it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RenderRequest {
    pub(super) recipe: Recipe,
    pub(super) limits: RenderLimits,
}

/// A message from a worker. The names of its variants are part of the protocol.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Reply {
    /// Sent once, first: whether the system filters the worker's system calls.
    Ready { filtered: bool },
    /// A picture, whose bytes follow.
    Made { media_type: String, width: u32, height: u32, length_bytes: u64 },
    /// The file cannot be rendered.
    Refused { reason: String },
}

impl Reply {
    /// A rejection, with its reason truncated to fit into a message.
    pub(super) fn rejected(reason: &impl ToString) -> Self {
        Self::Refused { reason: printable(&reason.to_string()) }
    }
}

/// Sanitises a text from an untrusted file for the log.
pub(super) fn printable(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    text.chars().take(MAX_REASON_CHARS).map(plain).collect()
}

/// Writes a message.
pub(super) fn write(out: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    out.write_all(&encode(message)?)
}

/// Reads a message from an untrusted sender.
pub(super) fn read<T: DeserializeOwned>(source: &mut impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    source.read_exact(&mut length)?;
    read_rest(source, length)
}

/// Sends a request and the open file that it refers to.
pub(super) fn send_request(
    socket: &UnixStream,
    request: &RenderRequest,
    source: &File,
) -> io::Result<()> {
    let message = encode(request)?;
    let handles = [source.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&handles));
    let sent = sendmsg(socket, &[IoSlice::new(&message)], &mut ancillary, SendFlags::NOSIGNAL)?;
    // The socket buffer of a waiting worker has room for a whole request.
    if sent == message.len() { Ok(()) } else { Err(ErrorKind::WriteZero.into()) }
}

/// Waits for a request. `None` when the server has closed the socket.
pub(super) fn receive_request(
    socket: &mut UnixStream,
) -> io::Result<Option<(RenderRequest, File)>> {
    let mut length = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut into = [IoSliceMut::new(&mut length)];
    let received = recvmsg(&*socket, &mut into, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?.bytes;
    if received == 0 {
        return Ok(None);
    }
    let handle = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut handles) => handles.next(),
        _ => None,
    });
    if let Some(rest) = length.get_mut(received..) {
        socket.read_exact(rest)?;
    }
    let request = read_rest(socket, length)?;
    let handle = handle.ok_or_else(|| invalid("a request without a file"))?;
    Ok(Some((request, File::from(handle))))
}

/// Reads an announced picture and verifies it against the announcement: a known media type,
/// matching first bytes, and the size in the picture's header.
pub(super) fn read_picture(
    source: &mut impl Read,
    media_type: &str,
    (width, height): (u32, u32),
    length_bytes: u64,
) -> io::Result<Rendered> {
    let known = MEDIA_TYPES.into_iter().find(|(known, _)| *known == media_type);
    let (media_type, magic) = known.ok_or_else(|| invalid("an unknown picture type"))?;
    if length_bytes > MAX_PICTURE_BYTES {
        return Err(invalid("a picture that is too large"));
    }
    let mut bytes = Vec::with_capacity(length_bytes as usize);
    source.take(length_bytes).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != length_bytes {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    let header = read_header(&mut Cursor::new(&bytes));
    let sizes_agree = header.is_some_and(|found| (found.width, found.height) == (width, height));
    if !bytes.starts_with(magic) || !sizes_agree {
        return Err(invalid("bytes that are not the picture"));
    }
    Ok(Rendered { bytes, media_type, width, height })
}

/// Reads from a socket until a deadline.
pub(super) struct DeadlineReader<'a> {
    pub(super) socket: &'a UnixStream,
    pub(super) deadline: Instant,
}

impl Read for DeadlineReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let remaining = self.deadline.saturating_duration_since(Instant::now());
        if remaining.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        self.socket.set_read_timeout(Some(remaining.max(MIN_TIMEOUT)))?;
        let mut socket = self.socket;
        socket.read(into).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => ErrorKind::TimedOut.into(),
            _ => error,
        })
    }
}

fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(message)?;
    if json.len() > MAX_MESSAGE_BYTES {
        return Err(invalid("a message that is too long"));
    }
    Ok([&(json.len() as u32).to_le_bytes(), &json[..]].concat())
}

fn read_rest<T: DeserializeOwned>(source: &mut impl Read, length: [u8; 4]) -> io::Result<T> {
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_MESSAGE_BYTES {
        return Err(invalid("a message that is too long"));
    }
    let mut json = vec![0; length];
    source.read_exact(&mut json)?;
    Ok(serde_json::from_slice(&json)?)
}

fn invalid(problem: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, problem)
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, SeekFrom};

    use super::*;

    const JPEG: [u8; 4] = [0xff, 0xd8, 0xff, 0xd9];

    fn request() -> RenderRequest {
        RenderRequest { recipe: Recipe::preview(), limits: RenderLimits::default() }
    }

    /// The head of a WebP file of 20 x 10 pixels.
    fn webp() -> Vec<u8> {
        let bits = (10_u32 - 1) * (1 << 14) + (20 - 1);
        let chunk = [b"VP8L\x05\0\0\0\x2f", &bits.to_le_bytes()[..], &[0; 12]].concat();
        [b"RIFF", &(chunk.len() as u32 + 4).to_le_bytes()[..], b"WEBP", &chunk[..]].concat()
    }

    /// The head of a PNG file of 20 x 10 pixels.
    fn png() -> Vec<u8> {
        let mut file =
            b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x14\0\0\0\x0a\x08\x02\0\0\0".to_vec();
        file.extend([0; 16]);
        file
    }

    fn kind(result: io::Result<Rendered>) -> ErrorKind {
        result.unwrap_err().kind()
    }

    #[test]
    fn a_request_arrives_with_the_open_file() {
        let (server, mut worker) = UnixStream::pair().unwrap();
        let mut source = tempfile::tempfile().unwrap();
        source.write_all(b"the original").unwrap();
        send_request(&server, &request(), &source).unwrap();
        let (received, mut file) = receive_request(&mut worker).unwrap().unwrap();
        assert_eq!(received.recipe, Recipe::preview());
        file.seek(SeekFrom::Start(0)).unwrap();
        assert_eq!(io::read_to_string(file).unwrap(), "the original");
        drop(server);
        assert!(receive_request(&mut worker).unwrap().is_none());
    }

    #[test]
    fn a_request_without_a_file_is_rejected() {
        let (mut server, mut worker) = UnixStream::pair().unwrap();
        write(&mut server, &request()).unwrap();
        assert_eq!(receive_request(&mut worker).unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn message_lengths_are_checked_before_allocation() {
        for length in [MAX_MESSAGE_BYTES as u32 + 1, u32::MAX] {
            let error = read::<Reply>(&mut &length.to_le_bytes()[..]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData);
        }
        let long = Reply::Refused { reason: "a".repeat(MAX_MESSAGE_BYTES) };
        assert!(write(&mut Vec::new(), &long).is_err());
        let mut cut = Vec::new();
        write(&mut cut, &Reply::rejected(&"a".repeat(MAX_MESSAGE_BYTES))).unwrap();
        assert!(cut.len() < 300);
    }

    #[test]
    fn invalid_messages_are_rejected() {
        for json in ["", "{}", "[1]", "\"Ready\"", "{\"Ready\":{}}", "\u{fffd}"] {
            let bytes = [&(json.len() as u32).to_le_bytes(), json.as_bytes()].concat();
            assert!(read::<Reply>(&mut &bytes[..]).is_err(), "{json}");
        }
        assert_eq!(
            read::<Reply>(&mut &b"\x05\0"[..]).unwrap_err().kind(),
            ErrorKind::UnexpectedEof
        );
    }

    #[test]
    fn an_announced_picture_is_accepted() {
        for (media_type, bytes) in [("image/png", png()), ("image/webp", webp())] {
            let length = bytes.len() as u64;
            let found = read_picture(&mut &bytes[..], media_type, (20, 10), length).unwrap();
            assert_eq!((found.media_type, found.bytes), (media_type, bytes));
        }
    }

    #[test]
    fn a_picture_that_differs_from_its_announcement_is_rejected() {
        let png = png();
        let length = png.len() as u64;
        for (media_type, size, bytes) in [
            ("text/html", (20, 10), &png[..]),
            ("image/jpeg", (20, 10), &png[..]),
            ("image/png", (20, 11), &png[..]),
            ("image/png", (0, 0), &png[..]),
            ("image/jpeg", (20, 10), &JPEG[..]),
            ("image/png", (20, 10), &[][..]),
        ] {
            let length = bytes.len() as u64;
            let found = kind(read_picture(&mut &*bytes, media_type, size, length));
            assert_eq!(found, ErrorKind::InvalidData, "{media_type} {size:?}");
        }
        let short = read_picture(&mut &png[..], "image/png", (20, 10), length + 1);
        assert_eq!(kind(short), ErrorKind::UnexpectedEof);
        for length in [MAX_PICTURE_BYTES + 1, u64::MAX] {
            let long = read_picture(&mut io::repeat(0), "image/png", (20, 10), length);
            assert_eq!(kind(long), ErrorKind::InvalidData);
        }
    }

    #[test]
    fn reading_stops_at_the_deadline() {
        let (server, mut worker) = UnixStream::pair().unwrap();
        worker.write_all(&[0; 10]).unwrap();
        let deadline = Instant::now() + Duration::from_millis(20);
        let mut source = DeadlineReader { socket: &server, deadline };
        let error = source.read_exact(&mut [0; 11]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(source.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn a_reason_is_logged_as_plain_text() {
        assert_eq!(printable("bad \u{1b}[31m\nheader ü"), "bad ?[31m?header ?");
    }
}
