//! Writes the result's file, without metadata.

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{DynamicImage, ImageEncoder as _};
use turbojpeg::{Compressor, PixelFormat, Subsamp};

use super::{Format, RenderRefused, Rendered, webp};

/// Encodes an upright picture, which is small by now, as a JPEG, or as `format` says if it is
/// `translucent`. `quality` is of 100.
///
/// # Errors
///
/// [`RenderRefused::Broken`] when the pixels do not match the size.
pub(super) fn encode(
    picture: DynamicImage,
    translucent: bool,
    format: Format,
    quality: u8,
) -> Result<Rendered, RenderRefused> {
    let (width, height) = (picture.width(), picture.height());
    let quality = quality.clamp(1, 100);
    let (bytes, media_type) = match format {
        _ if !translucent => (jpeg(&picture, quality)?, "image/jpeg"),
        Format::JpegOrPng => (png(&picture)?, "image/png"),
        Format::JpegOrWebp => {
            let rgba = picture.into_rgba8();
            (webp::encode(rgba.as_raw(), (width, height), quality)?, "image/webp")
        }
    };
    Ok(Rendered { bytes, media_type, width, height })
}

fn png(picture: &DynamicImage) -> Result<Vec<u8>, RenderRefused> {
    let mut bytes = Vec::new();
    let encoder =
        PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Adaptive);
    let (width, height) = (picture.width(), picture.height());
    encoder
        .write_image(picture.as_bytes(), width, height, picture.color().into())
        .map_err(RenderRefused::broken)?;
    Ok(bytes)
}

fn jpeg(picture: &DynamicImage, quality: u8) -> Result<Vec<u8>, RenderRefused> {
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
    let subsampling = match format {
        PixelFormat::GRAY => Subsamp::Gray,
        _ => Subsamp::Sub2x2,
    };
    let mut compressor = Compressor::new().map_err(RenderRefused::broken)?;
    compressor.set_quality(quality.into()).map_err(RenderRefused::broken)?;
    compressor.set_subsamp(subsampling).map_err(RenderRefused::broken)?;
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let pitch = width * format.size();
    compressor
        .compress_to_vec(turbojpeg::Image { pixels: &pixels[..], width, pitch, height, format })
        .map_err(RenderRefused::broken)
}
