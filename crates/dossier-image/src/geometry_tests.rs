//! Parts and sizes: examples from the contract's grammar, and invariants of any recipe.

use image::{GrayImage, Luma, metadata::Orientation};
use proptest::prelude::*;

use super::*;

fn recipe(sizing: Sizing) -> Recipe {
    Recipe { sizing, ..Recipe::preview() }
}

fn fit(size: (u32, u32), width: u32, height: u32, enlarge: bool) -> (u32, u32) {
    plan(size, &recipe(Sizing::Within { width, height, enlarge })).expect("a plan").target
}

fn fill(size: (u32, u32), target: (u32, u32), keep: Keep, enlarge: bool) -> Plan {
    let (width, height) = target;
    plan(size, &recipe(Sizing::Cover { width, height, keep, enlarge })).expect("a plan")
}

fn rect(x: f64, y: f64, width: f64, height: f64) -> Rect {
    Rect { x, y, width, height }
}

const MIDDLE: Keep = Keep::Side { x: 0.5, y: 0.5 };

#[test]
fn a_preview_keeps_the_aspect_ratio_and_is_never_enlarged() {
    let sizes = [
        ((4000, 3000), (640, 480)),
        ((3000, 4000), (480, 640)),
        ((641, 641), (640, 640)),
        ((640, 3), (640, 3)),
        ((65_535, 1), (640, 1)),
    ];
    for (size, expected) in sizes {
        let plan = plan(size, &Recipe::preview()).expect("a plan");
        assert_eq!((plan.target, plan.area), (expected, Rect::whole(size.0, size.1)));
    }
}

#[test]
fn fit_obeys_the_tighter_side_and_enlarges_on_request() {
    assert_eq!(fit((4000, 3000), 320, 480, false), (320, 240));
    assert_eq!(fit((4000, 3000), 640, 120, false), (160, 120));
    assert_eq!(fit((40, 30), 400, 400, false), (40, 30));
    assert_eq!(fit((40, 30), 400, 400, true), (400, 300));
    assert_eq!(fit((40, 30), 0, 0, false), (1, 1));
}

#[test]
fn fill_cuts_off_what_the_alignment_does_not_keep() {
    let wide = (4000, 2000);
    assert_eq!(fill(wide, (100, 100), MIDDLE, false).area, rect(1000.0, 0.0, 2000.0, 2000.0));
    let left = Keep::Side { x: 0.0, y: 0.5 };
    assert_eq!(fill(wide, (100, 100), left, false).area, rect(0.0, 0.0, 2000.0, 2000.0));
    let bottom_right = Keep::Side { x: 1.0, y: 1.0 };
    assert_eq!(fill(wide, (100, 100), bottom_right, false).area, rect(2000.0, 0.0, 2000.0, 2000.0));
    assert_eq!(fill(wide, (400, 100), bottom_right, false).area, rect(0.0, 1000.0, 4000.0, 1000.0));
}

#[test]
fn fill_keeps_the_focal_point_as_near_to_the_middle_as_the_edges_allow() {
    let at = |x: f32| fill((4000, 2000), (100, 100), Keep::Point { x, y: 0.5 }, false).area.x;
    assert_eq!((at(0.5), at(0.375), at(0.1), at(0.9)), (1000.0, 500.0, 0.0, 2000.0));
    assert_eq!((at(f32::NAN), at(-7.0), at(f32::INFINITY)), (1000.0, 0.0, 2000.0));
}

#[test]
fn fill_of_a_small_picture_gives_its_largest_part_unless_it_may_be_enlarged() {
    let plan = fill((300, 200), (1000, 1000), MIDDLE, false);
    assert_eq!((plan.area, plan.target), (rect(50.0, 0.0, 200.0, 200.0), (200, 200)));
    let plan = fill((300, 200), (1000, 100), MIDDLE, false);
    assert_eq!((plan.area, plan.target), (rect(0.0, 85.0, 300.0, 30.0), (300, 30)));
    let plan = fill((300, 200), (1000, 1000), MIDDLE, true);
    assert_eq!((plan.area, plan.target), (rect(50.0, 0.0, 200.0, 200.0), (1000, 1000)));
}

#[test]
fn a_crop_is_applied_first_and_clipped_to_the_picture() {
    let crop = |x, y, width, height| Recipe {
        crop: Some(Area { x, y, width, height }),
        ..recipe(Sizing::Cover { width: 150, height: 200, keep: MIDDLE, enlarge: false })
    };
    let whole = plan((3000, 2000), &crop(10, 20, 300, 400)).expect("a plan");
    assert_eq!((whole.area, whole.target), (rect(10.0, 20.0, 300.0, 400.0), (150, 200)));
    let part = plan((3000, 2000), &crop(2700, 1800, 900, u32::MAX)).expect("a plan");
    assert_eq!((part.area, part.target), (rect(2775.0, 1800.0, 150.0, 200.0), (150, 200)));
    for nothing in [crop(3000, 0, 5, 5), crop(0, 2000, 5, 5), crop(u32::MAX, 0, 5, 5)] {
        assert!(matches!(plan((3000, 2000), &nothing), Err(RenderError::Outside)));
    }
}

