//! Pictures for `bench/preview`: generates photo-like ones, renders the preview of one in a loop, and
//! compares previews with a reference. Prints JSON.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use dossier_image::{PREVIEW_EDGE_PX, RenderLimits, make_preview};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{DynamicImage, GrayImage, RgbImage, imageops};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use turbojpeg::{Compressor, PixelFormat, Subsamp};

/// JPEG quality of the samples, out of 100.
const SAMPLE_QUALITY: i32 = 90;
/// Side of the windows that are compared, and the distance between them, in pixels.
const WINDOW_PX: u32 = 8;
const STEP_PX: usize = 4;

/// Generates pictures, previews and comparisons.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Writes the samples, and beside each a reference: the full decode, reduced by a Lanczos filter.
    Samples {
        /// Where to.
        folder: PathBuf,
    },
    /// Renders the preview of one file repeatedly.
    Render {
        /// The file.
        source: PathBuf,
        /// Where the preview goes.
        output: PathBuf,
        /// For how long.
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
    },
    /// Prints the structural similarity of two pictures of the same size, 1 for equal ones.
    Compare {
        /// A PNG.
        reference: PathBuf,
        /// A JPEG or a PNG.
        preview: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    let report = match Arguments::parse().command {
        Command::Samples { folder } => samples(&folder)?,
        Command::Render { source, output, seconds } => render(&source, &output, seconds)?,
        Command::Compare { reference, preview } => {
            let (reference, preview) = (open(&reference)?, open(&preview)?);
            json!({ "ssim": similarity(&reference.to_luma8(), &preview.to_luma8())? })
        }
    };
    #[expect(clippy::print_stdout, reason = "the report of this program")]
    {
        println!("{report}");
    }
    Ok(())
}

/// Hash of a position, for noise that is the same in every run.
fn noise(x: u32, y: u32) -> f32 {
    let mut hash = x.wrapping_mul(0x9e37_79b1) ^ y.wrapping_mul(0x85eb_ca77);
    hash = (hash ^ (hash >> 15)).wrapping_mul(0x2c1b_3c6d);
    hash = (hash ^ (hash >> 12)).wrapping_mul(0x297a_2d39);
    (hash ^ (hash >> 15)) as f32 / u32::MAX as f32 - 0.5
}

/// A picture with the features of photographs: soft light, fine structure, hard edges and noise.
fn photo(width: u32, height: u32) -> RgbImage {
    let scale = width as f32 / 4000.0;
    let disc = |x: f32, y: f32, at: (f32, f32), radius: f32| (x - at.0).hypot(y - at.1) < radius;
    RgbImage::from_fn(width, height, |column, row| {
        let (x, y) = (column as f32 / scale, row as f32 / scale);
        let soft = (x / 611.0).sin() * 30.0 + (y / 433.0 + x / 1777.0).cos() * 30.0;
        let fine = ((x / 11.0).sin() + (y / 7.0 + x / 23.0).sin()) * 9.0;
        let mut colour = [90.0 + x / 40.0 + soft, 100.0 + y / 35.0 + soft + fine, 160.0 - x / 50.0];
        for index in 0..24_u32 {
            let at = (4000.0 * (noise(index, 1) + 0.5), 3000.0 * (noise(index, 2) + 0.5));
            if disc(x, y, at, 40.0 + 260.0 * (noise(index, 3) + 0.5)) {
                let tint = noise(index, 4) * 120.0;
                colour = [colour[0] + tint, colour[1] - tint, colour[2] + fine * 2.0];
            }
        }
        if (x + y * 1.7) % 900.0 < 12.0 {
            colour = [25.0, 28.0, 30.0];
        }
        let grain = noise(column, row) * 14.0;
        image::Rgb(colour.map(|value| (value + grain).clamp(0.0, 255.0) as u8))
    })
}

fn samples(folder: &Path) -> anyhow::Result<serde_json::Value> {
    std::fs::create_dir_all(folder)?;
    let mut names = Vec::new();
    let mut keep = |name: &str, bytes: &[u8]| -> anyhow::Result<()> {
        let path = folder.join(name);
        std::fs::write(&path, bytes)?;
        let reference = reduced(&open(&path)?);
        reference.save(folder.join(format!("{name}.reference.png")))?;
        names.push(name.to_owned());
        Ok(())
    };
    keep("2mp.jpg", &jpeg(&photo(1600, 1200), false)?)?;
    let photo_12mp = photo(4000, 3000);
    keep("12mp.jpg", &jpeg(&photo_12mp, false)?)?;
    keep("12mp-progressive.jpg", &jpeg(&photo_12mp, true)?)?;
    let mut png = Vec::new();
    let encoder =
        PngEncoder::new_with_quality(&mut png, CompressionType::Default, FilterType::Adaptive);
    DynamicImage::ImageRgb8(photo_12mp).write_with_encoder(encoder)?;
    keep("12mp.png", &png)?;
    keep("24mp.jpg", &jpeg(&photo(6000, 4000), false)?)?;
    Ok(json!({ "samples": names }))
}

