//! Transforms on the fly (contract §10): which are rendered and which are rejected before any work
//! (S38).

use reqwest::Method;

use crate::support::files::{decoded, jpeg, png, quarters, transformed};
use crate::support::{Response, TestApp};

/// A preset that is always allowed.
const PRESET: &str = "fit/w_64,h_64,q_80,enc_auto/any%20name.jpg";

#[tokio::test]
async fn a_picture_link_gives_access_to_its_presets() {
    let app = TestApp::start().await;
    let (link, _) = app.picture("photo.png", &png(&quarters(400, 200))).await;
    let response = app.open(&transformed(&link, PRESET)).await;
    assert_eq!(response.status, 200);
    let created = decoded(&response.body);
    assert_eq!((created.width(), created.height()), (64, 32));
    assert_eq!(response.header("content-type"), "image/jpeg");
    assert_eq!(response.header("content-length"), response.body.len().to_string());
    // Named after its own type, not the original's.
    assert_eq!(response.header("content-disposition"), "inline; filename=\"photo.jpg\"");
    assert_eq!(response.header("cache-control"), "private, max-age=3600, immutable");
    assert_eq!(response.header("vary"), "accept");
    assert_eq!(response.header("content-security-policy"), "default-src 'none'; sandbox");
    assert_eq!(response.header("x-content-type-options"), "nosniff");
    assert!(response.headers.get("set-cookie").is_none());
}

#[tokio::test]
async fn a_transform_has_ranges_conditions_and_heads() {
    let app = TestApp::start().await;
    let (link, _) = app.picture("photo.jpg", &jpeg(&quarters(400, 200))).await;
    let link = transformed(&link, PRESET);
    let whole = app.open(&link).await;
    let fetch = |name: &'static str, value: String| {
        Response::to(app.client().get(&link).header(name, value))
    };
    let part = fetch("range", "bytes=2-9".to_owned()).await;
    assert_eq!((part.status.as_u16(), part.body.as_slice()), (206, &whole.body[2..10]));
    let parts = fetch("range", "bytes=0-0,-1".to_owned()).await;
    assert!(parts.header("content-type").starts_with("multipart/byteranges"));
    assert_eq!(parts.header("content-length"), parts.body.len().to_string());
    assert_eq!(fetch("range", "bytes=9999999-".to_owned()).await.status, 416);
    let unchanged = fetch("if-none-match", whole.header("etag").to_owned()).await;
    assert_eq!((unchanged.status.as_u16(), unchanged.header("vary")), (304, "accept"));
    let head = Response::to(app.client().head(&link)).await;
    assert_eq!(head.header("content-length"), whole.body.len().to_string());
    assert_eq!((head.header("etag"), head.body.len()), (whole.header("etag"), 0));
}

#[tokio::test]
async fn every_result_has_its_own_etag() {
    let app = TestApp::start_with(&[("transforms", "any")]).await;
    let (link, _) = app.picture("photo.jpg", &jpeg(&quarters(400, 200))).await;
    let mut tags = vec![app.open(&link).await.header("etag").to_owned()];
    for transform in ["fit/w_64,h_64/a", "fit/w_65,h_64/a", "fit/w_64,h_64,q_50/a"] {
        let response = app.open(&transformed(&link, transform)).await;
        assert_eq!(response.status, 200);
        assert!(response.headers.get("vary").is_none(), "there is no content negotiation");
        tags.push(response.header("etag").to_owned());
    }
    let webp = app.client().get(transformed(&link, "fit/w_64,h_64,enc_auto/a"));
    tags.push(Response::to(webp.header("accept", "image/webp")).await.header("etag").to_owned());
    let count = tags.len();
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags.len(), count);
    let plain = app.open(&transformed(&link, "fit/h_64,w_64,enc_auto/b")).await;
    assert_eq!(
        plain.header("etag"),
        app.open(&transformed(&link, "fit/w_64,h_64/a")).await.header("etag")
    );
}

#[tokio::test]
async fn s38_transforms_outside_the_presets_are_rejected_without_work() {
    let app = TestApp::start().await;
    let (link, _) = app.picture("photo.jpg", &jpeg(&quarters(400, 200))).await;
    for transform in [
        "fit/w_63,h_64/a",
        "fill/w_5000,h_5000,lg_2/a",
        "fit/w_64,h_64,blur_100/a",
        "fit/w_64,h_64,q_81/a",
        "crop/x_0,y_0,w_64,h_64/a",
        "crop/x_1,y_1,w_9,h_9/fit/w_64,h_64/a",
    ] {
        let response = app.open(&transformed(&link, transform)).await;
        assert_eq!(response.rejection(), (403, "PERMISSION_DENIED".to_owned()), "{transform}");
        assert_eq!(response.header("cache-control"), "no-store");
    }
    assert!(app.cached_files().is_empty());
}

