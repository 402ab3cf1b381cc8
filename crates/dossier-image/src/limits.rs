//! Bounds on sources, memory and results, and the checks against them.

use serde::{Deserialize, Serialize};

use crate::RenderError;

/// Longest side of a source picture in pixels: the most that JPEG and GIF can express.
pub const SOURCE_EDGE_MAX_PX: u32 = 65_535;

/// Most pixels of a result: 5,000 by 5,000, which the SDK's helpers consider safe (contract §10).
pub(crate) const OUTPUT_PIXELS_MAX: u64 = 25_000_000;

/// Longest side of a result in pixels: the most that WebP can express.
pub(crate) const OUTPUT_EDGE_MAX_PX: u32 = 16_383;

/// Largest colour profile that is applied, in bytes. A picture with a larger one is treated as
/// sRGB.
pub(crate) const ICC_MAX_BYTES: usize = 4 * 1024 * 1024;

/// Bounds checked from the header before any pixel is decoded.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct RenderLimits {
    /// Most pixels of the source, width times height. Default 100,000,000.
    pub max_pixels: u64,
    /// Largest source file in bytes. Default 64 MiB.
    pub max_source_bytes: u64,
    /// Most memory for decoded pixels or JPEG coefficients, in bytes. Default 256 MiB.
    pub max_decoded_bytes: u64,
}

impl Default for RenderLimits {
    fn default() -> Self {
        Self {
            max_pixels: 100_000_000,
            max_source_bytes: 64 * 1024 * 1024,
            max_decoded_bytes: 256 * 1024 * 1024,
        }
    }
}

impl RenderLimits {
    pub(crate) fn check_source(&self, source_bytes: u64) -> Result<(), RenderError> {
        check("the file size in bytes", source_bytes, self.max_source_bytes)
    }

    pub(crate) fn check_pixels(&self, pixels: u64) -> Result<(), RenderError> {
        check("the number of pixels", pixels, self.max_pixels)
    }

    pub(crate) fn check_decoded(&self, decoded_bytes: u64) -> Result<(), RenderError> {
        check("the decoded size in bytes", decoded_bytes, self.max_decoded_bytes)
    }

    /// The error when a decoder stops because its memory is used up.
    pub(crate) fn out_of_memory(&self) -> RenderError {
        RenderError::TooLarge {
            what: "the memory for decoding in bytes",
            actual: self.max_decoded_bytes.saturating_add(1),
            limit: self.max_decoded_bytes,
        }
    }
}

/// Fails with [`RenderError::TooLarge`] when `actual` exceeds `limit`.
pub(crate) fn check(what: &'static str, actual: u64, limit: u64) -> Result<(), RenderError> {
    if actual > limit {
        return Err(RenderError::TooLarge { what, actual, limit });
    }
    Ok(())
}
