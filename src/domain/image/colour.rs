//! Brings pixels to sRGB: ICC profiles, and ink to light for CMYK.
//!
//! A profile that is missing, broken or of another kind than the pixels counts as sRGB: a
//! preview with slightly wrong colours is better than none.

use moxcms::{ColorProfile, DataColorSpace, Layout, ParsingOptions, TransformOptions};

use super::ICC_MAX_BYTES;
use super::picture::{Channels, Picture};

/// Most entries of a profile's colour table; common profiles stay under 250,000.
const CLUT_MAX_ENTRIES: usize = 2_000_000;

/// Most entries of a profile's tone curve; the format's own tables have at most 4,096.
const TONE_CURVE_MAX_ENTRIES: usize = 40_000;

/// Converts `picture` from its profile to sRGB, or returns it as it is.
pub(super) fn to_srgb(picture: Picture, icc: Option<&[u8]>) -> Picture {
    let Some(icc) = icc else { return picture };
    match converted(&picture, icc) {
        Some((channels, pixels)) => Picture { channels, pixels, ..picture },
        None => picture,
    }
}

fn converted(picture: &Picture, icc: &[u8]) -> Option<(Channels, Vec<u8>)> {
    let options = ParsingOptions {
        max_profile_size: ICC_MAX_BYTES,
        max_allowed_clut_size: CLUT_MAX_ENTRIES,
        max_allowed_trc_size: TONE_CURVE_MAX_ENTRIES,
    };
    let profile = ColorProfile::new_from_slice_with_options(icc, options).ok()?;
    let (from, to, channels) = match (profile.color_space, picture.channels) {
        (DataColorSpace::Rgb, Channels::Rgb) => (Layout::Rgb, Layout::Rgb, Channels::Rgb),
        (DataColorSpace::Rgb, Channels::Rgba) => (Layout::Rgba, Layout::Rgba, Channels::Rgba),
        (DataColorSpace::Gray, Channels::Grey) => (Layout::Gray, Layout::Rgb, Channels::Rgb),
        (DataColorSpace::Gray, Channels::GreyAlpha) => {
            (Layout::GrayAlpha, Layout::Rgba, Channels::Rgba)
        }
        _ => return None,
    };
    let transform = profile
        .create_transform_8bit(from, &ColorProfile::new_srgb(), to, TransformOptions::default())
        .ok()?;
    let pixel_count = picture.pixels.len() / picture.channels.count();
    let mut pixels = vec![0; pixel_count * channels.count()];
    transform.transform(&picture.pixels, &mut pixels).ok()?;
    Some((channels, pixels))
}

/// Turns CMYK pixels into RGB by multiplying each ink with black, in the same memory.
///
/// `inverted` is how files with an Adobe marker store ink: 255 is none. The plain formula is
/// close enough for a preview; a press profile is not applied.
pub(super) fn cmyk_to_rgb(mut pixels: Vec<u8>, inverted: bool) -> Vec<u8> {
    let pixel_count = pixels.len() / 4;
    let light = |ink: u8| u32::from(if inverted { ink } else { u8::MAX - ink });
    for index in 0..pixel_count {
        let Some(&[cyan, magenta, yellow, black]) = pixels.get(index * 4..index * 4 + 4) else {
            break;
        };
        let key = light(black);
        let rgb = [cyan, magenta, yellow].map(|ink| ((light(ink) * key + 127) / 255) as u8);
        if let Some(place) = pixels.get_mut(index * 3..index * 3 + 3) {
            place.copy_from_slice(&rgb);
        }
    }
    pixels.truncate(pixel_count * 3);
    pixels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ink_becomes_light_in_both_senses() {
        let inks = vec![0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 0, 255];
        let stored_inverted = inks.iter().map(|ink| 255 - ink).collect();
        let expected = [255, 255, 255, 255, 0, 0, 0, 0, 0];
        assert_eq!(cmyk_to_rgb(inks, false), expected);
        assert_eq!(cmyk_to_rgb(stored_inverted, true), expected);
    }

    #[test]
    fn grey_profile_changes_grey_and_is_ignored_for_colour() {
        let profile = ColorProfile::new_gray_with_gamma(1.0).encode().expect("encodes");
        let picture = |channels: Channels| Picture {
            width: 2,
            height: 1,
            channels,
            pixels: vec![128; 2 * channels.count()],
        };
        let grey = to_srgb(picture(Channels::Grey), Some(&profile));
        assert_eq!(grey.channels, Channels::Rgb);
        // Linear 50% is 188 in sRGB.
        assert!(grey.pixels.iter().all(|value| value.abs_diff(188) <= 2), "{:?}", grey.pixels);
        let colour = to_srgb(picture(Channels::Rgb), Some(&profile));
        assert_eq!(colour.pixels, [128; 6]);
    }

    #[test]
    fn alpha_survives_a_profile() {
        let profile = ColorProfile::new_display_p3().encode().expect("encodes");
        let picture = Picture {
            width: 2,
            height: 1,
            channels: Channels::Rgba,
            pixels: vec![200, 100, 50, 7, 200, 100, 50, 250],
        };
        let out = to_srgb(picture, Some(&profile));
        assert_eq!((out.pixels[3], out.pixels[7]), (7, 250));
        assert!(out.pixels[0] > 205, "red of Display P3 is stronger in sRGB numbers");
    }

    #[test]
    fn broken_profile_counts_as_srgb() {
        let mut profile = ColorProfile::new_display_p3().encode().expect("encodes");
        profile.truncate(200);
        for icc in [&profile[..], b"", b"not a profile"] {
            let picture =
                Picture { width: 1, height: 1, channels: Channels::Rgb, pixels: vec![9, 8, 7] };
            assert_eq!(to_srgb(picture, Some(icc)).pixels, [9, 8, 7]);
        }
    }
}
