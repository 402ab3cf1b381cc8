//! Uploads that are rejected, and that leave nothing behind (contract §8, S2, S3, S40).

use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::files::{PDF, chunked, csv, eventually};
use crate::support::raw::Raw;
use crate::support::{PNG, Response, TestApp};

/// Asserts that the contact has no attachment and no bytes are stored.
async fn assert_nothing_stored(app: &TestApp, contact: Uuid) {
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 0);
    app.wait_until_store_is_empty().await;
}

fn data(response: &Response) -> Value {
    response.json()["details"]["applicationError"]["data"].clone()
}

#[tokio::test]
async fn an_empty_file_is_rejected_and_its_url_stays_usable() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    let url = app.upload_url(contact, "a.csv", "text/csv").await;
    let empty = || (400, "EMPTY_FILE".to_owned());
    assert_eq!(app.put(&url, b"").await.rejection(), empty());
    assert_eq!(Response::to(app.client().put(&url).body(chunked(b""))).await.rejection(), empty());
    let form = Form::new().part("file", Part::bytes(&b""[..]));
    assert_eq!(Response::to(app.client().post(&url).multipart(form)).await.rejection(), empty());
    assert_nothing_stored(&app, contact).await;
    app.put(&url, b"a,b\n").await.ok();
}

#[tokio::test]
async fn the_size_limit_counts_received_bytes() {
    let app = TestApp::start_with(&[("upload_max_bytes", "50000")]).await;
    let contact = Uuid::new_v4();
    let too_large = csv(50_001);
    for body in ["length", "chunked"] {
        let url = app.upload_url(contact, "a.csv", "text/csv").await;
        let request = app.client().put(&url);
        let request = match body {
            "length" => request.body(too_large.clone()),
            _ => request.body(chunked(&too_large)),
        };
        let response = Response::to(request).await;
        assert_eq!(response.rejection(), (413, "FILE_TOO_LARGE".to_owned()), "{body}");
        assert_eq!(data(&response), json!({ "limitBytes": 50_000 }));
        assert_eq!(response.header("content-type"), "application/json");
        assert_nothing_stored(&app, contact).await;
        app.put(&url, &too_large[..50_000]).await.ok();
        let list = app.list(contact).await.ok();
        let id = list["attachments"][0]["id"].as_str().unwrap();
        app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
        app.advance_seconds(3_600);
        dossier::actions::sweep::sweep(app.app()).await.unwrap();
    }
}

#[tokio::test]
async fn the_size_limit_applies_to_forms_too() {
    let app = TestApp::start_with(&[("upload_max_bytes", "50000")]).await;
    let contact = Uuid::new_v4();
    let url = app.upload_url(contact, "a.csv", "text/csv").await;
    // Slightly too large, or too large by more than the form's overhead; with and without a length.
    for size in [50_001, 120_000, 900_000] {
        let whole = Form::new().part("file", Part::bytes(csv(size)));
        let streamed = Form::new().part("file", Part::stream(chunked(&csv(size))));
        for form in [whole, streamed] {
            let response = Response::to(app.client().post(&url).multipart(form)).await;
            assert_eq!(response.rejection(), (413, "FILE_TOO_LARGE".to_owned()), "{size}");
            assert_eq!(data(&response), json!({ "limitBytes": 50_000 }));
        }
    }
    assert_nothing_stored(&app, contact).await;
    let form = Form::new().part("file", Part::bytes(csv(50_000)));
    Response::to(app.client().post(&url).multipart(form)).await.ok();
}

#[tokio::test]
async fn content_of_another_type_than_declared_is_rejected() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    let mut jpeg_then_script = b"GIF89a".to_vec();
    jpeg_then_script.extend(b"/*\x01*/=1;alert(1)");
    for (name, mime_type, content_type, body) in [
        ("a.png", "image/png", "image/png", PDF),
        ("a.jpg", "image/jpeg", "image/jpeg", PNG),
        ("a.pdf", "application/pdf", "", PNG),
        ("a.pdf", "application/pdf", "application/pdf", b"MZ\x90\0\x03\0\0\0"),
        ("a.csv", "text/csv", "text/csv", b"<html><script>alert(1)</script></html>"),
        ("a.csv", "text/csv", "", b"PK\x03\x04\x14\0\0\0\x08\0"),
        ("a.docx", &docx(), "", b"PK\x03\x04\x14\0\0\0\x08\0"),
        ("a.png", "image/png", "", b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>"),
        ("a.png", "image/png", "image/jpeg", PNG),
        ("a.png", "image/png", "application/pdf", PNG),
        ("a.png", "image/png", "application/octet-stream", b"RIFF\x10\0\0\0WEBPVP8 "),
        ("a.pdf", "application/pdf", "", &jpeg_then_script),
    ] {
        let url = app.upload_url(contact, name, mime_type).await;
        let request = app.client().put(&url).header("content-type", content_type);
        let response = Response::to(request.body(body.to_vec())).await;
        let what = format!("{name} {mime_type} {content_type}");
        assert_eq!(response.rejection(), (400, "MIME_TYPE_MISMATCH".to_owned()), "{what}");
    }
    assert_nothing_stored(&app, contact).await;
}

