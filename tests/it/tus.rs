//! Resumable uploads that succeed (contract §9; R15, R16).

use reqwest::Method;
use uuid::Uuid;

use crate::support::TestApp;
use crate::support::tus::{PIECE, csv, metadata, token};

/// The bytes of a contact's only attachment.
async fn only_file(app: &TestApp, contact: Uuid) -> Vec<u8> {
    let list = app.list(contact).await.ok();
    assert_eq!(list["metadata"]["total"], 1, "{list}");
    app.open(list["attachments"][0]["document"]["url"].as_str().unwrap()).await.body
}

#[tokio::test]
async fn a_file_sent_in_pieces_becomes_an_attachment() {
    let (app, contact, file) = (TestApp::start().await, Uuid::new_v4(), csv(10_000));
    let (upload_url, location) = app.tus_begin(contact, file.len()).await;
    for (from, to) in [(0, 1), (1, 4_000), (4_000, 10_000)] {
        assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 0);
        let response = app.tus_patch(&location, from, &file[from..to]).await;
        assert_eq!((response.status.as_u16(), response.offset()), (204, to as u64));
        assert_eq!(response.header("tus-resumable"), "1.0.0");
    }
    assert_eq!(only_file(&app, contact).await, file);
    let descriptor = app.tus_finish(&upload_url).await.ok();
    assert_eq!(descriptor["file"]["displayName"], "table.csv");
    assert_eq!(descriptor["file"]["sizeInBytes"], "10000");
    // Its response may have been lost.
    assert_eq!(app.tus_finish(&upload_url).await.ok(), descriptor);
    app.wait_until_staging_is_empty().await;
}

#[tokio::test]
async fn the_upload_url_itself_is_an_endpoint() {
    let (app, contact, file) = (TestApp::start().await, Uuid::new_v4(), csv(100));
    let upload_url = app.upload_url(contact, "table.csv", "text/csv").await;
    let created = app.tus(Method::POST, &upload_url, &[("upload-length", "100")], b"").await;
    assert_eq!(created.status, 201);
    let response = app.tus_patch(created.header("location"), 0, &file).await;
    assert_eq!(response.status, 204);
    let again = format!("{upload_url}/{}", token(&upload_url));
    let descriptor = app.put(&again, b"{}").await.ok();
    assert_eq!(descriptor, app.tus_finish(&upload_url).await.ok());
    assert_eq!(only_file(&app, contact).await, file);
}

#[tokio::test]
async fn a_creation_may_include_the_first_piece() {
    let (app, contact, file) = (TestApp::start().await, Uuid::new_v4(), csv(100));
    for sent in [40, 100] {
        let upload_url = app.upload_url(contact, "table.csv", "text/csv").await;
        let headers = [("upload-length", "100"), PIECE];
        let created = app.tus(Method::POST, &upload_url, &headers, &file[..sent]).await;
        assert_eq!((created.status.as_u16(), created.offset()), (201, sent as u64));
        if sent < 100 {
            let response = app.tus_patch(created.header("location"), sent, &file[sent..]).await;
            assert_eq!(response.status, 204);
        }
        app.tus_finish(&upload_url).await.ok();
    }
}

#[tokio::test]
async fn the_length_may_come_with_the_last_piece() {
    let (app, contact, file) = (TestApp::start().await, Uuid::new_v4(), csv(100));
    let upload_url = app.upload_url(contact, "table.csv", "text/csv").await;
    let created = app.tus(Method::POST, &upload_url, &[("upload-defer-length", "1")], b"").await;
    let location = created.header("location");
    app.tus_patch(location, 0, &file[..60]).await;
    let head = app.tus_head(location).await;
    assert_eq!((head.offset(), head.header("upload-defer-length")), (60, "1"));
    assert_eq!(head.header("upload-length"), "");
    let headers = [("upload-offset", "60"), ("upload-length", "100"), PIECE];
    let last = app.tus(Method::PATCH, location, &headers, &file[60..]).await;
    assert_eq!((last.status.as_u16(), last.offset()), (204, 100));
    assert_eq!(only_file(&app, contact).await, file);
}

#[tokio::test]
async fn a_declared_length_is_final() {
    let (app, contact, file) = (TestApp::start().await, Uuid::new_v4(), csv(100));
    let (_, location) = app.tus_begin(contact, 100).await;
    let headers = [("upload-offset", "0"), ("upload-length", "50"), PIECE];
    let other = app.tus(Method::PATCH, &location, &headers, &file[..50]).await;
    assert_eq!(other.rejection(), (400, "SIZE_MISMATCH".to_owned()));
    assert_eq!(app.tus_head(&location).await.offset(), 0);
}

