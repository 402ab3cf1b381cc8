//! Replaces `jxl.rs` in a build without the feature `jpeg-xl`: no size is read, no picture is
//! decoded.

use crate::forward::Source;
use crate::picture::Decoded;
use crate::{RenderError, RenderLimits};

/// Reads no size.
pub(crate) fn read_size(_source: &mut dyn Source) -> Option<(u64, u64)> {
    None
}

/// Decodes nothing.
///
/// # Errors
///
/// Always [`RenderError::Unsupported`].
pub(crate) fn decode(_source: &[u8], _limits: &RenderLimits) -> Result<Decoded, RenderError> {
    Err(RenderError::Unsupported)
}
