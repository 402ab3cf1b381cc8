//! The overhead of a render worker over the same work in this process: `render_cost --megapixels 12
//! --photo FILE --program DOSSIER [--rounds N]`. Writes a JPEG as hard to decode as a photo,
//! renders its preview alternately in each way, and prints median milliseconds as JSON: in this
//! process, in a ready worker, and including a worker's start.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Parser;
use dossier::domain::ids::BlobId;
use dossier::metrics::Pictures;
use dossier::render_workers::{Job, Priority, RenderWorkers, Settings};
use dossier_image::{Recipe, RenderLimits, render};
use serde_json::json;
use turbojpeg::{Compressor, Image, PixelFormat};

/// JPEG quality of the photo, about what cameras use.
const QUALITY: i32 = 88;
/// How long a worker may take on a loaded machine.
const DEADLINE: Duration = Duration::from_mins(1);

/// Writes a photo and renders previews of it.
#[derive(Parser)]
struct Arguments {
    /// Size of the photo, which is 4 : 3.
    #[arg(long)]
    megapixels: u32,
    /// Where to write it.
    #[arg(long)]
    photo: PathBuf,
    /// The program that runs as the worker.
    #[arg(long)]
    program: PathBuf,
    /// Previews per way; 0 only writes the photo.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = Arguments::parse();
    arguments.program = std::path::absolute(&arguments.program)?;
    std::fs::write(&arguments.photo, photo(arguments.megapixels)?)?;
    let warm = pool(&arguments.program);
    in_worker(&warm, &arguments.photo).await?;
    let (mut here, mut ready, mut started) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..arguments.rounds {
        let begin = Instant::now();
        in_this_process(&arguments.photo)?;
        here.push(begin.elapsed());
        let begin = Instant::now();
        in_worker(&warm, &arguments.photo).await?;
        ready.push(begin.elapsed());
        let begin = Instant::now();
        let cold = pool(&arguments.program);
        in_worker(&cold, &arguments.photo).await?;
        started.push(begin.elapsed());
        cold.stop().await;
    }
    let report = json!({
        "bytes": std::fs::metadata(&arguments.photo)?.len(),
        "here_ms": median_ms(here),
        "ready_ms": median_ms(ready),
        "started_ms": median_ms(started),
    });
    serde_json::to_writer(std::io::stdout(), &report)?;
    Ok(())
}

fn pool(program: &Path) -> RenderWorkers {
    let settings = Settings {
        program: program.to_owned(),
        workers: 1,
        deadline: DEADLINE,
        idle_max: DEADLINE,
    };
    RenderWorkers::new(settings, Pictures::default())
}

/// Reading the file is included, as in a worker.
fn in_this_process(photo: &Path) -> anyhow::Result<()> {
    render(&std::fs::read(photo)?, &Recipe::preview(), &RenderLimits::default())?;
    Ok(())
}

async fn in_worker(workers: &RenderWorkers, photo: &Path) -> anyhow::Result<()> {
    let file = File::open(photo)?;
    let job = Job {
        blob: BlobId(uuid::Uuid::nil()),
        recipe: Recipe::preview(),
        limits: RenderLimits::default(),
        open: Box::new(move || Ok(Some(file))),
    };
    let created = workers.render(Priority::Now, job).await.context("no worker")?;
    ensure!(created.is_some(), "no picture was rendered");
    Ok(())
}

/// A JPEG with soft shapes and grain, like a photo.
fn photo(megapixels: u32) -> anyhow::Result<Vec<u8>> {
    let height = (f64::from(megapixels) * 1e6 * 0.75).sqrt() as usize;
    let width = height * 4 / 3;
    let mut pixels = Vec::with_capacity(width * height * 3);
    let mut seed = 1_u32;
    for y in 0..height {
        let down = (y as f32 / 190.0).sin() * 40.0;
        for x in 0..width {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let grain = (seed >> 24) as f32 / 16.0 - 8.0;
            let shape = (x as f32 / 310.0).cos() * 50.0 + ((x + 2 * y) as f32 / 37.0).sin() * 20.0;
            let light = 120.0 + down + shape + grain;
            pixels.extend([light, light * 0.9 + 12.0, light * 0.7 + 30.0].map(|c| c as u8));
        }
    }
    let mut compressor = Compressor::new()?;
    compressor.set_quality(QUALITY)?;
    compressor.set_subsamp(turbojpeg::Subsamp::Sub2x2)?;
    let (pitch, format) = (width * 3, PixelFormat::RGB);
    let image = Image { pixels: &pixels[..], width, pitch, height, format };
    Ok(compressor.compress_to_vec(image)?)
}

fn median_ms(mut times: Vec<Duration>) -> Option<f64> {
    times.sort();
    times.get(times.len() / 2).map(|time| time.as_secs_f64() * 1_000.0)
}
