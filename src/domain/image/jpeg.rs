//! Decodes a JPEG at the smallest scale that still covers the preview.

use std::borrow::Cow;
use std::io::Cursor;

use turbojpeg::{
    Colorspace, DecompressHeader, Decompressor, Error, Image, PixelFormat, ScalingFactor,
};

use super::jpeg_segments::{self, Want};
use super::picture::{Channels, Decoded, Picture};
use super::{PREVIEW_EDGE_PX, RenderLimits, RenderRefused, colour};

/// Most scans of a progressive JPEG. Real ones have about ten; thousands are a known way to
/// keep a decoder busy with a small file.
const SCANS_MAX: u32 = 100;

/// How much larger than the preview the decoded picture must be, in tenths. Under 1.1 the
/// decoder's own reduction would show.
const COVER_TENTHS: u64 = 11;

/// What libjpeg says, at the start of its message, when it went on and filled the buffer. The
/// binding returns such warnings as errors and does not tell which is which.
const WARNINGS: [&str; 6] = [
    "Corrupt JPEG data",
    "Inconsistent progression sequence",
    "Invalid SOS parameters for sequential JPEG",
    "Premature end of JPEG file",
    "Unknown Adobe color transform code",
    "Warning: unknown JFIF revision number",
];

/// Decodes `source`, reduced by 1, 2, 4 or 8.
///
/// # Errors
///
/// As [`super::make_preview`].
pub(super) fn decode(source: &[u8], limits: &RenderLimits) -> Result<Decoded, RenderRefused> {
    let head = jpeg_segments::read_head(&mut Cursor::new(source), Want::Profile)
        .filter(|head| head.has_scan)
        .ok_or_else(|| RenderRefused::broken("the header is cut off or too long"))?;
    let mut decompressor = Decompressor::new().map_err(RenderRefused::broken)?;
    decompressor.set_scan_limit(SCANS_MAX).map_err(RenderRefused::broken)?;
    let (source, header) = read_header(&mut decompressor, source)?;
    // Two frame headers, or one that only the decoder sees: the limits would be checked on one
    // picture and the memory spent on another.
    if (header.width, header.height) != (usize::from(head.width), usize::from(head.height)) {
        return Err(RenderRefused::broken("the header states two sizes"));
    }
    let (format, channels) = match header.colorspace {
        Colorspace::Gray => (PixelFormat::GRAY, Channels::Grey),
        Colorspace::CMYK | Colorspace::YCCK => (PixelFormat::CMYK, Channels::Rgb),
        Colorspace::RGB | Colorspace::YCbCr => (PixelFormat::RGB, Channels::Rgb),
    };

    let shrink =
        if header.is_lossless { 1 } else { shrink_for(header.width as u64, header.height as u64) };
    let scaled = header.scaled(ScalingFactor::new(1, shrink));
    check_size(&header, &scaled, format, head.coefficient_bytes(), limits)?;
    decompressor
        .set_scaling_factor(ScalingFactor::new(1, shrink))
        .map_err(RenderRefused::broken)?;
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
        Err(error) if !is_warning(&error) => return Err(RenderRefused::broken(error)),
        _ => {}
    }
    if format == PixelFormat::CMYK {
        pixels = colour::cmyk_to_rgb(pixels, head.has_adobe_marker);
    }
    let (width, height) = (scaled.width as u32, scaled.height as u32);
    let picture = Picture { width, height, channels, pixels };
    Ok(Decoded { picture, full_size: (head.width.into(), head.height.into()), icc: head.icc })
}

/// By how much a JPEG of this size is reduced while it is decoded: the largest of 8, 4, 2 and 1
/// that leaves at least 1.1 times the preview's size.
pub(super) fn shrink_for(width: u64, height: u64) -> usize {
    let longest = width.max(height);
    let target = longest.min(u64::from(PREVIEW_EDGE_PX));
    let covers = |shrink: u64| longest.div_ceil(shrink) * 10 >= target * COVER_TENTHS;
    [8, 4, 2].into_iter().find(|shrink| covers(*shrink as u64)).unwrap_or(1)
}

/// Reads the decoder's own view of the header. Where it warns about the header, which the
/// binding takes for a failure, the picture is copied without metadata and tried again.
fn read_header<'a>(
    decompressor: &mut Decompressor,
    source: &'a [u8],
) -> Result<(Cow<'a, [u8]>, DecompressHeader), RenderRefused> {
    match decompressor.read_header(source) {
        Ok(header) => Ok((Cow::Borrowed(source), header)),
        Err(error) if is_warning(&error) => {
            let bare = jpeg_segments::without_metadata(source)
                .ok_or_else(|| RenderRefused::broken(error))?;
            let header = decompressor.read_header(&bare).map_err(RenderRefused::broken)?;
            Ok((Cow::Owned(bare), header))
        }
        Err(error) => Err(RenderRefused::broken(error)),
    }
}

fn check_size(
    header: &DecompressHeader,
    scaled: &DecompressHeader,
    format: PixelFormat,
    coefficient_bytes: u64,
    limits: &RenderLimits,
) -> Result<(), RenderRefused> {
    let pixel_count = (header.width as u64).saturating_mul(header.height as u64);
    super::check("the number of pixels", pixel_count, limits.max_pixels)?;
    let scaled_bytes = (scaled.width as u64)
        .saturating_mul(scaled.height as u64)
        .saturating_mul(format.size() as u64);
    super::check_decoded(scaled_bytes.saturating_add(coefficient_bytes), limits)
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
        assert_eq!(shrink_for(4000, 3000), 4);
        assert_eq!(shrink_for(6000, 4000), 8);
        assert_eq!(shrink_for(3000, 4000), 4);
        assert_eq!(shrink_for(65_535, 100), 8);
    }

    #[test]
    fn a_shrink_that_barely_covers_the_preview_is_not_taken() {
        assert_eq!(shrink_for(5120, 3000), 4, "640 pixels would be left");
        assert_eq!(shrink_for(5632, 3000), 8, "704 pixels are 1.1 times the preview");
        assert_eq!(shrink_for(1300, 900), 1);
        assert_eq!(shrink_for(1408, 900), 2);
    }

    #[test]
    fn small_pictures_are_decoded_whole() {
        assert_eq!(shrink_for(640, 640), 1);
        assert_eq!(shrink_for(1, 1), 1);
    }
}
