//! Encodes results, without metadata.

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{DynamicImage, ImageEncoder as _};
use turbojpeg::{Compressor, PixelFormat, Subsamp};

use crate::{Format, RenderError, Rendered, webp};

/// Encodes an upright, resized picture as a JPEG, or as `format` chooses if it `is_translucent`.
/// `quality` is out of 100.
///
/// # Errors
///
/// [`RenderError::Broken`] when the pixels do not match the size.
pub(crate) fn encode(
    picture: DynamicImage,
    is_translucent: bool,
    format: Format,
    quality: u8,
) -> Result<Rendered, RenderError> {
    let (width, height) = (picture.width(), picture.height());
    let quality = quality.clamp(1, 100);
    let (bytes, media_type) = match format {
        _ if !is_translucent => (jpeg(&picture, quality)?, "image/jpeg"),
        Format::JpegOrPng => (png(&picture)?, "image/png"),
        Format::JpegOrWebp => {
            let rgba = picture.into_rgba8();
            (webp::encode(rgba.as_raw(), (width, height), quality)?, "image/webp")
        }
    };
    Ok(Rendered { bytes, media_type, width, height })
}

fn png(picture: &DynamicImage) -> Result<Vec<u8>, RenderError> {
    let mut bytes = Vec::new();
    let encoder =
        PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Adaptive);
    let (width, height) = (picture.width(), picture.height());
    encoder
        .write_image(picture.as_bytes(), width, height, picture.color().into())
        .map_err(RenderError::broken)?;
    Ok(bytes)
}

fn jpeg(picture: &DynamicImage, quality: u8) -> Result<Vec<u8>, RenderError> {
    let flattened;
    let (format, pixels) = match picture {
        DynamicImage::ImageLuma8(grey) => (PixelFormat::GRAY, grey.as_raw()),
        DynamicImage::ImageRgb8(rgb) => (PixelFormat::RGB, rgb.as_raw()),
        DynamicImage::ImageRgba8(rgba) => (PixelFormat::RGBX, rgba.as_raw()),
        other => {
            flattened = other.to_luma8();
            (PixelFormat::GRAY, flattened.as_raw())
        }
    };
    compress(pixels, format, (picture.width() as usize, picture.height() as usize), quality)
}

/// Encodes `width * height` pixels of red, green and blue, one byte each, as a JPEG with colour at
/// half resolution (4:2:0). `quality` is 1 to 100.
///
/// # Errors
///
/// [`RenderError::Broken`] when the pixels do not match the size.
pub fn encode_jpeg(
    rgb: &[u8],
    (width, height): (u32, u32),
    quality: u8,
) -> Result<Vec<u8>, RenderError> {
    let (pixels, rest) = rgb.as_chunks::<3>();
    let is_whole = !pixels.is_empty() && rest.is_empty();
    if !is_whole || pixels.len() as u64 != u64::from(width) * u64::from(height) {
        return Err(RenderError::broken("the pixels do not match the size"));
    }
    compress(rgb, PixelFormat::RGB, (width as usize, height as usize), quality.clamp(1, 100))
}

fn compress(
    pixels: &[u8],
    format: PixelFormat,
    (width, height): (usize, usize),
    quality: u8,
) -> Result<Vec<u8>, RenderError> {
    let subsampling = match format {
        PixelFormat::GRAY => Subsamp::Gray,
        _ => Subsamp::Sub2x2,
    };
    let mut compressor = Compressor::new().map_err(RenderError::broken)?;
    compressor.set_quality(quality.into()).map_err(RenderError::broken)?;
    compressor.set_subsamp(subsampling).map_err(RenderError::broken)?;
    let pitch = width * format.size();
    compressor
        .compress_to_vec(turbojpeg::Image { pixels, width, pitch, height, format })
        .map_err(RenderError::broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_that_do_not_match_the_size_are_rejected() {
        assert!(encode_jpeg(&[9; 12], (2, 2), 80).is_ok());
        for (length, size) in [(11, (2, 2)), (13, (2, 2)), (0, (0, 0)), (3, (u32::MAX, u32::MAX))] {
            let rejected = encode_jpeg(&vec![0; length], size, 80);
            assert!(matches!(rejected, Err(RenderError::Broken { .. })), "{length} {size:?}");
        }
    }
}
