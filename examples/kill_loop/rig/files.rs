//! Files to upload. Each is regenerated from a few facts, so that an upload without a response can
//! be retried with the same bytes.

use anyhow::Context as _;
use image::{DynamicImage, ImageFormat, RgbImage};
use sha2::{Digest as _, Sha256};
use turbojpeg::{Compressor, PixelFormat};

const KIB: u64 = 1024;

/// Pseudorandom numbers from a seed (splitmix64).
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` to below `high`.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }

    /// True with this chance in percent.
    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.next() % 100 < chance
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Csv,
    Pdf,
    Jpeg,
    Png,
}

/// What a file is generated from.
#[derive(Debug, Clone)]
pub(crate) struct File {
    /// Unique within its run.
    pub(crate) name: String,
    kind: Kind,
    seed: u64,
    size: u64,
}

impl File {
    /// A file of random kind and size: most are small, some have a few MiB.
    pub(crate) fn random(number: usize, rng: &mut Rng) -> Self {
        let (kind, extension) = match rng.between(0, 10) {
            0..4 => (Kind::Csv, "csv"),
            4..7 => (Kind::Pdf, "pdf"),
            7..9 => (Kind::Jpeg, "jpg"),
            _ => (Kind::Png, "png"),
        };
        let size = match rng.between(0, 20) {
            0..6 => rng.between(1, KIB),
            6..14 => rng.between(KIB, 200 * KIB),
            14..19 => rng.between(200 * KIB, 1024 * KIB),
            _ => rng.between(1024 * KIB, 4096 * KIB),
        };
        Self { name: format!("{number:07}.{extension}"), kind, seed: rng.next(), size }
    }

    pub(crate) fn mime_type(&self) -> &'static str {
        match self.kind {
            Kind::Csv => "text/csv",
            Kind::Pdf => "application/pdf",
            Kind::Jpeg => "image/jpeg",
            Kind::Png => "image/png",
        }
    }

    /// Returns the same bytes on every call.
    pub(crate) fn bytes(&self) -> anyhow::Result<Vec<u8>> {
        let mut rng = Rng::new(self.seed);
        Ok(match self.kind {
            Kind::Csv => text(&mut rng, self.size as usize),
            Kind::Pdf => [b"%PDF-1.7\n", &*text(&mut rng, self.size as usize)].concat(),
            // Larger files are larger pictures, up to 1200 pixels.
            Kind::Jpeg => jpeg(&picture(&mut rng, 16 + self.size.isqrt().min(1184))?)?,
            Kind::Png => png(&picture(&mut rng, 1 + (self.size / KIB).min(255))?)?,
        })
    }
}

/// Lines of text that differ in every file. One block is repeated, because this program is not
/// optimised in test builds.
fn text(rng: &mut Rng, size: usize) -> Vec<u8> {
    let lines: Vec<String> = (0..256).map(|_| format!("{:014x},\n", rng.next() >> 8)).collect();
    let block = lines.concat();
    let mut file = block.repeat(size / block.len() + 1).into_bytes();
    file.truncate(size);
    // Numbered, so that a block in another's place is detected.
    for (number, index) in (0..size).step_by(block.len()).enumerate().skip(1) {
        let mark = format!("{number:08x}");
        let end = size.min(index + mark.len());
        file[index..end].copy_from_slice(&mark.as_bytes()[..end - index]);
    }
    file
}

/// SHA-256 in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    dossier::domain::hex::encode(&Sha256::digest(bytes))
}

/// Whether a preview starts and ends like a complete picture.
pub(crate) fn is_whole_picture(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\xff\xd8") && bytes.ends_with(b"\xff\xd9")
        || bytes.starts_with(b"\x89PNG") && bytes.ends_with(b"IEND\xae\x42\x60\x82")
}

/// Eight bands of eight random colours.
fn picture(rng: &mut Rng, side: u64) -> anyhow::Result<RgbImage> {
    let side = side as usize;
    let mut pixels = Vec::with_capacity(side * side * 3);
    for band in 0..8 {
        let mut row = Vec::with_capacity(side * 3);
        for square in 0..8 {
            let colour = &rng.next().to_le_bytes()[..3];
            row.extend(colour.repeat(side * (square + 1) / 8 - side * square / 8));
        }
        pixels.extend(row.repeat(side * (band + 1) / 8 - side * band / 8));
    }
    let side = side as u32;
    RgbImage::from_raw(side, side, pixels).context("the picture has the wrong size")
}

fn jpeg(picture: &RgbImage) -> anyhow::Result<Vec<u8>> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let pixels = picture.as_raw().as_slice();
    let image =
        turbojpeg::Image { pixels, width, pitch: width * 3, height, format: PixelFormat::RGB };
    Ok(Compressor::new()?.compress_to_vec(image)?)
}

fn png(picture: &RgbImage) -> anyhow::Result<Vec<u8>> {
    let mut file = std::io::Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(picture.clone()).write_to(&mut file, ImageFormat::Png)?;
    Ok(file.into_inner())
}
