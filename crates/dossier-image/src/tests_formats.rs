//! AVIF, HEIC, JPEG XL and PDF: the right colours in the right positions, upright, with alpha.
//! `tests/pictures/make` generates the pictures.

use crate::samples::{self, BLUE, Corners, GREEN, RED, WHITE};
use crate::samples_pdf::{Pdf, QUARTERS};
use crate::*;

/// A file of `tests/pictures`.
macro_rules! picture {
    ($name:literal) => {
        include_bytes!(concat!("../../../tests/pictures/", $name)).as_slice()
    };
}
pub(crate) use picture;

const UPRIGHT: Corners = [RED, GREEN, BLUE, WHITE];

fn preview(source: &[u8]) -> Rendered {
    make_preview(source, &RenderLimits::default()).expect("a preview")
}

fn header(source: &[u8]) -> (ImageKind, u32, u32) {
    let header = read_header(&mut Cursor::new(source)).expect("a header");
    (header.kind, header.width, header.height)
}

/// Checks the colour in the middle of each quarter.
#[track_caller]
fn assert_corners(preview: &Rendered, expected: Corners, tolerance: u8) {
    let picture = samples::open(preview);
    let (width, height) = picture.dimensions();
    for ((x, y), expected) in [(1, 1), (3, 1), (1, 3), (3, 3)].into_iter().zip(expected) {
        let found = picture.get_pixel(width * x / 4, height * y / 4).0;
        let near = found.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= tolerance);
        assert!(near, "{found:?} is not {expected:?} at {x}, {y}");
    }
}

#[test]
fn avif_of_every_depth_and_sampling_is_decoded() {
    for source in [
        picture!("avif-420-8.avif"),
        picture!("avif-422-8.avif"),
        picture!("avif-444-8.avif"),
        picture!("avif-420-10.avif"),
        picture!("avif-444-12.avif"),
        picture!("avif-limited.avif"),
        picture!("avif-identity.avif"),
    ] {
        assert_eq!(header(source), (ImageKind::Avif, 96, 64));
        let preview = preview(source);
        assert_eq!((preview.media_type, preview.width, preview.height), ("image/jpeg", 96, 64));
        assert_corners(&preview, UPRIGHT, 10);
    }
    let grey = samples::open(&preview(picture!("avif-400-8.avif")));
    let [dark, light] = [(24, 48), (72, 48)].map(|(x, y)| grey.get_pixel(x, y).0);
    assert!(dark[0] == dark[2] && dark[0] < 70 && light[0] > 225, "{dark:?} {light:?}");
}

#[test]
fn avif_is_turned_mirrored_and_cropped_as_its_container_states() {
    let turned = picture!("avif-irot1.avif");
    assert_eq!(header(turned), (ImageKind::Avif, 64, 96));
    assert_corners(&preview(turned), [GREEN, WHITE, RED, BLUE], 10);
    let mirrored = picture!("avif-irot3-imir1.avif");
    assert_eq!(header(mirrored), (ImageKind::Avif, 64, 96));
    assert_corners(&preview(mirrored), [RED, BLUE, GREEN, WHITE], 10);
    let cropped = picture!("avif-clap.avif");
    assert_eq!(header(cropped), (ImageKind::Avif, 48, 32));
    assert_corners(&preview(cropped), [GREEN; 4], 10);
}

#[test]
fn avif_keeps_its_alpha() {
    for source in [picture!("avif-alpha.avif"), picture!("avif-multiplied.avif")] {
        let preview = preview(source);
        assert_eq!((preview.media_type, preview.width, preview.height), ("image/png", 96, 64));
        let picture = samples::open(&preview);
        assert!(picture.get_pixel(20, 20).0[3] < 3);
        let opaque = picture.get_pixel(72, 16).0;
        let near = opaque.iter().zip(GREEN).all(|(a, b)| a.abs_diff(b) <= 10);
        assert!(near && opaque[3] > 252, "{opaque:?}");
    }
}

#[test]
fn tiles_of_an_avif_are_assembled() {
    let source = picture!("avif-grid.avif");
    assert_eq!(header(source), (ImageKind::Avif, 128, 128));
    assert_corners(&preview(source), UPRIGHT, 10);
}

#[test]
fn wide_colours_of_avif_are_converted_to_srgb_and_stay_bright() {
    let picture = samples::open(&preview(picture!("avif-hdr.avif")));
    let [red, white] = [(24, 16), (72, 48)].map(|(x, y)| picture.get_pixel(x, y).0);
    // The red of BT.2020 lies outside sRGB.
    assert!(red[0] > 245 && red[1] < 20, "{red:?}");
    assert!(white[..3].iter().all(|value| value.abs_diff(240) < 10), "{white:?}");
}

