//! Reads the format, size and orientation of a picture from a bounded number of bytes. Decodes no
//! pixels.

use std::io::{Read, Seek};

use image::metadata::Orientation;
use imagesize::ImageType;

use crate::forward::{ForwardReader, PARTS_MAX, Source};
use crate::heif::Heif;
use crate::jpeg_segments::{self, Detail};
use crate::jxl;
use crate::rect::oriented;

/// Most bytes of EXIF data that are read: what one JPEG segment can hold.
pub(crate) const EXIF_MAX_BYTES: usize = 65_535;

/// Longest plausible side, in pixels.
const PLAUSIBLE_EDGE_PX: u64 = 1_000_000;

/// What the header of a picture states.
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
    /// The size is known, but there is no decoder here (JPEG 2000, PSD, TIFF and so on).
    Other,
}

/// A header, and how the stored pixels must be turned to be upright.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OrientedHeader {
    pub(crate) header: ImageHeader,
    pub(crate) orientation: Orientation,
}

/// Reads the format and size of the picture in `source`, from its beginning.
///
/// Reads at most 8 MiB, usually a few KiB. Returns `None` when it is not a picture of a known
/// format, or when its header is cut off or implausible (a side of 0 or of more than 1,000,000
/// pixels).
pub fn read_header<R: Read + Seek>(source: &mut R) -> Option<ImageHeader> {
    read_oriented(source).map(|found| found.header)
}

/// As [`read_header`], with the orientation.
pub(crate) fn read_oriented(source: &mut dyn Source) -> Option<OrientedHeader> {
    let mut signature = [0; 12];
    let mut reader = ForwardReader::start(source)?;
    reader.read_exact(&mut signature)?;
    match signature {
        [0xff, 0xd8, 0xff, ..] => {
            let head = jpeg_segments::read_head(source, Detail::Size)?;
            let size = (u64::from(head.width), u64::from(head.height));
            plausible(ImageKind::Jpeg, size, head.orientation)
        }
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => {
            png(ForwardReader::start(source)?)
        }
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', w0, w1, h0, h1, ..] => {
            let width = u16::from_le_bytes([w0, w1]);
            let height = u16::from_le_bytes([h0, h1]);
            plausible(ImageKind::Gif, (width.into(), height.into()), Orientation::NoTransforms)
        }
        [b'B', b'M', ..] => bmp(ForwardReader::start(source)?),
        [0, 0, 0, 12, b'j', b'P', b' ', b' ', 0x0d, 0x0a, 0x87, 0x0a] => jp2_boxes(reader),
        [0xff, 0x4f, 0xff, 0x51, ..] => jp2_codestream(ForwardReader::start(source)?),
        [0xff, 0x0a, ..] | [0, 0, 0, 12, b'J', b'X', b'L', b' ', 0x0d, 0x0a, 0x87, 0x0a] => {
            plausible(ImageKind::Jxl, jxl::read_size(source)?, Orientation::NoTransforms)
        }
        // A container in which our parser finds no picture may still state a size.
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => heif(source).or_else(|| other_format(source)),
        _ => other_format(source),
    }
}

fn plausible(
    kind: ImageKind,
    size: (u64, u64),
    orientation: Orientation,
) -> Option<OrientedHeader> {
    let range = 1..=PLAUSIBLE_EDGE_PX;
    if !range.contains(&size.0) || !range.contains(&size.1) {
        return None;
    }
    let (width, height) = oriented((size.0 as u32, size.1 as u32), orientation);
    Some(OrientedHeader { header: ImageHeader { kind, width, height }, orientation })
}

/// PNG specification, third edition, §11.2.1 (IHDR) and §11.3.2.5 (eXIf).
fn png(mut reader: ForwardReader<'_>) -> Option<OrientedHeader> {
    reader.skip(8)?;
    let first_length = reader.u32_be()?;
    if first_length != 13 || reader.array()? != *b"IHDR" {
        return None;
    }
    let size = (u64::from(reader.u32_be()?), u64::from(reader.u32_be()?));
    let orientation = png_orientation(reader).unwrap_or(Orientation::NoTransforms);
    plausible(ImageKind::Png, size, orientation)
}

