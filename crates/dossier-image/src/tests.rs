//! Previews: orientation, colour, size, format, and no metadata.

use image::{DynamicImage, GrayAlphaImage, GrayImage, ImageBuffer, ImageFormat, RgbaImage};
use moxcms::ColorProfile;
use turbojpeg::{Colorspace, PixelFormat, Subsamp};

use crate::samples::{self, BLUE, Corners, GREEN, JpegStyle, PLAIN, RED, SECRET, WHITE};
use crate::*;

const UPRIGHT: Corners = [RED, GREEN, BLUE, WHITE];

fn preview(source: &[u8]) -> Rendered {
    make_preview(source, &RenderLimits::default()).expect("a preview")
}

fn header(source: &[u8]) -> ImageHeader {
    read_header(&mut Cursor::new(source)).expect("a header")
}

fn assert_corners(preview: &Rendered, expected: Corners, tolerance: u8) {
    for (found, expected) in samples::corners_of(preview).into_iter().zip(expected) {
        samples::assert_close(found, expected, tolerance);
    }
}

/// The upright picture as it is stored for each EXIF orientation (EXIF 2.32, tag 274: the visual
/// side of the first row and of the first column).
fn stored_for(orientation: u16) -> Corners {
    let [top_left, top_right, bottom_left, bottom_right] = UPRIGHT;
    match orientation {
        2 => [top_right, top_left, bottom_right, bottom_left],
        3 => [bottom_right, bottom_left, top_right, top_left],
        4 => [bottom_left, bottom_right, top_left, top_right],
        5 => [top_left, bottom_left, top_right, bottom_right],
        6 => [top_right, bottom_right, top_left, bottom_left],
        7 => [bottom_right, top_right, bottom_left, top_left],
        8 => [bottom_left, top_left, bottom_right, top_right],
        _ => UPRIGHT,
    }
}

#[test]
fn every_orientation_comes_out_upright() {
    for orientation in 0..=9 {
        let stored = samples::quarters(900, 600, stored_for(orientation));
        let jpeg = samples::with_exif(&samples::jpeg(&stored), orientation);
        let png = samples::png_with(&stored, Some(samples::exif(orientation)), None);
        let sideways = (5..=8).contains(&orientation);
        for source in [jpeg, png] {
            let found = header(&source);
            let preview = preview(&source);
            let (size, source_size) =
                if sideways { ((427, 640), (600, 900)) } else { ((640, 427), (900, 600)) };
            assert_eq!((preview.width, preview.height), size, "orientation {orientation}");
            assert_eq!((found.width, found.height), source_size, "orientation {orientation}");
            assert_corners(&preview, UPRIGHT, 12);
        }
    }
}

#[test]
fn s25_no_metadata_reaches_the_preview() {
    let icc = ColorProfile::new_display_p3().encode().expect("encodes");
    let picture = samples::texture(800, 500);
    let mut jpeg = samples::with_exif(&samples::jpeg(&picture), 6);
    jpeg = samples::with_icc(&jpeg, &icc, 200);
    jpeg = samples::with_segment(&jpeg, 0xfe, SECRET);
    jpeg = samples::with_segment(&jpeg, 0xed, &[b"Photoshop 3.0\0", SECRET].concat());
    let png = samples::png_with(&picture, Some(samples::exif(3)), Some(icc));
    for source in [jpeg, png] {
        let preview = preview(&source);
        assert!(source.windows(SECRET.len()).any(|part| part == SECRET));
        let needles: [&[u8]; 7] =
            [SECRET, b"Exif", b"ICC_PROFILE", b"Photoshop", b"eXIf", b"iCCP", b"II*\0"];
        for needle in needles {
            let found = preview.bytes.windows(needle.len()).any(|part| part == needle);
            assert!(!found, "{:?} is in the preview", String::from_utf8_lossy(needle));
        }
    }
}

