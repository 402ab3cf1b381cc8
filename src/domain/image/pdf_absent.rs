//! In the place of `pdf.rs` in a build without the feature `pdf`: no page is ever rendered.

use std::io::{Read, Seek};

use super::picture::Decoded;
use super::{RenderLimits, RenderRefused};

/// No file ends as a PDF that could be rendered.
pub(super) fn ends_well<R: Read + Seek>(_source: &mut R, _source_bytes: u64) -> bool {
    false
}

/// No file begins as one.
pub(super) fn is_pdf(_source: &[u8]) -> bool {
    false
}

/// Renders nothing.
///
/// # Errors
///
/// Always [`RenderRefused::Unknown`].
pub(super) fn decode(
    _source: &[u8],
    _edge_px: u32,
    _limits: &RenderLimits,
) -> Result<Decoded, RenderRefused> {
    Err(RenderRefused::Unknown)
}
