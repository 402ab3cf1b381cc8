//! Files to upload, and the files that an upload leaves on disk.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use image::{DynamicImage, ImageFormat, RgbImage, RgbaImage};
use sha2::{Digest as _, Sha256};
use turbojpeg::{Compressor, PixelFormat};

use super::TestApp;

/// A small PDF.
pub(crate) const PDF: &[u8] = b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\n%%EOF\n";

/// A picture of four plain quarters: red, green, blue and white.
pub(crate) fn quarters(width: u32, height: u32) -> RgbImage {
    let colours = [[230, 30, 30], [30, 200, 30], [30, 30, 220], [240, 240, 240]];
    RgbImage::from_fn(width, height, |x, y| {
        image::Rgb(colours[usize::from(x >= width / 2) + 2 * usize::from(y >= height / 2)])
    })
}

/// Encodes a JPEG.
pub(crate) fn jpeg(picture: &RgbImage) -> Vec<u8> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let (pitch, format) = (width * 3, PixelFormat::RGB);
    let pixels = picture.as_raw().as_slice();
    let mut compressor = Compressor::new().unwrap();
    compressor.compress_to_vec(turbojpeg::Image { pixels, width, pitch, height, format }).unwrap()
}

/// Encodes a PNG.
pub(crate) fn png(picture: &RgbImage) -> Vec<u8> {
    encoded(&DynamicImage::ImageRgb8(picture.clone()), ImageFormat::Png)
}

/// Encodes a picture.
pub(crate) fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, format).unwrap();
    file.into_inner()
}

/// Decodes a JPEG or PNG.
pub(crate) fn decoded(bytes: &[u8]) -> RgbaImage {
    if bytes.starts_with(b"\x89PNG") {
        return image::load_from_memory(bytes).unwrap().to_rgba8();
    }
    let picture = turbojpeg::decompress(bytes, PixelFormat::RGBA).unwrap();
    RgbaImage::from_raw(picture.width as u32, picture.height as u32, picture.pixels).unwrap()
}

/// Inserts a segment right after the start of a JPEG.
pub(crate) fn with_segment(jpeg: &[u8], marker: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xff, marker], &length, payload, &jpeg[2..]].concat()
}

/// A JPEG with EXIF data: an orientation and a description.
pub(crate) fn with_exif(jpeg: &[u8], orientation: u16, description: &[u8]) -> Vec<u8> {
    let mut tiff = b"Exif\0\0II*\0\x08\0\0\0\x02\0".to_vec();
    tiff.extend([0x0e, 0x01, 2, 0]);
    tiff.extend((description.len() as u32).to_le_bytes());
    tiff.extend(38_u32.to_le_bytes());
    tiff.extend([0x12, 0x01, 3, 0, 1, 0, 0, 0]);
    tiff.extend(u32::from(orientation).to_le_bytes());
    tiff.extend(0_u32.to_le_bytes());
    tiff.extend(description);
    with_segment(jpeg, 0xe1, &tiff)
}

/// A CSV file of this size with no two lines alike.
pub(crate) fn csv(size_bytes: usize) -> Vec<u8> {
    let mut file = Vec::with_capacity(size_bytes + 32);
    let mut line = 0_u64;
    while file.len() < size_bytes {
        line = line.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        file.extend_from_slice(format!("{line:016x},{:x}\n", line >> 40).as_bytes());
    }
    file.truncate(size_bytes);
    file
}

/// SHA-256 in hexadecimal.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    dossier::domain::hex::encode(&Sha256::digest(bytes))
}

/// Polls until a condition holds. Fails after a deadline far beyond the expected time.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(Instant::now() < deadline, "timed out waiting for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl TestApp {
    /// Every file in the staging and blobs folders.
    pub(crate) fn stored_files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for folder in ["staging", "blobs"] {
            files_below(&self.store_folder().join(folder), &mut found);
        }
        found
    }

    /// Every file in the transform cache.
    pub(crate) fn cached_files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        files_below(&self.data().join("cache"), &mut found);
        found
    }

    /// Uploads a picture and returns its link and its attachment.
    pub(crate) async fn picture(&self, name: &str, bytes: &[u8]) -> (String, serde_json::Value) {
        let contact = uuid::Uuid::new_v4();
        let extension = name.rsplit_once('.').unwrap().1.replace("jpg", "jpeg");
        self.upload(contact, name, &format!("image/{extension}"), bytes).await.ok();
        let attachment = self.list(contact).await.ok()["attachments"][0].clone();
        (attachment["image"]["url"].as_str().unwrap().to_owned(), attachment)
    }

    /// Fails unless all bytes of uploads are removed soon.
    pub(crate) async fn wait_until_store_is_empty(&self) {
        eventually("the store is empty", async || self.stored_files().is_empty()).await;
    }
}

/// The link to a transform of a picture.
pub(crate) fn transformed(link: &str, transform: &str) -> String {
    link.replace('?', &format!("/v1/{transform}?"))
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    // A bucket has no empty folders.
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, found) } else { found.push(path) }
    }
}

/// A body of unknown length, sent in chunks.
pub(crate) fn chunked(bytes: &[u8]) -> reqwest::Body {
    let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
        bytes.chunks(16_000).map(<[u8]>::to_vec).map(Ok).collect();
    reqwest::Body::wrap_stream(futures_util::stream::iter(pieces))
}
