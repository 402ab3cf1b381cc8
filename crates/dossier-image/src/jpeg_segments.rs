//! Reads the segments of a JPEG up to its first scan (ITU-T T.81 annex B): size, orientation,
//! colour profile, and what determines the memory for decoding. Decodes no pixels.

use std::io::Cursor;

use image::metadata::Orientation;

use crate::forward::{ForwardReader, PARTS_MAX, Source};
use crate::header::EXIF_MAX_BYTES;
use crate::limits::ICC_MAX_BYTES;

const START_OF_SCAN: u8 = 0xda;
const END_OF_IMAGE: u8 = 0xd9;
const APP1: u8 = 0xe1;
const APP2: u8 = 0xe2;
const ADOBE_APP14: u8 = 0xee;
const EXIF_NAME: &[u8] = b"Exif\0\0";
const ICC_NAME: &[u8] = b"ICC_PROFILE\0";

/// How much of the header to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Size and orientation.
    Size,
    /// The colour profile as well.
    Profile,
}

/// The contents of the segments before the first scan.
#[derive(Debug)]
pub(crate) struct JpegHead {
    /// Width in stored orientation, in pixels.
    pub(crate) width: u16,
    /// Height in stored orientation, in pixels.
    pub(crate) height: u16,
    pub(crate) orientation: Orientation,
    /// There is an Adobe marker, so CMYK inks are stored inverted.
    pub(crate) has_adobe_marker: bool,
    /// The first scan was reached, so there are pixels to decode.
    pub(crate) has_scan: bool,
    pub(crate) icc: Option<Vec<u8>>,
    /// Horizontal and vertical sampling of each component.
    sampling: Vec<(u8, u8)>,
    is_progressive: bool,
    first_scan_components: u8,
}

impl JpegHead {
    /// Bytes that a decoder needs to hold all coefficients, or 0 when one pass is enough.
    ///
    /// A picture in several scans is held whole until the last one, whatever the scale.
    pub(crate) fn coefficient_bytes(&self) -> u64 {
        let is_one_scan =
            !self.is_progressive && usize::from(self.first_scan_components) == self.sampling.len();
        if is_one_scan {
            return 0;
        }
        let most = |side: fn(&(u8, u8)) -> u8| {
            self.sampling.iter().map(side).max().map_or(1, |most| u64::from(most.max(1)))
        };
        let (most_across, most_down) = (most(|s| s.0), most(|s| s.1));
        let blocks = |length: u16, sampling: u8, most: u64| {
            (u64::from(length) * u64::from(sampling)).div_ceil(most).div_ceil(8)
        };
        self.sampling
            .iter()
            .map(|&(across, down)| {
                blocks(self.width, across, most_across) * blocks(self.height, down, most_down)
            })
            // A block has 64 coefficients of two bytes.
            .sum::<u64>()
            .saturating_mul(128)
    }
}

/// Reads the segments up to the first scan. `None` when no frame header is found within the bounds
/// of the reader. After a frame header, a header that is cut off or overlong still gives what came
/// before the end.
pub(crate) fn read_head(source: &mut dyn Source, detail: Detail) -> Option<JpegHead> {
    let mut segments = Segments::start(source)?;
    let mut frame = None;
    let mut orientation = None;
    let mut has_adobe_marker = false;
    let mut first_scan_components = None;
    let mut profile = ProfileChunks::default();
    while let Some(segment) = segments.next() {
        match segment.marker {
            START_OF_SCAN => {
                first_scan_components = segments.payload(1).and_then(|head| head.first().copied());
                break;
            }
            marker if is_frame(marker) && frame.is_none() => {
                frame = Some(Frame::parse(marker, &segments.payload(17 + 3 * 255)?)?);
            }
            APP1 if orientation.is_none() && segments.starts_with(EXIF_NAME) => {
                let exif = segments.payload(EXIF_MAX_BYTES).unwrap_or_default();
                orientation = Orientation::from_exif_chunk(&exif);
            }
            APP2 if detail == Detail::Profile
                && !profile.is_overlong()
                && segments.starts_with(ICC_NAME) =>
            {
                profile.add(segments.payload(usize::from(u16::MAX)).unwrap_or_default());
            }
            ADOBE_APP14 => has_adobe_marker |= segments.starts_with(b"Adobe"),
            _ => {}
        }
    }
    let Frame { marker, width, height, sampling } = frame?;
    Some(JpegHead {
        width,
        height,
        orientation: orientation.unwrap_or(Orientation::NoTransforms),
        has_adobe_marker,
        has_scan: first_scan_components.is_some(),
        icc: profile.joined(),
        sampling,
        is_progressive: matches!(marker, 0xc2 | 0xca),
        first_scan_components: first_scan_components.unwrap_or(0),
    })
}

/// Copies a JPEG without application data and comments, except the Adobe marker, which states how
/// colours are stored. For decoders that fail on a segment that the pixels do not need.
///
/// `None` when the first scan cannot be found.
pub(crate) fn without_metadata(source: &[u8]) -> Option<Vec<u8>> {
    let mut cursor = Cursor::new(source);
    let mut segments = Segments::start(&mut cursor)?;
    let mut kept = Vec::with_capacity(source.len());
    kept.extend_from_slice(source.get(..2)?);
    while let Some(segment) = segments.next() {
        let start = usize::try_from(segment.position).ok()?;
        let end = match segment.marker {
            START_OF_SCAN => source.len(),
            _ => start + 2 + usize::from(segment.length),
        };
        let is_metadata = matches!(segment.marker, 0xe0..=0xef | 0xfe);
        if !is_metadata || segment.marker == ADOBE_APP14 {
            kept.extend_from_slice(source.get(start..end)?);
        }
        if segment.marker == START_OF_SCAN {
            return Some(kept);
        }
    }
    None
}

