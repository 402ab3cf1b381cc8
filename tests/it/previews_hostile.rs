//! Broken and malicious pictures: the original is kept, and only the preview is lost (S7, S8, R29).

use serde_json::Value;
use uuid::Uuid;

use crate::support::files::{eventually, jpeg, png, quarters};
use crate::support::{Response, TestApp};

async fn upload(app: &TestApp, name: &str, mime_type: &str, bytes: &[u8]) -> Uuid {
    let contact = Uuid::new_v4();
    app.upload(contact, name, mime_type, bytes).await.ok();
    contact
}

async fn attachment(app: &TestApp, contact: Uuid) -> Value {
    app.list(contact).await.ok()["attachments"][0].clone()
}

async fn original(app: &TestApp, attachment: &Value) -> Response {
    app.open(attachment["image"]["url"].as_str().unwrap()).await
}

/// The preview's link, even if the list does not offer one.
fn preview_link(attachment: &Value) -> String {
    attachment["image"]["url"].as_str().unwrap().replacen('?', "/preview?", 1)
}

fn size_of(attachment: &Value) -> (u64, u64) {
    let image = &attachment["image"];
    (image["width"].as_u64().unwrap(), image["height"].as_u64().unwrap())
}

/// A JPEG that claims this size and has no image data.
fn jpeg_head(width: u16, height: u16) -> Vec<u8> {
    let mut file = jpeg(&quarters(16, 16));
    let frame = file.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    file[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
    file[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
    file
}

/// A PNG that claims this size, with the image data of another.
fn png_head(width: u32, height: u32) -> Vec<u8> {
    let mut file = png(&quarters(16, 16));
    file[16..20].copy_from_slice(&width.to_be_bytes());
    file[20..24].copy_from_slice(&height.to_be_bytes());
    // The header's checksum is part of it.
    let mut sum = u32::MAX;
    for byte in &file[12..29] {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 };
        }
    }
    file[29..33].copy_from_slice(&(!sum).to_be_bytes());
    file
}

fn gif_head(width: u16, height: u16) -> Vec<u8> {
    [b"GIF89a", &width.to_le_bytes()[..], &height.to_le_bytes(), &[0, 0, 0, b';']].concat()
}

#[tokio::test]
async fn a_truncated_jpeg_is_listed_and_its_original_is_returned() {
    let app = TestApp::start().await;
    let whole = jpeg(&quarters(800, 600));
    for length in [whole.len() / 2, whole.len() - 10, 700] {
        let contact = upload(&app, "a.jpg", "image/jpeg", &whole[..length]).await;
        let listed = attachment(&app, contact).await;
        assert_eq!(listed["attachmentType"], "IMAGE");
        assert_eq!(size_of(&listed), (800, 600));
        assert_eq!(original(&app, &listed).await.body, &whole[..length]);
        // A preview of the existing part, or none, but never an error.
        let status = app.open(&preview_link(&listed)).await.status.as_u16();
        assert!(matches!(status, 200 | 404), "{length}: {status}");
    }
}

#[tokio::test]
async fn a_picture_that_cannot_be_decoded_loses_its_preview_and_nothing_else() {
    let app = TestApp::start().await;
    let mut file = png(&quarters(400, 300));
    let middle = file.windows(4).position(|four| four == b"IDAT").unwrap() + 4;
    for byte in &mut file[middle..] {
        *byte = 0x55;
    }
    let contact = upload(&app, "a.png", "image/png", &file).await;
    let first = attachment(&app, contact).await;
    assert_eq!(app.open(&preview_link(&first)).await.rejection(), (404, "NOT_FOUND".to_owned()));
    eventually("the list offers no preview", async || {
        attachment(&app, contact).await.get("previewImage").is_none()
    })
    .await;
    let listed = attachment(&app, contact).await;
    assert_eq!((listed["attachmentType"].as_str(), size_of(&listed)), (Some("IMAGE"), (400, 300)));
    assert_eq!(original(&app, &listed).await.body, file);
    assert_eq!(app.open(&preview_link(&listed)).await.status, 404);
}

