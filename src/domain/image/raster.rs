//! Decodes GIF, BMP and interlaced PNG at full size, the first frame only.

use std::io::Cursor;

use image::codecs::bmp::BmpDecoder;
use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::{ColorType, ImageDecoder, ImageError, Limits};

use super::picture::{Channels, Decoded, Picture};
use super::png::BUFFERS_MAX_BYTES;
use super::{ICC_MAX_BYTES, RenderLimits, RenderRefused, SOURCE_EDGE_MAX_PX};

/// Decodes a PNG whole; of an animated one, the still picture.
///
/// # Errors
///
/// As [`super::make_preview`].
pub(super) fn decode_interlaced_png(
    source: &[u8],
    limits: &RenderLimits,
) -> Result<Decoded, RenderRefused> {
    let header_limits = image_limits(BUFFERS_MAX_BYTES.min(limits.max_decoded_bytes));
    let decoder = PngDecoder::with_limits(Cursor::new(source), header_limits);
    decode(decoder.map_err(RenderRefused::broken)?, limits)
}

/// Decodes the first frame of a GIF, placed on its screen.
///
/// # Errors
///
/// As [`super::make_preview`].
pub(super) fn decode_gif(source: &[u8], limits: &RenderLimits) -> Result<Decoded, RenderRefused> {
    decode(GifDecoder::new(Cursor::new(source)).map_err(RenderRefused::broken)?, limits)
}

/// Decodes a BMP.
///
/// # Errors
///
/// As [`super::make_preview`].
pub(super) fn decode_bmp(source: &[u8], limits: &RenderLimits) -> Result<Decoded, RenderRefused> {
    decode(BmpDecoder::new(Cursor::new(source)).map_err(RenderRefused::broken)?, limits)
}

fn image_limits(max_alloc_bytes: u64) -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_image_width = Some(SOURCE_EDGE_MAX_PX);
    limits.max_image_height = Some(SOURCE_EDGE_MAX_PX);
    limits.max_alloc = Some(max_alloc_bytes);
    limits
}

fn decode(mut decoder: impl ImageDecoder, limits: &RenderLimits) -> Result<Decoded, RenderRefused> {
    let (width, height) = decoder.dimensions();
    let pixel_count = u64::from(width) * u64::from(height);
    super::check("the number of pixels", pixel_count, limits.max_pixels)?;
    super::check_decoded(decoder.total_bytes(), limits)?;
    let left_bytes = limits.max_decoded_bytes - decoder.total_bytes();
    decoder.set_limits(image_limits(left_bytes)).map_err(|error| refusal(error, limits))?;

    let icc = decoder.icc_profile().ok().flatten().filter(|icc| icc.len() <= ICC_MAX_BYTES);
    let color_type = decoder.color_type();
    let channels = match color_type {
        ColorType::L8 | ColorType::L16 => Channels::Grey,
        ColorType::La8 | ColorType::La16 => Channels::GreyAlpha,
        ColorType::Rgb8 | ColorType::Rgb16 => Channels::Rgb,
        ColorType::Rgba8 | ColorType::Rgba16 => Channels::Rgba,
        other => return Err(RenderRefused::broken(format!("unusual pixels: {other:?}"))),
    };
    let wide = usize::from(color_type.bytes_per_pixel()) == channels.count() * 2;
    let byte_count = usize::try_from(decoder.total_bytes()).map_err(RenderRefused::broken)?;
    let mut pixels = vec![0; byte_count];
    decoder.read_image(&mut pixels).map_err(|error| refusal(error, limits))?;
    if wide {
        narrow_to_eight_bits(&mut pixels);
    }
    let picture = Picture { width, height, channels, pixels };
    Ok(Decoded::whole(picture, icc))
}

/// Keeps the eight most significant bits of each native-endian 16-bit sample, in place.
fn narrow_to_eight_bits(samples: &mut Vec<u8>) {
    let count = samples.len() / 2;
    for index in 0..count {
        let Some(&[first, second]) = samples.get(index * 2..index * 2 + 2) else { break };
        let value = u32::from(u16::from_ne_bytes([first, second]));
        if let Some(place) = samples.get_mut(index) {
            *place = ((value * 255 + 32_767) / 65_535) as u8;
        }
    }
    samples.truncate(count);
}

fn refusal(error: ImageError, limits: &RenderLimits) -> RenderRefused {
    match error {
        ImageError::Limits(_) => out_of_memory(limits),
        other => RenderRefused::broken(other),
    }
}

/// What is said when a decoder stops because its memory is used up.
pub(super) fn out_of_memory(limits: &RenderLimits) -> RenderRefused {
    RenderRefused::TooLarge {
        what: "the memory for decoding in bytes",
        actual: limits.max_decoded_bytes.saturating_add(1),
        limit: limits.max_decoded_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_samples_are_rounded_to_eight_bits() {
        let mut samples: Vec<u8> =
            [0u16, 128, 129, 257, 32_768, 65_535].iter().flat_map(|v| v.to_ne_bytes()).collect();
        narrow_to_eight_bits(&mut samples);
        assert_eq!(samples, [0, 0, 1, 1, 128, 255]);
    }
}