#[test]
fn a_large_avif_is_reduced_while_it_is_converted() {
    for size in [(4000, 3000), (641, 40), (1280, 1279)] {
        let shrink = planes::shrink_for(size, PREVIEW_EDGE_PX);
        let reduced = planes::shrunk(size, shrink);
        assert!(reduced.0 >= PREVIEW_EDGE_PX.min(size.0), "{size:?}: {reduced:?}");
        assert!(shrink == 1 || reduced.0 >= 2 * PREVIEW_EDGE_PX, "{size:?}: {reduced:?}");
    }
    assert_eq!(planes::shrink_for((4000, 3000), PREVIEW_EDGE_PX), 3);
}

#[test]
fn heic_is_decoded_through_the_systems_library() {
    let support = heic_support();
    assert!(matches!(support, HeicSupport::Ready { .. }), "run scripts/setup test: {support:?}");
    for source in [picture!("heic-420.heic"), picture!("heic-metadata.heic")] {
        assert_eq!(header(source), (ImageKind::Heic, 96, 64));
        assert_corners(&preview(source), UPRIGHT, 14);
    }
    let clear = preview(picture!("heic-alpha.heic"));
    assert_eq!((clear.media_type, clear.width, clear.height), ("image/png", 96, 64));
    let picture = samples::open(&clear);
    assert!(picture.get_pixel(20, 20).0[3] < 20 && picture.get_pixel(72, 16).0[3] > 235);
}

#[test]
fn jpeg_xl_is_decoded() {
    for (source, tolerance) in [
        (picture!("jxl-lossless.jxl"), 4),
        (picture!("jxl-lossy.jxl"), 14),
        (picture!("jxl-metadata.jxl"), 4),
    ] {
        assert_eq!(header(source), (ImageKind::Jxl, 96, 64));
        assert_corners(&preview(source), UPRIGHT, tolerance);
    }
    let turned = picture!("jxl-turned.jxl");
    assert_eq!(header(turned), (ImageKind::Jxl, 64, 96));
    assert_corners(&preview(turned), [BLUE, RED, WHITE, GREEN], 4);
    let grey = preview(picture!("jxl-grey.jxl"));
    assert_corners(&grey, [[40; 3], [200; 3], [40; 3], [200; 3]], 2);
    let clear = preview(picture!("jxl-alpha.jxl"));
    assert_eq!(clear.media_type, "image/png");
    assert_eq!(samples::open(&clear).get_pixel(20, 20).0[3], 0);
    assert_eq!(samples::open(&clear).get_pixel(72, 16).0[..3], GREEN);
}

#[test]
fn the_first_page_of_a_pdf_is_rendered_on_white() {
    let page = preview(&Pdf::page("[0 0 400 300]", "", QUARTERS).file());
    assert_eq!((page.media_type, page.width, page.height), ("image/jpeg", 640, 480));
    assert_corners(&page, UPRIGHT, 4);
    let empty = preview(&Pdf::page("[0 0 595 842]", "", "").file());
    assert_eq!((empty.width, empty.height), (452, 640));
    assert_corners(&empty, [[255; 3]; 4], 0);
}

#[test]
fn boxes_and_turns_of_a_pdf_are_respected() {
    // The crop box shows the upper right quarter.
    let cropped = Pdf::page("[0 0 400 300]", "/CropBox [200 150 400 300]", QUARTERS);
    let preview_of_crop = preview(&cropped.file());
    assert_eq!((preview_of_crop.width, preview_of_crop.height), (640, 480));
    assert_corners(&preview_of_crop, [GREEN; 4], 4);
    let turned = preview(&Pdf::page("[0 0 400 300]", "/Rotate 90", QUARTERS).file());
    assert_eq!((turned.width, turned.height), (480, 640));
    assert_corners(&turned, [BLUE, RED, WHITE, GREEN], 4);
    let thin = preview(&Pdf::page("[0 0 10000 1]", "", "").file());
    assert_eq!((thin.width, thin.height), (640, 1));
}

#[test]
fn text_of_a_pdf_without_embedded_fonts_is_rendered() {
    let text = "BT /F1 96 Tf 20 100 Td (HHHH) Tj ET";
    let resources = "/Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont \
                     /Helvetica >> >> >>";
    let picture = samples::open(&preview(&Pdf::page("[0 0 400 300]", resources, text).file()));
    let dark = picture.pixels().filter(|pixel| pixel.0[0] < 60).count();
    assert!(dark > 2_000, "{dark} dark pixels");
}

#[test]
fn a_pdf_may_begin_after_other_bytes() {
    let file = [&[b'\n'; 900][..], &Pdf::page("[0 0 400 300]", "", QUARTERS).file()].concat();
    assert_corners(&preview(&file), UPRIGHT, 4);
    assert!(!pdf::is_pdf(&[&[b'\n'; 2_000][..], b"%PDF-1.7"].concat()));
}
