//! Converts the planes that video codecs decode to (luma, two of chroma, optional alpha) to pixels,
//! at a reduced size where that is enough.
//!
//! Each pixel is the mean of a square of samples, so the full-size RGB picture is never in memory.

use crate::cicp::Nclx;
use crate::picture::{Channels, Picture};
use crate::{Area, RenderError};

/// The chroma subsampling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chroma {
    /// No chroma: the picture is grey (4:0:0).
    None,
    /// One sample per two by two pixels (4:2:0).
    Quarter,
    /// One sample per two pixels side by side (4:2:2).
    Half,
    /// One sample per pixel (4:4:4).
    Full,
}

impl Chroma {
    /// Pixels that share a sample, horizontally and vertically, as powers of two.
    fn shifts(self) -> (u32, u32) {
        match self {
            Self::Quarter => (1, 1),
            Self::Half => (1, 0),
            Self::None | Self::Full => (0, 0),
        }
    }

    /// Width and height of a chroma plane of a picture of this size, in samples.
    pub(crate) fn size(self, (width, height): (u32, u32)) -> (u32, u32) {
        let (shift_x, shift_y) = self.shifts();
        (width.div_ceil(1 << shift_x), height.div_ceil(1 << shift_y))
    }
}

/// Samples in rows: one byte each, or two in native byte order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plane<'a> {
    pub(crate) bytes: &'a [u8],
    /// Bytes from one row to the next.
    pub(crate) stride: usize,
}

/// A decoded picture.
#[derive(Debug)]
pub(crate) struct Planes<'a> {
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Bits per sample. A sample of more than 8 takes two bytes.
    pub(crate) depth: u8,
    pub(crate) chroma: Chroma,
    pub(crate) y: Plane<'a>,
    pub(crate) uv: Option<[Plane<'a>; 2]>,
}

/// The alpha plane of a picture.
pub(crate) struct Alpha<'a> {
    pub(crate) planes: Planes<'a>,
    pub(crate) full_range: bool,
    /// Whether the colours are premultiplied by it.
    pub(crate) is_premultiplied: bool,
}

/// The largest whole factor that leaves the longer side at least twice `wanted_px`, so that the
/// better filter that follows has enough pixels to work with.
pub(crate) fn shrink_for(size: (u32, u32), wanted_px: u32) -> u32 {
    (size.0.max(size.1) / wanted_px.saturating_mul(2).max(1)).max(1)
}

/// The size of a picture after reduction by `shrink`.
pub(crate) fn shrunk(size: (u32, u32), shrink: u32) -> (u32, u32) {
    (size.0.div_ceil(shrink), size.1.div_ceil(shrink))
}

/// Converts `area` to pixels, one for each square of `shrink` by `shrink` pixels.
///
/// # Errors
///
/// [`RenderError::Broken`] when the colour coding is unknown.
pub(crate) fn to_picture(
    planes: &Planes<'_>,
    alpha: Option<&Alpha<'_>>,
    coding: Nclx,
    (area, shrink): (Area, u32),
) -> Result<Picture, RenderError> {
    let colours = Colours::new(coding, planes)?;
    let (width, height) = shrunk((area.width, area.height), shrink);
    let channels = match (planes.uv.is_some(), alpha.is_some()) {
        (false, false) => Channels::Grey,
        (false, true) => Channels::GreyAlpha,
        (true, false) => Channels::Rgb,
        (true, true) => Channels::Rgba,
    };
    let row_bytes = width as usize * channels.count();
    let mut pixels = vec![0; row_bytes * height as usize];
    let mut row = Row::new(width as usize);
    for (index, out) in pixels.chunks_exact_mut(row_bytes).enumerate() {
        let squares = Squares { area, shrink, row: index as u32 };
        row.fill(planes, alpha, squares);
        row.write(&colours, alpha, channels, out);
    }
    Ok(Picture { width, height, channels, pixels })
}

