//! Decodes a JPEG at the smallest scale that still covers the result.

use std::borrow::Cow;
use std::io::Cursor;

use turbojpeg::{
    Colorspace, DecompressHeader, Decompressor, Error, Image, PixelFormat, ScalingFactor,
};

use crate::geometry::Plan;
use crate::jpeg_segments::{self, Detail};
use crate::picture::{Channels, Decoded, Picture};
use crate::rect::Rect;
use crate::{RenderError, RenderLimits, colour};

/// Most scans of a progressive JPEG. Real ones have about ten; thousands are a known way to keep
/// a decoder busy with a small file.
const SCANS_MAX: u32 = 100;

/// How much larger than the result the decoded picture must be. Below that, artefacts of the
/// decoder's own reduction are visible.
const COVER: f64 = 1.1;

/// How the messages begin with which libjpeg warns but still fills the buffer. The binding returns
/// warnings as errors and does not distinguish them.
const WARNINGS: [&str; 6] = [
    "Corrupt JPEG data",
    "Inconsistent progression sequence",
    "Invalid SOS parameters for sequential JPEG",
    "Premature end of JPEG file",
    "Unknown Adobe color transform code",
    "Warning: unknown JFIF revision number",
];

/// Decodes `source` for `plan`, in stored orientation, reduced by 1, 2, 4 or 8.
///
/// # Errors
///
/// As [`crate::make_preview`].
pub(crate) fn decode(
    source: &[u8],
    plan: &Plan,
    limits: &RenderLimits,
) -> Result<Decoded, RenderError> {
    let head = jpeg_segments::read_head(&mut Cursor::new(source), Detail::Profile)
        .filter(|head| head.has_scan)
        .ok_or_else(|| RenderError::broken("the header is cut off or too long"))?;
    let mut decompressor = Decompressor::new().map_err(RenderError::broken)?;
    decompressor.set_scan_limit(SCANS_MAX).map_err(RenderError::broken)?;
    let (source, header) = read_header(&mut decompressor, source)?;
    // The file has two frame headers, or one that only the decoder finds. The limits must be
    // checked on the picture for which the memory is allocated.
    if (header.width, header.height) != (usize::from(head.width), usize::from(head.height)) {
        return Err(RenderError::broken("the header states two sizes"));
    }
    let (format, channels) = match header.colorspace {
        Colorspace::Gray => (PixelFormat::GRAY, Channels::Grey),
        Colorspace::CMYK | Colorspace::YCCK => (PixelFormat::CMYK, Channels::Cmyk),
        Colorspace::RGB | Colorspace::YCbCr => (PixelFormat::RGB, Channels::Rgb),
    };

    let shrink = if header.is_lossless { 1 } else { shrink_for(plan.reduction()) };
    let scaled = header.scaled(ScalingFactor::new(1, shrink));
    check_size(&header, &scaled, format, head.coefficient_bytes(), limits)?;
    decompressor.set_scaling_factor(ScalingFactor::new(1, shrink)).map_err(RenderError::broken)?;
    let pitch = scaled.width * format.size();
    let mut pixels = vec![0; pitch * scaled.height];
    let output = Image {
        pixels: &mut pixels[..],
        width: scaled.width,
        pitch,
        height: scaled.height,
        format,
    };
    match decompressor.decompress(&source, output) {
        Err(error) if !is_warning(&error) => return Err(RenderError::broken(error)),
        _ => {}
    }
    if channels == Channels::Cmyk && head.has_adobe_marker {
        colour::invert(&mut pixels);
    }
    let (width, height) = (scaled.width as u32, scaled.height as u32);
    let picture = Picture { width, height, channels, pixels };
    // The last column and row may reach beyond the picture.
    let region = Rect::whole(width * shrink as u32, height * shrink as u32);
    let full_size = (head.width.into(), head.height.into());
    Ok(Decoded { picture, full_size, icc: head.icc, region })
}

/// The factor by which a JPEG is reduced while it is decoded, when the result is smaller by
/// `reduction`: the largest of 8, 4, 2 and 1 that leaves at least 1.1 times the result's size.
pub(crate) fn shrink_for(reduction: f64) -> usize {
    [8, 4, 2].into_iter().find(|shrink| reduction >= f64::from(*shrink) * COVER).unwrap_or(1)
        as usize
}

/// Reads the decoder's own view of the header. If it warns about the header, which the binding
/// reports as an error, the picture is copied without metadata and read again.
fn read_header<'a>(
    decompressor: &mut Decompressor,
    source: &'a [u8],
) -> Result<(Cow<'a, [u8]>, DecompressHeader), RenderError> {
    match decompressor.read_header(source) {
        Ok(header) => Ok((Cow::Borrowed(source), header)),
        Err(error) if is_warning(&error) => {
            let bare = jpeg_segments::without_metadata(source)
                .ok_or_else(|| RenderError::broken(error))?;
            let header = decompressor.read_header(&bare).map_err(RenderError::broken)?;
            Ok((Cow::Owned(bare), header))
        }
        Err(error) => Err(RenderError::broken(error)),
    }
}

fn check_size(
    header: &DecompressHeader,
    scaled: &DecompressHeader,
    format: PixelFormat,
    coefficient_bytes: u64,
    limits: &RenderLimits,
) -> Result<(), RenderError> {
    let pixel_count = (header.width as u64).saturating_mul(header.height as u64);
    limits.check_pixels(pixel_count)?;
    let scaled_bytes = (scaled.width as u64)
        .saturating_mul(scaled.height as u64)
        .saturating_mul(format.size() as u64);
    limits.check_decoded(scaled_bytes.saturating_add(coefficient_bytes))
}

fn is_warning(error: &Error) -> bool {
    match error {
        Error::TurboJpegError(message) => {
            WARNINGS.iter().any(|warning| message.starts_with(warning))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_pictures_are_decoded_at_reduced_scale() {
        assert_eq!(shrink_for(4000.0 / 640.0), 4);
        assert_eq!(shrink_for(6000.0 / 640.0), 8);
        assert_eq!(shrink_for(65_535.0 / 640.0), 8);
    }

    #[test]
    fn a_shrink_that_barely_covers_the_result_is_not_chosen() {
        assert_eq!(shrink_for(5120.0 / 640.0), 4, "640 pixels would remain");
        assert_eq!(shrink_for(5640.0 / 640.0), 8, "705 pixels are 1.1 times the result");
        assert_eq!(shrink_for(1300.0 / 640.0), 1);
        assert_eq!(shrink_for(1410.0 / 640.0), 2);
    }

    #[test]
    fn small_and_enlarged_pictures_are_decoded_whole() {
        assert_eq!(shrink_for(1.0), 1);
        assert_eq!(shrink_for(0.01), 1);
    }
}
