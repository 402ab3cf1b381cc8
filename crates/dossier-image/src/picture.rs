//! Pixels between decoding and encoding: eight bits per channel, rows without padding.

use image::{DynamicImage, ImageBuffer};

use crate::RenderError;
use crate::rect::Rect;

/// The channels of a pixel: one byte each, alpha last and not premultiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channels {
    Grey,
    GreyAlpha,
    Rgb,
    Rgba,
    /// Ink; 255 is full coverage. Becomes [`Channels::Rgb`] in the conversion to sRGB.
    Cmyk,
}

impl Channels {
    /// Bytes per pixel.
    pub(crate) fn count(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::GreyAlpha => 2,
            Self::Rgb => 3,
            Self::Rgba | Self::Cmyk => 4,
        }
    }

    pub(crate) fn has_alpha(self) -> bool {
        matches!(self, Self::GreyAlpha | Self::Rgba)
    }
}

/// A picture in memory: `width * height * channels.count()` bytes.
#[derive(Debug)]
pub(crate) struct Picture {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) channels: Channels,
    pub(crate) pixels: Vec<u8>,
}

impl Picture {
    /// Whether any pixel is not fully opaque.
    pub(crate) fn is_translucent(&self) -> bool {
        self.channels.has_alpha()
            && self
                .pixels
                .chunks_exact(self.channels.count())
                .any(|pixel| pixel.last().is_some_and(|alpha| *alpha != u8::MAX))
    }

    /// The same pixels as the image library's type.
    ///
    /// # Errors
    ///
    /// [`RenderError::Broken`] when the pixels do not match the size, or are still ink.
    pub(crate) fn into_dynamic(self) -> Result<DynamicImage, RenderError> {
        let Self { width, height, channels, pixels } = self;
        let image = match channels {
            Channels::Grey => {
                ImageBuffer::from_raw(width, height, pixels).map(DynamicImage::ImageLuma8)
            }
            Channels::GreyAlpha => {
                ImageBuffer::from_raw(width, height, pixels).map(DynamicImage::ImageLumaA8)
            }
            Channels::Rgb => {
                ImageBuffer::from_raw(width, height, pixels).map(DynamicImage::ImageRgb8)
            }
            Channels::Rgba => {
                ImageBuffer::from_raw(width, height, pixels).map(DynamicImage::ImageRgba8)
            }
            Channels::Cmyk => None,
        };
        image.ok_or_else(|| RenderError::broken("fewer pixels than the size requires"))
    }
}

/// A decoded picture, not yet upright, with the colour profile of its file.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) picture: Picture,
    /// Width and height that the file states. The picture itself may be smaller.
    pub(crate) full_size: (u32, u32),
    pub(crate) icc: Option<Vec<u8>>,
    /// The part of the file's picture that was decoded, in the file's pixels.
    pub(crate) region: Rect,
}

impl Decoded {
    /// A picture that was decoded whole and at full size.
    pub(crate) fn whole(picture: Picture, icc: Option<Vec<u8>>) -> Self {
        let (width, height) = (picture.width, picture.height);
        Self { picture, full_size: (width, height), icc, region: Rect::whole(width, height) }
    }

    /// A picture that was decoded whole and reduced: each pixel is the mean of `shrink` by `shrink`
    /// pixels. The last column and row may reach beyond the file's picture.
    pub(crate) fn reduced(
        picture: Picture,
        full_size: (u32, u32),
        shrink: u32,
        icc: Option<Vec<u8>>,
    ) -> Self {
        let region = Rect::whole(picture.width * shrink, picture.height * shrink);
        Self { picture, full_size, icc, region }
    }
}

/// Rounds 16-bit samples to eight bits in place, and returns the half of the buffer that then
/// holds them. `decode` is the byte order.
pub(crate) fn narrow_to_eight_bits(samples: &mut [u8], decode: fn([u8; 2]) -> u16) -> &mut [u8] {
    let count = samples.len() / 2;
    for index in 0..count {
        let Some(&[first, second]) = samples.get(index * 2..index * 2 + 2) else { break };
        let value = u32::from(decode([first, second]));
        if let Some(narrow) = samples.get_mut(index) {
            *narrow = ((value * 255 + 32_767) / 65_535) as u8;
        }
    }
    &mut samples[..count]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_samples_are_rounded_to_eight_bits() {
        let samples = [0u16, 128, 129, 257, 32_768, 65_535];
        let mut bytes: Vec<u8> = samples.iter().flat_map(|v| v.to_be_bytes()).collect();
        assert_eq!(narrow_to_eight_bits(&mut bytes, u16::from_be_bytes), [0, 0, 1, 1, 128, 255]);
        let mut bytes: Vec<u8> = samples.iter().flat_map(|v| v.to_ne_bytes()).collect();
        assert_eq!(narrow_to_eight_bits(&mut bytes, u16::from_ne_bytes), [0, 0, 1, 1, 128, 255]);
    }
}
