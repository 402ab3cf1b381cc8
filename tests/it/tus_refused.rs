//! Resumable uploads that are rejected, and that leave nothing behind.

use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::support::tus::{PIECE, csv, metadata, token};
use crate::support::{Response, TestApp};

#[tokio::test]
async fn a_creation_with_bad_headers_is_rejected_with_the_name_of_the_header() {
    let app = TestApp::start().await;
    let before = app.snapshot().await;
    let upload_url = app.upload_url(Uuid::new_v4(), "table.csv", "text/csv").await;
    let good = metadata(token(&upload_url));
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[], "Upload-Length"),
        (&[("upload-length", "")], "Upload-Length"),
        (&[("upload-length", "-1")], "Upload-Length"),
        (&[("upload-length", "NaN")], "Upload-Length"),
        (&[("upload-length", "1.5")], "Upload-Length"),
        (&[("upload-length", "99999999999999999999")], "Upload-Length"),
        (&[("upload-length", "10"), ("upload-length", "10")], "Upload-Length"),
        (&[("upload-defer-length", "2")], "Upload-Defer-Length"),
        (&[("upload-defer-length", "1"), ("upload-length", "10")], "Upload-Defer-Length"),
        (&[("upload-length", "10"), ("upload-checksum", "md5 YQ=="), PIECE], "Upload-Checksum"),
    ];
    for (headers, name) in cases {
        let headers = [*headers, &[("upload-metadata", good.as_str())]].concat();
        let url = format!("{}/upload/tus", app.base);
        let response = app.tus(Method::POST, &url, &headers, b"").await;
        assert_eq!(response.status, 400, "{headers:?} {response:?}");
        let error = response.json();
        let data = &error["details"]["applicationError"]["data"];
        assert_eq!(data["header"], *name, "{headers:?} {error}");
        assert_eq!(response.header("tus-resumable"), "1.0.0");
    }
    assert_eq!(app.snapshot().await, before);
}

#[tokio::test]
async fn bad_metadata_is_rejected_and_a_missing_token_is_forbidden() {
    let app = TestApp::start().await;
    let before = app.snapshot().await;
    let upload_url = app.upload_url(Uuid::new_v4(), "table.csv", "text/csv").await;
    let good = metadata(token(&upload_url));
    let url = format!("{}/upload/tus", app.base);
    for text in [format!("{good},token YQ=="), "token %%".to_owned(), format!("{good},,")] {
        let headers = [("upload-length", "10"), ("upload-metadata", &*text)];
        let response = app.tus(Method::POST, &url, &headers, b"").await;
        assert_eq!(response.rejection(), (400, "INVALID_ARGUMENT".to_owned()), "{text}");
    }
    for text in ["filename YQ==", "token YQ==", ""] {
        let headers = [("upload-length", "10"), ("upload-metadata", text)];
        let response = app.tus(Method::POST, &url, &headers, b"").await;
        assert_eq!(response.rejection(), (403, "INVALID_UPLOAD_TOKEN".to_owned()), "{text}");
    }
    app.advance_seconds(24 * 60 * 60);
    let late = app.tus_create(&upload_url, 10).await;
    assert_eq!(late.rejection(), (403, "INVALID_UPLOAD_TOKEN".to_owned()));
    assert_eq!(app.snapshot().await, before);
}

#[tokio::test]
async fn a_piece_with_bad_headers_is_rejected_and_the_offset_is_unchanged() {
    let (app, file) = (TestApp::start().await, csv(100));
    let (_, location) = app.tus_begin(Uuid::new_v4(), 100).await;
    app.tus_patch(&location, 0, &file[..10]).await;
    let cases: &[(&[(&str, &str)], u16)] = &[
        (&[PIECE], 400),
        (&[PIECE, ("upload-offset", "-1")], 400),
        (&[PIECE, ("upload-offset", "ten")], 400),
        (&[PIECE, ("upload-offset", "99999999999999999999")], 400),
        (&[PIECE, ("upload-offset", "10"), ("upload-offset", "10")], 400),
        (&[PIECE, ("upload-offset", "10"), ("upload-length", "x")], 400),
        (&[PIECE, ("upload-offset", "10"), ("upload-checksum", "sha1")], 400),
        (&[PIECE, ("upload-offset", "0")], 409),
        (&[PIECE, ("upload-offset", "11")], 409),
        (&[("upload-offset", "10")], 415),
        (&[("upload-offset", "10"), ("content-type", "text/csv")], 415),
    ];
    for (headers, status) in cases {
        let response = app.tus(Method::PATCH, &location, headers, &file[10..]).await;
        assert_eq!(response.status, *status, "{headers:?} {response:?}");
        if *status == 409 {
            assert_eq!(response.offset(), 10);
        }
        assert_eq!(app.tus_head(&location).await.offset(), 10, "{headers:?}");
    }
}

