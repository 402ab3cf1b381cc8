//! Turns the bytes of a picture, or of a PDF, into a small, upright, sRGB preview without metadata.
//!
//! Pure functions of the bytes: no file system, no clock, no pool. The decoders are hostile
//! ground, so the caller runs [`make_preview`] where a panic or a hang costs one preview only.

#[cfg_attr(not(feature = "avif"), path = "av1_absent.rs")]
mod av1;
mod avif;
mod cicp;
mod colour;
mod encode;
mod filters;
mod geometry;
mod header;
mod heic;
mod heif;
mod heif_boxes;
mod heif_turns;
mod jpeg;
mod jpeg_segments;
#[cfg_attr(not(feature = "jpeg-xl"), path = "jxl_absent.rs")]
mod jxl;
mod libheif;
#[cfg_attr(not(feature = "pdf"), path = "pdf_absent.rs")]
mod pdf;
mod picture;
#[cfg_attr(not(feature = "avif"), expect(dead_code, reason = "most of it is for AVIF"))]
mod planes;
mod png;
mod raster;
mod recipe;
mod resize;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod samples_pdf;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_formats;
#[cfg(test)]
mod tests_hostile;
#[cfg(test)]
mod tests_hostile_formats;
#[cfg(test)]
mod tests_recipe;
mod webp;

use std::io::{Cursor, Read, Seek};

use image::metadata::Orientation;

use geometry::Plan;
use picture::Decoded;

use serde::{Deserialize, Serialize};

pub use header::{ImageHeader, ImageKind, read_header};
pub use libheif::{Support as HeicSupport, support as heic_support};
pub use recipe::{Area, Filters, Format, Keep, Recipe, Sizing, Unsharp};

/// Kinds of files that Dossier makes previews of by itself: those that this build has a decoder for, and
/// those whose feature it was built without.
pub fn kinds() -> (Vec<&'static str>, Vec<&'static str>) {
    let all = [
        ("JPEG", true),
        ("PNG", true),
        ("GIF", true),
        ("BMP", true),
        ("AVIF", cfg!(feature = "avif")),
        ("JPEG XL", cfg!(feature = "jpeg-xl")),
        ("PDF", cfg!(feature = "pdf")),
    ];
    let those = |wanted| {
        let of_these = all.iter().filter(move |(_, is_built_in)| *is_built_in == wanted);
        of_these.map(|(kind, _)| *kind).collect()
    };
    (those(true), those(false))
}

/// Longest side of a preview in pixels (design §6).
pub const PREVIEW_EDGE_PX: u32 = 640;

/// Longest side of a source picture in pixels: the most that JPEG and GIF can express.
pub const SOURCE_EDGE_MAX_PX: u32 = 65_535;

/// Most pixels of a result: 5,000 by 5,000, what the SDK's helpers take for safe (contract §10).
pub const OUTPUT_PIXELS_MAX: u64 = 25_000_000;

/// Longest side of a result in pixels: the most that WebP can express.
pub const OUTPUT_EDGE_MAX_PX: u32 = 16_383;

/// Most bytes of a colour profile that are looked at; larger ones are taken for sRGB.
const ICC_MAX_BYTES: usize = 4 * 1024 * 1024;

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

/// A finished picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The encoded file.
    pub bytes: Vec<u8>,
    /// `image/jpeg`, or `image/png` or `image/webp` where something shows through.
    pub media_type: &'static str,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// Why no picture was made. The original is not affected (bar R29).
#[derive(Debug, thiserror::Error)]
pub enum RenderRefused {
    /// Not a picture, or one without a decoder here.
    #[error("no decoder for this kind of file")]
    Unknown,
    /// A limit does not hold; found before the pixels were decoded.
    #[error("{what} is {actual}, above the limit of {limit}")]
    TooLarge {
        /// What was measured, with its unit.
        what: &'static str,
        /// The value found.
        actual: u64,
        /// The limit in force.
        limit: u64,
    },
    /// The part that a recipe cuts out lies beside the picture.
    #[error("the area to cut out lies outside of the picture")]
    Outside,
    /// The bytes do not hold a picture that can be decoded.
    #[error("the picture cannot be decoded: {problem}")]
    Broken {
        /// What the decoder said.
        problem: String,
    },
}

impl RenderRefused {
    #[expect(clippy::needless_pass_by_value, reason = "made to be handed to map_err")]
    fn broken(problem: impl ToString) -> Self {
        Self::Broken { problem: problem.to_string() }
    }
}

/// Tells whether [`make_preview`] is worth trying on a file of `source_bytes` bytes: a decoder
/// exists and the limits hold as far as the header tells.
pub fn can_preview(header: &ImageHeader, source_bytes: u64, limits: &RenderLimits) -> bool {
    check_limits(header, source_bytes, limits).is_ok()
}

/// Tells whether [`make_preview`] is worth trying on a PDF of `source_bytes` bytes: it ends as a
/// whole one does, and the limit holds. That it is encrypted shows when it is rendered.
pub fn can_preview_document<R: Read + Seek>(
    source: &mut R,
    source_bytes: u64,
    limits: &RenderLimits,
) -> bool {
    source_bytes <= limits.max_source_bytes && pdf::ends_well(source, source_bytes)
}

