//! Which part of a picture is shown, and at which size: arithmetic on a recipe and a size.

use image::metadata::Orientation;

use crate::limits::{OUTPUT_EDGE_MAX_PX, OUTPUT_PIXELS_MAX, check};
use crate::rect::{Rect, is_sideways, oriented};
use crate::{Area, Keep, Recipe, RenderError, Sizing};

/// What to show. Applies to one orientation of the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Plan {
    /// The part of the original, in pixels of the original.
    pub(crate) area: Rect,
    /// Width and height of the result.
    pub(crate) target: (u32, u32),
}

/// Which part of an upright picture of this size a recipe shows, and how large.
///
/// # Errors
///
/// [`RenderError::Outside`] when nothing is left of the crop, [`RenderError::TooLarge`] when
/// the result has more than [`OUTPUT_PIXELS_MAX`] pixels or a longer side than
/// [`OUTPUT_EDGE_MAX_PX`].
pub(crate) fn plan(size: (u32, u32), recipe: &Recipe) -> Result<Plan, RenderError> {
    let crop = match recipe.crop {
        Some(crop) => intersection(crop, size).ok_or(RenderError::Outside)?,
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
    check("the longer side of the result in pixels", edge, OUTPUT_EDGE_MAX_PX.into())?;
    let pixels = u64::from(width) * u64::from(height);
    check("the number of pixels of the result", pixels, OUTPUT_PIXELS_MAX)?;
    Ok(plan)
}

fn intersection(crop: Area, (width, height): (u32, u32)) -> Option<Area> {
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

/// Whether the aspect ratio of `size` is wider than that of `other`.
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
        // Too small: the largest part of that aspect ratio, at original size.
        let part = if is_wider((crop.width, crop.height), size) {
            (scaled(crop.height, size.0, size.1).min(crop.width), crop.height)
        } else {
            (crop.width, scaled(crop.width, size.1, size.0).min(crop.height))
        };
        let mut area = place(whole, (part.0.into(), part.1.into()), keep);
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
    Plan { area: place(whole, part, keep), target: size }
}

/// Places a part of that size within `whole`.
fn place(whole: Rect, (width, height): (f64, f64), keep: Keep) -> Rect {
    let (spare_x, spare_y) = (whole.width - width, whole.height - height);
    let (x, y) = match keep {
        Keep::Side { x, y } => (spare_x * fraction(x), spare_y * fraction(y)),
        Keep::Point { x, y } => (
            (whole.width * fraction(x) - width / 2.0).clamp(0.0, spare_x.max(0.0)),
            (whole.height * fraction(y) - height / 2.0).clamp(0.0, spare_y.max(0.0)),
        ),
    };
    Rect { x: whole.x + x, y: whole.y + y, width, height }
}

/// A fraction from 0 to 1; NaN counts as the middle.
fn fraction(value: f32) -> f64 {
    if value.is_nan() { 0.5 } else { f64::from(value).clamp(0.0, 1.0) }
}

impl Plan {
    /// The same plan for the picture as its file stores it, with the size `stored`.
    pub(crate) fn stored(self, stored: (u32, u32), orientation: Orientation) -> Self {
        let Rect { x, y, width, height } = self.area;
        // Measured from the sides of the stored picture.
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
        Self { area, target: oriented(self.target, orientation) }
    }

    /// How many times larger the original is than the result, along the longer side.
    pub(crate) fn reduction(&self) -> f64 {
        let (width, height) = self.target;
        if width >= height {
            self.area.width / f64::from(width)
        } else {
            self.area.height / f64::from(height)
        }
    }

    /// The longer side of the whole picture, of this size, at the scale at which the shown part is
    /// as large as the result.
    pub(crate) fn wanted_px(&self, (width, height): (u32, u32)) -> u32 {
        let longest = f64::from(width.max(height));
        (longest / self.reduction()).ceil().clamp(1.0, longest) as u32
    }
}

#[cfg(test)]
#[path = "geometry_tests.rs"]
mod tests;