#[test]
fn colour_profiles_are_applied() {
    // Computed from the published primaries: (180, 90, 90) in Display P3 is (194, 85, 87) in sRGB.
    let icc = ColorProfile::new_display_p3().encode().expect("encodes");
    let picture = samples::quarters(800, 800, [[180, 90, 90]; 4]);
    let plain = samples::jpeg(&picture);
    let whole = samples::with_icc(&plain, &icc, 60_000);
    let pieces = samples::with_icc(&plain, &icc, 100);
    let png = samples::png_with(&picture, None, Some(icc));
    assert_corners(&preview(&plain), [[180, 90, 90]; 4], 3);
    for source in [whole, pieces, png] {
        assert_corners(&preview(&source), [[194, 85, 87]; 4], 4);
    }
}

#[test]
fn swapped_primaries_swap_colours() {
    let mut profile = ColorProfile::new_srgb();
    std::mem::swap(&mut profile.red_colorant, &mut profile.blue_colorant);
    profile.cicp = None;
    let icc = profile.encode().expect("encodes");
    let source = samples::with_icc(
        &samples::jpeg(&samples::quarters(100, 100, [[200, 100, 20]; 4])),
        &icc,
        60_000,
    );
    assert_corners(&preview(&source), [[20, 100, 200]; 4], 4);
}

#[test]
fn a_malformed_profile_is_treated_as_srgb() {
    let icc = ColorProfile::new_display_p3().encode().expect("encodes");
    let plain = samples::jpeg(&samples::quarters(800, 800, [[180, 90, 90]; 4]));
    let short = samples::with_icc(&plain, &icc[..150], 60_000);
    // A piece is missing. libjpeg warns, so the copy without metadata is decoded.
    let piece = [b"ICC_PROFILE\0", &[2, 3][..], &icc[..100]].concat();
    let missing = samples::with_segment(&plain, 0xe2, &piece);
    for source in [short, missing] {
        assert_corners(&preview(&source), [[180, 90, 90]; 4], 3);
    }
}

#[test]
fn previews_are_never_enlarged() {
    for (width, height) in [(1, 1), (7, 3), (640, 640), (639, 20)] {
        let picture = samples::texture(width, height);
        let jpeg = samples::jpeg(&picture);
        let png = samples::encoded(&DynamicImage::ImageRgb8(picture), ImageFormat::Png);
        for source in [jpeg, png] {
            let preview = preview(&source);
            assert_eq!((preview.width, preview.height), (width, height));
            assert_eq!(samples::open(&preview).dimensions(), (width, height));
        }
    }
}

#[test]
fn the_aspect_ratio_is_kept() {
    let sizes = [(2000, 1000, 640, 320), (700, 2100, 213, 640), (6500, 10, 640, 1)];
    for (width, height, preview_width, preview_height) in sizes {
        let preview = preview(&samples::jpeg(&samples::texture(width, height)));
        assert_eq!((preview.width, preview.height), (preview_width, preview_height));
        assert_eq!(samples::open(&preview).dimensions(), (preview_width, preview_height));
    }
}

#[test]
fn every_kind_of_jpeg_is_decoded() {
    let picture = samples::quarters(1600, 1200, UPRIGHT);
    for subsampling in [Subsamp::None, Subsamp::Sub2x1, Subsamp::Sub2x2, Subsamp::Sub1x2] {
        for progressive in [false, true] {
            let style = JpegStyle { subsampling, progressive, ..PLAIN };
            let source = samples::jpeg_of(picture.as_raw(), 1600, 1200, style);
            assert_corners(&preview(&source), UPRIGHT, 12);
        }
    }
    let style = JpegStyle { colorspace: Some(Colorspace::RGB), ..PLAIN };
    assert_corners(&preview(&samples::jpeg_of(picture.as_raw(), 1600, 1200, style)), UPRIGHT, 12);
}

#[test]
fn grey_jpeg_stays_grey() {
    let style = JpegStyle { format: PixelFormat::GRAY, subsampling: Subsamp::Gray, ..PLAIN };
    let source = samples::jpeg_of(&vec![77; 900 * 700], 900, 700, style);
    let preview = preview(&source);
    assert_corners(&preview, [[77; 3]; 4], 2);
    let colorspace = turbojpeg::read_header(&preview.bytes).expect("a JPEG").colorspace;
    assert_eq!(colorspace, Colorspace::Gray);
}

