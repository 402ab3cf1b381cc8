//! Transforms: crops, sizes, filters, formats, and no metadata.

use image::{DynamicImage, ImageFormat, RgbImage, RgbaImage};
use moxcms::ColorProfile;
use proptest::prelude::*;

use crate::samples::{self, BLUE, GREEN, JpegStyle, PLAIN, RED, SECRET, WHITE};
use crate::*;

/// A picture of 1200 by 900 in squares of 300, each of a different colour.
fn board() -> RgbImage {
    RgbImage::from_fn(1200, 900, |x, y| square(x / 300, y / 300).into())
}

fn square(column: u32, row: u32) -> [u8; 3] {
    [40 + 60 * column as u8, 40 + 80 * row as u8, 120]
}

/// The board in each format and layout that the decoders handle differently.
fn boards() -> Vec<Vec<u8>> {
    let board = board();
    let turned = image::imageops::rotate270(&board);
    let progressive = JpegStyle { progressive: true, ..PLAIN };
    let (red, rgba) = (board.clone(), DynamicImage::ImageRgb8(board.clone()).to_rgba16());
    vec![
        samples::jpeg(&board),
        samples::jpeg_of(board.as_raw(), 1200, 900, progressive),
        samples::with_exif(&samples::jpeg(&turned), 6),
        samples::png_with(&red, None, None),
        samples::png_with(&turned, Some(samples::exif(6)), None),
        samples::encoded(&DynamicImage::ImageRgba16(rgba), ImageFormat::Png),
        samples::encoded(&DynamicImage::ImageRgb8(board), ImageFormat::Bmp),
    ]
}

fn rendered(source: &[u8], recipe: &Recipe) -> Rendered {
    render(source, recipe, &RenderLimits::default()).expect("a picture")
}

fn cover(width: u32, height: u32, keep: Keep) -> Recipe {
    let sizing = Sizing::Cover { width, height, keep, enlarge: false };
    Recipe { sizing, ..Recipe::preview() }
}

fn assert_pixel(picture: &Rendered, x: u32, y: u32, expected: [u8; 3]) {
    let [red, green, blue, _] = samples::open(picture).get_pixel(x, y).0;
    samples::assert_close([red, green, blue], expected, 8);
}

#[test]
fn a_crop_is_in_pixels_of_the_upright_original() {
    let sizing = Sizing::Within { width: 640, height: 640, enlarge: false };
    let crop = Some(Area { x: 600, y: 300, width: 300, height: 600 });
    for source in boards() {
        let picture = rendered(&source, &Recipe { crop, sizing, ..Recipe::preview() });
        assert_eq!((picture.width, picture.height), (300, 600));
        for (x, y) in [(20, 20), (280, 20), (20, 280), (280, 280)] {
            assert_pixel(&picture, x, y, square(2, 1));
            assert_pixel(&picture, x, y + 300, square(2, 2));
        }
    }
}

#[test]
fn fill_keeps_the_requested_side_or_point_in_view() {
    let corner = Keep::Side { x: 1.0, y: 0.5 };
    let point = Keep::Point { x: 0.375, y: 0.1 };
    for source in boards() {
        let picture = rendered(&source, &cover(60, 180, corner));
        assert_eq!((picture.width, picture.height), (60, 180));
        assert_pixel(&picture, 30, 90, square(3, 1));
        let picture = rendered(&source, &cover(60, 180, point));
        assert_pixel(&picture, 30, 20, square(1, 0));
        assert_pixel(&picture, 30, 160, square(1, 2));
    }
}

#[test]
fn a_crop_can_be_filled_far_below_its_size() {
    let crop = Some(Area { x: 300, y: 0, width: 900, height: 900 });
    for source in boards() {
        let recipe = Recipe { crop, ..cover(36, 36, Keep::Side { x: 0.5, y: 0.5 }) };
        let picture = rendered(&source, &recipe);
        assert_eq!((picture.width, picture.height), (36, 36));
        for (x, y) in [(0, 0), (1, 1), (2, 2), (2, 0)] {
            assert_pixel(&picture, 12 * x + 6, 12 * y + 6, square(x + 1, y));
        }
    }
}

