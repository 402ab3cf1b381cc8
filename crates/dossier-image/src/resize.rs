//! Resizes the planned part of a decoded picture. Knows nothing about colour spaces.

use dossier_resize::{Layout, Part};

use crate::RenderError;
use crate::geometry::Plan;
use crate::picture::{Decoded, Picture};
use crate::rect::Rect;

/// Resizes the part of `decoded` that `plan` names, in stored orientation, with a Lanczos filter.
///
/// # Errors
///
/// [`RenderError::Broken`] when the pixels do not match the size.
pub(crate) fn fit(decoded: Decoded, plan: &Plan) -> Result<Picture, RenderError> {
    let Decoded { picture, region, .. } = decoded;
    let (width, height) = plan.target;
    // Decoded pixels per pixel of the original: the decoder may have reduced it.
    let scale_x = f64::from(picture.width) / region.width;
    let scale_y = f64::from(picture.height) / region.height;
    let part = Rect {
        x: (plan.area.x - region.x) * scale_x,
        y: (plan.area.y - region.y) * scale_y,
        width: plan.area.width * scale_x,
        height: plan.area.height * scale_y,
    }
    .inside(picture.width, picture.height);
    if plan.target == (picture.width, picture.height)
        && part == Rect::whole(picture.width, picture.height)
    {
        return Ok(picture);
    }
    let mut picture = picture;
    let is_translucent = picture.is_translucent();
    if is_translucent {
        // In place: the resizer's own alpha mode copies the whole source.
        multiply_alpha(&mut picture)?;
    }
    let (channels, layout) = (picture.channels, layout(&picture));
    let part = Part { x: part.x, y: part.y, width: part.width, height: part.height };
    let pixels = dossier_resize::resize(picture.pixels, layout, part, plan.target)
        .map_err(RenderError::broken)?;
    let mut picture = Picture { width, height, channels, pixels };
    if is_translucent {
        divide_alpha(&mut picture)?;
    }
    Ok(picture)
}

/// Multiplies colour by alpha, so that pixels can be mixed.
///
/// # Errors
///
/// [`RenderError::Broken`] when the pixels do not match the size, or have no alpha.
pub(crate) fn multiply_alpha(picture: &mut Picture) -> Result<(), RenderError> {
    let layout = layout(picture);
    dossier_resize::multiply_alpha(&mut picture.pixels, layout).map_err(RenderError::broken)
}

/// Undoes [`multiply_alpha`].
///
/// # Errors
///
/// As [`multiply_alpha`].
pub(crate) fn divide_alpha(picture: &mut Picture) -> Result<(), RenderError> {
    let layout = layout(picture);
    dossier_resize::divide_alpha(&mut picture.pixels, layout).map_err(RenderError::broken)
}

fn layout(picture: &Picture) -> Layout {
    let Picture { width, height, channels, .. } = picture;
    Layout { width: *width, height: *height, channels: channels.count() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::Channels;

    fn fit_whole(picture: Picture, target: (u32, u32)) -> Result<Picture, RenderError> {
        let area = Rect::whole(picture.width, picture.height);
        fit(Decoded::whole(picture, None), &Plan { area, target })
    }

    #[test]
    fn colour_under_transparent_pixels_does_not_bleed() {
        // Left half opaque white, right half transparent black.
        let row: Vec<u8> = (0..64).flat_map(|x| if x < 32 { [255; 4] } else { [0; 4] }).collect();
        let picture =
            Picture { width: 64, height: 64, channels: Channels::Rgba, pixels: row.repeat(64) };
        let small = fit_whole(picture, (7, 7)).expect("resizes");
        for pixel in small.pixels.chunks_exact(4).filter(|pixel| pixel[3] > 16) {
            assert!(pixel[0] > 245, "edge went dark: {pixel:?}");
        }
    }

    #[test]
    fn pixels_that_do_not_match_the_size_are_rejected() {
        let picture =
            Picture { width: 900, height: 900, channels: Channels::Rgb, pixels: vec![0; 10] };
        assert!(matches!(fit_whole(picture, (640, 640)), Err(RenderError::Broken { .. })));
    }

    #[test]
    fn a_part_at_original_size_is_cut_out_unchanged() {
        let picture =
            Picture { width: 8, height: 8, channels: Channels::Grey, pixels: (0..64).collect() };
        let area = Rect { x: 2.0, y: 3.0, width: 3.0, height: 2.0 };
        let part = fit(Decoded::whole(picture, None), &Plan { area, target: (3, 2) });
        assert_eq!(part.expect("a part").pixels, [26, 27, 28, 34, 35, 36]);
    }

    #[test]
    fn a_part_of_a_reduced_region_is_found_at_its_position() {
        // Columns 100 to 180 of an original, reduced to half: column n shows 100 + 2n.
        let row: Vec<u8> = (0..40).map(|x| 100 + 2 * x).collect();
        let picture =
            Picture { width: 40, height: 10, channels: Channels::Grey, pixels: row.repeat(10) };
        let region = Rect { x: 100.0, y: 0.0, width: 80.0, height: 20.0 };
        let decoded = Decoded { picture, full_size: (300, 20), icc: None, region };
        let area = Rect { x: 120.0, y: 0.0, width: 40.0, height: 20.0 };
        let part = fit(decoded, &Plan { area, target: (10, 5) }).expect("a part");
        assert!(part.pixels[0].abs_diff(121) <= 2 && part.pixels[9].abs_diff(157) <= 2);
    }
}