#[test]
fn cmyk_jpegs_keep_their_colours() {
    // Stored inverted, as Adobe does: no cyan, full magenta and yellow, no black.
    let inks = [255, 0, 0, 255].repeat(1000 * 800);
    for colorspace in [Colorspace::CMYK, Colorspace::YCCK] {
        let style = JpegStyle { format: PixelFormat::CMYK, colorspace: Some(colorspace), ..PLAIN };
        let adobe = samples::jpeg_of(&inks, 1000, 800, style);
        assert_corners(&preview(&adobe), [[255, 0, 0]; 4], 6);
    }
    let style =
        JpegStyle { format: PixelFormat::CMYK, colorspace: Some(Colorspace::CMYK), ..PLAIN };
    let adobe = samples::jpeg_of(&inks, 1000, 800, style);
    let start = adobe.windows(2).position(|pair| pair == [0xff, 0xee]).expect("Adobe marker");
    let plain = [&adobe[..start], &adobe[start + 16..]].concat();
    assert_corners(&preview(&plain), [[0, 0, 0]; 4], 6);
}

#[test]
fn a_truncated_jpeg_gives_what_is_there() {
    let picture = samples::texture(1600, 1200);
    let styles = [PLAIN, JpegStyle { progressive: true, ..PLAIN }];
    for style in styles {
        let source = samples::jpeg_of(picture.as_raw(), 1600, 1200, style);
        let whole = samples::open(&preview(&source));
        let half = samples::open(&preview(&source[..source.len() / 2]));
        assert_eq!(half.dimensions(), (640, 480));
        for x in [10, 300, 600] {
            let (found, expected) = (half.get_pixel(x, 20), whole.get_pixel(x, 20));
            let close = found.0.iter().zip(expected.0).all(|(a, b)| a.abs_diff(b) < 100);
            assert!(close, "{found:?} is not like {expected:?}");
        }
    }
}

#[test]
fn transparency_survives_as_png() {
    let clear_left = RgbaImage::from_fn(1000, 500, |x, _| {
        image::Rgba(if x < 500 { [0, 0, 0, 0] } else { [200, 40, 40, 255] })
    });
    let source = samples::encoded(&DynamicImage::ImageRgba8(clear_left), ImageFormat::Png);
    let preview = preview(&source);
    assert_eq!((preview.media_type, preview.width, preview.height), ("image/png", 640, 320));
    let picture = samples::open(&preview);
    assert_eq!(picture.get_pixel(100, 100).0[3], 0);
    assert_eq!(picture.get_pixel(500, 100).0, [200, 40, 40, 255]);
}

#[test]
fn an_opaque_alpha_channel_gives_a_jpeg() {
    let rgba = RgbaImage::from_pixel(900, 300, image::Rgba([10, 200, 90, 255]));
    let grey = GrayAlphaImage::from_pixel(900, 300, image::LumaA([120, 255]));
    for (picture, expected) in [
        (DynamicImage::ImageRgba8(rgba), [10, 200, 90]),
        (DynamicImage::ImageLumaA8(grey), [120; 3]),
    ] {
        let preview = preview(&samples::encoded(&picture, ImageFormat::Png));
        assert_eq!(preview.media_type, "image/jpeg");
        assert_corners(&preview, [expected; 4], 4);
    }
}

#[test]
fn every_depth_of_png_is_decoded() {
    let grey = GrayImage::from_pixel(800, 600, image::Luma([60]));
    let wide = ImageBuffer::from_pixel(800, 600, image::Rgb([60 * 257_u16; 3]));
    let wide_grey = ImageBuffer::from_pixel(800, 600, image::Luma([60 * 257_u16]));
    for picture in [
        DynamicImage::ImageLuma8(grey),
        DynamicImage::ImageRgb16(wide),
        DynamicImage::ImageLuma16(wide_grey),
    ] {
        let preview = preview(&samples::encoded(&picture, ImageFormat::Png));
        assert_corners(&preview, [[60; 3]; 4], 2);
    }
    let wide = ImageBuffer::from_pixel(8, 6, image::Rgba([60 * 257_u16, 0, 0, 100 * 257]));
    let preview = preview(&samples::encoded(&DynamicImage::ImageRgba16(wide), ImageFormat::Png));
    assert_eq!(samples::open(&preview).get_pixel(3, 3).0, [60, 0, 0, 100]);
}

