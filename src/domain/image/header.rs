//! Reads what a picture's header says, from a bounded number of bytes, for every kind of
//! picture. Decodes no pixels.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};

use image::metadata::Orientation;
use imagesize::ImageType;

use super::heif::Heif;
use super::jpeg_segments::{self, Want};
use super::jxl;

/// Most bytes read from a file to find its header.
const READ_MAX_BYTES: u64 = 8 * 1024 * 1024;

/// Furthest position to which chunks or segments are followed, in bytes.
pub(super) const WALK_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Most chunks or segments followed in one file.
pub(super) const WALK_MAX_PARTS: usize = 1_000;

/// Most bytes of EXIF data looked at: what one JPEG segment can hold.
pub(super) const EXIF_MAX_BYTES: usize = 65_535;

/// Bytes fetched at a time; small, because most headers are and every jump refills it.
const BUFFER_BYTES: usize = 4 * 1024;

/// Longest side that is believed, in pixels.
const BELIEVABLE_EDGE_PX: u64 = 1_000_000;

/// What an image's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageHeader {
    /// The format, as far as it matters for a preview.
    pub kind: ImageKind,
    /// Width in pixels of the upright picture, after the EXIF orientation.
    pub width: u32,
    /// Height in pixels of the upright picture, after the EXIF orientation.
    pub height: u32,
}

/// The formats that have a decoder here, and the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageKind {
    /// JPEG.
    Jpeg,
    /// PNG, animated or not.
    Png,
    /// GIF.
    Gif,
    /// Windows bitmap.
    Bmp,
    /// AVIF: AV1 in a HEIF container.
    Avif,
    /// HEIC: HEVC in a HEIF container. Decoded where the system has libheif.
    Heic,
    /// JPEG XL.
    Jxl,
    /// Size known, no decoder here (JPEG 2000, PSD, TIFF and so on).
    Other,
}

/// A header together with how the stored pixels must be turned to be upright.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inspected {
    pub(super) header: ImageHeader,
    pub(super) orientation: Orientation,
}

/// Reads the size of the picture in `source`, from its beginning.
///
/// Reads at most 8 MiB, usually a few KiB. `None` when it is not a picture of a known kind, or
/// when its header is cut off or absurd (a side of 0 or of more than 1,000,000 pixels).
pub fn read_header<R: Read + Seek>(source: &mut R) -> Option<ImageHeader> {
    inspect(source).map(|found| found.header)
}

/// As [`read_header`], with the orientation.
pub(super) fn inspect<R: Read + Seek>(source: &mut R) -> Option<Inspected> {
    let mut signature = [0; 12];
    let mut walk = Walk::start(source)?;
    walk.read_exact(&mut signature)?;
    match signature {
        [0xff, 0xd8, 0xff, ..] => {
            let head = jpeg_segments::read_head(source, Want::Size)?;
            let size = (u64::from(head.width), u64::from(head.height));
            believe(ImageKind::Jpeg, size, head.orientation)
        }
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => png(Walk::start(source)?),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', w0, w1, h0, h1, ..] => {
            let width = u16::from_le_bytes([w0, w1]);
            let height = u16::from_le_bytes([h0, h1]);
            believe(ImageKind::Gif, (width.into(), height.into()), Orientation::NoTransforms)
        }
        [b'B', b'M', ..] => bmp(Walk::start(source)?),
        [0, 0, 0, 12, b'j', b'P', b' ', b' ', 0x0d, 0x0a, 0x87, 0x0a] => jp2_boxes(walk),
        [0xff, 0x4f, 0xff, 0x51, ..] => jp2_codestream(Walk::start(source)?),
        [0xff, 0x0a, ..] | [0, 0, 0, 12, b'J', b'X', b'L', b' ', 0x0d, 0x0a, 0x87, 0x0a] => {
            believe(ImageKind::Jxl, jxl::read_size(source)?, Orientation::NoTransforms)
        }
        // What the container's own reader finds no picture in may still state a size.
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => heif(source).or_else(|| other(source)),
        _ => other(source),
    }
}