/// The squares of pixels that become one row of the result.
#[derive(Clone, Copy)]
struct Squares {
    area: Area,
    shrink: u32,
    row: u32,
}

/// Means of the samples for one row of the result.
struct Row {
    y: Vec<f32>,
    u: Vec<f32>,
    v: Vec<f32>,
    alpha: Vec<f32>,
}

impl Row {
    fn new(width: usize) -> Self {
        let zeros = || vec![0.0; width];
        Self { y: zeros(), u: zeros(), v: zeros(), alpha: zeros() }
    }

    fn fill(&mut self, planes: &Planes<'_>, alpha: Option<&Alpha<'_>>, squares: Squares) {
        let size = (planes.width, planes.height);
        means(planes.y, planes.depth, (size, (0, 0)), squares, &mut self.y);
        if let Some([u, v]) = planes.uv {
            let (sizes, shifts) = (planes.chroma.size(size), planes.chroma.shifts());
            means(u, planes.depth, (sizes, shifts), squares, &mut self.u);
            means(v, planes.depth, (sizes, shifts), squares, &mut self.v);
        }
        if let Some(alpha) = alpha {
            means(alpha.planes.y, alpha.planes.depth, (size, (0, 0)), squares, &mut self.alpha);
        }
    }

    fn write(
        &self,
        colours: &Colours,
        alpha: Option<&Alpha<'_>>,
        channels: Channels,
        out: &mut [u8],
    ) {
        let opacity = alpha.map(|alpha| {
            let scale = Scale::new(alpha.planes.depth, alpha.full_range);
            (scale, alpha.is_premultiplied)
        });
        let samples = self.y.iter().zip(&self.u).zip(&self.v).zip(&self.alpha);
        let pixels = out.chunks_exact_mut(channels.count());
        for (pixel, (((y, u), v), alpha)) in pixels.zip(samples) {
            let mut rgb = colours.rgb(*y, *u, *v);
            let opacity = opacity.map(|(scale, is_premultiplied)| {
                let opacity = scale.luma(*alpha).clamp(0.0, 1.0);
                if is_premultiplied && opacity > 0.0 {
                    rgb = rgb.map(|value| value / opacity);
                }
                opacity
            });
            let values = match channels {
                Channels::Grey | Channels::GreyAlpha => &rgb[..1],
                // Never ink: `to_picture` chooses the channels.
                Channels::Rgb | Channels::Rgba | Channels::Cmyk => &rgb[..],
            };
            for (out, value) in pixel.iter_mut().zip(values.iter().copied().chain(opacity)) {
                *out = (value.clamp(0.0, 1.0) * 255.0 + 0.5) as u8;
            }
        }
    }
}

/// The means of the samples in each square of a row. `size` and `shifts` are those of the plane.
fn means(
    plane: Plane<'_>,
    depth: u8,
    (size, shifts): ((u32, u32), (u32, u32)),
    squares: Squares,
    out: &mut [f32],
) {
    let Squares { area, shrink, row } = squares;
    let bytes_each = if depth > 8 { 2 } else { 1 };
    let top = area.y + row * shrink;
    let bottom = (top + shrink).min(area.y + area.height) - 1;
    let rows = (top >> shifts.1).min(size.1 - 1)..=(bottom >> shifts.1).min(size.1 - 1);
    let row_count = rows.end() - rows.start() + 1;
    out.fill(0.0);
    for row in rows {
        let start = row as usize * plane.stride;
        let line = plane.bytes.get(start..start + size.0 as usize * bytes_each);
        let line = line.unwrap_or_default();
        for (index, mean) in out.iter_mut().enumerate() {
            let left = area.x + index as u32 * shrink;
            let right = (left + shrink).min(area.x + area.width) - 1;
            let (from, to) = (left >> shifts.0, (right >> shifts.0).min(size.0 - 1) + 1);
            let samples = line.get(from as usize * bytes_each..to as usize * bytes_each);
            let samples = samples.unwrap_or_default();
            let sum: u32 = if bytes_each == 1 {
                samples.iter().map(|sample| u32::from(*sample)).sum()
            } else {
                let (pairs, _) = samples.as_chunks();
                pairs.iter().map(|pair| u32::from(u16::from_ne_bytes(*pair))).sum()
            };
            *mean += sum as f32 / ((to.saturating_sub(from)).max(1) * row_count) as f32;
        }
    }
}