/// Makes the preview of a picture, or of the first page of a PDF: upright, sRGB, without any metadata, at most
/// [`PREVIEW_EDGE_PX`] on its longer side and never enlarged. It is a JPEG of quality 80, or a
/// PNG when something shows through the picture.
///
/// A JPEG whose tail is missing gives a preview of what is there. Without a usable colour
/// profile the pixels are taken for sRGB.
///
/// # Errors
///
/// [`RenderRefused::Unknown`] without a decoder, [`RenderRefused::TooLarge`] beyond a limit
/// (before pixels are decoded), [`RenderRefused::Broken`] when decoding fails.
pub fn make_preview(source: &[u8], limits: &RenderLimits) -> Result<Rendered, RenderRefused> {
    render(source, &Recipe::preview(), limits)
}

/// Makes what a recipe says of a picture: upright, sRGB, without any metadata.
///
/// # Errors
///
/// As [`make_preview`], and [`RenderRefused::Outside`] when nothing is left of the recipe's crop.
/// A result beyond [`OUTPUT_PIXELS_MAX`] or [`OUTPUT_EDGE_MAX_PX`] is too large as well.
pub fn render(
    source: &[u8],
    recipe: &Recipe,
    limits: &RenderLimits,
) -> Result<Rendered, RenderRefused> {
    if pdf::is_pdf(source) {
        check("the file size in bytes", source.len() as u64, limits.max_source_bytes)?;
        let decoded = pdf::decode(source, recipe.sizing.longest_px(), limits)?;
        let plan = geometry::plan(decoded.full_size, recipe)?;
        filters::check(&recipe.filters, plan.target, limits)?;
        return finish(decoded, &plan, Orientation::NoTransforms, recipe);
    }
    let found = header::inspect(&mut Cursor::new(source)).ok_or(RenderRefused::Unknown)?;
    check_limits(&found.header, source.len() as u64, limits)?;
    let upright = (found.header.width, found.header.height);
    let plan = geometry::plan(upright, recipe)?;
    filters::check(&recipe.filters, plan.target, limits)?;
    let stored = geometry::turned(upright, found.orientation);
    let plan = plan.stored(stored, found.orientation);
    let decoded = match found.header.kind {
        ImageKind::Jpeg => jpeg::decode(source, &plan, limits)?,
        ImageKind::Png => png::decode(source, &plan, limits)?,
        ImageKind::Gif => raster::decode_gif(source, limits)?,
        ImageKind::Bmp => raster::decode_bmp(source, limits)?,
        ImageKind::Avif => avif::decode(source, plan.wanted_px(stored), limits)?,
        ImageKind::Heic => heic::decode(source, plan.wanted_px(stored), limits)?,
        ImageKind::Jxl => jxl::decode(source, limits)?,
        ImageKind::Other => return Err(RenderRefused::Unknown),
    };
    // The plan was made for the size in the header.
    if decoded.full_size != stored {
        return Err(RenderRefused::broken("the file states two sizes"));
    }
    finish(decoded, &plan, found.orientation, recipe)
}

/// Brings what was decoded to its size, to sRGB, upright, and into a file.
fn finish(
    mut decoded: Decoded,
    plan: &Plan,
    orientation: Orientation,
    recipe: &Recipe,
) -> Result<Rendered, RenderRefused> {
    let icc = decoded.icc.take();
    let reduced = resize::fit(decoded, plan)?;
    let coloured = colour::to_srgb(reduced, icc.as_deref());
    let filtered = filters::apply(coloured, &recipe.filters)?;
    let translucent = filtered.is_translucent();
    let mut turned = filtered.into_dynamic()?;
    turned.apply_orientation(orientation);
    encode::encode(turned, translucent, recipe.format, recipe.quality)
}

fn check_limits(
    header: &ImageHeader,
    source_bytes: u64,
    limits: &RenderLimits,
) -> Result<(), RenderRefused> {
    // The least a decoder of that kind holds for a pixel; a JPEG is decoded at reduced scale.
    let bytes_per_pixel = match header.kind {
        ImageKind::Jpeg => 0,
        ImageKind::Avif if !cfg!(feature = "avif") => return Err(RenderRefused::Unknown),
        ImageKind::Png | ImageKind::Avif => 1,
        ImageKind::Bmp => 3,
        ImageKind::Gif => 4,
        ImageKind::Heic if heic::is_available() => 4,
        ImageKind::Jxl => 5,
        ImageKind::Heic | ImageKind::Other => return Err(RenderRefused::Unknown),
    };
    let pixels = u64::from(header.width) * u64::from(header.height);
    let edge = u64::from(header.width.max(header.height));
    check("the file size in bytes", source_bytes, limits.max_source_bytes)?;
    check("the longer side in pixels", edge, u64::from(SOURCE_EDGE_MAX_PX))?;
    check("the number of pixels", pixels, limits.max_pixels)?;
    check_decoded(pixels.saturating_mul(bytes_per_pixel), limits)
}

fn check_decoded(decoded_bytes: u64, limits: &RenderLimits) -> Result<(), RenderRefused> {
    check("the decoded size in bytes", decoded_bytes, limits.max_decoded_bytes)
}

fn check(what: &'static str, actual: u64, limit: u64) -> Result<(), RenderRefused> {
    if actual > limit {
        return Err(RenderRefused::TooLarge { what, actual, limit });
    }
    Ok(())
}