#[test]
fn palette_and_interlaced_pngs_are_decoded() {
    for interlaced in [false, true] {
        let clear = preview(&samples::palette_png(interlaced, 100));
        assert_eq!(clear.media_type, "image/png");
        let picture = samples::open(&clear);
        let [red, green, blue] = RED;
        assert_eq!(picture.get_pixel(0, 0).0, [red, green, blue, 255]);
        assert_eq!(picture.get_pixel(1, 0).0[..3], GREEN);
        assert_eq!(picture.get_pixel(0, 1).0[..3], BLUE);
        assert_eq!(picture.get_pixel(1, 1).0[3], 100);
        let opaque = preview(&samples::palette_png(interlaced, 255));
        assert_eq!((opaque.media_type, opaque.width, opaque.height), ("image/jpeg", 2, 2));
    }
}

#[test]
fn an_animated_png_gives_its_first_frame() {
    assert_corners(&preview(&samples::animated_png()), [RED; 4], 6);
}

#[test]
fn an_opaque_preview_is_a_jpeg_of_halved_colour_resolution() {
    let preview = preview(&samples::jpeg(&samples::texture(900, 900)));
    let found = turbojpeg::read_header(&preview.bytes).expect("a JPEG");
    assert_eq!((preview.media_type, found.subsamp), ("image/jpeg", Subsamp::Sub2x2));
}

#[test]
fn grey_with_transparency_is_kept() {
    let picture = GrayAlphaImage::from_fn(700, 700, |x, _| image::LumaA([90, (x / 3) as u8]));
    let source = samples::encoded(&DynamicImage::ImageLumaA8(picture), ImageFormat::Png);
    let preview = preview(&source);
    assert_eq!(preview.media_type, "image/png");
    let pixel = samples::open(&preview).get_pixel(320, 320).0;
    assert!(pixel[0].abs_diff(90) <= 2 && pixel[3].abs_diff(116) <= 3, "{pixel:?}");
}

#[test]
fn a_gif_frame_smaller_than_its_screen_is_placed_on_it() {
    let whole = preview(&samples::gif_of(20, 10, [0, 0, 20, 10]));
    assert_eq!(whole.media_type, "image/jpeg");
    assert_corners(&whole, [[255, 0, 0]; 4], 6);
    let part = preview(&samples::gif_of(20, 10, [10, 5, 10, 5]));
    assert_eq!((part.media_type, part.width, part.height), ("image/png", 20, 10));
    let picture = samples::open(&part);
    assert_eq!(picture.get_pixel(2, 2).0[3], 0);
    assert_eq!(picture.get_pixel(15, 7).0, [255, 0, 0, 255]);
}

#[test]
fn bmp_is_decoded_and_gif_keeps_only_its_first_frame() {
    let picture = samples::quarters(1000, 800, UPRIGHT);
    let bmp = samples::encoded(&DynamicImage::ImageRgb8(picture), ImageFormat::Bmp);
    assert_eq!(header(&bmp), ImageHeader { kind: ImageKind::Bmp, width: 1000, height: 800 });
    assert_corners(&preview(&bmp), UPRIGHT, 12);

    let mut file = Vec::new();
    let mut encoder = image::codecs::gif::GifEncoder::new(&mut file);
    for colour in [RED, BLUE] {
        let [red, green, blue] = colour;
        let frame = RgbaImage::from_pixel(800, 600, image::Rgba([red, green, blue, 255]));
        encoder.encode_frame(image::Frame::new(frame)).expect("encodes");
    }
    drop(encoder);
    assert_eq!(header(&file), ImageHeader { kind: ImageKind::Gif, width: 800, height: 600 });
    assert_corners(&preview(&file), [RED; 4], 12);
}
