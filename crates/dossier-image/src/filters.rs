//! Filters: colour, blur, unsharp mask. They run on the resized picture, so its size bounds the
//! cost for all parameters.

use crate::picture::{Channels, Picture};
use crate::{Filters, RenderError, RenderLimits, Unsharp, resize};

/// Largest blur, as the standard deviation in pixels.
const SIGMA_MAX_PX: f32 = 128.0;

/// Below this, a blur makes no difference in eight bits.
const SIGMA_MIN_PX: f32 = 0.1;

/// From this on, three box blurs look like a Gaussian blur, at the same cost for any radius.
const BOXES_FROM_PX: f32 = 2.5;

/// Copies of the picture that a blur holds at once.
const COPIES: u64 = 3;

/// The rows of a colour matrix. Each adds up to 1, so grey stays grey.
type Matrix = [[f32; 3]; 3];

/// The weights of red, green and blue in luminance, as in W3C Filter Effects §9.
const LUMINANCE: [f32; 3] = [0.213, 0.715, 0.072];

/// Checks that filtering a result of this size stays within the memory for decoded pixels.
///
/// # Errors
///
/// [`RenderError::TooLarge`].
pub(crate) fn check(
    filters: &Filters,
    (width, height): (u32, u32),
    limits: &RenderLimits,
) -> Result<(), RenderError> {
    if filters.unsharp.is_none() && filters.blur <= SIGMA_MIN_PX {
        return Ok(());
    }
    limits.check_decoded(u64::from(width) * u64::from(height) * 4 * COPIES)
}

/// Applies `filters`: colour first, then blur, then unsharp mask.
///
/// # Errors
///
/// [`RenderError::Broken`] when the pixels do not match the size.
pub(crate) fn apply(mut picture: Picture, filters: &Filters) -> Result<Picture, RenderError> {
    colour(&mut picture, filters);
    let blur = bounded(filters.blur, 0.0, SIGMA_MAX_PX);
    let unsharp = filters.unsharp.map(|mask| Unsharp {
        radius: bounded(mask.radius, 0.0, SIGMA_MAX_PX),
        amount: bounded(mask.amount, 0.0, 5.0),
        threshold: bounded(mask.threshold, 0.0, 1.0),
    });
    let unsharp = unsharp.filter(|mask| mask.radius > SIGMA_MIN_PX && mask.amount > 0.0);
    if blur <= SIGMA_MIN_PX && unsharp.is_none() {
        return Ok(picture);
    }
    // The colour of transparent pixels must not bleed into visible ones.
    let is_translucent = picture.is_translucent();
    if is_translucent {
        resize::multiply_alpha(&mut picture)?;
    }
    if blur > SIGMA_MIN_PX {
        let (_, blurred) = with_blurred(picture, blur)?;
        picture = blurred;
    }
    if let Some(mask) = unsharp {
        picture = sharpened(picture, mask)?;
    }
    if is_translucent {
        resize::divide_alpha(&mut picture)?;
    }
    Ok(picture)
}

/// Clamps `value`; NaN counts as 0.
fn bounded(value: f32, least: f32, most: f32) -> f32 {
    if value.is_nan() { 0.0 } else { value.clamp(least, most) }
}

/// The picture itself, and a copy blurred by a Gaussian of that standard deviation in pixels.
fn with_blurred(picture: Picture, sigma: f32) -> Result<(Picture, Picture), RenderError> {
    let Picture { width, height, channels, .. } = picture;
    let dynamic = picture.into_dynamic()?;
    let blurred =
        if sigma < BOXES_FROM_PX { dynamic.blur(sigma) } else { dynamic.fast_blur(sigma) };
    let with = |pixels| Picture { width, height, channels, pixels };
    Ok((with(dynamic.into_bytes()), with(blurred.into_bytes())))
}

fn sharpened(picture: Picture, mask: Unsharp) -> Result<Picture, RenderError> {
    let (mut picture, blurred) = with_blurred(picture, mask.radius)?;
    let threshold = mask.threshold * 255.0;
    for (value, blurred) in picture.pixels.iter_mut().zip(&blurred.pixels) {
        let detail = f32::from(*value) - f32::from(*blurred);
        if detail.abs() >= threshold {
            *value = (f32::from(*value) + mask.amount * detail + 0.5) as u8;
        }
    }
    Ok(picture)
}

/// Brightness shifts every channel by a fraction of the full range. Contrast scales around the
/// middle. Saturation and hue scale and rotate colour around grey.
fn colour(picture: &mut Picture, filters: &Filters) {
    let share = |percent: f32| bounded(percent, -100.0, 100.0) / 100.0;
    let (brightness, contrast) = (share(filters.brightness), share(filters.contrast));
    let (saturation, hue) = (share(filters.saturation), bounded(filters.hue, -180.0, 180.0));
    let changes_colour = saturation != 0.0 || hue != 0.0;
    if brightness == 0.0 && contrast == 0.0 && !changes_colour {
        return;
    }
    let stretch = 1.0 + contrast;
    // The rows of the matrices add up to 1, so the offset can be added last.
    let offset = (brightness * stretch - contrast / 2.0) * 255.0;
    let tone = |value: f32| (value * stretch + offset + 0.5) as u8;
    let matrix = product(&hue_matrix(hue), &saturation_matrix(1.0 + saturation));
    for pixel in picture.pixels.chunks_exact_mut(picture.channels.count()) {
        match (picture.channels, pixel) {
            (Channels::Rgb, [red, green, blue]) | (Channels::Rgba, [red, green, blue, _]) => {
                let before = [*red, *green, *blue].map(f32::from);
                let after = if changes_colour { times(&matrix, before) } else { before };
                [*red, *green, *blue] = after.map(tone);
            }
            (Channels::Grey, [grey]) | (Channels::GreyAlpha, [grey, _]) => {
                *grey = tone(f32::from(*grey));
            }
            _ => {}
        }
    }
}

fn times(matrix: &Matrix, [red, green, blue]: [f32; 3]) -> [f32; 3] {
    matrix.map(|[by_red, by_green, by_blue]| by_red * red + by_green * green + by_blue * blue)
}

fn product(left: &Matrix, right: &Matrix) -> Matrix {
    left.map(|row| {
        let column = |index: usize| row.iter().zip(right).map(|(a, b)| a * b[index]).sum();
        [column(0), column(1), column(2)]
    })
}

/// W3C Filter Effects §9.6, `saturate`.
fn saturation_matrix(amount: f32) -> Matrix {
    [0, 1, 2].map(|row| {
        [0, 1, 2].map(|column| {
            let own = if row == column { amount } else { 0.0 };
            LUMINANCE[column] * (1.0 - amount) + own
        })
    })
}

/// W3C Filter Effects §9.6, `hueRotate`.
fn hue_matrix(degrees: f32) -> Matrix {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let turn = [[-0.213, -0.715, 0.928], [0.143, 0.140, -0.283], [-0.787, 0.715, 0.072]];
    [0, 1, 2].map(|row: usize| {
        [0, 1, 2].map(|column: usize| {
            let own = if row == column { cos } else { 0.0 };
            LUMINANCE[column] * (1.0 - cos) + own + turn[row][column] * sin
        })
    })
}

#[cfg(test)]
#[path = "filters_tests.rs"]
mod tests;
