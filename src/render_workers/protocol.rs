//! What the server and a render worker say to each other over a socket: an order with the open
//! file of the original, an answer with the bytes of the picture. Each message is its length in
//! four bytes and JSON.
//!
//! The server believes nothing that a worker says: a worker has read a stranger's file.

use std::fs::File;
use std::io::{self, Cursor, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::domain::image::{Recipe, RenderLimits, Rendered, read_header};

/// Largest message, without the bytes of a picture.
const MESSAGE_MAX_BYTES: usize = 4 * 1024;
/// Largest finished picture.
const PICTURE_MAX_BYTES: u64 = 32 * 1024 * 1024;
/// Most characters of a reason that are sent and logged.
const REASON_MAX_CHARS: usize = 200;
/// The shortest wait that a socket knows.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
/// What a finished picture may be, and how it then begins.
const MEDIA_TYPES: [(&str, &[u8]); 3] =
    [("image/jpeg", b"\xff\xd8\xff"), ("image/png", b"\x89PNG\r\n\x1a\n"), ("image/webp", b"RIFF")];

/// What to make of the file that comes with it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) recipe: Recipe,
    pub(super) limits: RenderLimits,
}

/// What a worker says.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// Once, before anything else: whether the system takes system calls away from it.
    Ready { filtered: bool },
    /// A picture, whose bytes follow.
    Made { media_type: String, width: u32, height: u32, length_bytes: u64 },
    /// Nothing can be made of the file.
    Refused { reason: String },
}

impl Answer {
    /// A refusal, cut to what fits into a message.
    pub(super) fn refused(reason: &impl ToString) -> Self {
        Self::Refused { reason: printable(&reason.to_string()) }
    }
}

/// What is left of a text that comes from a stranger's file when it goes into a log.
pub(super) fn printable(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    text.chars().take(REASON_MAX_CHARS).map(plain).collect()
}

/// Writes a message.
pub(super) fn write(out: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    out.write_all(&encoded(message)?)
}

/// Reads a message, whatever its sender made of it.
pub(super) fn read<T: DeserializeOwned>(source: &mut impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    source.read_exact(&mut length)?;
    read_rest(source, length)
}

/// Sends an order and the open file that it is about.
pub(super) fn send_order(socket: &UnixStream, order: &Order, source: &File) -> io::Result<()> {
    let message = encoded(order)?;
    let handles = [source.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&handles));
    let sent = sendmsg(socket, &[IoSlice::new(&message)], &mut ancillary, SendFlags::NOSIGNAL)?;
    // A worker that waits for an order has room for one.
    if sent == message.len() { Ok(()) } else { Err(ErrorKind::WriteZero.into()) }
}

/// Waits for an order. `None` when the server has gone.
pub(super) fn receive_order(socket: &mut UnixStream) -> io::Result<Option<(Order, File)>> {
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
    let order = read_rest(socket, length)?;
    let handle = handle.ok_or_else(|| invalid("an order without a file"))?;
    Ok(Some((order, File::from(handle))))
}

/// Reads the bytes that were announced and makes sure that they are what was announced: of a
/// known type, with its first bytes, of the size that stands in their header.
pub(super) fn read_picture(
    source: &mut impl Read,
    media_type: &str,
    (width, height): (u32, u32),
    length_bytes: u64,
) -> io::Result<Rendered> {
    let known = MEDIA_TYPES.into_iter().find(|(known, _)| *known == media_type);
    let (media_type, magic) = known.ok_or_else(|| invalid("a type that no picture has"))?;
    if length_bytes > PICTURE_MAX_BYTES {
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

/// Reads from a socket until a moment and no longer.
pub(super) struct Until<'a> {
    pub(super) socket: &'a UnixStream,
    pub(super) deadline: Instant,
}

impl Read for Until<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        self.socket.set_read_timeout(Some(left.max(SHORTEST_WAIT)))?;
        let mut socket = self.socket;
        socket.read(into).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => ErrorKind::TimedOut.into(),
            _ => error,
        })
    }
}

