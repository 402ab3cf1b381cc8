//! Decodes GIF, BMP and interlaced PNG at full size, the first frame only.

use std::io::Cursor;

use image::codecs::bmp::BmpDecoder;
use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::{ColorType, ImageDecoder, ImageError, Limits};

use crate::RenderError;
use crate::limits::{ICC_MAX_BYTES, RenderLimits, SOURCE_EDGE_MAX_PX};
use crate::picture::{Channels, Decoded, Picture, narrow_to_eight_bits};
use crate::png::BUFFERS_MAX_BYTES;

/// Decodes a whole PNG; of an animated one, the still picture.
///
/// # Errors
///
/// As [`crate::make_preview`].
pub(crate) fn decode_interlaced_png(
    source: &[u8],
    limits: &RenderLimits,
) -> Result<Decoded, RenderError> {
    let header_limits = image_limits(BUFFERS_MAX_BYTES.min(limits.max_decoded_bytes));
    let decoder = PngDecoder::with_limits(Cursor::new(source), header_limits);
    decode(decoder.map_err(RenderError::broken)?, limits)
}

/// Decodes the first frame of a GIF, placed on its screen.
///
/// # Errors
///
/// As [`crate::make_preview`].
pub(crate) fn decode_gif(source: &[u8], limits: &RenderLimits) -> Result<Decoded, RenderError> {
    decode(GifDecoder::new(Cursor::new(source)).map_err(RenderError::broken)?, limits)
}

/// Decodes a BMP.
///
/// # Errors
///
/// As [`crate::make_preview`].
pub(crate) fn decode_bmp(source: &[u8], limits: &RenderLimits) -> Result<Decoded, RenderError> {
    decode(BmpDecoder::new(Cursor::new(source)).map_err(RenderError::broken)?, limits)
}

fn image_limits(max_alloc_bytes: u64) -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_image_width = Some(SOURCE_EDGE_MAX_PX);
    limits.max_image_height = Some(SOURCE_EDGE_MAX_PX);
    limits.max_alloc = Some(max_alloc_bytes);
    limits
}

fn decode(mut decoder: impl ImageDecoder, limits: &RenderLimits) -> Result<Decoded, RenderError> {
    let (width, height) = decoder.dimensions();
    let pixel_count = u64::from(width) * u64::from(height);
    limits.check_pixels(pixel_count)?;
    limits.check_decoded(decoder.total_bytes())?;
    let remaining_bytes = limits.max_decoded_bytes - decoder.total_bytes();
    let render_error = |error| render_error(error, limits);
    decoder.set_limits(image_limits(remaining_bytes)).map_err(render_error)?;

    let icc = decoder.icc_profile().ok().flatten().filter(|icc| icc.len() <= ICC_MAX_BYTES);
    let color_type = decoder.color_type();
    let channels = match color_type {
        ColorType::L8 | ColorType::L16 => Channels::Grey,
        ColorType::La8 | ColorType::La16 => Channels::GreyAlpha,
        ColorType::Rgb8 | ColorType::Rgb16 => Channels::Rgb,
        ColorType::Rgba8 | ColorType::Rgba16 => Channels::Rgba,
        other => return Err(RenderError::broken(format!("unexpected pixel type: {other:?}"))),
    };
    let is_wide = usize::from(color_type.bytes_per_pixel()) == channels.count() * 2;
    let byte_count = usize::try_from(decoder.total_bytes()).map_err(RenderError::broken)?;
    let mut pixels = vec![0; byte_count];
    decoder.read_image(&mut pixels).map_err(render_error)?;
    if is_wide {
        let count = narrow_to_eight_bits(&mut pixels, u16::from_ne_bytes).len();
        pixels.truncate(count);
    }
    let picture = Picture { width, height, channels, pixels };
    Ok(Decoded::whole(picture, icc))
}

fn render_error(error: ImageError, limits: &RenderLimits) -> RenderError {
    match error {
        ImageError::Limits(_) => limits.out_of_memory(),
        other => RenderError::broken(other),
    }
}