#[tokio::test]
async fn another_protocol_version_is_rejected() {
    let app = TestApp::start().await;
    let (_, location) = app.tus_begin(Uuid::new_v4(), 100).await;
    for version in ["", "0.2.2", "2.0.0"] {
        let request = app.client().patch(&location).header("tus-resumable", version);
        let response = Response::to(request).await;
        assert_eq!((response.status.as_u16(), response.header("tus-version")), (412, "1.0.0"));
    }
    assert_eq!(Response::to(app.client().head(&location)).await.status, 412);
}

#[tokio::test]
async fn more_than_the_url_allows_is_rejected_before_and_during_transfer() {
    let app = TestApp::start_with(&[("upload_max_bytes", "1000")]).await;
    let contact = Uuid::new_v4();
    let upload_url = app.upload_url(contact, "table.csv", "text/csv").await;
    assert_eq!(app.tus_create(&upload_url, 1_001).await.rejection().0, 413);
    assert_eq!(app.tus_create(&upload_url, 0).await.rejection().1, "EMPTY_FILE");
    // Unknown length, one piece after the other.
    let created = app.tus(Method::POST, &upload_url, &[("upload-defer-length", "1")], b"").await;
    let location = created.header("location");
    assert_eq!(app.tus_patch(location, 0, &csv(900)).await.status, 204);
    assert_eq!(app.tus_patch(location, 900, &csv(101)).await.rejection().0, 413);
    assert_eq!(app.tus_head(location).await.offset(), 900);
    // A body longer than the declared length creates no attachment.
    let (_, location) = app.tus_begin(contact, 100).await;
    let stream = futures_util::stream::iter([csv(100), csv(50)].map(Ok::<_, std::io::Error>));
    let request = app
        .client()
        .patch(&location)
        .header("tus-resumable", "1.0.0")
        .header("upload-offset", "0")
        .header(PIECE.0, PIECE.1)
        .body(reqwest::Body::wrap_stream(stream));
    assert_eq!(Response::to(request).await.rejection().0, 413);
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 0);
    assert!(app.tus_head(&location).await.offset() < 100);
}

#[tokio::test]
async fn a_file_of_another_type_or_hash_ends_the_upload() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    let before = app.snapshot().await;
    let upload_url = app.upload_url(contact, "photo.png", "image/png").await;
    let created = app.tus_create(&upload_url, 100).await;
    let location = created.header("location");
    let rejected = app.tus_patch(location, 0, &csv(100)).await.rejection();
    assert_eq!(rejected, (400, "MIME_TYPE_MISMATCH".to_owned()));
    assert_eq!(app.tus_head(location).await.status, 410);
    let body = json!({ "fileName": "a.csv", "mimeType": "text/csv", "sha256": "0".repeat(64),
                       "sizeInBytes": 100 });
    let url = app.generate(contact, &body).await.ok()["uploadUrl"].as_str().unwrap().to_owned();
    assert_eq!(app.tus_create(&url, 99).await.rejection().1, "SIZE_MISMATCH");
    let created = app.tus_create(&url, 100).await;
    let rejected = app.tus_patch(created.header("location"), 0, &csv(100)).await.rejection();
    assert_eq!(rejected, (400, "CHECKSUM_MISMATCH".to_owned()));
    assert_eq!(app.snapshot().await, before);
}

#[tokio::test]
async fn a_forged_or_foreign_upload_url_is_rejected() {
    let app = TestApp::start().await;
    let (_, location) = app.tus_begin(Uuid::new_v4(), 100).await;
    let (other_url, _) = app.tus_begin(Uuid::new_v4(), 100).await;
    let upload = location.rsplit('/').next().unwrap();
    let foreign = format!("{}/upload/tus/{}/{upload}", app.base, token(&other_url));
    assert_eq!(app.tus_head(&foreign).await.status, 410);
    assert_eq!(app.tus_head(&format!("{foreign}0")).await.status, 410);
    let forged = format!("{}/upload/tus/AAAA/{upload}", app.base);
    assert_eq!(app.tus_head(&forged).await.status, 403);
    let unfinished = app.tus_finish(&other_url).await.rejection();
    assert_eq!(unfinished, (409, "UPLOAD_UNFINISHED".to_owned()));
}
