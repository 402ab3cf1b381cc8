//! Pixels between decoding and encoding: eight bits a channel, rows without padding.

use image::{DynamicImage, ImageBuffer};

use super::RenderRefused;
use super::geometry::Rect;

/// What a pixel is made of. One byte a channel, alpha last and not premultiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channels {
    Grey,
    GreyAlpha,
    Rgb,
    Rgba,
    /// Ink, of which 255 is full. Becomes [`Channels::Rgb`] on the way to sRGB.
    Cmyk,
}

impl Channels {
    /// Bytes of one pixel.
    pub(super) fn count(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::GreyAlpha => 2,
            Self::Rgb => 3,
            Self::Rgba | Self::Cmyk => 4,
        }
    }

    pub(super) fn has_alpha(self) -> bool {
        matches!(self, Self::GreyAlpha | Self::Rgba)
    }
}

/// A picture in memory, `width * height * channels.count()` bytes.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) channels: Channels,
    pub(super) pixels: Vec<u8>,
}

impl Picture {
    /// Tells whether any pixel lets something show through.
    pub(super) fn is_translucent(&self) -> bool {
        self.channels.has_alpha()
            && self
                .pixels
                .chunks_exact(self.channels.count())
                .any(|pixel| pixel.last().is_some_and(|alpha| *alpha != u8::MAX))
    }
}

impl Picture {
    /// The same pixels as the type of the image library.
    ///
    /// # Errors
    ///
    /// [`RenderRefused::Broken`] when the pixels do not match the size, or are still ink.
    pub(super) fn into_dynamic(self) -> Result<DynamicImage, RenderRefused> {
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
        image.ok_or_else(|| RenderRefused::broken("fewer pixels than the size promises"))
    }
}

/// A decoded picture, not yet upright, with the colour profile its file carries.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) picture: Picture,
    /// Width and height that the file states; the picture itself may be less.
    pub(super) full_size: (u32, u32),
    pub(super) icc: Option<Vec<u8>>,
    /// The part of the file's picture that was decoded, in the file's pixels.
    pub(super) shows: Rect,
}

impl Decoded {
    /// A picture that was decoded whole and pixel for pixel.
    pub(super) fn whole(picture: Picture, icc: Option<Vec<u8>>) -> Self {
        let (width, height) = (picture.width, picture.height);
        Self { picture, full_size: (width, height), icc, shows: Rect::whole(width, height) }
    }

    /// All of a picture, of which each pixel is the mean of `shrink` by `shrink`; the last column
    /// and row may reach beyond it.
    pub(super) fn reduced(
        picture: Picture,
        full_size: (u32, u32),
        shrink: u32,
        icc: Option<Vec<u8>>,
    ) -> Self {
        let shows = Rect::whole(picture.width * shrink, picture.height * shrink);
        Self { picture, full_size, icc, shows }
    }
}