#[test]
fn small_pictures_are_enlarged_only_on_request() {
    let small = samples::jpeg(&samples::quarters(40, 20, [RED, GREEN, BLUE, WHITE]));
    for (enlarge, size) in [(false, (40, 20)), (true, (400, 200))] {
        let sizing = Sizing::Within { width: 400, height: 400, enlarge };
        let picture = rendered(&small, &Recipe { sizing, ..Recipe::preview() });
        assert_eq!((picture.width, picture.height), size);
        assert_eq!(samples::open(&picture).dimensions(), size);
    }
}

#[test]
fn quality_determines_the_size_of_the_file() {
    let source = samples::jpeg(&samples::texture(900, 900));
    let bytes = |quality| rendered(&source, &Recipe { quality, ..Recipe::preview() }).bytes.len();
    assert!(bytes(20) < bytes(50) && bytes(50) < bytes(80) && bytes(80) < bytes(90));
}

#[test]
fn filters_are_applied_to_the_result() {
    let source = samples::jpeg(&samples::quarters(900, 900, [[200, 80, 80]; 4]));
    let filters = Filters { saturation: -100.0, brightness: 10.0, ..Filters::default() };
    let picture = rendered(&source, &Recipe { filters, ..Recipe::preview() });
    // 0.213 * 200 + 0.787 * 80, plus a tenth of 255.
    assert_pixel(&picture, 300, 300, [131; 3]);
}

/// The left half is transparent, the right half translucent.
fn translucent() -> RgbaImage {
    RgbaImage::from_fn(900, 500, |x, _| {
        image::Rgba(if x < 450 { [0, 0, 0, 0] } else { [200, 40, 40, 128] })
    })
}

#[test]
fn webp_is_made_for_translucent_pictures_when_the_client_reads_it() {
    let source = samples::encoded(&DynamicImage::ImageRgba8(translucent()), ImageFormat::Png);
    let recipe = Recipe { format: Format::JpegOrWebp, ..Recipe::preview() };
    let picture = rendered(&source, &recipe);
    assert_eq!((picture.media_type, picture.width, picture.height), ("image/webp", 640, 356));
    let found = samples::open(&picture);
    assert_eq!(found.dimensions(), (640, 356));
    assert_eq!(found.get_pixel(100, 100).0[3], 0);
    let [red, green, blue, alpha] = found.get_pixel(500, 100).0;
    samples::assert_close([red, green, blue], [200, 40, 40], 8);
    assert_eq!(alpha, 128);

    let opaque = samples::png_with(&samples::texture(700, 700), None, None);
    assert_eq!(rendered(&opaque, &recipe).media_type, "image/jpeg");
}

#[test]
fn s25_no_metadata_reaches_any_format() {
    let icc = ColorProfile::new_display_p3().encode().expect("encodes");
    let mut clear = Vec::new();
    let mut encoder = image::codecs::png::PngEncoder::new(&mut clear);
    image::ImageEncoder::set_exif_metadata(&mut encoder, samples::exif(6)).expect("set");
    image::ImageEncoder::set_icc_profile(&mut encoder, icc.clone()).expect("set");
    DynamicImage::ImageRgba8(translucent()).write_with_encoder(encoder).expect("encodes");
    let jpeg = samples::with_exif(&samples::jpeg(&samples::texture(800, 500)), 6);
    let jpeg = samples::with_segment(&samples::with_icc(&jpeg, &icc, 500), 0xfe, SECRET);
    let cases = [
        (&jpeg, Format::JpegOrPng, "image/jpeg"),
        (&clear, Format::JpegOrPng, "image/png"),
        (&clear, Format::JpegOrWebp, "image/webp"),
    ];
    for (source, format, media_type) in cases {
        let picture = rendered(source, &Recipe { format, ..Recipe::preview() });
        assert_eq!(picture.media_type, media_type);
        assert!(picture.height > picture.width, "not upright");
        let needles: [&[u8]; 9] =
            [SECRET, b"Exif", b"EXIF", b"ICC_PROFILE", b"eXIf", b"iCCP", b"ICCP", b"tEXt", b"XMP "];
        for needle in needles {
            let found = picture.bytes.windows(needle.len()).any(|part| part == needle);
            assert!(!found, "{:?} is in the {media_type}", String::from_utf8_lossy(needle));
        }
    }
}

