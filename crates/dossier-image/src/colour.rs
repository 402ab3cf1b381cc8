//! Converts pixels to sRGB: applies ICC profiles, and converts CMYK inks to RGB.
//!
//! A profile that is missing, malformed or of another colour space than the pixels is treated as
//! sRGB: a preview with slightly wrong colours is better than none.

use moxcms::{ColorProfile, DataColorSpace, Layout, ParsingOptions, TransformOptions};

use crate::limits::ICC_MAX_BYTES;
use crate::picture::{Channels, Picture};

/// Most entries of a profile's colour table. Common profiles have fewer than 250,000.
const CLUT_MAX_ENTRIES: usize = 2_000_000;

/// Most entries of a profile's tone curve. The format's own tables have at most 4,096.
const TONE_CURVE_MAX_ENTRIES: usize = 40_000;

/// Converts `picture` from its profile to sRGB, or returns it unchanged.
pub(crate) fn to_srgb(picture: Picture, icc: Option<&[u8]>) -> Picture {
    match icc.and_then(|icc| converted(&picture, icc)) {
        Some((channels, pixels)) => Picture { channels, pixels, ..picture },
        None if picture.channels == Channels::Cmyk => {
            Picture { channels: Channels::Rgb, pixels: ink_to_rgb(picture.pixels), ..picture }
        }
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
        // The memory layout of four inks is that of RGBA.
        (DataColorSpace::Cmyk, Channels::Cmyk) => (Layout::Rgba, Layout::Rgb, Channels::Rgb),
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

/// Inverts inks: files with an Adobe marker store them inverted.
pub(crate) fn invert(inks: &mut [u8]) {
    for ink in inks {
        *ink = u8::MAX - *ink;
    }
}

/// Converts inks to RGB in place, by multiplying each with black. Close enough for a preview when
/// the file has no profile of its press.
fn ink_to_rgb(mut pixels: Vec<u8>) -> Vec<u8> {
    let pixel_count = pixels.len() / 4;
    let light = |ink: u8| u32::from(u8::MAX - ink);
    for index in 0..pixel_count {
        let Some(&[cyan, magenta, yellow, black]) = pixels.get(index * 4..index * 4 + 4) else {
            break;
        };
        let rgb =
            [cyan, magenta, yellow].map(|ink| ((light(ink) * light(black) + 127) / 255) as u8);
        if let Some(pixel) = pixels.get_mut(index * 3..index * 3 + 3) {
            pixel.copy_from_slice(&rgb);
        }
    }
    pixels.truncate(pixel_count * 3);
    pixels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inks(pixels: Vec<u8>) -> Picture {
        Picture { width: pixels.len() as u32 / 4, height: 1, channels: Channels::Cmyk, pixels }
    }

    #[test]
    fn ink_without_a_profile_is_converted_by_the_simple_formula() {
        let picture = to_srgb(inks(vec![0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 0, 255]), None);
        assert_eq!(picture.channels, Channels::Rgb);
        assert_eq!(picture.pixels, [255, 255, 255, 255, 0, 0, 0, 0, 0]);
        let mut stored = [255, 0, 100];
        invert(&mut stored);
        assert_eq!(stored, [0, 255, 155]);
    }

    /// An ICC profile (ICC.1:2010 §7) with one tag.
    fn icc_with(space: [u8; 4], pcs: [u8; 4], tag: [u8; 4], data: &[u8]) -> Vec<u8> {
        let start = 128 + 4 + 12;
        let mut icc = vec![0; 128];
        icc[..4].copy_from_slice(&((start + data.len()) as u32).to_be_bytes());
        icc[8..12].copy_from_slice(&[2, 0x40, 0, 0]);
        icc[12..16].copy_from_slice(b"prtr");
        icc[16..20].copy_from_slice(&space);
        icc[20..24].copy_from_slice(&pcs);
        icc[36..40].copy_from_slice(b"acsp");
        icc[68..80].copy_from_slice(&[0, 0, 0xf6, 0xd6, 0, 1, 0, 0, 0, 0, 0xd3, 0x2d]);
        icc.extend(1_u32.to_be_bytes());
        icc.extend(tag);
        icc.extend([start as u32, data.len() as u32].map(u32::to_be_bytes).concat());
        icc.extend(data);
        icc
    }

    /// The profile of a press whose inks are all grey: at full coverage, `darkness` out of 255.
    fn grey_press(darkness: u8) -> Vec<u8> {
        let corner = |bits: u32| [255 - darkness * u8::from(bits > 0), 128, 128];
        let table: Vec<u8> = (0..16).flat_map(corner).collect();
        let line: Vec<u8> = (0..=255).collect();
        let lut = [
            b"mft1\0\0\0\0\x04\x03\x02\0".to_vec(),
            [1, 0, 0, 0, 1, 0, 0, 0, 1_u32].map(|unit| (unit << 16).to_be_bytes()).concat(),
            line.repeat(4),
            table,
            line.repeat(3),
        ]
        .concat();
        icc_with(*b"CMYK", *b"Lab ", *b"A2B0", &lut)
    }

    #[test]
    fn ink_is_converted_by_the_profile_of_its_press() {
        let picture = to_srgb(inks(vec![0, 0, 0, 0, 255, 0, 0, 0]), Some(&grey_press(128)));
        assert_eq!(picture.channels, Channels::Rgb);
        let [paper, ink] = [&picture.pixels[..3], &picture.pixels[3..]];
        assert!(paper.iter().all(|value| *value > 250), "{paper:?}");
        // The simple formula would give cyan. L* 50 is 118 or 119 in sRGB.
        assert!(ink.iter().all(|value| value.abs_diff(118) <= 4), "{ink:?}");
    }

    #[test]
    fn a_grey_profile_applies_to_grey_and_is_ignored_for_colour() {
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
        assert!(out.pixels[0] > 205, "the red of Display P3 has a larger value in sRGB");
    }

    #[test]
    fn a_malformed_profile_is_treated_as_srgb() {
        let mut profile = ColorProfile::new_display_p3().encode().expect("encodes");
        profile.truncate(200);
        for icc in [&profile[..], b"", b"not a profile"] {
            let picture =
                Picture { width: 1, height: 1, channels: Channels::Rgb, pixels: vec![9, 8, 7] };
            assert_eq!(to_srgb(picture, Some(icc)).pixels, [9, 8, 7]);
        }
    }
}
