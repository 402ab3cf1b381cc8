//! Previews as their links serve them (contract §10): upright, small, without metadata, and ready
//! when the upload's response arrives.

use std::path::PathBuf;

use futures_util::future::join_all;
use image::{DynamicImage, ImageFormat, RgbaImage};
use serde_json::Value;
use uuid::Uuid;

use crate::support::files::{
    PDF, decoded, encoded, eventually, jpeg, png, quarters, with_exif, with_segment,
};
use crate::support::{PNG, Response, TestApp};

const RED: [u8; 3] = [230, 30, 30];
const GREEN: [u8; 3] = [30, 200, 30];
const BLUE: [u8; 3] = [30, 30, 220];
const WHITE: [u8; 3] = [240, 240, 240];

/// Uploads a picture and returns its attachment.
async fn picture(app: &TestApp, name: &str, mime_type: &str, bytes: &[u8]) -> Value {
    let contact = Uuid::new_v4();
    app.upload(contact, name, mime_type, bytes).await.ok();
    app.list(contact).await.ok()["attachments"][0].clone()
}

async fn preview_of(app: &TestApp, attachment: &Value) -> Response {
    let preview = app.open(attachment["previewImage"]["url"].as_str().unwrap()).await;
    assert_eq!(preview.status, 200);
    preview
}

fn size_of(response: &Response) -> (u32, u32) {
    decoded(&response.body).dimensions()
}

fn stated_size(image: &Value) -> (u64, u64) {
    (image["width"].as_u64().unwrap(), image["height"].as_u64().unwrap())
}