fn docx() -> String {
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document".to_owned()
}

#[tokio::test]
async fn a_file_name_in_the_query_must_match_the_type_too() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    let url = app.upload_url(contact, "a.png", "image/png").await;
    for name in ["a.pdf", "a.exe", "a.png.html", "a.svg", "a.exe.", "a.png%E2%80%AE.js"] {
        let response = app.put(&format!("{url}?filename={name}"), PNG).await;
        assert_eq!(response.rejection(), (400, "MIME_TYPE_MISMATCH".to_owned()), "{name}");
    }
    assert_nothing_stored(&app, contact).await;
    app.put(&url, PNG).await.ok();
}

#[tokio::test]
async fn file_names_in_the_query_have_the_limits_of_generate() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    let url = app.upload_url(contact, "a.png", "image/png").await;
    for (query, rule) in [
        ("filename=".to_owned(), "MIN_LENGTH"),
        ("filename".to_owned(), "MIN_LENGTH"),
        (format!("filename={}", "n".repeat(261)), "MAX_LENGTH"),
        (format!("filename={}", "%C3%BC".repeat(300)), "MAX_LENGTH"),
        ("filename=a.png&filename=b.png".to_owned(), "OTHER"),
        ("filename=a.png&filename=a.png".to_owned(), "OTHER"),
        (format!("filename=a.png&{}filename=b.png", "x=1&".repeat(100)), "OTHER"),
    ] {
        let response = app.put(&format!("{url}?{query}"), PNG).await;
        assert_eq!(response.violations(), [("filename".to_owned(), rule.to_owned())], "{query}");
    }
    assert_nothing_stored(&app, contact).await;
    app.put(&format!("{url}?filename={}", "%F0%9F%93%B7".repeat(260)), PNG).await.ok();
}

#[tokio::test]
async fn a_token_with_any_character_changed_or_removed_is_rejected() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    let url = app.upload_url(contact, "a.png", "image/png").await;
    let (base, token) = url.rsplit_once('/').unwrap();
    let mut forged = Vec::new();
    for (at, character) in token.char_indices() {
        let other = if character == 'A' { 'B' } else { 'A' };
        forged.push(format!("{}{other}{}", &token[..at], &token[at + 1..]));
        if at > 0 && at % 5 == 0 {
            forged.extend([token[..at].to_owned(), token[at..].to_owned()]);
        }
    }
    for other in ["=", "A", "%00", ".", "%3D"] {
        forged.push(format!("{token}{other}"));
        forged.push(format!("{other}{token}"));
    }
    forged.extend(["undefined".to_owned(), "A".repeat(5_000), "%FF%FE".to_owned()]);
    for token in forged {
        let response = app.put(&format!("{base}/{token}"), PNG).await;
        assert_eq!(response.rejection(), (403, "INVALID_UPLOAD_TOKEN".to_owned()), "{token}");
    }
    assert_nothing_stored(&app, contact).await;
    app.put(&url, PNG).await.ok();
}

#[tokio::test]
async fn flipping_any_bit_of_a_token_invalidates_it() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    let app = TestApp::start().await;
    let url = app.upload_url(Uuid::new_v4(), "a.png", "image/png").await;
    let token = url.rsplit_once('/').unwrap().1;
    let bytes = URL_SAFE_NO_PAD.decode(token).unwrap();
    let now_ms = app.app().clock.now_ms();
    app.app().keys.check_upload(token, now_ms).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut forged = bytes.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        let forged = URL_SAFE_NO_PAD.encode(&forged);
        assert!(app.app().keys.check_upload(&forged, now_ms).is_err(), "bit {bit}");
    }
}

#[tokio::test]
async fn a_media_token_is_not_an_upload_token() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    let file = app.upload(contact, "a.png", "image/png", PNG).await.ok();
    let link = file["file"]["url"].as_str().unwrap();
    let token = link.split_once("?token=").unwrap().1;
    let response = app.put(&format!("{}/upload/{token}", app.base), PNG).await;
    assert_eq!(response.rejection(), (403, "INVALID_UPLOAD_TOKEN".to_owned()));
}

