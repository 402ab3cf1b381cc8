//! What to make of a picture: the preview, or one of the transforms that the SDK's media helpers
//! ask for (contract §10). Data only; [`super::render`] follows it.

use serde::{Deserialize, Serialize};

use super::PREVIEW_EDGE_PX;

/// JPEG quality of a preview, of 100.
const PREVIEW_QUALITY: u8 = 80;

/// What to make of a picture. Sizes are in pixels of the upright picture.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// What to cut out first, in pixels of the original; `None` is all of it.
    pub crop: Option<Area>,
    /// The size to bring it to.
    pub sizing: Sizing,
    /// Changes to the finished pixels.
    pub filters: Filters,
    /// Quality of a lossy format, 5 to 90 of 100.
    pub quality: u8,
    /// The format of the result.
    pub format: Format,
}

impl Recipe {
    /// The preview (design §6): at most [`PREVIEW_EDGE_PX`] on the longer side, never enlarged.
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

/// A part of a picture. What lies outside of the picture is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Area {
    /// Left edge.
    pub x: u32,
    /// Upper edge.
    pub y: u32,
    /// Width, at least 1.
    pub width: u32,
    /// Height, at least 1.
    pub height: u32,
}

/// How a picture is brought to its size.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Sizing {
    /// Whole, inside this size (`fit`).
    Within {
        /// Most width.
        width: u32,
        /// Most height.
        height: u32,
        /// Whether a smaller picture is enlarged (`lg_1`, `lg_2`).
        enlarge: bool,
    },
    /// Covering this size, the rest cut off (`fill`). Without `enlarge` a picture that is too
    /// small gives the largest part of it with the same aspect ratio.
    Cover {
        /// Width.
        width: u32,
        /// Height.
        height: u32,
        /// What of it is kept.
        keep: Keep,
        /// Whether a smaller picture is enlarged.
        enlarge: bool,
    },
}

impl Sizing {
    /// The most that the longer side of the result may have.
    pub(super) fn longest_px(&self) -> u32 {
        let (Self::Within { width, height, .. } | Self::Cover { width, height, .. }) = *self;
        width.max(height)
    }
}

/// What is kept in view where a picture is cut, as fractions of it: (0, 0) is its upper left
/// corner, (1, 1) its lower right one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Keep {
    /// The side or corner that lies there (`al_`); (0.5, 0.5) is the middle.
    Side {
        /// Across: 0, 0.5 or 1.
        x: f32,
        /// Down: 0, 0.5 or 1.
        y: f32,
    },
    /// What lies around that point, as near to the middle as the edges allow (`fp_`).
    Point {
        /// Across, 0 to 1.
        x: f32,
        /// Down, 0 to 1.
        y: f32,
    },
}

/// Changes to the finished pixels; the default changes nothing.
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

/// The format of a result. Where something shows through a picture, JPEG cannot tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// JPEG, or PNG where something shows through.
    JpegOrPng,
    /// JPEG, or WebP where something shows through, for clients that read it.
    JpegOrWebp,
}
