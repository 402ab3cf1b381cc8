//! Replaces `pdf.rs` in a build without the feature `pdf`: no page is ever rendered.

use crate::forward::Source;
use crate::picture::Decoded;
use crate::{RenderError, RenderLimits};

/// No file counts as a PDF that can be rendered.
pub(crate) fn is_complete(_source: &mut dyn Source, _source_bytes: u64) -> bool {
    false
}

/// No file counts as a PDF.
pub(crate) fn is_pdf(_source: &[u8]) -> bool {
    false
}

/// Renders nothing.
///
/// # Errors
///
/// Always [`RenderError::Unsupported`].
pub(crate) fn decode(
    _source: &[u8],
    _edge_px: u32,
    _limits: &RenderLimits,
) -> Result<Decoded, RenderError> {
    Err(RenderError::Unsupported)
}