#[tokio::test]
async fn s38_a_transform_outside_the_grammar_is_a_400_with_name_and_rule() {
    let app = TestApp::start_with(&[("transforms", "any")]).await;
    let (link, _) = app.picture("photo.jpg", &jpeg(&quarters(400, 200))).await;
    for (transform, field, rule) in [
        ("crop/x_1,y_1,w_9,h_9/fill/w_NaN,h_NaN,al_c/a", "w", "FORMAT"),
        ("fit/w_64/a", "h", "REQUIRED_FIELD"),
        ("fit/w_0,h_64/a", "w", "MIN"),
        ("fit/w_64,h_5001/a", "h", "MAX"),
        ("fit/w_64,h_64,w_64/a", "w", "OTHER"),
        ("fit/w_64,h_64,con_-101/a", "con", "OTHER"),
        ("fit/w_64,h_64,sh_ls/a", "transform", "OTHER"),
        ("fit/w_64,h_64,wm_mark/a", "wm", "OTHER"),
        ("fit/w_64,h_64,enc_webp/a", "enc", "OTHER"),
        ("resize/w_64,h_64/a", "transform", "OTHER"),
        ("fit/w_64%2ch_64/a", "w", "FORMAT"),
        ("fit/w_64,h_64/", "transform", "OTHER"),
        ("fit/w_64,h_64/fit/w_64,h_64/a", "transform", "OTHER"),
        ("/fit/w_64,h_64/a", "transform", "OTHER"),
    ] {
        let found = app.open(&transformed(&link, transform)).await.violations();
        assert!(found.contains(&(field.to_owned(), rule.to_owned())), "{transform}: {found:?}");
    }
    assert!(app.cached_files().is_empty());
}

#[tokio::test]
async fn authorisation_is_checked_first() {
    let app = TestApp::start().await;
    let (link, _) = app.picture("photo.jpg", &jpeg(&quarters(40, 20))).await;
    let (path, _) = link.split_once('?').unwrap();
    for transform in [PRESET, "fit/w_NaN,h_64/a", "fit/w_63,h_64/a"] {
        for query in ["", "?token=x"] {
            let response = app.open(&format!("{path}/v1/{transform}{query}")).await;
            assert_eq!(response.rejection(), (403, "INVALID_LINK".to_owned()), "{transform}");
        }
    }
}

#[tokio::test]
async fn transforms_can_be_turned_off() {
    let app = TestApp::start_with(&[("transforms", "off")]).await;
    let (link, attachment) = app.picture("photo.jpg", &jpeg(&quarters(40, 20))).await;
    let response = app.open(&transformed(&link, PRESET)).await;
    assert_eq!(response.rejection(), (403, "PERMISSION_DENIED".to_owned()));
    assert_eq!(app.open(attachment["previewImage"]["url"].as_str().unwrap()).await.status, 200);
}

#[tokio::test]
async fn only_pictures_have_transforms() {
    let app = TestApp::start().await;
    let contact = uuid::Uuid::new_v4();
    let file = app.upload(contact, "a.csv", "text/csv", b"a,b\n").await.ok();
    let link = file["file"]["url"].as_str().unwrap().replace("/ugd/", "/media/");
    assert_eq!(
        app.open(&transformed(&link, PRESET)).await.rejection(),
        (404, "NOT_FOUND".to_owned())
    );
    let (heic, _) = app.picture("a.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic").await;
    assert_eq!(
        app.open(&transformed(&heic, PRESET)).await.rejection(),
        (404, "NOT_FOUND".to_owned())
    );
}

#[tokio::test]
async fn transforms_accept_only_get_and_head() {
    let app = TestApp::start().await;
    let (link, _) = app.picture("photo.jpg", &jpeg(&quarters(40, 20))).await;
    for method in [Method::PUT, Method::POST, Method::DELETE] {
        let response = Response::to(app.client().request(method, transformed(&link, PRESET))).await;
        assert_eq!(response.rejection(), (405, "METHOD_NOT_ALLOWED".to_owned()));
    }
}

#[tokio::test]
async fn s28_too_many_concurrent_transforms_get_a_retry_after() {
    let app = TestApp::start().await;
    let (link, _) = app.picture("photo.jpg", &jpeg(&quarters(400, 200))).await;
    let places = &app.app().transforms.permits;
    let all = places.try_acquire_many(places.available_permits() as u32).unwrap();
    let response = app.open(&transformed(&link, PRESET)).await;
    assert_eq!((response.status.as_u16(), response.header("retry-after")), (503, "2"));
    drop(all);
    assert_eq!(app.open(&transformed(&link, PRESET)).await.status, 200);
}
