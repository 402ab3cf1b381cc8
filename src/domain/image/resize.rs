//! Reduces a picture to the preview's size. Never enlarges and knows nothing of colour spaces.

use fast_image_resize::images::Image;
use fast_image_resize::{FilterType, MulDiv, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::RenderRefused;
use super::picture::{Channels, Picture};

/// Size of a picture whose longer side is brought down to `edge_px`, both sides at least 1.
pub(super) fn target_size((width, height): (u32, u32), edge_px: u32) -> (u32, u32) {
    let longest = width.max(height);
    if longest <= edge_px {
        return (width, height);
    }
    let reduced = |side: u32| {
        let rounded = (u64::from(side) * u64::from(edge_px) * 2 + u64::from(longest))
            / (u64::from(longest) * 2);
        rounded.max(1) as u32
    };
    (reduced(width), reduced(height))
}

/// Brings `picture` to the size `target` with a Lanczos filter.
///
/// # Errors
///
/// [`RenderRefused::Broken`] when the pixels do not match the size.
pub(super) fn fit(picture: Picture, target: (u32, u32)) -> Result<Picture, RenderRefused> {
    let (width, height) = target;
    if (width, height) == (picture.width, picture.height) {
        return Ok(picture);
    }
    let pixel_type = match picture.channels {
        Channels::Grey => PixelType::U8,
        Channels::GreyAlpha => PixelType::U8x2,
        Channels::Rgb => PixelType::U8x3,
        Channels::Rgba => PixelType::U8x4,
    };
    let translucent = picture.is_translucent();
    let Picture { width: from_width, height: from_height, channels, pixels } = picture;
    let mut large = Image::from_vec_u8(from_width, from_height, pixels, pixel_type)
        .map_err(RenderRefused::broken)?;
    let mut small = Image::new(width, height, pixel_type);

    // Premultiplied in place: the resizer's own alpha mode would copy the whole source.
    let alpha = MulDiv::new();
    if translucent {
        alpha.multiply_alpha_inplace(&mut large).map_err(RenderRefused::broken)?;
    }
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3))
        .use_alpha(false);
    Resizer::new().resize(&large, &mut small, &options).map_err(RenderRefused::broken)?;
    drop(large);
    if translucent {
        alpha.divide_alpha_inplace(&mut small).map_err(RenderRefused::broken)?;
    }
    Ok(Picture { width, height, channels, pixels: small.into_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_keeps_the_aspect_ratio_and_never_enlarges() {
        assert_eq!(target_size((4000, 3000), 640), (640, 480));
        assert_eq!(target_size((3000, 4000), 640), (480, 640));
        assert_eq!(target_size((641, 641), 640), (640, 640));
        assert_eq!(target_size((640, 3), 640), (640, 3));
        assert_eq!(target_size((65_535, 1), 640), (640, 1));
    }

    #[test]
    fn colour_under_transparent_pixels_does_not_bleed() {
        // Left half opaque white, right half transparent black.
        let row: Vec<u8> = (0..64).flat_map(|x| if x < 32 { [255; 4] } else { [0; 4] }).collect();
        let picture =
            Picture { width: 64, height: 64, channels: Channels::Rgba, pixels: row.repeat(64) };
        let small = fit(picture, (7, 7)).expect("resizes");
        for pixel in small.pixels.chunks_exact(4).filter(|pixel| pixel[3] > 16) {
            assert!(pixel[0] > 245, "edge went dark: {pixel:?}");
        }
    }

    #[test]
    fn pixels_that_do_not_match_the_size_are_refused() {
        let picture =
            Picture { width: 900, height: 900, channels: Channels::Rgb, pixels: vec![0; 10] };
        assert!(matches!(fit(picture, (640, 640)), Err(RenderRefused::Broken { .. })));
    }
}
