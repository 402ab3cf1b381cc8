//! stub
use std::io::{Read,Seek};
/// .
pub const PREVIEW_EDGE_PX: u32 = 640;
/// .
#[derive(Clone,Copy,Debug,Default)]
pub struct PreviewLimits { /// .
pub max_pixels: u64, /// .
pub max_source_bytes: u64, /// .
pub max_decoded_bytes: u64 }
/// .
pub struct ImageHeader { /// .
pub width: u32, /// .
pub height: u32 }
/// .
pub fn read_header<R: Read + Seek>(_: &mut R) -> Option<ImageHeader> { None }
/// .
pub fn can_preview(_: &ImageHeader, _: u64, _: &PreviewLimits) -> bool { false }
/// .
pub struct Preview { /// .
pub bytes: Vec<u8> }
/// .
#[derive(Debug,thiserror::Error)]
pub enum PreviewRefused { /// .
#[error("x")] Unknown }
/// .
/// # Errors
/// .
pub fn make_preview(_: &[u8], _: &PreviewLimits) -> Result<Preview, PreviewRefused> { Err(PreviewRefused::Unknown) }
