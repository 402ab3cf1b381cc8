//! What to make from a picture: the preview, or one of the transforms that the SDK's media helpers
//! request (contract §10). Data only; [`crate::render`] carries it out.

use serde::{Deserialize, Serialize};

/// Longest side of a preview in pixels (contract §10).
pub const PREVIEW_EDGE_PX: u32 = 640;

/// JPEG quality of a preview, out of 100.
const PREVIEW_QUALITY: u8 = 80;

/// What to make from a picture. Sizes are in pixels of the upright picture.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// The part to cut out first, in pixels of the original; `None` is all of it.
    pub crop: Option<Area>,
    /// How to reach the size of the result.
    pub sizing: Sizing,
    /// Changes to the resized pixels.
    pub filters: Filters,
    /// Quality of a lossy format, 5 to 90 out of 100.
    pub quality: u8,
    /// The format of the result.
    pub format: Format,
}

impl Recipe {
    /// The preview (contract §10): at most [`PREVIEW_EDGE_PX`] on the longer side, never enlarged.
    pub fn preview() -> Self {
        Self {
            crop: None,
            sizing: Sizing::Within {
                width: PREVIEW_EDGE_PX,
                height: PREVIEW_EDGE_PX,
                enlarge: false,
            },
            filters: Filters::default(),
            quality: PREVIEW_QUALITY,
            format: Format::JpegOrPng,
        }
    }
}

/// A part of a picture. Whatever lies outside the picture is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Area {
    /// Left edge.
    pub x: u32,
    /// Top edge.
    pub y: u32,
    /// Width, at least 1.
    pub width: u32,
    /// Height, at least 1.
    pub height: u32,
}

/// How a picture is resized.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Sizing {
    /// The whole picture, within this size (`fit`).
    Within {
        /// Maximum width.
        width: u32,
        /// Maximum height.
        height: u32,
        /// Whether a smaller picture is enlarged (`lg_1`, `lg_2`).
        enlarge: bool,
    },
    /// Covering this size, the rest cut off (`fill`). Without `enlarge`, a picture that is too
    /// small gives its largest part of the same aspect ratio.
    Cover {
        /// Width.
        width: u32,
        /// Height.
        height: u32,
        /// What to keep in view.
        keep: Keep,
        /// Whether a smaller picture is enlarged.
        enlarge: bool,
    },
}

impl Sizing {
    /// The maximum of the longer side of the result.
    pub(crate) fn longest_px(&self) -> u32 {
        let (Self::Within { width, height, .. } | Self::Cover { width, height, .. }) = *self;
        width.max(height)
    }
}

/// What stays in view when a picture is cut, as fractions of its size: (0, 0) is the top left
/// corner, (1, 1) the bottom right one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Keep {
    /// The side or corner at this position (`al_`); (0.5, 0.5) is the middle.
    Side {
        /// Horizontally: 0, 0.5 or 1.
        x: f32,
        /// Vertically: 0, 0.5 or 1.
        y: f32,
    },
    /// This point, as near to the middle of the result as the edges allow (`fp_`).
    Point {
        /// Horizontally, 0 to 1.
        x: f32,
        /// Vertically, 0 to 1.
        y: f32,
    },
}

/// Changes to the resized pixels; the default changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Filters {
    /// Unsharp mask (`usm_R_A_T`).
    pub unsharp: Option<Unsharp>,
    /// Radius in pixels, 0 to 100 (`blur_`).
    pub blur: f32,
    /// -100 to 100 (`con_`).
    pub contrast: f32,
    /// -100 to 100 (`br_`).
    pub brightness: f32,
    /// -100 to 100 (`sat_`).
    pub saturation: f32,
    /// Degrees, -180 to 180 (`hue_`).
    pub hue: f32,
}

/// An unsharp mask.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Unsharp {
    /// Pixels, 0.1 to 128.
    pub radius: f32,
    /// 0 to 5.
    pub amount: f32,
    /// 0 to 1.
    pub threshold: f32,
}

/// The format of a result. JPEG cannot express transparency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// JPEG, or PNG for a picture with transparency.
    JpegOrPng,
    /// JPEG, or WebP for a picture with transparency. For clients that read WebP.
    JpegOrWebp,
}