#[tokio::test]
async fn a_piece_with_a_matching_checksum_is_stored_and_an_altered_one_is_not() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let (upload_url, location) = app.tus_begin(contact, 10).await;
    for (offset, checksum, bytes, status) in [
        ("0", "sha1 qvTGHdzF6KLavt4PO0gs2a6pQ00=", b"hellO", 460),
        ("0", "sha1 qvTGHdzF6KLavt4PO0gs2a6pQ00=", b"hello", 204),
        ("5", "sha256 LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=", b"hallo", 460),
        ("5", "sha256 LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=", b"hello", 204),
    ] {
        let headers = [("upload-offset", offset), ("upload-checksum", checksum), PIECE];
        let response = app.tus(Method::PATCH, &location, &headers, bytes).await;
        assert_eq!(response.status, status, "{response:?}");
    }
    assert_eq!(app.tus_finish(&upload_url).await.ok()["file"]["sizeInBytes"], "10");
    assert_eq!(only_file(&app, contact).await, b"hellohello");
}

#[tokio::test]
async fn a_method_override_works_behind_old_proxies() {
    let (app, contact, file) = (TestApp::start().await, Uuid::new_v4(), csv(100));
    let (_, location) = app.tus_begin(contact, 100).await;
    let headers = [("x-http-method-override", "PATCH"), ("upload-offset", "0"), PIECE];
    let response = app.tus(Method::POST, &location, &headers, &file).await;
    assert_eq!((response.status.as_u16(), response.offset()), (204, 100));
    let (_, location) = app.tus_begin(contact, 100).await;
    let output =
        app.tus(Method::POST, &location, &[("x-http-method-override", "DELETE")], b"").await;
    assert_eq!(output.status, 204);
    assert_eq!(app.tus(Method::POST, &location, &[], b"").await.status, 405);
}

#[tokio::test]
async fn options_lists_the_supported_extensions() {
    let app = TestApp::start().await;
    let url = format!("{}/upload/tus", app.base);
    let response = app.tus(Method::OPTIONS, &url, &[], b"").await;
    assert_eq!(response.status, 204);
    assert_eq!(response.header("tus-version"), "1.0.0");
    assert!(response.header("tus-extension").contains("creation-defer-length"));
    assert_eq!(response.header("tus-checksum-algorithm"), "sha1,sha256");
    assert_eq!(response.header("tus-max-size"), "104857600");
    // A browser's preflight is treated as one.
    let preflight = [("origin", "https://a.example"), ("access-control-request-method", "PATCH")];
    let response = app.tus(Method::OPTIONS, &url, &preflight, b"").await;
    assert!(response.header("access-control-allow-methods").contains("PATCH"));
    assert!(response.header("access-control-allow-headers").contains("upload-checksum"));
}

#[tokio::test]
async fn the_token_alone_determines_the_owner() {
    let (app, contact, other) = (TestApp::start().await, Uuid::new_v4(), Uuid::new_v4());
    let upload_url = app.upload_url(contact, "table.csv", "text/csv").await;
    let pairs = [
        ("filename", "../../etc/passwd"),
        ("contentType", "text/html"),
        ("contactId", &other.to_string()),
        ("attachmentId", &Uuid::new_v4().to_string()),
        ("name", "a\r\nSet-Cookie: x"),
    ];
    let base64 = |text| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
    let mut metadata = metadata(token(&upload_url)).replace("filename", "was");
    for (key, value) in pairs {
        metadata = format!("{metadata},{key} {}", base64(value));
    }
    let headers = [("upload-length", "10"), ("upload-metadata", &*metadata)];
    let url = format!("{}/upload/tus", app.base);
    let created = app.tus(Method::POST, &url, &headers, b"").await;
    app.tus_patch(created.header("location"), 0, &csv(10)).await;
    let list = app.list(contact).await.ok();
    assert_eq!(list["attachments"][0]["fileName"], "table.csv");
    assert_eq!(list["attachments"][0]["mimeType"], "text/csv");
    assert_eq!(app.list(other).await.ok()["metadata"]["total"], 0);
}

#[tokio::test]
async fn fifty_clients_with_one_url_create_one_attachment() {
    let (app, contact, file) = (TestApp::start().await, Uuid::new_v4(), csv(100));
    let upload_url = app.upload_url(contact, "table.csv", "text/csv").await;
    let one = async || {
        let created = app.tus_create(&upload_url, 100).await;
        if created.status != 201 {
            assert_eq!(created.rejection().1, "INVALID_UPLOAD_TOKEN");
            return false;
        }
        let response = app.tus_patch(created.header("location"), 0, &file).await;
        assert!([204, 403, 410].contains(&response.status.as_u16()), "{response:?}");
        response.status == 204
    };
    let made = futures_util::future::join_all((0..50).map(|_| one())).await;
    // A client that is replaced while the last piece is being committed sent the same bytes and
    // gets the same attachment, as with a repeated PUT.
    assert!(made.contains(&true));
    assert_eq!(only_file(&app, contact).await, file);
    app.wait_until_staging_is_empty().await;
}
