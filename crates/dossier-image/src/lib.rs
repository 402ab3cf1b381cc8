//! Turns the bytes of a picture or a PDF into a small, upright, sRGB picture without metadata.
//!
//! Pure functions of the bytes: no file system, no clock, no thread pool, no network. The one thing
//! taken from the machine is its libheif, which [`heic_support`] loads. Decoders work on hostile
//! input, so call [`render`] where a panic or a hang costs that one picture only.

#[cfg_attr(not(feature = "avif"), path = "av1_absent.rs")]
mod av1;
#[cfg(test)]
#[expect(dead_code, reason = "compiled and linted in every test build; no build needs both")]
mod av1_absent;
mod avif;
mod cicp;
mod colour;
mod encode;
mod error;
mod filters;
mod forward;
mod geometry;
mod header;
mod heic;
mod heif;
mod heif_boxes;
mod heif_transform;
mod jpeg;
mod jpeg_segments;
#[cfg_attr(not(feature = "jpeg-xl"), path = "jxl_absent.rs")]
mod jxl;
#[cfg(test)]
#[expect(dead_code, reason = "compiled and linted in every test build; no build needs both")]
mod jxl_absent;
mod libheif;
mod limits;
#[cfg_attr(not(feature = "pdf"), path = "pdf_absent.rs")]
mod pdf;
#[cfg(test)]
#[expect(dead_code, reason = "compiled and linted in every test build; no build needs both")]
mod pdf_absent;
mod picture;
#[cfg_attr(not(feature = "avif"), expect(dead_code, reason = "most of it is for AVIF"))]
mod planes;
mod png;
mod raster;
mod recipe;
mod rect;
mod resize;
#[cfg(test)]
mod samples;
#[cfg(test)]
#[cfg(all(feature = "avif", feature = "jpeg-xl", feature = "pdf"))]
mod samples_pdf;
#[cfg(test)]
mod tests;
#[cfg(test)]
#[cfg(all(feature = "avif", feature = "jpeg-xl", feature = "pdf"))]
mod tests_formats;
#[cfg(test)]
mod tests_hostile;
#[cfg(test)]
#[cfg(all(feature = "avif", feature = "jpeg-xl", feature = "pdf"))]
mod tests_hostile_formats;
#[cfg(test)]
mod tests_recipe;
mod webp;

use std::io::{Cursor, Read, Seek};

use image::metadata::Orientation;

use geometry::Plan;
use picture::Decoded;

pub use encode::encode_jpeg;
pub use error::RenderError;
pub use header::{ImageHeader, ImageKind, read_header};
pub use libheif::{Support as HeicSupport, support as heic_support};
pub use limits::{RenderLimits, SOURCE_EDGE_MAX_PX};
pub use recipe::{Area, Filters, Format, Keep, PREVIEW_EDGE_PX, Recipe, Sizing, Unsharp};

/// The file formats that previews can be made of without help from the system, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Formats {
    /// Those that this build has a decoder for.
    pub built_in: Vec<&'static str>,
    /// Those whose cargo feature is off in this build.
    pub left_out: Vec<&'static str>,
}

/// The formats of this build. HEIC depends on the machine instead: see [`heic_support`].
pub fn formats() -> Formats {
    let all = [
        ("JPEG", true),
        ("PNG", true),
        ("GIF", true),
        ("BMP", true),
        ("AVIF", cfg!(feature = "avif")),
        ("JPEG XL", cfg!(feature = "jpeg-xl")),
        ("PDF", cfg!(feature = "pdf")),
    ];
    let names = |wanted| {
        let matching = all.iter().filter(move |(_, is_built_in)| *is_built_in == wanted);
        matching.map(|(name, _)| *name).collect()
    };
    Formats { built_in: names(true), left_out: names(false) }
}

/// A finished picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The encoded file.
    pub bytes: Vec<u8>,
    /// `image/jpeg`; `image/png` or `image/webp` when the picture has transparency.
    pub media_type: &'static str,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// Whether [`make_preview`] is worth trying on a file of `source_bytes` bytes: there is a decoder,
/// and the header shows no limit exceeded.
pub fn can_preview(header: &ImageHeader, source_bytes: u64, limits: &RenderLimits) -> bool {
    check_header(header, source_bytes, limits).is_ok()
}

/// Whether [`make_preview`] is worth trying on a PDF of `source_bytes` bytes: its end is that of a
/// complete file, and it is within the size limit. Encryption is found only by rendering.
pub fn can_preview_document<R: Read + Seek>(
    source: &mut R,
    source_bytes: u64,
    limits: &RenderLimits,
) -> bool {
    limits.check_source(source_bytes).is_ok() && pdf::is_complete(source, source_bytes)
}

