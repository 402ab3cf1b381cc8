//! Brings the wanted part of a decoded picture to its size. Knows nothing of colour spaces.

use fast_image_resize::images::Image;
use fast_image_resize::pixels::{U8, U8x2, U8x3, U8x4};
use fast_image_resize::{
    FilterType, MulDiv, PixelTrait, PixelType, ResizeAlg, ResizeError, ResizeOptions, Resizer,
};

use super::RenderRefused;
use super::geometry::{Plan, Rect};
use super::picture::{Channels, Decoded, Picture};

/// Resizes the part of `decoded` that `plan` names, in stored orientation, with a Lanczos filter.
///
/// # Errors
///
/// [`RenderRefused::Broken`] when the pixels do not match the size.
pub(super) fn fit(decoded: Decoded, plan: &Plan) -> Result<Picture, RenderRefused> {
    let Decoded { picture, shows, .. } = decoded;
    let (width, height) = plan.target;
    // From pixels of the original to those of the decoder, which may have reduced it.
    let across = f64::from(picture.width) / shows.width;
    let down = f64::from(picture.height) / shows.height;
    let part = Rect {
        x: (plan.area.x - shows.x) * across,
        y: (plan.area.y - shows.y) * down,
        width: plan.area.width * across,
        height: plan.area.height * down,
    }
    .inside(picture.width, picture.height);
    if plan.target == (picture.width, picture.height)
        && part == Rect::whole(picture.width, picture.height)
    {
        return Ok(picture);
    }
    let mut picture = picture;
    let translucent = picture.is_translucent();
    if translucent {
        // In place: the resizer's own alpha mode would copy the whole source.
        multiply_alpha(&mut picture)?;
    }
    let Picture { width: from_width, height: from_height, channels, pixels } = picture;
    let large = Image::from_vec_u8(from_width, from_height, pixels, pixel_type(channels))
        .map_err(RenderRefused::broken)?;
    let mut small = Image::new(width, height, pixel_type(channels));
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3))
        .crop(part.x, part.y, part.width, part.height)
        .use_alpha(false);
    // By name and not through `Resizer::resize`, which would bring the code of all 13 pixel types of
    // the library.
    match channels {
        Channels::Grey => resize::<U8>(&large, &mut small, &options),
        Channels::GreyAlpha => resize::<U8x2>(&large, &mut small, &options),
        Channels::Rgb => resize::<U8x3>(&large, &mut small, &options),
        Channels::Rgba | Channels::Cmyk => resize::<U8x4>(&large, &mut small, &options),
    }
    .map_err(RenderRefused::broken)?;
    drop(large);
    let mut picture = Picture { width, height, channels, pixels: small.into_vec() };
    if translucent {
        divide_alpha(&mut picture)?;
    }
    Ok(picture)
}

fn resize<P: PixelTrait>(
    large: &Image<'_>,
    small: &mut Image<'_>,
    options: &ResizeOptions,
) -> Result<(), ResizeError> {
    let (Some(from), Some(mut to)) = (large.typed_image::<P>(), small.typed_image_mut::<P>())
    else {
        return Err(ResizeError::PixelTypesAreDifferent);
    };
    Resizer::new().resize_typed(&from, &mut to, options)
}

fn pixel_type(channels: Channels) -> PixelType {
    match channels {
        Channels::Grey => PixelType::U8,
        Channels::GreyAlpha => PixelType::U8x2,
        Channels::Rgb => PixelType::U8x3,
        Channels::Rgba | Channels::Cmyk => PixelType::U8x4,
    }
}

/// Multiplies colour with alpha, so that pixels can be mixed.
///
/// # Errors
///
/// [`RenderRefused::Broken`] when the pixels do not match the size, or have no alpha.
pub(super) fn multiply_alpha(picture: &mut Picture) -> Result<(), RenderRefused> {
    let mut image = view(picture)?;
    MulDiv::new().multiply_alpha_inplace(&mut image).map_err(RenderRefused::broken)
}

/// Undoes [`multiply_alpha`].
///
/// # Errors
///
/// As [`multiply_alpha`].
pub(super) fn divide_alpha(picture: &mut Picture) -> Result<(), RenderRefused> {
    let mut image = view(picture)?;
    MulDiv::new().divide_alpha_inplace(&mut image).map_err(RenderRefused::broken)
}

fn view(picture: &mut Picture) -> Result<Image<'_>, RenderRefused> {
    let pixel_type = pixel_type(picture.channels);
    Image::from_slice_u8(picture.width, picture.height, &mut picture.pixels, pixel_type)
        .map_err(RenderRefused::broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit_whole(picture: Picture, target: (u32, u32)) -> Result<Picture, RenderRefused> {
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
    fn pixels_that_do_not_match_the_size_are_refused() {
        let picture =
            Picture { width: 900, height: 900, channels: Channels::Rgb, pixels: vec![0; 10] };
        assert!(matches!(fit_whole(picture, (640, 640)), Err(RenderRefused::Broken { .. })));
    }

    #[test]
    fn a_part_is_cut_out_pixel_for_pixel_when_nothing_is_scaled() {
        let picture =
            Picture { width: 8, height: 8, channels: Channels::Grey, pixels: (0..64).collect() };
        let area = Rect { x: 2.0, y: 3.0, width: 3.0, height: 2.0 };
        let part = fit(Decoded::whole(picture, None), &Plan { area, target: (3, 2) });
        assert_eq!(part.expect("a part").pixels, [26, 27, 28, 34, 35, 36]);
    }

    #[test]
    fn a_picture_that_was_decoded_in_part_and_reduced_is_read_at_the_right_place() {
        // Columns 100 to 180 of an original, reduced to half: column n shows 100 + 2n.
        let row: Vec<u8> = (0..40).map(|x| 100 + 2 * x).collect();
        let picture =
            Picture { width: 40, height: 10, channels: Channels::Grey, pixels: row.repeat(10) };
        let shows = Rect { x: 100.0, y: 0.0, width: 80.0, height: 20.0 };
        let decoded = Decoded { picture, full_size: (300, 20), icc: None, shows };
        let area = Rect { x: 120.0, y: 0.0, width: 40.0, height: 20.0 };
        let part = fit(decoded, &Plan { area, target: (10, 5) }).expect("a part");
        assert!(part.pixels[0].abs_diff(121) <= 2 && part.pixels[9].abs_diff(157) <= 2);
    }
}