fn believe(kind: ImageKind, size: (u64, u64), orientation: Orientation) -> Option<Inspected> {
    let believable = 1..=BELIEVABLE_EDGE_PX;
    if !believable.contains(&size.0) || !believable.contains(&size.1) {
        return None;
    }
    let (stored_width, stored_height) = (size.0 as u32, size.1 as u32);
    let (width, height) = if is_sideways(orientation) {
        (stored_height, stored_width)
    } else {
        (stored_width, stored_height)
    };
    Some(Inspected { header: ImageHeader { kind, width, height }, orientation })
}

/// Tells whether turning upright swaps width and height (EXIF orientations 5 to 8).
pub(super) fn is_sideways(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    )
}

/// PNG specification, third edition, §11.2.1 (IHDR) and §11.3.2.5 (eXIf).
fn png<R: Read + Seek>(mut walk: Walk<R>) -> Option<Inspected> {
    walk.skip(8)?;
    let first_length = walk.u32_be()?;
    if first_length != 13 || walk.array()? != *b"IHDR" {
        return None;
    }
    let size = (u64::from(walk.u32_be()?), u64::from(walk.u32_be()?));
    let orientation = png_orientation(walk).unwrap_or(Orientation::NoTransforms);
    believe(ImageKind::Png, size, orientation)
}

fn png_orientation<R: Read + Seek>(mut walk: Walk<R>) -> Option<Orientation> {
    // The rest of IHDR and its check sum.
    walk.skip(9)?;
    for _ in 0..WALK_MAX_PARTS {
        let length = walk.u32_be()?;
        match walk.array()? {
            [b'e', b'X', b'I', b'f'] => {
                return Orientation::from_exif_chunk(&walk.bytes(length as usize, EXIF_MAX_BYTES)?);
            }
            [b'I', b'D', b'A', b'T'] | [b'I', b'E', b'N', b'D'] => return None,
            _ => walk.skip(u64::from(length) + 4)?,
        }
    }
    None
}

fn bmp<R: Read + Seek>(mut walk: Walk<R>) -> Option<Inspected> {
    walk.skip(14)?;
    let info_bytes = u32::from_le_bytes(walk.array()?);
    let size = match info_bytes {
        12 => {
            let width = u16::from_le_bytes(walk.array()?);
            (u64::from(width), u64::from(u16::from_le_bytes(walk.array()?)))
        }
        16..=256 => {
            let width = i32::from_le_bytes(walk.array()?);
            // A negative height says that the rows run from top to bottom.
            let height = i32::from_le_bytes(walk.array()?).unsigned_abs();
            (u64::try_from(width).ok()?, u64::from(height))
        }
        _ => return None,
    };
    believe(ImageKind::Bmp, size, Orientation::NoTransforms)
}

/// ISO/IEC 15444-1 annex I: `ihdr` is the first box inside `jp2h`.
fn jp2_boxes<R: Read + Seek>(mut walk: Walk<R>) -> Option<Inspected> {
    for _ in 0..WALK_MAX_PARTS {
        let short_length = walk.u32_be()?;
        let name: [u8; 4] = walk.array()?;
        let (length, head_bytes) = match short_length {
            1 => (u64::from_be_bytes(walk.array()?), 16),
            _ => (u64::from(short_length), 8),
        };
        match &name {
            b"jp2h" => {}
            b"ihdr" => {
                let height = u64::from(walk.u32_be()?);
                let size = (u64::from(walk.u32_be()?), height);
                return believe(ImageKind::Other, size, Orientation::NoTransforms);
            }
            _ => walk.skip(length.checked_sub(head_bytes)?)?,
        }
    }
    None
}

/// ISO/IEC 15444-1 §A.5.1: the SIZ segment follows the start of the codestream.
fn jp2_codestream<R: Read + Seek>(mut walk: Walk<R>) -> Option<Inspected> {
    walk.skip(8)?;
    let (right, bottom) = (walk.u32_be()?, walk.u32_be()?);
    let (left, top) = (walk.u32_be()?, walk.u32_be()?);
    let size = (right.checked_sub(left)?.into(), bottom.checked_sub(top)?.into());
    believe(ImageKind::Other, size, Orientation::NoTransforms)
}

