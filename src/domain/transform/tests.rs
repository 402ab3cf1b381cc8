//! Tests of the grammar of contract §10.

use proptest::prelude::*;

use super::*;

fn parsed(path: &str) -> Transform {
    Transform::parse(path).unwrap_or_else(|rejections| panic!("{path}: {rejections:?}"))
}

fn rejections(path: &str) -> Vec<(&'static str, Problem)> {
    let rejections = Transform::parse(path).expect_err(path);
    rejections.into_iter().map(|rejection| (rejection.token, rejection.problem)).collect()
}

#[test]
fn transforms_of_the_sdk_helpers_are_parsed() {
    let recipe = |path: &str| parsed(path).recipe(true);
    let fill = recipe("fill/w_640,h_480,al_c,q_80,usm_0.66_1.00_0.01,enc_auto/a~mv2.jpg");
    let middle = Keep::Side { x: 0.5, y: 0.5 };
    let cover = |width, height, keep, enlarge| Sizing::Cover { width, height, keep, enlarge };
    let unsharp = Some(Unsharp { radius: 0.66, amount: 1.0, threshold: 0.01 });
    assert_eq!(
        fill,
        Recipe {
            crop: None,
            sizing: cover(640, 480, middle, false),
            filters: Filters { unsharp, ..Filters::default() },
            quality: 80,
            format: Format::JpegOrWebp,
        }
    );
    let cropped =
        recipe("crop/x_10,y_20,w_300,h_400/fill/w_150,h_200,al_c,q_80,enc_auto/a~mv2.jpg");
    assert_eq!(cropped.crop, Some(Area { x: 10, y: 20, width: 300, height: 400 }));
    assert_eq!(cropped.sizing, cover(150, 200, middle, false));
    let all = recipe(
        "fill/w_640,h_480,fp_0.10_0.90,lg_2,q_50,usm_1.50_2.00_0.10,bl,con_10,br_-20,sat_3.5,\
         hue_100,blur_5,enc_avif,quality_auto,pstr/a~mv2.jpg",
    );
    assert_eq!(all.sizing, cover(640, 480, Keep::Point { x: 0.1, y: 0.9 }, true));
    assert_eq!(
        all.filters,
        Filters {
            unsharp: Some(Unsharp { radius: 1.5, amount: 2.0, threshold: 0.1 }),
            blur: 5.0,
            contrast: 10.0,
            brightness: -20.0,
            saturation: 3.5,
            hue: 100.0,
        }
    );
    assert_eq!(all.quality, 50);
    let fit = recipe("fit/w_300,h_200/a.png");
    assert_eq!(fit.sizing, Sizing::Within { width: 300, height: 200, enlarge: false });
    assert_eq!(fit.format, Format::JpegOrPng);
}

#[test]
fn alignment_letters_select_their_sides() {
    for (letters, x, y) in [
        ("c", 0.5, 0.5),
        ("t", 0.5, 0.0),
        ("b", 0.5, 1.0),
        ("l", 0.0, 0.5),
        ("r", 1.0, 0.5),
        ("tl", 0.0, 0.0),
        ("tr", 1.0, 0.0),
        ("bl", 0.0, 1.0),
        ("br", 1.0, 1.0),
    ] {
        let recipe = parsed(&format!("fill/w_2,h_2,al_{letters}/a")).recipe(false);
        let Sizing::Cover { keep, .. } = recipe.sizing else { panic!("{letters}") };
        assert_eq!(keep, Keep::Side { x, y }, "{letters}");
    }
}

#[test]
fn quality_defaults_depend_on_the_area() {
    for (path, quality) in [
        ("fit/w_599,h_600/a", 80),
        ("fit/w_600,h_600/a", 85),
        ("fit/w_1400,h_1399/a", 85),
        ("fit/w_1400,h_1400/a", 90),
        ("fit/w_10,h_10,q_5/a", 5),
        ("fit/w_10,h_10,q_90/a", 90),
        ("fit/w_10,h_10,q_4/a", 80),
        ("fit/w_10,h_10,q_91/a", 80),
        ("fit/w_10,h_10,q_99999999999/a", 80),
    ] {
        assert_eq!(parsed(path).recipe(true).quality, quality, "{path}");
    }
}

#[test]
fn a_negotiated_format_depends_on_what_the_client_accepts() {
    let (auto, plain) = (parsed("fit/w_9,h_9,enc_auto/a"), parsed("fit/w_9,h_9/a"));
    assert_eq!(auto.recipe(true).format, Format::JpegOrWebp);
    assert_eq!(auto.recipe(false).format, Format::JpegOrPng);
    assert_eq!(plain.recipe(true).format, Format::JpegOrPng);
    assert_ne!(auto.result_id(true), auto.result_id(false));
    assert_eq!(auto.result_id(false), plain.result_id(true));
}