#[tokio::test]
async fn unreadable_forms_are_rejected_in_json() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    let url = app.upload_url(contact, "a.csv", "text/csv").await;
    let file = "Content-Disposition: form-data; name=\"file\"; filename=\"a.csv\"\r\n";
    let many = "--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n1\r\n".repeat(17);
    let form = "multipart/form-data; boundary=b";
    for (content_type, body) in [
        ("multipart/form-data", format!("--b\r\n{file}\r\na,b\r\n--b--\r\n")),
        ("multipart/form-data; boundary=", format!("--b\r\n{file}\r\na,b\r\n--b--\r\n")),
        ("text/csv", "a,b".to_owned()),
        ("", "a,b".to_owned()),
        (form, String::new()),
        (form, "a,b".to_owned()),
        (form, "--b--\r\n".to_owned()),
        (form, "--c\r\nx\r\n--c--".to_owned()),
        (form, format!("--b\r\n{file}")),
        (form, format!("--b\r\n{file}\r\n")),
        (form, format!("--b\r\n{file}\r\na,b\r\n")),
        (form, format!("--b\r\n{file}\r\na,b\r\n--")),
        (form, "--b\r\nno colon\r\n\r\na,b\r\n--b--\r\n".to_owned()),
        (form, "--b\r\nContent-Disposition: form-data; name=x\r\n\r\n1\r\n--b--\r\n".to_owned()),
        (form, format!("{many}--b\r\n{file}\r\na,b\r\n--b--\r\n")),
        (form, format!("--b\r\nX: {}\r\n{file}\r\na,b\r\n--b--\r\n", "h".repeat(3_000_000))),
        (form, format!("{}--b\r\n{file}\r\na,b\r\n--b--\r\n", "preamble".repeat(500_000))),
    ] {
        let start: String = body.chars().take(60).collect();
        let request = app.client().post(&url).header("content-type", content_type).body(body);
        let response = Response::to(request).await;
        assert_eq!(
            response.rejection(),
            (400, "INVALID_ARGUMENT".to_owned()),
            "{content_type} {start}"
        );
    }
    assert_nothing_stored(&app, contact).await;
    app.put(&url, b"a,b\n").await.ok();
}

#[tokio::test]
async fn a_partial_file_is_not_accepted_as_the_whole() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    let url = app.upload_url(contact, "a.csv", "text/csv").await;
    let part = app.client().put(&url).header("content-range", "bytes 0-3/8").body("a,b\n");
    assert_eq!(Response::to(part).await.rejection(), (400, "INVALID_ARGUMENT".to_owned()));
    assert_nothing_stored(&app, contact).await;
    app.put(&url, b"a,b\n1,2\n").await.ok();
}

#[tokio::test]
async fn an_upload_above_the_limit_gets_a_retry_after() {
    let app = TestApp::start_with(&[("uploads_at_once", "1")]).await;
    let contact = Uuid::new_v4();
    let (first, second) = (
        app.upload_url(contact, "a.png", "image/png").await,
        app.upload_url(contact, "b.png", "image/png").await,
    );
    let (path, length) = (app.path_of(&first), PNG.len());
    let mut raw = Raw::connect(&app).await;
    raw.send(format!(
        "PUT {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    ))
    .await;
    raw.send(&PNG[..10]).await;
    eventually("the slot is in use", async || app.app().upload_slots.in_use() == 1).await;
    let busy = app.put(&second, PNG).await;
    assert_eq!((busy.status.as_u16(), busy.header("retry-after")), (503, "1"));
    assert_eq!(busy.json(), json!({ "message": "", "details": {} }));
    raw.send(&PNG[10..]).await;
    assert_eq!(raw.read_response().await.status, 200);
    app.put(&second, PNG).await.ok();
}

#[tokio::test]
async fn one_greedy_key_leaves_slots_to_others() {
    let app = TestApp::start_with(&[("uploads_at_once_per_key", "1")]).await;
    let first = app.upload_url(Uuid::new_v4(), "a.png", "image/png").await;
    let second = app.upload_url(Uuid::new_v4(), "b.png", "image/png").await;
    let mut raw = Raw::connect(&app).await;
    let (path, length) = (app.path_of(&first), PNG.len());
    raw.send(format!("PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n")).await;
    raw.send(&PNG[..10]).await;
    eventually("the slot is in use", async || app.app().upload_slots.in_use() == 1).await;
    assert_eq!(app.put(&second, PNG).await.status, 503);
    let (_, location) = app.tus_begin(Uuid::new_v4(), 100).await;
    assert_eq!(app.tus_patch(&location, 0, &[b'a'; 100]).await.status, 503);
    let other = app.other_key("VIEW,MODIFY").await;
    app.app().registry.refresh(&app.app().db).await.unwrap();
    app.upload_as(&other, Uuid::new_v4(), "c.csv").await;
}
