//! Transforms that every link may request: a few sizes, with the other options as the SDK's helpers
//! write them (S38).

use super::{CENTRE, DEFAULT_UNSHARP, Step, Transform, default_quality};

/// Width and height of the presets, in either orientation, fitted or filled from the centre.
pub const PRESET_SIZES: [(u32, u32); 16] = [
    (64, 64),
    (100, 100),
    (128, 128),
    (200, 200),
    (256, 256),
    (300, 300),
    (400, 400),
    (512, 512),
    (800, 800),
    (1_024, 1_024),
    (320, 240),
    (640, 480),
    (800, 600),
    (640, 360),
    (1_280, 720),
    (1_920, 1_080),
];
/// What the helpers add to the quality when the original is a PNG.
const PNG_QUALITY_BONUS: u8 = 5;

pub(super) fn is_preset(transform: &Transform, is_png: bool) -> bool {
    let Transform { width, height, quality, unsharp, .. } = *transform;
    let is_size =
        PRESET_SIZES.contains(&(width, height)) || PRESET_SIZES.contains(&(height, width));
    let usual = default_quality(width, height);
    let is_quality = quality == usual || (is_png && quality == usual + PNG_QUALITY_BONUS);
    let plain = Transform {
        crop: None,
        enlarge: false,
        contrast: 0,
        brightness: 0,
        saturation: 0,
        hue: 0,
        blur: 0,
        ..*transform
    };
    is_size
        && is_quality
        && matches!(transform.step, Step::Fit | Step::Fill(CENTRE))
        && unsharp.is_none_or(|unsharp| unsharp == DEFAULT_UNSHARP)
        && plain == *transform
}