#[test]
fn spellings_of_one_transform_are_equal() {
    let same = "fill/w_640,h_480,al_c,q_80/a.jpg";
    for path in [
        "fill/h_480,w_640/b.png",
        "fill/w_0640,h_480,fp_0.50_0.500/a",
        "fill/w_640,h_480,q_95,con_0,br_0.00,sat_-0,hue_0.001,blur_0/a",
        "fill/w_640,h_480,usm_0_1_0,bl,pstr,anm_all/a",
    ] {
        assert_eq!(parsed(path), parsed(same), "{path}");
        assert_eq!(parsed(path).result_id(true), parsed(same).result_id(true), "{path}");
    }
    let cropped = parsed("crop/x_1,y_2,w_30,h_40/fit/w_30,h_40/a");
    assert_eq!(parsed("crop/x_1,y_2,w_30,h_40/a"), cropped);
    assert_eq!(parsed("fit/w_9,h_9,lg_1/a"), parsed("fit/w_9,h_9,lg_2/a"));
}

#[test]
fn rejections_name_the_option_and_the_rule() {
    let unknown = |text: &str| Problem::Unknown(text.to_owned());
    for (path, token, problem) in [
        ("fill/w_NaN,h_9/a", "w", Problem::NotAnInteger),
        ("fill/w_9/a", "h", Problem::Missing),
        ("fill/w_0,h_9/a", "w", Problem::Below(1)),
        ("fill/w_9,h_5001/a", "h", Problem::Above(5_000)),
        ("fill/w_99999999999999999999,h_9/a", "w", Problem::Above(5_000)),
        ("fill/w_-9,h_9/a", "w", Problem::NotAnInteger),
        ("fill/w_9.5,h_9/a", "w", Problem::NotAnInteger),
        ("fill/w_+9,h_9/a", "w", Problem::NotAnInteger),
        ("fill/w_9,w_9,h_9/a", "w", Problem::Repeated),
        ("fill/w_9,h_9,al_c,fp_0.1_0.1/a", "al", Problem::Repeated),
        ("fill/w_9,h_9,al_x/a", "al", Problem::UnknownValue("x".to_owned())),
        ("fill/w_9,h_9,fp_0.1/a", "fp", Problem::NotANumber),
        ("fill/w_9,h_9,fp_1.01_0/a", "fp", Problem::Above(1)),
        ("fit/w_9,h_9,al_c/a", "al", Problem::NotApplicable),
        ("fill/w_9,h_9,x_1/a", "x", Problem::NotApplicable),
        ("fill/w_9,h_9,lg_3/a", "lg", Problem::UnknownValue("3".to_owned())),
        ("fill/w_9,h_9,q_high/a", "q", Problem::NotAnInteger),
        ("fill/w_9,h_9,usm_1_2/a", "usm", Problem::NotANumber),
        ("fill/w_9,h_9,usm_1_2_0_0/a", "usm", Problem::NotANumber),
        ("fill/w_9,h_9,usm_129_1_0/a", "usm", Problem::Above(128)),
        ("fill/w_9,h_9,con_101/a", "con", Problem::Above(100)),
        ("fill/w_9,h_9,hue_-180.01/a", "hue", Problem::Below(-180)),
        ("fill/w_9,h_9,blur_1e9/a", "blur", Problem::NotANumber),
        ("fill/w_9,h_9,blur_Infinity/a", "blur", Problem::NotANumber),
        ("fill/w_9,h_9,enc_png/a", "enc", Problem::UnknownValue("png".to_owned())),
        ("fill/w_9,h_9,wm_abc/a", "wm", Problem::Unsupported),
        ("fill/w_9,h_9,exec_ls/a", "transform", unknown("exec_ls")),
        ("fill/w_9,h_9,/a", "transform", unknown("")),
        ("fill/w_9,h_9,bl_/a", "transform", unknown("bl_")),
        ("fill/w_9%2Ch_9/a", "w", Problem::NotAnInteger),
        ("crop/x_0,y_0,w_NaN,h_9/a", "w", Problem::NotAnInteger),
        ("crop/x_0,y_0,w_9,h_9,q_80/fill/w_9,h_9/a", "q", Problem::NotApplicable),
        ("crop/x_0,y_0,w_5001,h_9/a", "w", Problem::Above(5_000)),
        ("rotate/w_9,h_9/a", "transform", unknown("rotate")),
        ("Fill/w_9,h_9/a", "transform", unknown("Fill")),
        ("fill/w_9,h_9/fill/w_9,h_9/a", "transform", Problem::Malformed),
        ("fill/w_9,h_9/", "transform", Problem::Malformed),
        ("fill/w_9,h_9", "transform", Problem::Malformed),
        ("fill//w_9,h_9/a", "transform", Problem::Malformed),
        ("", "transform", Problem::Malformed),
        ("a", "transform", Problem::Malformed),
    ] {
        let found = rejections(path);
        assert!(found.contains(&(token, problem)), "{path}: {found:?}");
    }
    assert_eq!(rejections(&format!("fill/{}/a", "w_1,".repeat(1_000)))[0].1, Problem::Malformed);
}

