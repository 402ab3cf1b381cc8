//! Reads forward through the parts of a file, within bounds on bytes and distance.

use std::io::{BufRead as _, BufReader, Read, Seek, SeekFrom};

/// Most bytes read from a file to find its header.
pub(crate) const READ_MAX_BYTES: u64 = 8 * 1024 * 1024;

/// Furthest position to which chunks or segments are followed, in bytes.
const POSITION_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Most chunks or segments followed in one file.
pub(crate) const PARTS_MAX: usize = 1_000;

/// Bytes fetched at a time. Small, because most headers are and every jump refills the buffer.
pub(crate) const BUFFER_BYTES: usize = 4 * 1024;

/// A file or the bytes of one. A trait object, so that the parsers are compiled once, in this
/// crate.
pub(crate) trait Source: Read + Seek {}

impl<T: Read + Seek> Source for T {}

/// A reader that ends after [`READ_MAX_BYTES`], so that no file keeps a parser reading.
pub(crate) struct Bounded<'a> {
    source: &'a mut dyn Source,
    remaining_bytes: u64,
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = (&mut *self.source).take(self.remaining_bytes).read(buffer)?;
        self.remaining_bytes = self.remaining_bytes.saturating_sub(count as u64);
        Ok(count)
    }
}

impl Seek for Bounded<'_> {
    fn seek(&mut self, position: SeekFrom) -> std::io::Result<u64> {
        self.source.seek(position)
    }
}

/// The header of a box of ISO/IEC 14496-12.
pub(crate) struct BoxHeader {
    pub(crate) name: [u8; 4],
    /// `None` when the stated length is shorter than the header itself, or 0: up to the end.
    pub(crate) payload_bytes: Option<u64>,
}

/// Reads forward through a file's parts and skips what is not needed. Every failure is `None`,
/// reaching a bound included.
pub(crate) struct ForwardReader<'a> {
    reader: BufReader<Bounded<'a>>,
    position: u64,
}

impl<'a> ForwardReader<'a> {
    /// Starts at the beginning of `source`.
    pub(crate) fn start(source: &'a mut dyn Source) -> Option<Self> {
        source.seek(SeekFrom::Start(0)).ok()?;
        let bounded = Bounded { source, remaining_bytes: READ_MAX_BYTES };
        Some(Self { reader: BufReader::with_capacity(BUFFER_BYTES, bounded), position: 0 })
    }

    /// The bounded source, for parsers that read by themselves.
    pub(crate) fn into_inner(self) -> BufReader<Bounded<'a>> {
        self.reader
    }

    /// Bytes before the next one to be read.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn read_exact(&mut self, buffer: &mut [u8]) -> Option<()> {
        self.reader.read_exact(buffer).ok()?;
        self.position += buffer.len() as u64;
        Some(())
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.read_exact(&mut bytes)?;
        Some(bytes)
    }

    pub(crate) fn u32_be(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// Reads `count` bytes into memory, if that is at most `max`.
    pub(crate) fn bytes(&mut self, count: usize, max: usize) -> Option<Vec<u8>> {
        if count > max {
            return None;
        }
        let mut bytes = vec![0; count];
        self.read_exact(&mut bytes)?;
        Some(bytes)
    }

    pub(crate) fn box_header(&mut self) -> Option<BoxHeader> {
        let short_length = self.u32_be()?;
        let name = self.array()?;
        let (length, head_bytes) = match short_length {
            1 => (u64::from_be_bytes(self.array()?), 16),
            _ => (u64::from(short_length), 8),
        };
        Some(BoxHeader { name, payload_bytes: length.checked_sub(head_bytes) })
    }

    /// Reads up to and including the next byte that equals `wanted`.
    pub(crate) fn skip_past(&mut self, wanted: u8) -> Option<()> {
        let skipped = self.reader.skip_until(wanted).ok()?;
        self.position += skipped as u64;
        (skipped > 0).then_some(())
    }

    /// Moves forward by `count` bytes, without reading them where possible.
    pub(crate) fn skip(&mut self, count: u64) -> Option<()> {
        let position = self.position.checked_add(count)?;
        if position > POSITION_MAX_BYTES {
            return None;
        }
        self.reader.seek_relative(i64::try_from(count).ok()?).ok()?;
        self.position = position;
        Some(())
    }
}
