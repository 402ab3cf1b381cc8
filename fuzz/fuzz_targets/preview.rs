//! Previews and transforms: whatever comes in, what comes out is a picture of the size that it
//! says, within what the recipe asks for. The last bytes of the input are the recipe.
#![no_main]

use std::io::Cursor;

use dossier_image::{
    Area, Filters, Format, Keep, PREVIEW_EDGE_PX, Recipe, RenderLimits, Rendered, Sizing, Unsharp,
    make_preview, read_header, render,
};
use libfuzzer_sys::fuzz_target;

/// Bytes at the end that are read as a recipe. Decoders ignore what follows a picture, so the
/// seeds are whole pictures for them.
const RECIPE_BYTES: usize = 24;

fuzz_target!(|data: &[u8]| {
    let limits = RenderLimits {
        max_pixels: 1_000_000,
        max_source_bytes: 1024 * 1024,
        max_decoded_bytes: 8 * 1024 * 1024,
    };
    let Some((_, end)) = data.split_last_chunk::<RECIPE_BYTES>() else { return };
    let recipe = recipe(end);
    if let Ok(picture) = render(data, &recipe, &limits) {
        let (Sizing::Within { width, height, .. } | Sizing::Cover { width, height, .. }) =
            recipe.sizing;
        assert!(picture.width <= width.max(1) && picture.height <= height.max(1), "too large");
        check(data, &picture, &limits);
    }
    let Ok(preview) = make_preview(data, &limits) else { return };
    assert!(preview.width.max(preview.height) <= PREVIEW_EDGE_PX);
    check(data, &preview, &limits);
    let source = read_header(&mut Cursor::new(data)).expect("it was decoded");
    assert!(preview.width <= source.width && preview.height <= source.height, "enlarged");
});

fn check(data: &[u8], picture: &Rendered, limits: &RenderLimits) {
    let source = read_header(&mut Cursor::new(data)).expect("it was decoded");
    assert!(u64::from(source.width) * u64::from(source.height) <= limits.max_pixels);
    let header = read_header(&mut Cursor::new(&picture.bytes)).expect("a picture");
    assert_eq!((header.width, header.height), (picture.width, picture.height));
    let signature: &[u8] = match picture.media_type {
        "image/jpeg" => b"\xff\xd8\xff",
        "image/png" => b"\x89PNG",
        "image/webp" => b"RIFF",
        other => panic!("unexpected media type {other}"),
    };
    assert!(picture.bytes.starts_with(signature));
}

/// A recipe of any bytes, with sizes that keep one run short.
fn recipe(bytes: &[u8; RECIPE_BYTES]) -> Recipe {
    let short = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let length = |at: usize| u32::from(short(at) % 1024);
    let signed = |at: usize| f32::from(short(at) as i16) / 100.0;
    let flags = bytes[16];
    let enlarge = flags & 1 != 0;
    let (width, height) = (length(0), length(2));
    let (x, y) = (f32::from(bytes[17]) / 200.0, f32::from(bytes[18]) / 200.0);
    let sizing = match flags >> 1 & 3 {
        0 => Sizing::Within { width, height, enlarge },
        1 => Sizing::Cover { width, height, keep: Keep::Side { x, y }, enlarge },
        _ => Sizing::Cover { width, height, keep: Keep::Point { x, y }, enlarge },
    };
    let area = Area { x: length(4), y: length(6), width: length(8), height: length(10) };
    let unsharp = Unsharp { radius: signed(12), amount: signed(14), threshold: x };
    let filters = Filters {
        unsharp: (flags & 8 != 0).then_some(unsharp),
        blur: if flags & 16 != 0 { signed(12) } else { 0.0 },
        contrast: signed(14),
        brightness: signed(20),
        saturation: signed(22),
        hue: signed(12),
    };
    Recipe {
        crop: (flags & 32 != 0).then_some(area),
        sizing,
        filters: if flags & 64 != 0 { filters } else { Filters::default() },
        quality: bytes[19],
        format: if flags & 128 != 0 { Format::JpegOrWebp } else { Format::JpegOrPng },
    }
}
