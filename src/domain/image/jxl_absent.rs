//! In the place of `jxl.rs` in a build without the feature `jpeg-xl`: no size is read, no picture is
//! decoded.

use std::io::{Read, Seek};

use super::picture::Decoded;
use super::{RenderLimits, RenderRefused};

/// Reads no size.
pub(super) fn read_size<R: Read + Seek>(_source: &mut R) -> Option<(u64, u64)> {
    None
}

/// Decodes nothing.
///
/// # Errors
///
/// Always [`RenderRefused::Unknown`].
pub(super) fn decode(_source: &[u8], _limits: &RenderLimits) -> Result<Decoded, RenderRefused> {
    Err(RenderRefused::Unknown)
}