#[test]
fn all_broken_rules_are_reported_at_once() {
    let found = rejections("crop/x_a,y_0,w_1,h_1/fill/w_0,h_9,con_900/a");
    let tokens: Vec<_> = found.into_iter().map(|(token, _)| token).collect();
    assert_eq!(tokens, ["x", "w", "con"]);
}

#[test]
fn s38_only_preset_sizes_and_options_are_presets() {
    for (path, is_png) in [
        ("fill/w_640,h_480,al_c,q_80,usm_0.66_1.00_0.01,enc_auto/a", false),
        ("fill/w_480,h_640/a", false),
        ("fit/w_1280,h_720,q_85/a", false),
        ("fill/w_200,h_200,al_c,q_85,enc_avif,quality_auto/a", true),
    ] {
        assert!(parsed(path).is_preset(is_png), "{path}");
    }
    for path in [
        "fill/w_641,h_480/a",
        "fill/w_640,h_480,al_t/a",
        "fill/w_640,h_480,fp_0.1_0.1/a",
        "fill/w_640,h_480,q_81/a",
        "fill/w_640,h_480,q_85/a",
        "fill/w_640,h_480,usm_0.67_1.00_0.01/a",
        "fill/w_640,h_480,blur_1/a",
        "fill/w_640,h_480,con_1/a",
        "fill/w_640,h_480,lg_1/a",
        "crop/x_0,y_0,w_640,h_480/a",
        "crop/x_0,y_0,w_640,h_480/fill/w_640,h_480/a",
    ] {
        assert!(!parsed(path).is_preset(false), "{path}");
    }
}

/// Paths of transforms that cover the whole grammar.
fn any_path() -> impl Strategy<Value = String> {
    let size = (1_u32..=5_000, 1_u32..=5_000).prop_map(|(w, h)| format!("w_{w},h_{h}"));
    let anchor = prop_oneof![
        Just(String::new()),
        (0..9_usize).prop_map(|side| format!(",al_{}", SIDES[side].0)),
        (0..=100, 0..=100).prop_map(|(x, y)| format!(",fp_{}_{}", Decimal(x), Decimal(y))),
    ];
    let signed = |name: &'static str, max: i32| {
        prop::option::of(-max * 100..=max * 100)
            .prop_map(move |n| n.map_or(String::new(), |n| format!(",{name}_{}", Decimal(n))))
    };
    let unsharp = prop::option::of((0..=12_800, 0..=500, 0..=100)).prop_map(|numbers| {
        let text = |(r, a, t)| format!(",usm_{}_{}_{}", Decimal(r), Decimal(a), Decimal(t));
        numbers.map_or(String::new(), text)
    });
    let crop = prop::option::of((0..=65_535_u32, 0..=65_535_u32, 1..=65_535_u32, 1..=65_535_u32))
        .prop_map(|area| {
            area.map_or(String::new(), |(x, y, w, h)| format!("crop/x_{x},y_{y},w_{w},h_{h}/"))
        });
    let rest = (
        unsharp,
        signed("con", 100),
        signed("br", 100),
        signed("sat", 100),
        signed("hue", 180),
        prop_oneof![Just(""), Just(",enc_auto"), Just(",bl,enc_pavif,quality_auto")],
        prop_oneof![Just(""), Just(",lg_1"), Just(",lg_2"), Just(",q_7"), Just(",q_300")],
    );
    (crop, any::<bool>(), size, anchor, rest).prop_map(|(crop, is_fill, size, anchor, rest)| {
        let (unsharp, con, br, sat, hue, enc, more) = rest;
        let (step, anchor) = if is_fill { ("fill", anchor) } else { ("fit", String::new()) };
        format!("{crop}{step}/{size}{anchor}{unsharp}{con}{br}{sat}{hue}{enc}{more}")
    })
}

proptest! {
    #[test]
    fn printed_transforms_round_trip(path in any_path()) {
        let transform = parsed(&format!("{path}/name.jpg"));
        let printed = transform.to_string();
        prop_assert_eq!(parsed(&format!("{printed}/other.png")), transform);
    }

    #[test]
    fn any_accepted_path_round_trips(
        path in "((crop|fill|fit)/)?([a-z]{1,4}_[-0-9.]{0,5}(_[0-9.]{1,4})?,?){0,6}(/fill/w_[0-9]{1,4},h_[0-9]{1,4})?/a|\\PC{0,60}",
    ) {
        if let Ok(transform) = Transform::parse(&path) {
            let printed = format!("{transform}/a");
            prop_assert_eq!(Transform::parse(&printed), Ok(transform));
        }
    }
}
