//! Replaces `av1.rs` in a build without the feature `avif`: no picture is ever decoded.

use crate::RenderError;
use crate::cicp::Nclx;
use crate::planes::Planes;

/// A type without values.
pub(crate) enum Av1Picture {}

/// Decodes nothing.
///
/// # Errors
///
/// Always [`RenderError::Unsupported`].
pub(crate) fn decode(_data: &[u8], _max_pixels: u64) -> Result<Av1Picture, RenderError> {
    Err(RenderError::Unsupported)
}

impl Av1Picture {
    pub(crate) fn coding(&self) -> Option<Nclx> {
        match *self {}
    }

    pub(crate) fn planes(&self) -> Option<Planes<'_>> {
        match *self {}
    }
}