#[test]
fn results_beyond_the_bounds_are_rejected_up_front() {
    // Nothing follows the header: a decoder would report the file as broken.
    let head = samples::jpeg_head_of(6000, 6000);
    let sizing = Sizing::Within { width: 6000, height: 6000, enlarge: false };
    let rejected = render(&head, &Recipe { sizing, ..Recipe::preview() }, &RenderLimits::default());
    let limit = limits::OUTPUT_PIXELS_MAX;
    let expected = matches!(rejected, Err(RenderError::TooLarge { limit: l, .. }) if l == limit);
    assert!(expected, "{rejected:?}");
    let crop = Some(Area { x: 6000, y: 0, width: 1, height: 1 });
    let rejected = render(&head, &Recipe { crop, ..Recipe::preview() }, &RenderLimits::default());
    assert!(matches!(rejected, Err(RenderError::Outside)), "{rejected:?}");
}

#[test]
fn a_png_needs_memory_for_one_row_and_the_result_only() {
    let source = samples::png_with(&samples::texture(3000, 2000), None, None);
    // All pixels would take 18 MB.
    let limits = RenderLimits { max_decoded_bytes: 6_100_000, ..RenderLimits::default() };
    let preview = make_preview(&source, &limits).expect("a preview");
    assert_eq!((preview.width, preview.height), (640, 427));
}

#[test]
fn a_large_png_looks_like_the_jpeg_of_the_same_picture() {
    let photo = samples::texture(2600, 1700);
    let of_png =
        samples::open(&rendered(&samples::png_with(&photo, None, None), &Recipe::preview()));
    let of_jpeg = samples::open(&rendered(&samples::jpeg(&photo), &Recipe::preview()));
    assert_eq!(of_png.dimensions(), of_jpeg.dimensions());
    // The gradients of red and green. Blue is noise, which JPEG does not preserve.
    for (x, y) in [(0, 0), (639, 0), (320, 200), (0, 417), (639, 417)] {
        let (png, jpeg) = (of_png.get_pixel(x, y).0, of_jpeg.get_pixel(x, y).0);
        assert!(
            png[0].abs_diff(jpeg[0]) <= 12 && png[1].abs_diff(jpeg[1]) <= 12,
            "{png:?} {jpeg:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn any_recipe_gives_a_picture_of_the_planned_size_or_an_error(
        which in 0..7_usize,
        crop in proptest::option::of((0..140_u32, 0..140_u32, 0..140_u32, 0..140_u32)),
        (width, height) in (0..300_u32, 0..300_u32),
        (x, y) in (-0.2..1.2_f32, -0.2..1.2_f32),
        (cover, enlarge, webp, filtered) in any::<(bool, bool, bool, bool)>(),
        quality: u8,
    ) {
        let picture = DynamicImage::ImageRgb8(samples::texture(120, 70));
        let source = match which {
            0 => samples::jpeg(&picture.to_rgb8()),
            1 => samples::with_exif(&samples::jpeg(&picture.to_rgb8()), 8),
            2 => samples::encoded(&picture, ImageFormat::Png),
            3 => samples::encoded(&picture, ImageFormat::Gif),
            4 => samples::encoded(&DynamicImage::ImageRgba8(translucent()), ImageFormat::Png),
            5 => samples::encoded(&picture.grayscale(), ImageFormat::Png),
            _ => samples::palette_png(true, 9),
        };
        let sizing = if cover {
            Sizing::Cover { width, height, keep: Keep::Point { x, y }, enlarge }
        } else {
            Sizing::Within { width, height, enlarge }
        };
        let mut filters = Filters::default();
        if filtered {
            filters.blur = x * 4.0;
            filters.unsharp = Some(Unsharp { radius: 0.66, amount: 1.0, threshold: 0.01 });
        }
        let format = if webp { Format::JpegOrWebp } else { Format::JpegOrPng };
        let crop = crop.map(|(x, y, width, height)| Area { x, y, width, height });
        let recipe = Recipe { crop, sizing, filters, quality, format };
        let header = read_header(&mut Cursor::new(&source)).expect("a header");
        let plan = geometry::plan((header.width, header.height), &recipe);
        match (plan, render(&source, &recipe, &RenderLimits::default())) {
            (Ok(plan), Ok(picture)) => {
                prop_assert_eq!((picture.width, picture.height), plan.target);
                prop_assert_eq!(samples::open(&picture).dimensions(), plan.target);
            }
            (Err(_), Err(RenderError::Outside)) => {}
            (plan, result) => prop_assert!(false, "{plan:?} gave {result:?}"),
        }
    }
}