#[tokio::test]
async fn decompression_bombs_are_accepted_and_never_decoded() {
    let app = TestApp::start().await;
    for (name, mime_type, file, size) in [
        ("a.jpg", "image/jpeg", jpeg_head(65_000, 65_000), (65_000, 65_000)),
        ("a.png", "image/png", png_head(65_000, 65_000), (65_000, 65_000)),
        ("b.png", "image/png", png_head(900_000, 4), (900_000, 4)),
        ("a.gif", "image/gif", gif_head(65_000, 65_000), (65_000, 65_000)),
    ] {
        let contact = upload(&app, name, mime_type, &file).await;
        let listed = attachment(&app, contact).await;
        assert_eq!(size_of(&listed), size, "{name}");
        assert!(listed.get("previewImage").is_none(), "{name}");
        assert_eq!(app.open(&preview_link(&listed)).await.status, 404, "{name}");
        assert_eq!(original(&app, &listed).await.body, file, "{name}");
    }
    // A decoder that had started would have produced a picture, run out of memory or hit its
    // deadline.
    let metrics = app.app().metrics.text();
    for outcome in ["made", "crashed", "timed_out"] {
        let count = format!("dossier_pictures_total{{outcome=\"{outcome}\"}}");
        assert!(!metrics.contains(&count), "{metrics}");
    }
}

#[tokio::test]
async fn the_pixel_limit_is_a_setting() {
    let app = TestApp::start_with(&[("preview_max_pixels", "10000")]).await;
    let small = upload(&app, "a.png", "image/png", &png(&quarters(100, 100))).await;
    assert!(attachment(&app, small).await.get("previewImage").is_some());
    let large = upload(&app, "a.png", "image/png", &png(&quarters(101, 100))).await;
    let listed = attachment(&app, large).await;
    assert!(listed.get("previewImage").is_none());
    assert_eq!(size_of(&listed), (101, 100));
}

#[tokio::test]
async fn an_image_without_a_decoder_has_no_preview_and_possibly_no_size() {
    let app = TestApp::start().await;
    let heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic".as_slice();
    let contact = upload(&app, "a.heic", "image/heic", heic).await;
    let listed = attachment(&app, contact).await;
    assert_eq!((listed["attachmentType"].as_str(), size_of(&listed)), (Some("IMAGE"), (0, 0)));
    assert!(listed.get("previewImage").is_none());
    assert_eq!(app.open(&preview_link(&listed)).await.status, 404);
    assert_eq!(original(&app, &listed).await.body, heic);
}

#[tokio::test]
async fn a_header_with_absurd_sizes_is_ignored() {
    let app = TestApp::start().await;
    for (width, height) in [(0, 5), (u32::MAX, u32::MAX)] {
        let contact = upload(&app, "a.png", "image/png", &png_head(width, height)).await;
        let listed = attachment(&app, contact).await;
        assert_eq!(size_of(&listed), (0, 0), "{width}x{height}");
        assert!(listed.get("previewImage").is_none());
    }
}

#[tokio::test]
async fn damaged_pictures_of_every_kind_break_nothing() {
    let app = TestApp::start().await;
    let mut seed = 7_u32;
    let files = [
        ("a.jpg", "image/jpeg", jpeg(&quarters(200, 100))),
        ("a.png", "image/png", png(&quarters(200, 100))),
    ];
    for round in 0..40 {
        let (name, mime_type, whole) = &files[round % 2];
        let mut file = whole.clone();
        for _ in 0..20 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // The first bytes identify the type of file.
            let at = 16 + (seed >> 8) as usize % (file.len() - 16);
            file[at] ^= (seed >> 3) as u8;
        }
        let contact = upload(&app, name, mime_type, &file).await;
        let listed = attachment(&app, contact).await;
        assert_eq!(original(&app, &listed).await.body, file, "round {round}");
        let status = app.open(&preview_link(&listed)).await.status.as_u16();
        assert!(matches!(status, 200 | 404), "round {round}: {status}");
    }
}
