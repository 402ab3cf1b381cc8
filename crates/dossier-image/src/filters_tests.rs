//! The effect of each filter on pixels, and that every parameter value is safe.

use proptest::prelude::*;

use super::*;

const NONE: Filters =
    Filters { unsharp: None, blur: 0.0, contrast: 0.0, brightness: 0.0, saturation: 0.0, hue: 0.0 };

fn one(pixel: [u8; 3], filters: Filters) -> [u8; 3] {
    let picture = Picture { width: 1, height: 1, channels: Channels::Rgb, pixels: pixel.to_vec() };
    apply(picture, &filters).expect("applies").pixels.try_into().expect("one pixel")
}

/// A grey row, dark on the left and light on the right.
fn edge() -> Picture {
    let row: Vec<u8> = (0..32).map(|x| if x < 16 { 80 } else { 160 }).collect();
    Picture { width: 32, height: 32, channels: Channels::Grey, pixels: row.repeat(32) }
}

fn row_of(picture: &Picture) -> &[u8] {
    &picture.pixels[32 * 16..32 * 17]
}

#[test]
fn brightness_shifts_and_contrast_scales() {
    assert_eq!(one([100, 0, 250], Filters { brightness: 10.0, ..NONE }), [126, 26, 255]);
    assert_eq!(one([100, 0, 250], Filters { brightness: -100.0, ..NONE }), [0, 0, 0]);
    assert_eq!(one([128, 28, 228], Filters { contrast: 50.0, ..NONE }), [128, 0, 255]);
    assert_eq!(one([10, 90, 250], Filters { contrast: -100.0, ..NONE }), [128; 3]);
}

#[test]
fn saturation_and_hue_keep_grey() {
    assert_eq!(one([0, 255, 0], Filters { saturation: -100.0, ..NONE }), [182; 3]);
    let vivid = one([120, 100, 100], Filters { saturation: 100.0, ..NONE });
    assert_eq!(vivid, [136, 96, 96]);
    let [red, green, _] = one([200, 40, 40], Filters { hue: 120.0, ..NONE });
    assert!(green > red, "red has become green");
    for filters in [Filters { hue: 77.0, ..NONE }, Filters { saturation: 60.0, ..NONE }] {
        assert_eq!(one([90; 3], filters), [90; 3]);
    }
}

#[test]
fn a_larger_blur_softens_an_edge_more() {
    for (blur, reach) in [(1.0, 3), (6.0, 10)] {
        let blurred = apply(edge(), &Filters { blur, ..NONE }).expect("applies");
        let row = row_of(&blurred);
        assert!(row.windows(2).all(|pair| pair[0] <= pair[1]), "{row:?}");
        assert!(row[15] > 85 && row[16] < 155, "{row:?}");
        assert!(row[15 - reach].abs_diff(80) <= 4, "{row:?}");
    }
}

#[test]
fn an_unsharp_mask_raises_the_contrast_of_edges_only() {
    let mask = Unsharp { radius: 0.66, amount: 1.0, threshold: 0.01 };
    let sharp = apply(edge(), &Filters { unsharp: Some(mask), ..NONE }).expect("applies");
    let row = row_of(&sharp);
    assert!(row[15] < 75 && row[16] > 165, "{row:?}");
    assert_eq!((row[4], row[28]), (80, 160));
    let above_edge = Unsharp { threshold: 0.9, ..mask };
    let same = apply(edge(), &Filters { unsharp: Some(above_edge), ..NONE }).expect("applies");
    assert_eq!(same.pixels, edge().pixels);
}

#[test]
fn blur_takes_no_colour_from_transparent_pixels() {
    let row: Vec<u8> = (0..32).flat_map(|x| if x < 16 { [255; 4] } else { [0; 4] }).collect();
    let picture =
        Picture { width: 32, height: 32, channels: Channels::Rgba, pixels: row.repeat(32) };
    let blurred = apply(picture, &Filters { blur: 3.0, ..NONE }).expect("applies");
    for pixel in blurred.pixels.chunks_exact(4).filter(|pixel| pixel[3] > 16) {
        assert!(pixel[0] > 240, "edge went dark: {pixel:?}");
    }
}

#[test]
fn a_blur_of_too_large_a_picture_is_rejected_up_front() {
    let limits = RenderLimits { max_decoded_bytes: 1200, ..RenderLimits::default() };
    let blur = Filters { blur: 1.0, ..NONE };
    assert!(check(&blur, (10, 10), &limits).is_ok());
    assert!(matches!(check(&blur, (10, 11), &limits), Err(RenderError::TooLarge { .. })));
    assert!(check(&Filters { hue: 9.0, ..NONE }, (10, 11), &limits).is_ok());
}

fn any_value() -> impl Strategy<Value = f32> {
    prop_oneof![
        -200.0..200.0_f32,
        prop::sample::select(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MIN_POSITIVE]),
    ]
}

proptest! {
    #[test]
    fn every_parameter_value_is_safe(
        (width, height) in (1..20_u32, 1..20_u32),
        channels in prop::sample::select(vec![
            Channels::Grey, Channels::GreyAlpha, Channels::Rgb, Channels::Rgba,
        ]),
        values in prop::array::uniform8(any_value()),
        fill: u8,
    ) {
        let [radius, amount, threshold, blur, contrast, brightness, saturation, hue] = values;
        let filters = Filters {
            unsharp: Some(Unsharp { radius, amount, threshold }),
            blur, contrast, brightness, saturation, hue,
        };
        let size = width as usize * height as usize * channels.count();
        let pixels: Vec<u8> = (0..size).map(|at| (at as u8).wrapping_mul(fill)).collect();
        let out = apply(Picture { width, height, channels, pixels }, &filters).expect("applies");
        prop_assert_eq!((out.width, out.height, out.pixels.len()), (width, height, size));
    }
}