/// Makes the preview of a picture, or of the first page of a PDF: upright, sRGB, without any
/// metadata, at most [`PREVIEW_EDGE_PX`] on its longer side and never enlarged. It is a JPEG of
/// quality 80, or a PNG when the picture has transparency.
///
/// A JPEG whose tail is missing gives a preview of what is there. Without a usable colour profile
/// the pixels are treated as sRGB.
///
/// # Errors
///
/// [`RenderError::Unsupported`] without a decoder, [`RenderError::TooLarge`] beyond a limit
/// (before pixels are decoded), [`RenderError::Broken`] when decoding fails.
pub fn make_preview(source: &[u8], limits: &RenderLimits) -> Result<Rendered, RenderError> {
    render(source, &Recipe::preview(), limits)
}

/// Makes what `recipe` asks for from a picture, or from the first page of a PDF: upright, sRGB,
/// without any metadata.
///
/// # Errors
///
/// As [`make_preview`], and [`RenderError::Outside`] when nothing is left of the recipe's crop. A
/// result of more than 25,000,000 pixels or a side above 16,383 is too large as well.
pub fn render(
    source: &[u8],
    recipe: &Recipe,
    limits: &RenderLimits,
) -> Result<Rendered, RenderError> {
    if pdf::is_pdf(source) {
        limits.check_source(source.len() as u64)?;
        let decoded = pdf::decode(source, recipe.sizing.longest_px(), limits)?;
        let plan = geometry::plan(decoded.full_size, recipe)?;
        filters::check(&recipe.filters, plan.target, limits)?;
        return finish(decoded, &plan, Orientation::NoTransforms, recipe);
    }
    let found = header::read_oriented(&mut Cursor::new(source)).ok_or(RenderError::Unsupported)?;
    check_header(&found.header, source.len() as u64, limits)?;
    let upright = (found.header.width, found.header.height);
    let plan = geometry::plan(upright, recipe)?;
    filters::check(&recipe.filters, plan.target, limits)?;
    let stored = rect::oriented(upright, found.orientation);
    let plan = plan.stored(stored, found.orientation);
    let decoded = match found.header.kind {
        ImageKind::Jpeg => jpeg::decode(source, &plan, limits)?,
        ImageKind::Png => png::decode(source, &plan, limits)?,
        ImageKind::Gif => raster::decode_gif(source, limits)?,
        ImageKind::Bmp => raster::decode_bmp(source, limits)?,
        ImageKind::Avif => avif::decode(source, plan.wanted_px(stored), limits)?,
        ImageKind::Heic => heic::decode(source, plan.wanted_px(stored), limits)?,
        ImageKind::Jxl => jxl::decode(source, limits)?,
        ImageKind::Other => return Err(RenderError::Unsupported),
    };
    // The plan was made for the size in the header.
    if decoded.full_size != stored {
        return Err(RenderError::broken("the file states two sizes"));
    }
    finish(decoded, &plan, found.orientation, recipe)
}

/// Resizes decoded pixels, converts them to sRGB, turns them upright and encodes them.
fn finish(
    mut decoded: Decoded,
    plan: &Plan,
    orientation: Orientation,
    recipe: &Recipe,
) -> Result<Rendered, RenderError> {
    let icc = decoded.icc.take();
    let resized = resize::fit(decoded, plan)?;
    let converted = colour::to_srgb(resized, icc.as_deref());
    let filtered = filters::apply(converted, &recipe.filters)?;
    let is_translucent = filtered.is_translucent();
    let mut upright = filtered.into_dynamic()?;
    upright.apply_orientation(orientation);
    encode::encode(upright, is_translucent, recipe.format, recipe.quality)
}

fn check_header(
    header: &ImageHeader,
    source_bytes: u64,
    limits: &RenderLimits,
) -> Result<(), RenderError> {
    // The least that a decoder of that format holds for a pixel. A JPEG is decoded at reduced
    // scale.
    let bytes_per_pixel = match header.kind {
        ImageKind::Jpeg => 0,
        ImageKind::Avif if !cfg!(feature = "avif") => return Err(RenderError::Unsupported),
        ImageKind::Png | ImageKind::Avif => 1,
        ImageKind::Bmp => 3,
        ImageKind::Gif => 4,
        ImageKind::Heic if heic::is_available() => 4,
        ImageKind::Jxl => 5,
        ImageKind::Heic | ImageKind::Other => return Err(RenderError::Unsupported),
    };
    let pixels = u64::from(header.width) * u64::from(header.height);
    let edge = u64::from(header.width.max(header.height));
    limits.check_source(source_bytes)?;
    limits::check("the longer side in pixels", edge, u64::from(SOURCE_EDGE_MAX_PX))?;
    limits.check_pixels(pixels)?;
    limits.check_decoded(pixels.saturating_mul(bytes_per_pixel))
}