#[test]
fn results_beyond_the_bounds_are_rejected() {
    let is_rejected = |width, height| {
        let sizing = Sizing::Cover { width, height, keep: MIDDLE, enlarge: true };
        matches!(plan((100, 100), &recipe(sizing)), Err(RenderError::TooLarge { .. }))
    };
    assert!(!is_rejected(5000, 5000));
    assert!(is_rejected(5001, 5000));
    assert!(!is_rejected(OUTPUT_EDGE_MAX_PX, 100));
    assert!(is_rejected(100, OUTPUT_EDGE_MAX_PX + 1));
    assert!(is_rejected(u32::MAX, u32::MAX));
}

const ORIENTATIONS: [Orientation; 8] = [
    Orientation::NoTransforms,
    Orientation::FlipHorizontal,
    Orientation::FlipVertical,
    Orientation::Rotate180,
    Orientation::Rotate90,
    Orientation::Rotate90FlipH,
    Orientation::Rotate270,
    Orientation::Rotate270FlipH,
];

/// Cuts whole pixels out of a picture.
fn cut(picture: &GrayImage, area: Rect) -> GrayImage {
    let [x, y, width, height] = [area.x, area.y, area.width, area.height].map(|v| v as u32);
    image::imageops::crop_imm(picture, x, y, width, height).to_image()
}

fn turn(picture: GrayImage, orientation: Orientation) -> GrayImage {
    let mut picture = image::DynamicImage::ImageLuma8(picture);
    picture.apply_orientation(orientation);
    picture.to_luma8()
}

prop_compose! {
    fn any_keep()(side: bool, x in -0.5..1.5_f32, y in -0.5..1.5_f32) -> Keep {
        if side { Keep::Side { x, y } } else { Keep::Point { x, y } }
    }
}

prop_compose! {
    fn any_recipe()(
        crop in proptest::option::of((0..3000_u32, 0..3000_u32, 1..4000_u32, 1..4000_u32)),
        (width, height) in (0..4000_u32, 0..4000_u32),
        cover: bool,
        enlarge: bool,
        keep in any_keep(),
    ) -> Recipe {
        let sizing = if cover {
            Sizing::Cover { width, height, keep, enlarge }
        } else {
            Sizing::Within { width, height, enlarge }
        };
        let crop = crop.map(|(x, y, width, height)| Area { x, y, width, height });
        Recipe { crop, ..recipe(sizing) }
    }
}

proptest! {
    #[test]
    fn the_part_lies_within_the_picture_and_the_result_within_the_requested_size(
        size in (1..5000_u32, 1..5000_u32),
        recipe in any_recipe(),
    ) {
        let Ok(plan) = plan(size, &recipe) else { return Ok(()) };
        let Rect { x, y, width, height } = plan.area;
        let slack = 1e-6;
        prop_assert!(x >= 0.0 && y >= 0.0 && width >= 1.0 - slack && height >= 1.0 - slack);
        prop_assert!(x + width <= f64::from(size.0) + slack, "{plan:?}");
        prop_assert!(y + height <= f64::from(size.1) + slack, "{plan:?}");
        prop_assert!(plan.target.0 >= 1 && plan.target.1 >= 1);
        let (Sizing::Within { width: most_width, height: most_height, enlarge }
        | Sizing::Cover { width: most_width, height: most_height, enlarge, .. }) = recipe.sizing;
        prop_assert!(plan.target.0 <= most_width.max(1) && plan.target.1 <= most_height.max(1));
        if !enlarge {
            prop_assert!(f64::from(plan.target.0) <= width.ceil() + slack, "{plan:?}");
            prop_assert!(f64::from(plan.target.1) <= height.ceil() + slack, "{plan:?}");
        }
    }

    #[test]
    fn the_aspect_ratio_is_kept_within_a_pixel(
        size in (1..5000_u32, 1..5000_u32),
        recipe in any_recipe(),
    ) {
        let Ok(plan) = plan(size, &recipe) else { return Ok(()) };
        // A part or a result of one pixel cannot be thinner.
        let thin = plan.area.width.min(plan.area.height) <= 1.0;
        let across = f64::from(plan.target.0) / plan.area.width;
        let down = f64::from(plan.target.1) / plan.area.height;
        let error_px = (across - down).abs() * plan.area.width.min(plan.area.height);
        let one = plan.target.0 == 1 || plan.target.1 == 1;
        prop_assert!(thin || one || error_px <= 1.0 + 1e-6, "{plan:?} is off by {error_px}");
    }

    #[test]
    fn cutting_before_turning_equals_cutting_the_upright_picture(
        which in 0..8_usize,
        (width, height) in (1..12_u32, 1..12_u32),
        corners in any::<[prop::sample::Index; 4]>(),
    ) {
        let orientation = ORIENTATIONS[which];
        let stored = GrayImage::from_fn(width, height, |x, y| Luma([(y * 12 + x) as u8]));
        let upright = turn(stored.clone(), orientation);
        let (x, y) = (corners[0].index(upright.width() as usize), corners[1].index(upright.height() as usize));
        let area = rect(
            x as f64,
            y as f64,
            (corners[2].index(upright.width() as usize - x) + 1) as f64,
            (corners[3].index(upright.height() as usize - y) + 1) as f64,
        );
        let target = (area.width as u32, area.height as u32);
        let plan = Plan { area, target }.stored((width, height), orientation);
        prop_assert_eq!(plan.target, oriented(target, orientation));
        let found = turn(cut(&stored, plan.area), orientation);
        prop_assert_eq!(found, cut(&upright, area));
    }
}
