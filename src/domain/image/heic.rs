//! Decodes HEIC, the photos of phones, where the system has libheif.

use super::heif::Heif;
use super::libheif::{self, File, Support};
use super::picture::{Channels, Decoded, Picture};
use super::planes::{shrink_for, shrunk};
use super::{ICC_MAX_BYTES, RenderLimits, RenderRefused};

/// Bytes for a pixel that the library holds beside the result: brightness and colour
/// differences of up to two bytes each, at half resolution as phones store them.
const PLANES_BYTES_PER_PIXEL: u64 = 3;

/// Whether this machine can decode HEIC.
pub(super) fn is_available() -> bool {
    matches!(libheif::support(), Support::Ready { .. })
}

/// Decodes the picture to be shown: upright, and reduced as long as its longer side stays twice
/// `wanted_px`.
///
/// # Errors
///
/// As [`super::make_preview`].
pub(super) fn decode(
    source: &[u8],
    wanted_px: u32,
    limits: &RenderLimits,
) -> Result<Decoded, RenderRefused> {
    let item = Heif::read(&mut std::io::Cursor::new(source)).and_then(|heif| heif.primary());
    let item = item.ok_or_else(|| RenderRefused::broken("the container does not hold together"))?;
    let most = super::SOURCE_EDGE_MAX_PX;
    let file = File::open(source, most)?;
    let size = file.size().ok_or_else(|| RenderRefused::broken("no size"))?;
    let channels = if file.has_alpha() { Channels::Rgba } else { Channels::Rgb };
    // The stored size, which is what is decoded, is larger than the shown one when it is cut.
    for (width, height) in [size, item.size] {
        let pixels = u64::from(width) * u64::from(height);
        super::check("the number of pixels", pixels, limits.max_pixels)?;
        let bytes_per_pixel = PLANES_BYTES_PER_PIXEL + channels.count() as u64;
        super::check_decoded(pixels.saturating_mul(bytes_per_pixel), limits)?;
    }
    let decoded = file.decode()?;
    let rows = decoded.rows().ok_or_else(|| RenderRefused::broken("no pixels"))?;
    if (rows.0, rows.1) != size {
        return Err(RenderRefused::broken("the picture is not as large as announced"));
    }
    // A mean of pixels that show through would count what nobody sees.
    let shrink = if file.has_alpha() { 1 } else { shrink_for(size, wanted_px) };
    let picture = means(rows, channels, shrink);
    // Without a profile the library has made sRGB's numbers of what the file says, but for the
    // primaries.
    let icc = item.icc.filter(|icc| icc.len() <= ICC_MAX_BYTES);
    let icc = icc.or_else(|| item.nclx.and_then(super::cicp::Nclx::profile));
    Ok(Decoded::reduced(picture, size, shrink, icc))
}

/// One pixel for each square of `shrink` by `shrink`: their mean.
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
