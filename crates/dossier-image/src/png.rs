//! Decodes a PNG row by row: only the needed part, reduced on the way by averaging boxes of pixels,
//! so that memory is about one row and the result. Of an animated one, the still picture.

use std::io::Cursor;

use png::{BitDepth, ColorType, Decoder, DecodingError, Limits, Transformations};

use crate::geometry::Plan;
use crate::limits::{ICC_MAX_BYTES, RenderLimits};
use crate::picture::{Channels, Decoded, Picture, narrow_to_eight_bits};
use crate::rect::Rect;
use crate::{RenderError, raster};

/// How much larger than the result the averaged picture must be at least; the resizer does the
/// rest. 2.0 is closer to a full decode by 0.0005 of SSIM (12 MP photo: 0.9763), and takes 2.3 MiB
/// more.
const COVER: f64 = 1.5;

/// Longest side of a box in pixels: the sums of its columns fit into 16 bits.
const BOX_MAX_PX: u32 = 128;

/// Most memory for a PNG's rows and metadata, in bytes. Also bounds what a compressed profile
/// unpacks to.
pub(crate) const BUFFERS_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Decodes the part of a PNG that `plan`, in stored orientation, needs.
///
/// # Errors
///
/// As [`crate::make_preview`].
pub(crate) fn decode(
    source: &[u8],
    plan: &Plan,
    limits: &RenderLimits,
) -> Result<Decoded, RenderError> {
    let bytes = BUFFERS_MAX_BYTES.min(limits.max_decoded_bytes) as usize;
    let mut decoder = Decoder::new_with_limits(Cursor::new(source), Limits { bytes });
    decoder.set_ignore_text_chunk(true);
    decoder.set_transformations(Transformations::EXPAND);
    let render_error = |error| render_error(error, limits);
    let mut reader = decoder.read_info().map_err(render_error)?;
    if reader.info().interlaced {
        // Each pass adds to all rows, so all of them must be in memory.
        return raster::decode_interlaced_png(source, limits);
    }
    let (width, height) = reader.info().size();
    let pixels = u64::from(width) * u64::from(height);
    limits.check_pixels(pixels)?;
    let icc = reader.info().icc_profile.as_deref();
    let icc = icc.filter(|icc| icc.len() <= ICC_MAX_BYTES).map(<[u8]>::to_vec);
    let (color, depth) = reader.output_color_type();
    let channels = match color {
        ColorType::Grayscale => Channels::Grey,
        ColorType::GrayscaleAlpha => Channels::GreyAlpha,
        ColorType::Rgb => Channels::Rgb,
        ColorType::Rgba => Channels::Rgba,
        ColorType::Indexed => return Err(RenderError::broken("a palette that was not expanded")),
    };

    let window = Window::of(plan, (width, height));
    limits.check_decoded(window.size_bytes(channels))?;
    let mut filter = BoxFilter::new(&window, channels);
    let line_bytes = reader.output_line_size(width).ok_or(DecodingError::LimitsExceeded);
    let mut row = vec![0; line_bytes.map_err(render_error)?];
    for y in 0..window.bottom {
        reader
            .read_row(&mut row)
            .map_err(render_error)?
            .ok_or_else(|| RenderError::broken("there are fewer rows than the header states"))?;
        if y < window.top {
            continue;
        }
        let bytes = match depth {
            BitDepth::Sixteen => narrow_to_eight_bits(&mut row, u16::from_be_bytes),
            _ => &mut row[..],
        };
        let columns =
            window.left as usize * channels.count()..window.right as usize * channels.count();
        filter.add(bytes.get_mut(columns).unwrap_or_default());
    }
    let (out_width, out_height) = window.boxes();
    let picture =
        Picture { width: out_width, height: out_height, channels, pixels: filter.finish() };
    Ok(Decoded { picture, full_size: (width, height), icc, region: window.region() })
}

fn render_error(error: DecodingError, limits: &RenderLimits) -> RenderError {
    match error {
        DecodingError::LimitsExceeded => limits.out_of_memory(),
        other => RenderError::broken(other),
    }
}

/// The columns and rows that are read, and the side of the boxes over which they are averaged.
struct Window {
    left: u32,
    top: u32,
    right: u32,
    bottom: u32,
    side: u32,
}

impl Window {
    fn of(plan: &Plan, (width, height): (u32, u32)) -> Self {
        let area = plan.area.inside(width, height);
        let left = area.x as u32;
        let top = area.y as u32;
        Self {
            left,
            top,
            right: ((area.x + area.width).ceil() as u32).clamp(left + 1, width),
            bottom: ((area.y + area.height).ceil() as u32).clamp(top + 1, height),
            side: ((plan.reduction() / COVER) as u32).clamp(1, BOX_MAX_PX),
        }
    }

    /// Boxes across and down; the last ones may be cut off.
    fn boxes(&self) -> (u32, u32) {
        let (width, height) = (self.right - self.left, self.bottom - self.top);
        (width.div_ceil(self.side), height.div_ceil(self.side))
    }

    fn size_bytes(&self, channels: Channels) -> u64 {
        let (width, height) = self.boxes();
        u64::from(width) * u64::from(height) * channels.count() as u64
    }