/// SOF0 to SOF15, without the three markers in that range that mean something else.
fn is_frame(marker: u8) -> bool {
    matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc)
}

struct Frame {
    marker: u8,
    width: u16,
    height: u16,
    sampling: Vec<(u8, u8)>,
}

impl Frame {
    fn parse(marker: u8, payload: &[u8]) -> Option<Self> {
        let (&[_precision, h0, h1, w0, w1, count], rest) = payload.split_first_chunk()?;
        let sampling: Vec<_> = rest
            .chunks_exact(3)
            .take(usize::from(count))
            .filter_map(|component| component.get(1))
            .map(|factors| (factors >> 4, factors & 15))
            .collect();
        let width = u16::from_be_bytes([w0, w1]);
        let height = u16::from_be_bytes([h0, h1]);
        (sampling.len() == usize::from(count)).then_some(Self { marker, width, height, sampling })
    }
}

/// The numbered pieces of a colour profile (ICC.1 annex B.4), bounded in total.
#[derive(Default)]
struct ProfileChunks {
    chunks: Vec<Vec<u8>>,
    total_bytes: usize,
}

impl ProfileChunks {
    /// The profile is larger than one that is applied, so further pieces are not needed.
    fn is_overlong(&self) -> bool {
        self.total_bytes > ICC_MAX_BYTES
    }

    /// Adds one piece: its number, the number of pieces, and its bytes.
    fn add(&mut self, chunk: Vec<u8>) {
        self.total_bytes = self.total_bytes.saturating_add(chunk.len());
        if !self.is_overlong() {
            self.chunks.push(chunk);
        }
    }

    /// The whole profile. `None` when there is none, or when pieces are missing or in excess.
    fn joined(mut self) -> Option<Vec<u8>> {
        if self.chunks.is_empty() || self.is_overlong() {
            return None;
        }
        self.chunks.sort_by_key(|chunk| chunk.first().copied());
        let stated_count = self.chunks.len();
        let mut profile = Vec::with_capacity(self.total_bytes);
        for (number, chunk) in (1..).zip(&self.chunks) {
            let (&[sequence, count], bytes) = chunk.split_first_chunk()?;
            if usize::from(sequence) != number || usize::from(count) != stated_count {
                return None;
            }
            profile.extend_from_slice(bytes);
        }
        Some(profile)
    }
}

/// One segment: its marker, where the marker begins, and the length that the segment states.
#[derive(Debug, Clone, Copy)]
struct Segment {
    marker: u8,
    position: u64,
    length: u16,
}

/// Iterates over segments. The payload of the current one can be read once, in part or whole.
struct Segments<'a> {
    reader: ForwardReader<'a>,
    count: usize,
    unread_bytes: u16,
}

impl<'a> Segments<'a> {
    fn start(source: &'a mut dyn Source) -> Option<Self> {
        let mut reader = ForwardReader::start(source)?;
        (reader.array()? == [0xff, 0xd8]).then_some(Self { reader, count: 0, unread_bytes: 0 })
    }

    /// Moves to the next segment. `None` at the end of the picture or file, or at a bound.
    fn next(&mut self) -> Option<Segment> {
        self.reader.skip(u64::from(self.unread_bytes))?;
        self.unread_bytes = 0;
        self.count += 1;
        if self.count > PARTS_MAX {
            return None;
        }
        let marker = self.next_marker()?;
        let position = self.reader.position().checked_sub(2)?;
        let length = u16::from_be_bytes(self.reader.array()?);
        self.unread_bytes = length.checked_sub(2)?;
        Some(Segment { marker, position, length })
    }

    /// Finds the next marker that has a payload. Decoders skip stray bytes and fill bytes, so this
    /// does too; otherwise the two could disagree on the size of a file.
    fn next_marker(&mut self) -> Option<u8> {
        loop {
            self.reader.skip_past(0xff)?;
            let mut marker = 0xff;
            while marker == 0xff {
                [marker] = self.reader.array()?;
            }
            match marker {
                0x00 | 0x01 | 0xd0..=0xd7 => {}
                0xd8 | END_OF_IMAGE => return None,
                _ => return Some(marker),
            }
        }
    }

    /// Whether the payload starts with `name`. Reads past it if the payload is long enough.
    fn starts_with(&mut self, name: &[u8]) -> bool {
        self.payload(name.len()).is_some_and(|found| found == name)
    }

    /// Reads the rest of the payload, at most `max` bytes. `None` when the file ends before that,
    /// or when nothing is left.
    fn payload(&mut self, max: usize) -> Option<Vec<u8>> {
        let count = usize::from(self.unread_bytes).min(max);
        self.unread_bytes -= count as u16;
        self.reader.bytes(count, count).filter(|bytes| !bytes.is_empty())
    }
}

#[cfg(test)]
#[path = "jpeg_segments_tests.rs"]
mod tests;
