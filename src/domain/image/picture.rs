//! Pixels between decoding and encoding: eight bits a channel, rows without padding.

/// What a pixel is made of. One byte a channel, alpha last and not premultiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channels {
    Grey,
    GreyAlpha,
    Rgb,
    Rgba,
}

impl Channels {
    /// Bytes of one pixel.
    pub(super) fn count(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::GreyAlpha => 2,
            Self::Rgb => 3,
            Self::Rgba => 4,
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

/// A decoded picture, not yet upright, with the colour profile its file carries.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) picture: Picture,
    /// Width and height that the file states; the picture itself may be reduced already.
    pub(super) full_size: (u32, u32),
    pub(super) icc: Option<Vec<u8>>,
}