fn png_orientation(mut reader: ForwardReader<'_>) -> Option<Orientation> {
    // The rest of IHDR and its checksum.
    reader.skip(9)?;
    for _ in 0..PARTS_MAX {
        let length = reader.u32_be()?;
        match reader.array()? {
            [b'e', b'X', b'I', b'f'] => {
                let exif = reader.bytes(length as usize, EXIF_MAX_BYTES)?;
                return Orientation::from_exif_chunk(&exif);
            }
            [b'I', b'D', b'A', b'T'] | [b'I', b'E', b'N', b'D'] => return None,
            _ => reader.skip(u64::from(length) + 4)?,
        }
    }
    None
}

fn bmp(mut reader: ForwardReader<'_>) -> Option<OrientedHeader> {
    reader.skip(14)?;
    let info_bytes = u32::from_le_bytes(reader.array()?);
    let size = match info_bytes {
        12 => {
            let width = u16::from_le_bytes(reader.array()?);
            (u64::from(width), u64::from(u16::from_le_bytes(reader.array()?)))
        }
        16..=256 => {
            let width = i32::from_le_bytes(reader.array()?);
            // A negative height means that the rows run from top to bottom.
            let height = i32::from_le_bytes(reader.array()?).unsigned_abs();
            (u64::try_from(width).ok()?, u64::from(height))
        }
        _ => return None,
    };
    plausible(ImageKind::Bmp, size, Orientation::NoTransforms)
}

/// ISO/IEC 15444-1 annex I: `ihdr` is the first box inside `jp2h`.
fn jp2_boxes(mut reader: ForwardReader<'_>) -> Option<OrientedHeader> {
    for _ in 0..PARTS_MAX {
        let header = reader.box_header()?;
        match &header.name {
            b"jp2h" => {}
            b"ihdr" => {
                let height = u64::from(reader.u32_be()?);
                let size = (u64::from(reader.u32_be()?), height);
                return plausible(ImageKind::Other, size, Orientation::NoTransforms);
            }
            _ => reader.skip(header.payload_bytes?)?,
        }
    }
    None
}

/// ISO/IEC 15444-1 §A.5.1: the SIZ segment follows the start of the codestream.
fn jp2_codestream(mut reader: ForwardReader<'_>) -> Option<OrientedHeader> {
    reader.skip(8)?;
    let (right, bottom) = (reader.u32_be()?, reader.u32_be()?);
    let (left, top) = (reader.u32_be()?, reader.u32_be()?);
    let size = (right.checked_sub(left)?.into(), bottom.checked_sub(top)?.into());
    plausible(ImageKind::Other, size, Orientation::NoTransforms)
}

fn heif(source: &mut dyn Source) -> Option<OrientedHeader> {
    let file = Heif::read(source)?;
    let item = file.primary()?;
    let ((width, height), orientation) = item.shown()?;
    let kind = match &file.coding(&item) {
        b"av01" => ImageKind::Avif,
        b"hvc1" | b"hev1" => ImageKind::Heic,
        _ => ImageKind::Other,
    };
    let mut found = plausible(kind, (width.into(), height.into()), orientation)?;
    if kind == ImageKind::Heic {
        // libheif turns the pixels itself.
        found.orientation = Orientation::NoTransforms;
    }
    Some(found)
}

fn other_format(source: &mut dyn Source) -> Option<OrientedHeader> {
    let mut reader = ForwardReader::start(source)?.into_inner();
    let format = imagesize::reader_type(&mut reader).ok()?;
    // The signatures of textures and Targa are so weak that any file may match.
    let is_trusted = matches!(
        format,
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
    if !is_trusted {
        return None;
    }
    let size = format.reader_size(&mut reader).ok()?;
    plausible(ImageKind::Other, (size.width as u64, size.height as u64), Orientation::NoTransforms)
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
