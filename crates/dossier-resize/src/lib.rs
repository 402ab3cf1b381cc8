//! Resizes pixels of one to four eight-bit channels, with a Lanczos filter.
//!
//! A crate of its own for the sake of build times: the library's convolutions are generic over the
//! pixel type, the view and the precision, so about 1,700 functions are compiled where they are called.
//! Inside dossier-image that would happen again for its tests and for each set of features.

use std::error::Error;
use std::fmt;

use fast_image_resize::images::TypedImage;
use fast_image_resize::pixels::{U8, U8x2, U8x3, U8x4};
use fast_image_resize::{FilterType, MulDiv, PixelTrait, ResizeAlg, ResizeOptions, Resizer};

/// Why pixels could not be processed: they do not match their size, or there is no such operation
/// for this number of channels.
#[derive(Debug)]
pub struct ResizeError(String);

impl ResizeError {
    #[expect(clippy::needless_pass_by_value, reason = "the signature that map_err needs")]
    fn new(problem: impl ToString) -> Self {
        Self(problem.to_string())
    }

    fn channels(count: usize) -> Self {
        Self(format!("no operation on {count} channels"))
    }
}

impl fmt::Display for ResizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for ResizeError {}

/// Pixels in rows without padding: `width * height * channels` bytes.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Bytes per pixel, 1 to 4.
    pub channels: usize,
}

/// The part of a picture to resize, in fractions of pixels. It must lie within the picture.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// Left edge.
    pub x: f64,
    /// Top edge.
    pub y: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

/// Resizes `part` of `pixels` to `target`, width and height. Channels are independent, so colour
/// must be premultiplied where alpha varies.
///
/// # Errors
///
/// When the pixels do not match the layout, or the part does not lie within the picture.
pub fn resize(
    mut pixels: Vec<u8>,
    layout: Layout,
    part: Part,
    target: (u32, u32),
) -> Result<Vec<u8>, ResizeError> {
    match layout.channels {
        1 => resize_typed::<U8>(&mut pixels, layout, part, target),
        2 => resize_typed::<U8x2>(&mut pixels, layout, part, target),
        3 => resize_typed::<U8x3>(&mut pixels, layout, part, target),
        4 => resize_typed::<U8x4>(&mut pixels, layout, part, target),
        other => Err(ResizeError::channels(other)),
    }
}

/// By type and not through `Resizer::resize`, which would compile all 13 pixel types of the library.
/// Both views are of the type of the resizer's own buffer: each further view type would double the
/// functions.
fn resize_typed<P: PixelTrait>(
    pixels: &mut [u8],
    layout: Layout,
    part: Part,
    (width, height): (u32, u32),
) -> Result<Vec<u8>, ResizeError> {
    let mut resized = vec![0; width as usize * height as usize * layout.channels];
    let from = view::<P>(pixels, layout)?;
    let mut to = view(&mut resized, Layout { width, height, ..layout })?;
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3))
        .crop(part.x, part.y, part.width, part.height)
        .use_alpha(false);
    Resizer::new().resize_typed(&from, &mut to, &options).map_err(ResizeError::new)?;
    Ok(resized)
}

/// Multiplies the colour of each pixel by its last channel, alpha, so that pixels can be mixed.
///
/// # Errors
///
/// When the pixels do not match the layout, or do not have two or four channels.
pub fn multiply_alpha(pixels: &mut [u8], layout: Layout) -> Result<(), ResizeError> {
    let alpha = MulDiv::new();
    match layout.channels {
        2 => alpha.multiply_alpha_inplace_typed(&mut view::<U8x2>(pixels, layout)?),
        4 => alpha.multiply_alpha_inplace_typed(&mut view::<U8x4>(pixels, layout)?),
        other => return Err(ResizeError::channels(other)),
    }
    .map_err(ResizeError::new)
}

/// Undoes [`multiply_alpha`].
///
/// # Errors
///
/// As [`multiply_alpha`].
pub fn divide_alpha(pixels: &mut [u8], layout: Layout) -> Result<(), ResizeError> {
    let alpha = MulDiv::new();
    match layout.channels {
        2 => alpha.divide_alpha_inplace_typed(&mut view::<U8x2>(pixels, layout)?),
        4 => alpha.divide_alpha_inplace_typed(&mut view::<U8x4>(pixels, layout)?),
        other => return Err(ResizeError::channels(other)),
    }
    .map_err(ResizeError::new)
}

fn view<P: PixelTrait>(
    pixels: &mut [u8],
    layout: Layout,
) -> Result<TypedImage<'_, P>, ResizeError> {
    TypedImage::from_buffer(layout.width, layout.height, pixels).map_err(ResizeError::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout = Layout { width: 4, height: 4, channels: 4 };
    const WHOLE: Part = Part { x: 0.0, y: 0.0, width: 4.0, height: 4.0 };

    #[test]
    fn pixels_of_each_number_of_channels_are_resized() {
        for channels in 1..=4 {
            let layout = Layout { channels, ..LAYOUT };
            let resized = resize(vec![9; 16 * channels], layout, WHOLE, (2, 3)).unwrap();
            assert_eq!(resized, vec![9; 6 * channels]);
        }
    }

    #[test]
    fn alpha_is_multiplied_and_divided() {
        let mut pixels = [200, 100, 50, 128].repeat(16);
        multiply_alpha(&mut pixels, LAYOUT).unwrap();
        assert_eq!(pixels[..4], [100, 50, 25, 128]);
        divide_alpha(&mut pixels, LAYOUT).unwrap();
        assert!(pixels[0].abs_diff(200) <= 1 && pixels[2].abs_diff(50) <= 1, "{:?}", &pixels[..4]);
    }

    #[test]
    fn what_does_not_fit_is_rejected() {
        let too_many = Layout { channels: 5, ..LAYOUT };
        assert!(resize(vec![0; 80], too_many, WHOLE, (2, 2)).is_err());
        assert!(resize(vec![0; 63], LAYOUT, WHOLE, (2, 2)).is_err());
        assert!(resize(vec![0; 64], LAYOUT, Part { x: 1.0, ..WHOLE }, (2, 2)).is_err());
        assert!(multiply_alpha(&mut [0; 63], LAYOUT).is_err());
        assert!(divide_alpha(&mut [0; 48], Layout { channels: 3, ..LAYOUT }).is_err());
    }
}