    fn region(&self) -> Rect {
        let (width, height) = self.boxes();
        Rect {
            x: self.left.into(),
            y: self.top.into(),
            width: f64::from(width) * f64::from(self.side),
            height: f64::from(height) * f64::from(self.side),
        }
    }
}

/// Averages boxes of pixels that arrive row by row.
struct BoxFilter {
    channels: Channels,
    side: usize,
    /// Sums over the rows of the current line of boxes, for each column and channel.
    sums: Vec<u16>,
    rows: usize,
    /// All pixels of the current line of boxes are opaque.
    is_opaque: bool,
    pixels: Vec<u8>,
}

impl BoxFilter {
    fn new(window: &Window, channels: Channels) -> Self {
        let columns = (window.right - window.left) as usize;
        Self {
            channels,
            side: window.side as usize,
            sums: vec![0; columns * channels.count()],
            rows: 0,
            is_opaque: true,
            pixels: Vec::with_capacity(window.size_bytes(channels) as usize),
        }
    }

    /// Adds a row of pixels. May premultiply them in place.
    fn add(&mut self, row: &mut [u8]) {
        if self.side == 1 {
            self.pixels.extend_from_slice(row);
            return;
        }
        if self.channels.has_alpha() && !is_opaque(row, self.channels) {
            self.is_opaque = false;
            premultiply(row, self.channels);
        }
        for (sum, value) in self.sums.iter_mut().zip(row) {
            *sum += u16::from(*value);
        }
        self.rows += 1;
        if self.rows == self.side {
            self.end_line();
        }
    }

    fn end_line(&mut self) {
        match self.channels {
            Channels::Grey => self.average::<1>(),
            Channels::GreyAlpha => self.average::<2>(),
            Channels::Rgb => self.average::<3>(),
            Channels::Rgba | Channels::Cmyk => self.average::<4>(),
        }
        self.sums.fill(0);
        self.rows = 0;
        self.is_opaque = true;
    }

    fn average<const CHANNELS: usize>(&mut self) {
        for part in self.sums.chunks(self.side * CHANNELS) {
            let mut totals = [0_u32; CHANNELS];
            for pixel in part.chunks_exact(CHANNELS) {
                for (total, sum) in totals.iter_mut().zip(pixel) {
                    *total += u32::from(*sum);
                }
            }
            let share = 1.0 / (part.len() / CHANNELS * self.rows) as f32;
            let mut shares = [share; CHANNELS];
            if !self.is_opaque {
                // Premultiplied colour is divided by the mean alpha of the box.
                let alpha = totals.last().copied().unwrap_or_default().max(1) as f32 / 255.0;
                let (_, colours) = shares.split_last_mut().unwrap_or((&mut 0.0, &mut []));
                colours.fill(1.0 / alpha);
            }
            let mut mean = [0; CHANNELS];
            for ((mean, total), share) in mean.iter_mut().zip(totals).zip(shares) {
                *mean = (total as f32 * share + 0.5) as u8;
            }
            self.pixels.extend_from_slice(&mean);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        if self.rows > 0 {
            self.end_line();
        }
        self.pixels
    }
}

fn is_opaque(row: &[u8], channels: Channels) -> bool {
    row.chunks_exact(channels.count()).all(|pixel| pixel.last() == Some(&u8::MAX))
}

fn premultiply(row: &mut [u8], channels: Channels) {
    for pixel in row.chunks_exact_mut(channels.count()) {
        if let Some((alpha, colours)) = pixel.split_last_mut() {
            for value in colours {
                *value = ((u32::from(*value) * u32::from(*alpha) + 127) / 255) as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn averaged(rows: &[&[u8]], channels: Channels, side: u32) -> Vec<u8> {
        let right = (rows[0].len() / channels.count()) as u32;
        let window = Window { left: 0, top: 0, right, bottom: rows.len() as u32, side };
        let mut filter = BoxFilter::new(&window, channels);
        for row in rows {
            filter.add(&mut row.to_vec());
        }
        let pixels = filter.finish();
        assert_eq!(pixels.len() as u64, window.size_bytes(channels));
        pixels
    }

    #[test]
    fn boxes_are_averaged_and_rounded_including_those_at_the_edges() {
        let rows: [&[u8]; 3] = [&[0, 10, 100, 7, 9], &[20, 11, 100, 8, 10], &[255, 254, 0, 1, 4]];
        assert_eq!(averaged(&rows, Channels::Grey, 2), [10, 54, 10, 255, 1, 4]);
        assert_eq!(averaged(&rows, Channels::Grey, 1), rows.concat());
        let white = [255; 3 * 200];
        assert_eq!(averaged(&[&white[..]; 200], Channels::Rgb, 128), [255; 12]);
    }

    #[test]
    fn colour_under_transparent_pixels_does_not_count_in_the_average() {
        let rows: [&[u8]; 2] = [&[200, 255, 0, 0], &[0, 0, 100, 255]];
        assert_eq!(averaged(&rows, Channels::GreyAlpha, 2), [150, 128]);
        assert_eq!(averaged(&[&[90, 0][..]; 2], Channels::GreyAlpha, 2), [0, 0]);
        let faint: [&[u8]; 2] = [&[255, 0, 0, 1, 0, 0, 0, 0]; 2];
        assert_eq!(averaged(&faint, Channels::Rgba, 2), [255, 0, 0, 1]);
    }
}
