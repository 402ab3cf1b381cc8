//! Renders the first page of a PDF, on white. No script is run and nothing is fetched: the renderer
//! has no code for either.
//!
//! The renderer limits recursion to a depth of 50 but does not count its steps, so a small file can
//! keep it busy indefinitely: the caller must set a deadline.

use std::io::{Read as _, SeekFrom};

use hayro::hayro_interpret::InterpreterSettings;
use hayro::hayro_syntax::object::dict::keys::{HEIGHT, IMAGE, SUBTYPE, WIDTH};
use hayro::hayro_syntax::object::{Name, Object};
use hayro::hayro_syntax::{DecryptionError, LoadPdfError, Pdf};
use hayro::vello_cpu::color::palette::css::WHITE;
use hayro::{PixmapSettings, RenderCache, RenderSettings, render};

use crate::RenderError;
use crate::forward::Source;
use crate::limits::{RenderLimits, check};
use crate::picture::{Channels, Decoded, Picture};

/// How far from its start a PDF may begin (ISO 32000-1, annex H.3, note 13).
const LATE_START_BYTES: usize = 1024;

/// Most objects of a file whose first page is rendered. A book of 1,000 pages has about 20,000.
const OBJECTS_MAX: usize = 200_000;

/// Most pixels of a side: the renderer's coordinates are 16 bits.
const EDGE_MAX_PX: u32 = 8_192;

/// How far from its end a complete PDF names its table of objects (ISO 32000-1, annex H.3, note 18,
/// doubled). Otherwise it has been cut off, or something else follows it.
const TAIL_BYTES: u64 = 2 * 1024;

/// Whether the end of a file of `source_bytes` bytes is that of a complete PDF.
pub(crate) fn is_complete(source: &mut dyn Source, source_bytes: u64) -> bool {
    const KEYWORD: &[u8] = b"startxref";
    let mut tail = Vec::new();
    let start = SeekFrom::Start(source_bytes.saturating_sub(TAIL_BYTES));
    let read = source.seek(start).and_then(|_| source.take(TAIL_BYTES).read_to_end(&mut tail));
    read.is_ok() && tail.windows(KEYWORD.len()).any(|window| window == KEYWORD)
}

/// Whether the bytes begin like a PDF.
pub(crate) fn is_pdf(source: &[u8]) -> bool {
    const MAGIC: &[u8] = b"%PDF-";
    let start = source.get(..LATE_START_BYTES + MAGIC.len()).unwrap_or(source);
    start.starts_with(MAGIC) || start.windows(MAGIC.len()).any(|window| window == MAGIC)
}

/// Renders the first page, its longer side `edge_px` long.
///
/// # Errors
///
/// [`RenderError::Broken`], including when a password is needed; [`RenderError::TooLarge`] when the
/// file, or a picture in it, exceeds a limit.
pub(crate) fn decode(
    source: &[u8],
    edge_px: u32,
    limits: &RenderLimits,
) -> Result<Decoded, RenderError> {
    let pdf = Pdf::new(source.to_vec()).map_err(|error| match error {
        LoadPdfError::Decryption(DecryptionError::PasswordProtected) => {
            RenderError::broken("a password is needed")
        }
        _ => RenderError::broken("the PDF cannot be read"),
    })?;
    check("the number of objects", pdf.len() as u64, OBJECTS_MAX as u64)?;
    check_pictures(&pdf, limits)?;
    let page = pdf.pages().first().ok_or_else(|| RenderError::broken("there is no page"))?;
    let full_size = page.render_dimensions();
    let (width, height) = target(full_size, edge_px.min(EDGE_MAX_PX))
        .ok_or_else(|| RenderError::broken("the page has no size"))?;
    // The renderer truncates fractions of a pixel.
    let scale = |pixels: u32, points: f32| (pixels as f32 + 0.5) / points;
    let settings = PixmapSettings {
        x_scale: scale(width, full_size.0),
        y_scale: scale(height, full_size.1),
        bg_color: WHITE,
    };
    let pixmap = render(
        page,
        &RenderCache::new(),
        &InterpreterSettings::default(),
        &RenderSettings::default(),
        &settings,
    );
    let (width, height) = (u32::from(pixmap.width()), u32::from(pixmap.height()));
    let (pixels, _) = pixmap.data_as_u8_slice().as_chunks::<4>();
    let pixels = pixels.iter().flat_map(|[red, green, blue, _]| [*red, *green, *blue]).collect();
    Ok(Decoded::whole(Picture { width, height, channels: Channels::Rgb, pixels }, None))
}

/// Checks the pictures in the file: the renderer decodes each one whole, however small it is shown.
fn check_pictures(pdf: &Pdf, limits: &RenderLimits) -> Result<(), RenderError> {
    for object in pdf.objects() {
        let Object::Stream(stream) = object else { continue };
        let dict = stream.dict();
        if dict.get::<Name<'_>>(SUBTYPE).is_none_or(|kind| &*kind != IMAGE) {
            continue;
        }
        let side = |key: &[u8]| dict.get::<u32>(key).map_or(0, u64::from);
        let pixels = side(WIDTH).saturating_mul(side(HEIGHT));
        check("the number of pixels of a picture in it", pixels, limits.max_pixels)?;
        limits.check_decoded(pixels.saturating_mul(3))?;
    }
    Ok(())
}

/// Width and height in pixels, at least 1 each. `None` for a page without a size.
fn target((width, height): (f32, f32), edge_px: u32) -> Option<(u32, u32)> {
    let longest = width.max(height);
    if !longest.is_normal() || width.is_nan() || height.is_nan() {
        return None;
    }
    let side = |points: f32| ((points / longest * edge_px as f32).round() as u32).clamp(1, edge_px);
    Some((side(width), side(height)))
}