fn jpeg(picture: &RgbImage, progressive: bool) -> anyhow::Result<Vec<u8>> {
    let mut compressor = Compressor::new()?;
    compressor.set_quality(SAMPLE_QUALITY)?;
    compressor.set_subsamp(Subsamp::Sub2x2)?;
    compressor.set_progressive(progressive)?;
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let format = PixelFormat::RGB;
    let pixels = &picture.as_raw()[..];
    Ok(compressor.compress_to_vec(turbojpeg::Image {
        pixels,
        width,
        pitch: width * format.size(),
        height,
        format,
    })?)
}

/// Decodes all of a JPEG or PNG.
fn open(path: &Path) -> anyhow::Result<DynamicImage> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    if !bytes.starts_with(&[0xff, 0xd8]) {
        return Ok(image::load_from_memory(&bytes)?);
    }
    let decoded = turbojpeg::decompress(&bytes, PixelFormat::RGB)?;
    let picture = RgbImage::from_raw(decoded.width as u32, decoded.height as u32, decoded.pixels);
    Ok(DynamicImage::ImageRgb8(picture.context("the decoder returned too few pixels")?))
}

/// The reference: another resizer than the one under test, on every pixel of the source.
fn reduced(picture: &DynamicImage) -> DynamicImage {
    picture.resize(PREVIEW_EDGE_PX, PREVIEW_EDGE_PX, imageops::FilterType::Lanczos3)
}

fn render(source: &Path, output: &Path, seconds: f64) -> anyhow::Result<serde_json::Value> {
    let source = std::fs::read(source)?;
    let limits = RenderLimits::default();
    let preview = make_preview(&source, &limits)?;
    std::fs::write(output, &preview.bytes)?;
    let (mut times_ms, mut cpu_times_ms) = (Vec::new(), Vec::new());
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    while times_ms.len() < 3 || Instant::now() < end {
        let (start, cpu_start_ms) = (Instant::now(), cpu_ms());
        black_box(make_preview(&source, &limits)?);
        times_ms.push(start.elapsed().as_secs_f64() * 1e3);
        cpu_times_ms.push(cpu_ms() - cpu_start_ms);
    }
    times_ms.sort_by(f64::total_cmp);
    cpu_times_ms.sort_by(f64::total_cmp);
    Ok(json!({
        "best_ms": times_ms[0],
        "median_ms": times_ms[times_ms.len() / 2],
        "best_cpu_ms": cpu_times_ms[0],
        "median_cpu_ms": cpu_times_ms[cpu_times_ms.len() / 2],
        "peak_kib": peak_kib()?,
        "bytes": preview.bytes.len(),
    }))
}

/// CPU time of this process.
fn cpu_ms() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

/// Peak resident memory of this process, as Linux reports it.
fn peak_kib() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let value = line.and_then(|line| line.split_whitespace().next()).context("no VmHWM")?;
    Ok(value.parse()?)
}

/// Mean structural similarity (Wang and others, 2004) of windows of 8 by 8 pixels.
fn similarity(reference: &GrayImage, preview: &GrayImage) -> anyhow::Result<f64> {
    if reference.dimensions() != preview.dimensions() {
        bail!("{:?} is not {:?}", preview.dimensions(), reference.dimensions());
    }
    let (width, height) = reference.dimensions();
    let mut sum = 0.0;
    let mut windows = 0_u32;
    for top in (0..=height.saturating_sub(WINDOW_PX)).step_by(STEP_PX) {
        for left in (0..=width.saturating_sub(WINDOW_PX)).step_by(STEP_PX) {
            sum += window_similarity(reference, preview, (left, top));
            windows += 1;
        }
    }
    Ok(sum / f64::from(windows))
}

fn window_similarity(one: &GrayImage, other: &GrayImage, (left, top): (u32, u32)) -> f64 {
    let (bright, structured) = ((0.01_f64 * 255.0).powi(2), (0.03_f64 * 255.0).powi(2));
    let (mut sums, mut squares, mut product) = ([0.0; 2], [0.0; 2], 0.0);
    for y in top..top + WINDOW_PX {
        for x in left..left + WINDOW_PX {
            let pair = [one, other].map(|picture| f64::from(picture.get_pixel(x, y).0[0]));
            for (index, value) in pair.into_iter().enumerate() {
                sums[index] += value;
                squares[index] += value * value;
            }
            product += pair[0] * pair[1];
        }
    }
    let count = f64::from(WINDOW_PX * WINDOW_PX);
    let means = sums.map(|sum| sum / count);
    let variance = |index: usize| squares[index] / count - means[index] * means[index];
    let covariance = product / count - means[0] * means[1];
    let luminance =
        (2.0 * means[0] * means[1] + bright) / (means[0].powi(2) + means[1].powi(2) + bright);
    luminance * (2.0 * covariance + structured) / (variance(0) + variance(1) + structured)
}