/// Asserts the colours in the middle of the four quarters, left to right and top to bottom.
fn assert_corners(preview: &Response, expected: [[u8; 3]; 4]) {
    let picture = decoded(&preview.body);
    let (width, height) = picture.dimensions();
    let places = [(1, 1), (3, 1), (1, 3), (3, 3)];
    for ((x, y), expected) in places.into_iter().zip(expected) {
        let found = picture.get_pixel(width * x / 4, height * y / 4).0;
        let near = found.iter().zip(expected).all(|(found, wanted)| found.abs_diff(wanted) < 12);
        assert!(near, "{found:?} is not {expected:?} at {x}, {y}");
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn a_large_jpeg_is_reduced_and_its_list_entry_has_the_original_size() {
    let app = TestApp::start().await;
    let attachment = picture(&app, "a.jpg", "image/jpeg", &jpeg(&quarters(1600, 1200))).await;
    assert_eq!(stated_size(&attachment["image"]), (1600, 1200));
    assert_eq!(stated_size(&attachment["previewImage"]), (1600, 1200));
    assert_eq!(attachment["previewImage"]["id"], attachment["image"]["id"]);
    let preview = preview_of(&app, &attachment).await;
    assert_eq!(preview.header("content-type"), "image/jpeg");
    assert_eq!(preview.header("content-disposition"), "inline; filename=\"a.jpg\"");
    assert_eq!(size_of(&preview), (640, 480));
    assert_corners(&preview, [RED, GREEN, BLUE, WHITE]);
}

#[tokio::test]
async fn the_longer_side_is_limited() {
    let app = TestApp::start().await;
    for (width, height, expected) in
        [(641, 10, (640, 10)), (300, 1280, (150, 640)), (3000, 3, (640, 1)), (640, 640, (640, 640))]
    {
        let file = png(&quarters(width, height));
        let attachment = picture(&app, "a.png", "image/png", &file).await;
        assert_eq!(size_of(&preview_of(&app, &attachment).await), expected, "{width}x{height}");
    }
}

#[tokio::test]
async fn a_rotated_photo_is_upright() {
    let app = TestApp::start().await;
    let file = with_exif(&jpeg(&quarters(800, 400)), 6, b"SECRET-GPS-52.5N");
    let attachment = picture(&app, "a.jpg", "image/jpeg", &file).await;
    assert_eq!(stated_size(&attachment["image"]), (400, 800));
    assert_eq!(stated_size(&attachment["previewImage"]), (400, 800));
    let preview = preview_of(&app, &attachment).await;
    assert_eq!(size_of(&preview), (320, 640));
    // Rotated clockwise by 90 degrees: the lower left becomes the upper left.
    assert_corners(&preview, [BLUE, RED, WHITE, GREEN]);
    let original = app.open(attachment["image"]["url"].as_str().unwrap()).await;
    assert_eq!(original.body, file, "the original is unchanged");
}

#[tokio::test]
async fn a_preview_contains_no_metadata() {
    let app = TestApp::start().await;
    let secret = b"SECRET-GPS-52.5N";
    let mut file = with_exif(&jpeg(&quarters(300, 200)), 1, secret);
    file = with_segment(&file, 0xfe, secret);
    file = with_segment(&file, 0xed, &[b"Photoshop 3.0\0", &secret[..]].concat());
    let xmp = [b"http://ns.adobe.com/xap/1.0/\0<x>", &secret[..], b"</x>"].concat();
    file = with_segment(&file, 0xe1, &xmp);
    assert!(contains(&file, secret));
    let preview = preview_of(&app, &picture(&app, "a.jpg", "image/jpeg", &file).await).await;
    for part in [&secret[..], b"Exif", b"http://", b"Photoshop", b"ICC_PROFILE"] {
        assert!(!contains(&preview.body, part), "{}", String::from_utf8_lossy(part));
    }
}

#[tokio::test]
async fn a_transparent_picture_stays_a_png() {
    let app = TestApp::start().await;
    let picture_with_alpha = RgbaImage::from_fn(900, 300, |x, _| {
        image::Rgba([200, 10, 10, if x < 450 { 0 } else { 255 }])
    });
    let file = encoded(&DynamicImage::ImageRgba8(picture_with_alpha), ImageFormat::Png);
    let attachment = picture(&app, "a.png", "image/png", &file).await;
    let preview = preview_of(&app, &attachment).await;
    assert_eq!(preview.header("content-type"), "image/png");
    let shown = decoded(&preview.body);
    assert_eq!(shown.dimensions(), (640, 213));
    assert_eq!((shown.get_pixel(50, 100).0[3], shown.get_pixel(600, 100).0[3]), (0, 255));
}

#[tokio::test]
async fn a_gif_shows_its_first_frame() {
    let app = TestApp::start().await;
    let frames = [quarters(700, 350), image::RgbImage::new(700, 350)];
    let mut file = Vec::new();
    {
        let mut encoder = image::codecs::gif::GifEncoder::new(&mut file);
        for frame in frames {
            let frame = DynamicImage::ImageRgb8(frame).to_rgba8();
            encoder.encode_frame(image::Frame::new(frame)).unwrap();
        }
    }
    let attachment = picture(&app, "a.gif", "image/gif", &file).await;
    assert_eq!(stated_size(&attachment["image"]), (700, 350));
    let preview = preview_of(&app, &attachment).await;
    assert_eq!(size_of(&preview), (640, 320));
    assert_corners(&preview, [RED, GREEN, BLUE, WHITE]);
}

#[tokio::test]
async fn a_tiny_picture_is_not_enlarged() {
    let app = TestApp::start().await;
    let attachment = picture(&app, "dot.png", "image/png", PNG).await;
    assert_eq!(size_of(&preview_of(&app, &attachment).await), (1, 1));
    let attachment = picture(&app, "a.jpg", "image/jpeg", &jpeg(&quarters(100, 80))).await;
    let preview = preview_of(&app, &attachment).await;
    assert_eq!(size_of(&preview), (100, 80));
    assert_corners(&preview, [RED, GREEN, BLUE, WHITE]);
}

#[tokio::test]
async fn the_first_requests_for_a_preview_all_get_the_same_bytes() {
    let app = TestApp::start().await;
    let file = jpeg(&quarters(3000, 2000));
    for _ in 0..3 {
        let attachment = picture(&app, "a.jpg", "image/jpeg", &file).await;
        let link = attachment["previewImage"]["url"].as_str().unwrap();
        let previews = join_all((0..20).map(|_| app.open(link))).await;
        for preview in &previews {
            assert_eq!(preview.status, 200);
            assert!(preview.body == previews[0].body, "one maker, one preview");
            assert_eq!(preview.header("etag"), previews[0].header("etag"));
        }
        assert_eq!(size_of(&previews[0]), (640, 427));
    }
    let previews = app.stored_files().iter().filter(|path| path.extension().is_some()).count();
    assert_eq!(previews, 3);
}

#[tokio::test]
async fn a_preview_supports_ranges_and_conditions_with_its_own_etag() {
    let app = TestApp::start().await;
    let attachment = picture(&app, "a.jpg", "image/jpeg", &jpeg(&quarters(1000, 500))).await;
    let link = attachment["previewImage"]["url"].as_str().unwrap();
    let whole = app.open(link).await;
    let original = app.open(attachment["image"]["url"].as_str().unwrap()).await;
    assert_ne!(whole.header("etag"), original.header("etag"));
    let etag = whole.header("etag");
    let part = Response::to(app.client().get(link).header("range", "bytes=2-9")).await;
    assert_eq!((part.status.as_u16(), &part.body[..]), (206, &whole.body[2..10]));
    let same = Response::to(app.client().get(link).header("if-none-match", etag)).await;
    assert_eq!(same.status, 304);
    let other = original.header("etag");
    let changed = Response::to(app.client().get(link).header("if-none-match", other)).await;
    assert_eq!(changed.status, 200);
}

#[tokio::test]
async fn a_preview_survives_a_restart_and_is_recreated_when_lost() {
    let app = TestApp::start().await;
    let attachment = picture(&app, "a.jpg", "image/jpeg", &jpeg(&quarters(1000, 500))).await;
    let link = attachment["previewImage"]["url"].as_str().unwrap().to_owned();
    let first = app.open(&link).await.body;
    let old_base = app.base.clone();
    let app = app.restart_with(&[("media_cache_bytes", "0")]).await;
    let link = link.replacen(&old_base, &app.base, 1);
    assert!(app.open(&link).await.body == first);
    for path in app.stored_files() {
        if path.extension().is_some() {
            std::fs::remove_file(path).unwrap();
        }
    }
    assert!(app.open(&link).await.body == first);
}

#[tokio::test]
async fn a_document_has_no_preview() {
    let app = TestApp::start().await;
    let attachment = picture(&app, "cv.pdf", "application/pdf", PDF).await;
    assert!(attachment.get("previewImage").is_none());
    let link = attachment["document"]["url"].as_str().unwrap();
    for prefix in ["/media/", "/ugd/"] {
        let url = link.replace('?', "/preview?").replace("/ugd/", prefix);
        assert_eq!(app.open(&url).await.status, 404, "{url}");
    }
}

#[tokio::test]
async fn a_preview_in_progress_is_stored_after_its_client_disconnects() {
    let app = TestApp::start_with(&[("preview_workers", "1"), ("media_cache_bytes", "0")]).await;
    let attachment = picture(&app, "large.png", "image/png", &png(&quarters(3_000, 2_000))).await;
    preview_of(&app, &attachment).await;
    let has_name = |path: &PathBuf| path.extension().is_some_and(|name| name == "preview");
    let created = || app.stored_files().into_iter().find(has_name);
    std::fs::remove_file(created().unwrap()).unwrap();
    let workers = &app.app().previews.workers;
    eventually("the worker is idle", async || workers.busy() == 0).await;

    let url = attachment["previewImage"]["url"].as_str().unwrap();
    let asking = app.app().tasks.spawn(app.client().get(url).send());
    eventually("the worker is busy", async || workers.busy() == 1).await;
    asking.abort();
    eventually("the preview is still stored", async || created().is_some()).await;
}