fn encoded(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(message)?;
    if json.len() > MESSAGE_MAX_BYTES {
        return Err(invalid("a message that is too long"));
    }
    Ok([&(json.len() as u32).to_le_bytes(), &json[..]].concat())
}

fn read_rest<T: DeserializeOwned>(source: &mut impl Read, length: [u8; 4]) -> io::Result<T> {
    let length = u32::from_le_bytes(length) as usize;
    if length > MESSAGE_MAX_BYTES {
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

    fn order() -> Order {
        Order { recipe: Recipe::preview(), limits: RenderLimits::default() }
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
    fn an_order_arrives_with_the_open_file() {
        let (server, mut worker) = UnixStream::pair().unwrap();
        let mut source = tempfile::tempfile().unwrap();
        source.write_all(b"the original").unwrap();
        send_order(&server, &order(), &source).unwrap();
        let (received, mut file) = receive_order(&mut worker).unwrap().unwrap();
        assert_eq!(received.recipe, Recipe::preview());
        file.seek(SeekFrom::Start(0)).unwrap();
        assert_eq!(io::read_to_string(file).unwrap(), "the original");
        drop(server);
        assert!(receive_order(&mut worker).unwrap().is_none());
    }

    #[test]
    fn an_order_without_a_file_is_refused() {
        let (mut server, mut worker) = UnixStream::pair().unwrap();
        write(&mut server, &order()).unwrap();
        assert_eq!(receive_order(&mut worker).unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn messages_are_bounded_before_memory_is_taken_for_them() {
        for length in [MESSAGE_MAX_BYTES as u32 + 1, u32::MAX] {
            let error = read::<Answer>(&mut &length.to_le_bytes()[..]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData);
        }
        let long = Answer::Refused { reason: "a".repeat(MESSAGE_MAX_BYTES) };
        assert!(write(&mut Vec::new(), &long).is_err());
        let mut cut = Vec::new();
        write(&mut cut, &Answer::refused(&"a".repeat(MESSAGE_MAX_BYTES))).unwrap();
        assert!(cut.len() < 300);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for json in ["", "{}", "[1]", "\"Ready\"", "{\"Ready\":{}}", "\u{fffd}"] {
            let bytes = [&(json.len() as u32).to_le_bytes(), json.as_bytes()].concat();
            assert!(read::<Answer>(&mut &bytes[..]).is_err(), "{json}");
        }
        assert_eq!(
            read::<Answer>(&mut &b"\x05\0"[..]).unwrap_err().kind(),
            ErrorKind::UnexpectedEof
        );
    }

    #[test]
    fn a_picture_is_what_it_was_announced_to_be() {
        for (media_type, bytes) in [("image/png", png()), ("image/webp", webp())] {
            let length = bytes.len() as u64;
            let found = read_picture(&mut &bytes[..], media_type, (20, 10), length).unwrap();
            assert_eq!((found.media_type, found.bytes), (media_type, bytes));
        }
    }

    #[test]
    fn a_picture_that_is_something_else_is_refused() {
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
        for length in [PICTURE_MAX_BYTES + 1, u64::MAX] {
            let long = read_picture(&mut io::repeat(0), "image/png", (20, 10), length);
            assert_eq!(kind(long), ErrorKind::InvalidData);
        }
    }

    #[test]
    fn what_does_not_come_in_time_is_not_waited_for() {
        let (server, mut worker) = UnixStream::pair().unwrap();
        worker.write_all(&[0; 10]).unwrap();
        let deadline = Instant::now() + Duration::from_millis(20);
        let mut source = Until { socket: &server, deadline };
        let error = source.read_exact(&mut [0; 11]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(source.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn a_reason_goes_into_the_log_as_plain_text() {
        assert_eq!(printable("bad \u{1b}[31m\nheader ü"), "bad ?[31m?header ?");
    }
}
