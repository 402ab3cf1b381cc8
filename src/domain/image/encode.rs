//! Writes the preview file: turns the picture upright and encodes it without metadata.

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::metadata::Orientation;
use image::{DynamicImage, ImageBuffer};
use turbojpeg::{Compressor, PixelFormat, Subsamp};

use super::picture::{Channels, Picture};
use super::{RenderRefused, Rendered};

/// JPEG quality of a preview, of 100.
const JPEG_QUALITY: i32 = 80;

/// Encodes `picture`, which is small by now, as a JPEG, or as a PNG if something shows through.
///
/// # Errors
///
/// [`RenderRefused::Broken`] when the pixels do not match the size.
pub(super) fn encode(
    picture: Picture,
    orientation: Orientation,
) -> Result<Rendered, RenderRefused> {
    let translucent = picture.is_translucent();
    let mut upright = into_dynamic(picture)?;
    upright.apply_orientation(orientation);
    let (width, height) = (upright.width(), upright.height());
    let (bytes, media_type) =
        if translucent { (png(&upright)?, "image/png") } else { (jpeg(&upright)?, "image/jpeg") };
    Ok(Rendered { bytes, media_type, width, height })
}

fn into_dynamic(picture: Picture) -> Result<DynamicImage, RenderRefused> {
    let Picture { width, height, channels, pixels } = picture;
    let image = match channels {
        Channels::Grey => {
            ImageBuffer::from_raw(width, height, pixels).map(DynamicImage::ImageLuma8)
        }
        Channels::GreyAlpha => {
            ImageBuffer::from_raw(width, height, pixels).map(DynamicImage::ImageLumaA8)
        }
        Channels::Rgb => ImageBuffer::from_raw(width, height, pixels).map(DynamicImage::ImageRgb8),
        Channels::Rgba => {
            ImageBuffer::from_raw(width, height, pixels).map(DynamicImage::ImageRgba8)
        }
    };
    image.ok_or_else(|| RenderRefused::broken("fewer pixels than the size promises"))
}

fn png(image: &DynamicImage) -> Result<Vec<u8>, RenderRefused> {
    let mut bytes = Vec::new();
    let encoder =
        PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Adaptive);
    image.write_with_encoder(encoder).map_err(RenderRefused::broken)?;
    Ok(bytes)
}

fn jpeg(image: &DynamicImage) -> Result<Vec<u8>, RenderRefused> {
    let flattened;
    let (format, pixels) = match image {
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
    compressor.set_quality(JPEG_QUALITY).map_err(RenderRefused::broken)?;
    compressor.set_subsamp(subsampling).map_err(RenderRefused::broken)?;
    let (width, height) = (image.width() as usize, image.height() as usize);
    let pitch = width * format.size();
    compressor
        .compress_to_vec(turbojpeg::Image { pixels: &pixels[..], width, pitch, height, format })
        .map_err(RenderRefused::broken)
}