fn heif<R: Read + Seek>(source: &mut R) -> Option<Inspected> {
    let file = Heif::read(source)?;
    let item = file.primary()?;
    let ((width, height), orientation) = item.shown()?;
    let kind = match &file.coding(&item) {
        b"av01" => ImageKind::Avif,
        b"hvc1" | b"hev1" => ImageKind::Heic,
        _ => ImageKind::Other,
    };
    let mut found = believe(kind, (width.into(), height.into()), orientation)?;
    if kind == ImageKind::Heic {
        // The library turns it itself.
        found.orientation = Orientation::NoTransforms;
    }
    Some(found)
}

fn other<R: Read + Seek>(source: &mut R) -> Option<Inspected> {
    let mut reader = Walk::start(source)?.reader;
    let kind = imagesize::reader_type(&mut reader).ok()?;
    // Textures and Targa have signatures so weak that any file may match.
    let trusted = matches!(
        kind,
        ImageType::Dds(_)
            | ImageType::Exr
            | ImageType::Farbfeld
            | ImageType::Hdr
            | ImageType::Heif(_)
            | ImageType::Ico
            | ImageType::Ilbm
            | ImageType::Pnm
            | ImageType::Psd
            | ImageType::Qoi
            | ImageType::Tiff
            | ImageType::Webp
    );
    if !trusted {
        return None;
    }
    let size = kind.reader_size(&mut reader).ok()?;
    let size = (size.width as u64, size.height as u64);
    believe(ImageKind::Other, size, Orientation::NoTransforms)
}

/// A reader that ends after [`READ_MAX_BYTES`], so that no file makes a parser read on and on.
pub(super) struct Bounded<'a, R> {
    source: &'a mut R,
    left_bytes: u64,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.source.by_ref().take(self.left_bytes).read(buffer)?;
        self.left_bytes = self.left_bytes.saturating_sub(count as u64);
        Ok(count)
    }
}

impl<R: Seek> Seek for Bounded<'_, R> {
    fn seek(&mut self, position: SeekFrom) -> std::io::Result<u64> {
        self.source.seek(position)
    }
}

/// Reads forward through a file's parts, skipping what is not needed. Every failure, also a
/// bound that is reached, is `None`.
pub(super) struct Walk<'a, R> {
    reader: BufReader<Bounded<'a, R>>,
    position: u64,
}

impl<'a, R: Read + Seek> Walk<'a, R> {
    /// Starts at the beginning of `source`.
    pub(super) fn start(source: &'a mut R) -> Option<Self> {
        source.seek(SeekFrom::Start(0)).ok()?;
        let bounded = Bounded { source, left_bytes: READ_MAX_BYTES };
        Some(Self { reader: BufReader::with_capacity(BUFFER_BYTES, bounded), position: 0 })
    }

    /// Bytes before the next one to be read.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn read_exact(&mut self, buffer: &mut [u8]) -> Option<()> {
        self.reader.read_exact(buffer).ok()?;
        self.position += buffer.len() as u64;
        Some(())
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.read_exact(&mut bytes)?;
        Some(bytes)
    }

    pub(super) fn u32_be(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// Reads `count` bytes into memory, if that is at most `max`.
    pub(super) fn bytes(&mut self, count: usize, max: usize) -> Option<Vec<u8>> {
        if count > max {
            return None;
        }
        let mut bytes = vec![0; count];
        self.read_exact(&mut bytes)?;
        Some(bytes)
    }

    /// Reads up to and including the next byte that equals `wanted`.
    pub(super) fn skip_past(&mut self, wanted: u8) -> Option<()> {
        let skipped = self.reader.skip_until(wanted).ok()?;
        self.position += skipped as u64;
        (skipped > 0).then_some(())
    }

    /// Moves `count` bytes on, without reading them where possible.
    pub(super) fn skip(&mut self, count: u64) -> Option<()> {
        let position = self.position.checked_add(count)?;
        if position > WALK_MAX_BYTES {
            return None;
        }
        self.reader.seek_relative(i64::try_from(count).ok()?).ok()?;
        self.position = position;
        Some(())
    }
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
