//! Which part of a picture is shown at which size: pure arithmetic on a recipe and a size.

use image::metadata::Orientation;

use super::header::is_sideways;
use super::{Area, Keep, OUTPUT_EDGE_MAX_PX, OUTPUT_PIXELS_MAX, Recipe, RenderRefused, Sizing};

/// A part of a picture with fractions of pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rect {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Rect {
    /// All of a picture.
    pub(super) fn whole(width: u32, height: u32) -> Self {
        Self { x: 0.0, y: 0.0, width: width.into(), height: height.into() }
    }

    /// This part inside a picture of that size, never quite empty.
    pub(super) fn inside(self, width: u32, height: u32) -> Self {
        let (x, width) = inside(self.x, self.width, width.into());
        let (y, height) = inside(self.y, self.height, height.into());
        Self { x, y, width, height }
    }
}

/// The smallest part of a pixel that is shown: thinner slices have no meaning.
const LEAST_PX: f64 = 1.0 / 1024.0;

fn inside(start: f64, length: f64, most: f64) -> (f64, f64) {
    let start = start.clamp(0.0, most - LEAST_PX);
    (start, length.clamp(LEAST_PX, most - start))
}

/// What to show, in one orientation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Plan {
    /// The part of the original, in its pixels.
    pub(super) area: Rect,
    /// Width and height of the result.
    pub(super) target: (u32, u32),
}

/// Says what of an upright picture of this size a recipe shows, and how large.
///
/// # Errors
///
/// [`RenderRefused::Outside`] when nothing is left of the crop, [`RenderRefused::TooLarge`] when
/// the result has more than [`OUTPUT_PIXELS_MAX`] pixels or a longer side than
/// [`OUTPUT_EDGE_MAX_PX`].
pub(super) fn plan(size: (u32, u32), recipe: &Recipe) -> Result<Plan, RenderRefused> {
    let crop = match recipe.crop {
        Some(crop) => common_part(crop, size).ok_or(RenderRefused::Outside)?,
        None => Area { x: 0, y: 0, width: size.0, height: size.1 },
    };
    let plan = match recipe.sizing {
        Sizing::Within { width, height, enlarge } => {
            Plan { area: rect(crop), target: within(crop, (width, height), enlarge) }
        }
        Sizing::Cover { width, height, keep, enlarge } => {
            cover(crop, (width.max(1), height.max(1)), keep, enlarge)
        }
    };
    let (width, height) = plan.target;
    let edge = u64::from(width.max(height));
    super::check("the longer side of the result in pixels", edge, OUTPUT_EDGE_MAX_PX.into())?;
    let pixels = u64::from(width) * u64::from(height);
    super::check("the number of pixels of the result", pixels, OUTPUT_PIXELS_MAX)?;
    Ok(plan)
}

fn common_part(crop: Area, (width, height): (u32, u32)) -> Option<Area> {
    let width = crop.width.min(width.checked_sub(crop.x)?);
    let height = crop.height.min(height.checked_sub(crop.y)?);
    (width > 0 && height > 0).then_some(Area { width, height, ..crop })
}

fn rect(area: Area) -> Rect {
    Rect {
        x: area.x.into(),
        y: area.y.into(),
        width: area.width.into(),
        height: area.height.into(),
    }
}

/// `length * by / of`, rounded, at least 1.
fn scaled(length: u32, by: u32, of: u32) -> u32 {
    let (length, by, of) = (u64::from(length), u64::from(by), u64::from(of));
    ((length * by * 2 + of) / (of * 2)).clamp(1, u32::MAX.into()) as u32
}

/// Tells whether `size` is wider than `other`, by its aspect ratio.
fn is_wider(size: (u32, u32), other: (u32, u32)) -> bool {
    u64::from(size.0) * u64::from(other.1) > u64::from(other.0) * u64::from(size.1)
}

fn within(crop: Area, most: (u32, u32), enlarge: bool) -> (u32, u32) {
    let (width, height) = (crop.width, crop.height);
    let most = (most.0.max(1), most.1.max(1));
    if !enlarge && width <= most.0 && height <= most.1 {
        return (width, height);
    }
    if is_wider((width, height), most) {
        (most.0, scaled(height, most.0, width).min(most.1))
    } else {
        (scaled(width, most.1, height).min(most.0), most.1)
    }
}

