//! Decodes HEIC, the format of phone photos, where the system has libheif.

use std::io::Cursor;

use crate::RenderError;
use crate::cicp::Nclx;
use crate::heif::Heif;
use crate::libheif::{self, File, Support};
use crate::limits::{ICC_MAX_BYTES, RenderLimits, SOURCE_EDGE_MAX_PX};
use crate::picture::{Channels, Decoded, Picture};
use crate::planes::{shrink_for, shrunk};

/// Bytes per pixel that the library holds beside the result: luma and chroma of up to two bytes per
/// sample, chroma at half resolution as phones store it.
const PLANES_BYTES_PER_PIXEL: u64 = 3;

/// Whether this machine can decode HEIC.
pub(crate) fn is_available() -> bool {
    matches!(libheif::support(), Support::Ready { .. })
}

/// Decodes the primary picture: upright, and reduced as far as its longer side stays at least twice
/// `wanted_px`.
///
/// # Errors
///
/// As [`crate::make_preview`].
pub(crate) fn decode(
    source: &[u8],
    wanted_px: u32,
    limits: &RenderLimits,
) -> Result<Decoded, RenderError> {
    let item = Heif::read(&mut Cursor::new(source)).and_then(|heif| heif.primary());
    let item = item.ok_or_else(|| RenderError::broken("the container is malformed"))?;
    let file = File::open(source, SOURCE_EDGE_MAX_PX)?;
    let size = file.size().ok_or_else(|| RenderError::broken("no size"))?;
    let channels = if file.has_alpha() { Channels::Rgba } else { Channels::Rgb };
    // libheif decodes the stored size, which a crop makes larger than the shown one.
    for (width, height) in [size, item.size] {
        let pixels = u64::from(width) * u64::from(height);
        limits.check_pixels(pixels)?;
        let bytes_per_pixel = PLANES_BYTES_PER_PIXEL + channels.count() as u64;
        limits.check_decoded(pixels.saturating_mul(bytes_per_pixel))?;
    }
    let decoded = file.decode()?;
    let rows = decoded.rows().ok_or_else(|| RenderError::broken("no pixels"))?;
    if (rows.0, rows.1) != size {
        return Err(RenderError::broken("the picture does not have the stated size"));
    }
    // Means of translucent pixels would include invisible colours.
    let shrink = if file.has_alpha() { 1 } else { shrink_for(size, wanted_px) };
    let picture = means(rows, channels, shrink);
    // Without a profile, the library's conversion to RGB does not take the primaries into account.
    let icc = item.icc.filter(|icc| icc.len() <= ICC_MAX_BYTES);
    let icc = icc.or_else(|| item.nclx.and_then(Nclx::profile));
    Ok(Decoded::reduced(picture, size, shrink, icc))
}

/// Reduces each square of `shrink` by `shrink` pixels to its mean.
fn means(
    (width, height, stride, bytes): (u32, u32, usize, &[u8]),
    channels: Channels,
    shrink: u32,
) -> Picture {
    let count = channels.count();
    let (small_width, small_height) = shrunk((width, height), shrink);
    let mut pixels = Vec::with_capacity(small_width as usize * small_height as usize * count);
    let mut sums = vec![0_u32; small_width as usize * count];
    for row in 0..small_height {
        sums.fill(0);
        let (top, bottom) = (row * shrink, ((row + 1) * shrink).min(height));
        for line in bytes.chunks(stride).skip(top as usize).take((bottom - top) as usize) {
            let line = line.get(..width as usize * count).unwrap_or(line);
            let squares = line.chunks(shrink as usize * count);
            for (sums, square) in sums.chunks_exact_mut(count).zip(squares) {
                for pixel in square.chunks_exact(count) {
                    for (sum, value) in sums.iter_mut().zip(pixel) {
                        *sum += u32::from(*value);
                    }
                }
            }
        }
        for (column, sums) in sums.chunks_exact(count).enumerate() {
            let left = column as u32 * shrink;
            let pixel_count = ((left + shrink).min(width) - left) * (bottom - top);
            pixels.extend(sums.iter().map(|sum| ((sum + pixel_count / 2) / pixel_count) as u8));
        }
    }
    Picture { width: small_width, height: small_height, channels, pixels }
}
