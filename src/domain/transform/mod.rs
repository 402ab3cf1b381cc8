//! Transforms of pictures, as the SDK's media helpers write them into a path (contract §10):
//! `<step>[/<step>],<options>/<name>.<ext>` below `/media/<id>/v1/`.
//!
//! What differs only in its spelling is equal here, prints the same and shares a cached file.

mod parse;
mod presets;
#[cfg(test)]
mod tests;

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::hex;
use super::image::{Area, Filters, Format, Keep, Recipe, Sizing, Unsharp};

pub use parse::{Problem, Refused};
pub use presets::PRESET_SIZES;

/// Longest side of a result in pixels: what the SDK's helpers take for safe.
pub const RESULT_EDGE_MAX_PX: u32 = 5_000;
/// The lowest and the highest quality that can be asked for; what lies outside is the default.
const QUALITIES: std::ops::RangeInclusive<u32> = 5..=90;
/// Part of every cached file's name: one more whenever the same recipe gives other bytes.
const MAKER_VERSION: u8 = 1;
/// What the helpers sharpen with: radius, amount, threshold.
const DEFAULT_UNSHARP: [Hundredths; 3] = [66, 100, 1];

/// A number with two decimals, so that equal transforms are equal bit by bit.
type Hundredths = i32;

/// What to make of a picture.
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
    /// Whole, inside the size.
    Fit,
    /// Covering the size.
    Fill(Hold),
}

/// What stays in view when a picture is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// Across and down: 0, 1 or 2 halves.
    Side(u8, u8),
    /// Across and down.
    Point(Hundredths, Hundredths),
}

/// Names one cached result of a blob: the transform, its format, and the version of its maker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResultId([u8; 16]);

/// The sides by their letters, with their halves across and down.
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
const MIDDLE: Hold = Hold::Side(1, 1);

impl Transform {
    /// Reads the path behind `/v1/`, as it came over the wire. The name at its end is not looked
    /// at.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, at once.
    pub fn parse(path: &str) -> Result<Self, Vec<Refused>> {
        parse::parse(path)
    }

    /// Whether the format is chosen by what the client accepts.
    pub fn is_negotiated(&self) -> bool {
        self.is_negotiated
    }

    /// Whether it is one of the few that every link may ask for (S38). `is_png` tells what the
    /// original is: the helpers ask for more quality then.
    pub fn is_preset(&self, is_png: bool) -> bool {
        presets::is_preset(self, is_png)
    }

    /// What to make, for a client that does or does not read WebP.
    pub fn recipe(&self, reads_webp: bool) -> Recipe {
        let Self { width, height, enlarge, .. } = *self;
        let sizing = match self.step {
            Step::Fit => Sizing::Within { width, height, enlarge },
            Step::Fill(hold) => Sizing::Cover { width, height, keep: hold.keep(), enlarge },
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
        let is_webp = self.is_negotiated && reads_webp;
        let format = if is_webp { Format::JpegOrWebp } else { Format::JpegOrPng };
        Recipe { crop: self.crop, sizing, filters, quality: self.quality, format }
    }

    /// The name of its result.
    pub fn result_id(&self, reads_webp: bool) -> ResultId {
        let canonical = Self { is_negotiated: self.is_negotiated && reads_webp, ..*self };
        let text = format!("{MAKER_VERSION}/{canonical}");
        let mut id = [0; 16];
        id.copy_from_slice(&Sha256::digest(text)[..16]);
        ResultId(id)
    }
}

impl Hold {
    fn keep(self) -> Keep {
        match self {
            Self::Side(x, y) => Keep::Side { x: f32::from(x) / 2.0, y: f32::from(y) / 2.0 },
            Self::Point(x, y) => Keep::Point { x: fraction(x), y: fraction(y) },
        }
    }
}

/// The quality where none is asked for, by the area of the result (contract §10).
fn default_quality(width: u32, height: u32) -> u8 {
    match u64::from(width) * u64::from(height) {
        0..360_000 => 80,
        360_000..1_960_000 => 85,
        _ => 90,
    }
}

fn fraction(hundredths: Hundredths) -> f32 {
    // At most five digits, which an f32 holds.
    hundredths as f32 / 100.0
}

/// Writes a number with its decimals.
struct Decimal(Hundredths);

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let size = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:02}", size / 100, size % 100)
    }
}

/// The canonical form: steps and options as [`Transform::parse`] reads them, without a name.
impl fmt::Display for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Area { x, y, width, height }) = self.crop {
            write!(f, "crop/x_{x},y_{y},w_{width},h_{height}/")?;
        }
        let Self { width, height, .. } = self;
        match self.step {
            Step::Fit => write!(f, "fit/w_{width},h_{height}")?,
            Step::Fill(hold) => {
                write!(f, "fill/w_{width},h_{height}")?;
                match hold {
                    Hold::Point(x, y) => write!(f, ",fp_{}_{}", Decimal(x), Decimal(y))?,
                    Hold::Side(x, y) => {
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
    /// Takes the bytes of an id.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for ResultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}
