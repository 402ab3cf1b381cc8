//! In the place of `av1.rs` in a build without the feature `avif`: no picture is ever decoded.

use super::RenderRefused;
use super::cicp::Nclx;
use super::planes::Planes;

/// A picture that there is none of.
pub(super) enum Av1Picture {}

/// Decodes nothing.
///
/// # Errors
///
/// Always [`RenderRefused::Unknown`].
pub(super) fn decode(_data: &[u8], _max_pixels: u64) -> Result<Av1Picture, RenderRefused> {
    Err(RenderRefused::Unknown)
}

impl Av1Picture {
    pub(super) fn coding(&self) -> Option<Nclx> {
        match *self {}
    }

    pub(super) fn planes(&self) -> Option<Planes<'_>> {
        match *self {}
    }
}
