//! What every link may ask for: few sizes, everything else as the SDK's helpers write it (S38).

use super::{DEFAULT_UNSHARP, MIDDLE, Step, Transform, default_quality};

/// Width and height of the presets, each also upright; filled from the middle or fitted.
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
/// How much more quality the helpers ask for when the original is a PNG.
const PNG_QUALITY_MORE: u8 = 5;

pub(super) fn is_preset(transform: &Transform, is_png: bool) -> bool {
    let Transform { width, height, quality, unsharp, .. } = *transform;
    let is_size =
        PRESET_SIZES.contains(&(width, height)) || PRESET_SIZES.contains(&(height, width));
    let usual = default_quality(width, height);
    let is_quality = quality == usual || (is_png && quality == usual + PNG_QUALITY_MORE);
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
        && matches!(transform.step, Step::Fit | Step::Fill(MIDDLE))
        && unsharp.is_none_or(|unsharp| unsharp == DEFAULT_UNSHARP)
        && plain == *transform
}