/// The range of sample values.
#[derive(Clone, Copy)]
struct Scale {
    black: f32,
    /// From black to white.
    range: f32,
    middle: f32,
    /// From the lowest to the highest chroma.
    chroma_range: f32,
}

impl Scale {
    fn new(depth: u8, full_range: bool) -> Self {
        let step = f32::from(1_u16 << (depth.clamp(8, 15) - 8));
        let middle = 128.0 * step;
        if full_range {
            let most = 256.0 * step - 1.0;
            Self { black: 0.0, range: most, middle, chroma_range: most }
        } else {
            let (range, chroma_range) = (219.0 * step, 224.0 * step);
            Self { black: 16.0 * step, range, middle, chroma_range }
        }
    }

    fn luma(self, sample: f32) -> f32 {
        (sample - self.black) / self.range
    }

    fn chroma(self, sample: f32) -> f32 {
        (sample - self.middle) / self.chroma_range
    }
}

/// Converts samples to red, green and blue (ISO/IEC 23091-2 §8.3).
struct Colours {
    scale: Scale,
    matrix: Matrix,
}

enum Matrix {
    /// No chroma.
    Grey,
    /// The planes are green, blue and red.
    Identity,
    YCgCo,
    /// The weights of red and blue in luma.
    Weights(f32, f32),
}

impl Colours {
    fn new(coding: Nclx, planes: &Planes<'_>) -> Result<Self, RenderError> {
        let matrix = match coding.matrix {
            _ if planes.uv.is_none() => Matrix::Grey,
            0 if planes.chroma == Chroma::Full => Matrix::Identity,
            1 => Matrix::Weights(0.2126, 0.0722),
            4 => Matrix::Weights(0.30, 0.11),
            7 => Matrix::Weights(0.212, 0.087),
            8 => Matrix::YCgCo,
            9 => Matrix::Weights(0.2627, 0.0593),
            // Derived from the primaries.
            12 => match coding.primaries {
                1 => Matrix::Weights(0.2126, 0.0722),
                9 => Matrix::Weights(0.2627, 0.0593),
                _ => Matrix::Weights(0.299, 0.114),
            },
            2 | 3 | 5 | 6 => Matrix::Weights(0.299, 0.114),
            other => {
                return Err(RenderError::broken(format!("unknown matrix coefficients: {other}")));
            }
        };
        Ok(Self { scale: Scale::new(planes.depth, coding.full_range), matrix })
    }

    /// Red, green and blue, 0 to 1 and a little beyond.
    fn rgb(&self, y: f32, u: f32, v: f32) -> [f32; 3] {
        let luma = self.scale.luma(y);
        match self.matrix {
            Matrix::Grey => [luma; 3],
            Matrix::Identity => [self.scale.luma(v), luma, self.scale.luma(u)],
            Matrix::YCgCo => {
                let (green, orange) = (self.scale.chroma(u), self.scale.chroma(v));
                [luma - green + orange, luma + green, luma - green - orange]
            }
            Matrix::Weights(red_weight, blue_weight) => {
                let (blue, red) = (self.scale.chroma(u), self.scale.chroma(v));
                let red = luma + 2.0 * (1.0 - red_weight) * red;
                let blue = luma + 2.0 * (1.0 - blue_weight) * blue;
                let green = (luma - red_weight * red - blue_weight * blue)
                    / (1.0 - red_weight - blue_weight);
                [red, green, blue]
            }
        }
    }
}