fn cover(crop: Area, size: (u32, u32), keep: Keep, enlarge: bool) -> Plan {
    let whole = rect(crop);
    if !enlarge && (crop.width < size.0 || crop.height < size.1) {
        // Too small: the largest part of that aspect ratio, pixel for pixel.
        let part = if is_wider((crop.width, crop.height), size) {
            (scaled(crop.height, size.0, size.1).min(crop.width), crop.height)
        } else {
            (crop.width, scaled(crop.width, size.1, size.0).min(crop.height))
        };
        let mut area = placed(whole, (part.0.into(), part.1.into()), keep);
        (area.x, area.y) = (area.x.round(), area.y.round());
        return Plan { area, target: part };
    }
    let ratio = f64::from(size.0) / f64::from(size.1);
    let part = if is_wider((crop.width, crop.height), size) {
        (whole.height * ratio, whole.height)
    } else {
        (whole.width, whole.width / ratio)
    };
    let part = (part.0.clamp(1.0, whole.width), part.1.clamp(1.0, whole.height));
    Plan { area: placed(whole, part, keep), target: size }
}

/// Where a part of that size lies in `whole`.
fn placed(whole: Rect, (width, height): (f64, f64), keep: Keep) -> Rect {
    let (left, top) = (whole.width - width, whole.height - height);
    let (x, y) = match keep {
        Keep::Side { x, y } => (left * fraction(x), top * fraction(y)),
        Keep::Point { x, y } => (
            (whole.width * fraction(x) - width / 2.0).clamp(0.0, left.max(0.0)),
            (whole.height * fraction(y) - height / 2.0).clamp(0.0, top.max(0.0)),
        ),
    };
    Rect { x: whole.x + x, y: whole.y + y, width, height }
}

/// A fraction from 0 to 1; what is no number counts as the middle.
fn fraction(value: f32) -> f64 {
    if value.is_nan() { 0.5 } else { f64::from(value).clamp(0.0, 1.0) }
}

impl Plan {
    /// The same in the orientation in which a picture of `stored` size lies in its file.
    pub(super) fn stored(self, stored: (u32, u32), orientation: Orientation) -> Self {
        let Rect { x, y, width, height } = self.area;
        // What is left beyond the area, seen from the far sides of the stored picture.
        let (across, down) = (f64::from(stored.0), f64::from(stored.1));
        let (x, y) = match orientation {
            Orientation::NoTransforms => (x, y),
            Orientation::FlipHorizontal => (across - x - width, y),
            Orientation::FlipVertical => (x, down - y - height),
            Orientation::Rotate180 => (across - x - width, down - y - height),
            Orientation::Rotate90FlipH => (y, x),
            Orientation::Rotate90 => (y, down - x - width),
            Orientation::Rotate270 => (across - y - height, x),
            Orientation::Rotate270FlipH => (across - y - height, down - x - width),
        };
        let area = if is_sideways(orientation) {
            Rect { x, y, width: height, height: width }
        } else {
            Rect { x, y, width, height }
        };
        Self { area, target: turned(self.target, orientation) }
    }

    /// By how many times the original is larger than the result, seen along its longer side.
    pub(super) fn reduction(&self) -> f64 {
        let (width, height) = self.target;
        if width >= height {
            self.area.width / f64::from(width)
        } else {
            self.area.height / f64::from(height)
        }
    }

    /// How long the longer side of all of a picture is, where its shown part is as large as the
    /// result.
    pub(super) fn wanted_px(&self, (width, height): (u32, u32)) -> u32 {
        let longest = f64::from(width.max(height));
        (longest / self.reduction()).ceil().clamp(1.0, longest) as u32
    }
}

/// A size after turning from stored to upright, or back.
pub(super) fn turned((width, height): (u32, u32), orientation: Orientation) -> (u32, u32) {
    if is_sideways(orientation) { (height, width) } else { (width, height) }
}

#[cfg(test)]
#[path = "geometry_tests.rs"]
mod tests;
