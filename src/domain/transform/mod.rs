//! Image transforms, as the SDK's media helpers encode them in a path (contract §10):
//! `<step>[/<step>],<options>/<name>.<ext>` below `/media/<id>/v1/`.
//!
//! Transforms that differ only in spelling are equal, print the same and share a cached file.

mod parse;
mod presets;
#[cfg(test)]
mod tests;

use std::fmt;

use dossier_image::{Area, Filters, Format, Keep, Recipe, Sizing, Unsharp};
use sha2::{Digest as _, Sha256};

use super::hex;

pub use parse::{Problem, Rejection};
pub use presets::PRESET_SIZES;

/// Longest side of a result in pixels: the limit that the SDK's helpers consider safe.
pub const RESULT_EDGE_MAX_PX: u32 = 5_000;
/// The accepted qualities; a value outside means the default.
const QUALITIES: std::ops::RangeInclusive<u32> = 5..=90;
/// Part of every cached file's name. Increment it whenever the same recipe produces different
/// bytes.
const RENDERER_VERSION: u8 = 1;
/// The helpers' unsharp mask: radius, amount, threshold.
const DEFAULT_UNSHARP: [Hundredths; 3] = [66, 100, 1];

/// A fixed-point number with two decimals, so that equal transforms compare equal exactly.
type Hundredths = i32;

/// A transform of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transform {
    crop: Option<Area>,
    step: Step,
    width: u32,
    height: u32,
    enlarge: bool,
    quality: u8,
    unsharp: Option<[Hundredths; 3]>,
    contrast: Hundredths,
    brightness: Hundredths,
    saturation: Hundredths,
    hue: Hundredths,
    blur: Hundredths,
    is_negotiated: bool,
}

/// How the size is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The whole picture, scaled to fit inside the size.
    Fit,
    /// Scaled to cover the size, and cropped.
    Fill(Anchor),
}

/// The part of a picture that cropping keeps in view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Anchor {
    /// An alignment, x and y in halves: 0, 1 or 2.
    Side(u8, u8),
    /// A focal point, x and y as fractions of the picture.
    Point(Hundredths, Hundredths),
}

/// Identifies a cached result of a blob by transform, output format and renderer version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResultId([u8; 16]);

/// The alignments by their letters, with x and y in halves.
const SIDES: [(&str, u8, u8); 9] = [
    ("c", 1, 1),
    ("t", 1, 0),
    ("b", 1, 2),
    ("l", 0, 1),
    ("r", 2, 1),
    ("tl", 0, 0),
    ("tr", 2, 0),
    ("bl", 0, 2),
    ("br", 2, 2),
];
const CENTRE: Anchor = Anchor::Side(1, 1);

impl Transform {
    /// Parses the path after `/v1/`, still percent-encoded. The name at its end is ignored.
    ///
    /// # Errors
    ///
    /// All broken rules at once.
    pub fn parse(path: &str) -> Result<Self, Vec<Rejection>> {
        parse::parse(path)
    }

    /// Whether the output format is negotiated by the client's `Accept`.
    pub fn is_negotiated(&self) -> bool {
        self.is_negotiated
    }

    /// Whether it is one of the few transforms that every link may request (S38). `is_png` is
    /// whether the original is a PNG, for which the helpers request a higher quality.
    pub fn is_preset(&self, is_png: bool) -> bool {
        presets::is_preset(self, is_png)
    }

    /// The rendering recipe for a client that does or does not accept WebP.
    pub fn recipe(&self, accepts_webp: bool) -> Recipe {
        let Self { width, height, enlarge, .. } = *self;
        let sizing = match self.step {
            Step::Fit => Sizing::Within { width, height, enlarge },
            Step::Fill(anchor) => Sizing::Cover { width, height, keep: anchor.keep(), enlarge },
        };
        let unsharp = self.unsharp.map(|[radius, amount, threshold]| Unsharp {
            radius: fraction(radius),
            amount: fraction(amount),
            threshold: fraction(threshold),
        });
        let filters = Filters {
            unsharp,
            blur: fraction(self.blur),
            contrast: fraction(self.contrast),
            brightness: fraction(self.brightness),
            saturation: fraction(self.saturation),
            hue: fraction(self.hue),
        };
        let is_webp = self.is_negotiated && accepts_webp;
        let format = if is_webp { Format::JpegOrWebp } else { Format::JpegOrPng };
        Recipe { crop: self.crop, sizing, filters, quality: self.quality, format }
    }

    /// The id of its cached result.
    pub fn result_id(&self, accepts_webp: bool) -> ResultId {
        let canonical = Self { is_negotiated: self.is_negotiated && accepts_webp, ..*self };
        let text = format!("{RENDERER_VERSION}/{canonical}");
        let mut id = [0; 16];
        id.copy_from_slice(&Sha256::digest(text)[..16]);
        ResultId(id)
    }
}

impl Anchor {
    fn keep(self) -> Keep {
        match self {
            Self::Side(x, y) => Keep::Side { x: f32::from(x) / 2.0, y: f32::from(y) / 2.0 },
            Self::Point(x, y) => Keep::Point { x: fraction(x), y: fraction(y) },
        }
    }
}

/// The default quality, by the area of the result (contract §10).
fn default_quality(width: u32, height: u32) -> u8 {
    match u64::from(width) * u64::from(height) {
        0..360_000 => 80,
        360_000..1_960_000 => 85,
        _ => 90,
    }
}

fn fraction(hundredths: Hundredths) -> f32 {
    // Lossless: an f32 represents five digits exactly.
    hundredths as f32 / 100.0
}

/// Formats [`Hundredths`] with two decimals.
struct Decimal(Hundredths);

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let size = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:02}", size / 100, size % 100)
    }
}

/// The canonical form, as [`Transform::parse`] accepts it, without a name.
impl fmt::Display for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Area { x, y, width, height }) = self.crop {
            write!(f, "crop/x_{x},y_{y},w_{width},h_{height}/")?;
        }
        let Self { width, height, .. } = self;
        match self.step {
            Step::Fit => write!(f, "fit/w_{width},h_{height}")?,
            Step::Fill(anchor) => {
                write!(f, "fill/w_{width},h_{height}")?;
                match anchor {
                    Anchor::Point(x, y) => write!(f, ",fp_{}_{}", Decimal(x), Decimal(y))?,
                    Anchor::Side(x, y) => {
                        let side = SIDES.iter().find(|side| (side.1, side.2) == (x, y));
                        write!(f, ",al_{}", side.map_or("c", |side| side.0))?;
                    }
                }
            }
        }
        if self.enlarge {
            f.write_str(",lg_1")?;
        }
        write!(f, ",q_{}", self.quality)?;
        if let Some([radius, amount, threshold]) = self.unsharp {
            let [radius, amount, threshold] = [radius, amount, threshold].map(Decimal);
            write!(f, ",usm_{radius}_{amount}_{threshold}")?;
        }
        for (name, value) in [
            ("con", self.contrast),
            ("br", self.brightness),
            ("sat", self.saturation),
            ("hue", self.hue),
            ("blur", self.blur),
        ] {
            if value != 0 {
                write!(f, ",{name}_{}", Decimal(value))?;
            }
        }
        f.write_str(if self.is_negotiated { ",enc_auto" } else { "" })
    }
}

impl ResultId {
    /// The id with these bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for ResultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}
