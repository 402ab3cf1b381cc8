//! Sizes and rectangles in pixels, and how an orientation changes a size.

use image::metadata::Orientation;

/// The narrowest part of a picture that is shown. Thinner slices have no meaning.
const LEAST_PX: f64 = 1.0 / 1024.0;

/// A part of a picture, in fractions of pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rect {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

impl Rect {
    /// All of a picture.
    pub(crate) fn whole(width: u32, height: u32) -> Self {
        Self { x: 0.0, y: 0.0, width: width.into(), height: height.into() }
    }

    /// This part, clipped to a picture of that size and never quite empty.
    pub(crate) fn inside(self, width: u32, height: u32) -> Self {
        let (x, width) = clip(self.x, self.width, width.into());
        let (y, height) = clip(self.y, self.height, height.into());
        Self { x, y, width, height }
    }
}

fn clip(start: f64, length: f64, most: f64) -> (f64, f64) {
    let start = start.clamp(0.0, most - LEAST_PX);
    (start, length.clamp(LEAST_PX, most - start))
}

/// Whether turning a picture upright swaps its width and height (EXIF orientations 5 to 8).
pub(crate) fn is_sideways(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    )
}

/// A stored size as it is when upright, or the reverse.
pub(crate) fn oriented<T>((width, height): (T, T), orientation: Orientation) -> (T, T) {
    if is_sideways(orientation) { (height, width) } else { (width, height) }
}
