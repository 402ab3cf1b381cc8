//! Image transforms: accepted paths round-trip and stay within the bounds of a result.
#![no_main]

use dossier::domain::transform::{RESULT_EDGE_MAX_PX, Transform};
use dossier_image::Sizing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|path: &str| match Transform::parse(path) {
    Err(rejections) => assert!(!rejections.is_empty()),
    Ok(transform) => {
        let printed = format!("{transform}/name");
        assert_eq!(Transform::parse(&printed), Ok(transform));
        let recipe = transform.recipe(true);
        let (Sizing::Within { width, height, .. } | Sizing::Cover { width, height, .. }) =
            recipe.sizing;
        assert!((1..=RESULT_EDGE_MAX_PX).contains(&width));
        assert!((1..=RESULT_EDGE_MAX_PX).contains(&height));
        assert!((5..=90).contains(&recipe.quality));
    }
});
