//! Uploads by PUT and by form: file names, types and bytes (contract §8).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::support::files::{PDF, csv, sha256_hex};
use crate::support::raw::Raw;
use crate::support::{PNG, Response, TestApp};

async fn only_attachment(app: &TestApp, contact: Uuid) -> Value {
    let list = app.list(contact).await.ok();
    assert_eq!(list["metadata"]["total"], 1, "{list}");
    list["attachments"][0].clone()
}

#[tokio::test]
async fn put_bytes_are_returned_unchanged() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    app.upload(contact, "dot.png", "image/png", PNG).await.ok();
    let attachment = only_attachment(&app, contact).await;
    let opened = app.open(attachment["image"]["url"].as_str().unwrap()).await;
    assert_eq!((opened.status.as_u16(), opened.body.as_slice()), (200, PNG));
}

#[tokio::test]
async fn a_form_may_hold_other_fields_before_and_after_the_file() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    let url = app.upload_url(contact, "a.pdf", "application/pdf").await;
    let file = Part::bytes(PDF).file_name("other.pdf").mime_str("application/pdf").unwrap();
    let form = Form::new()
        .text("parentFolderId", "media-root")
        .text("note", "x".repeat(5_000))
        .part("upload", file)
        .text("after", "y".repeat(5_000));
    Response::to(app.client().post(&url).multipart(form)).await.ok();
    let attachment = only_attachment(&app, contact).await;
    assert_eq!(attachment["fileName"], "a.pdf", "the name from generate");
    let opened = app.open(attachment["document"]["url"].as_str().unwrap()).await;
    assert_eq!(opened.body, PDF);
}

#[tokio::test]
async fn a_form_field_named_file_needs_no_file_name() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    let url = app.upload_url(contact, "a.csv", "text/csv").await;
    let form = Form::new().part("file", Part::bytes(&b"a,b\n1,2\n"[..]));
    Response::to(app.client().post(&url).multipart(form)).await.ok();
    only_attachment(&app, contact).await;
}

#[tokio::test]
async fn forms_of_every_spelling_are_accepted() {
    let app = TestApp::start().await;
    let disposition = |parameters: &str| format!("Content-Disposition: form-data; {parameters}");
    for (content_type, disposition) in [
        ("boundary=b1", disposition("name=\"up\"; filename=\"a \\\"quoted\\\" name.csv\"")),
        ("boundary=\"b1\"", disposition("name=up; filename=a.csv")),
        ("boundary=b1", disposition("name=\"up\"; filename=\"na\u{ef}ve.csv\"")),
        ("boundary=b1", disposition("name=\"up\"; filename=\"semi;colon.csv\"")),
        ("boundary=b1", disposition("filename=\"a.csv\"; name=\"file\"").to_lowercase()),
    ] {
        let contact = Uuid::new_v4();
        let url = app.upload_url(contact, "a.csv", "text/csv").await;
        let body = format!("--b1\r\n{disposition}\r\n\r\na,b\r\n1,2\r\n--b1--\r\n");
        let request = app
            .client()
            .post(&url)
            .header("content-type", format!("multipart/form-data; {content_type}"))
            .body(body);
        let response = Response::to(request).await;
        assert_eq!(response.status, 200, "{disposition}: {}", response.json());
        let attachment = only_attachment(&app, contact).await;
        let opened = app.open(attachment["document"]["url"].as_str().unwrap()).await;
        assert_eq!(opened.body, b"a,b\r\n1,2", "{disposition}");
    }
}

#[tokio::test]
async fn the_file_name_of_the_query_wins() {
    let app = TestApp::start().await;
    for (query, expected) in [
        ("?filename=from%20query.png", "from query.png"),
        ("?filename=gr%C3%BC%C3%9Fe+a.png", "grüße a.png"),
        ("?other=1&filename=b.png&more=", "b.png"),
        ("?fileName=ignored.png", "given.png"),
        ("?", "given.png"),
    ] {
        let contact = Uuid::new_v4();
        let url = app.upload_url(contact, "given.png", "image/png").await;
        app.put(&format!("{url}{query}"), PNG).await.ok();
        assert_eq!(only_attachment(&app, contact).await["fileName"], expected, "{query}");
    }
}

#[tokio::test]
async fn the_upload_url_works_with_a_trailing_slash() {
    let app = TestApp::start().await;
    let kept = async |contact: Uuid, name: &str| {
        let attachment = only_attachment(&app, contact).await;
        assert_eq!(attachment["fileName"], name);
        let opened = app.open(attachment["image"]["url"].as_str().unwrap()).await;
        assert_eq!(opened.body, PNG, "{name}");
    };
    for (query, name) in [("/", "given.png"), ("/?filename=slash.png", "slash.png")] {
        let contact = Uuid::new_v4();
        let url = app.upload_url(contact, "given.png", "image/png").await;
        app.put(&format!("{url}{query}"), PNG).await.ok();
        kept(contact, name).await;
    }
    let contact = Uuid::new_v4();
    let url = app.upload_url(contact, "given.png", "image/png").await;
    let form = Form::new().part("file", Part::bytes(PNG));
    Response::to(app.client().post(format!("{url}/")).multipart(form)).await.ok();
    kept(contact, "given.png").await;
}

#[tokio::test]
async fn default_content_types_of_clients_are_not_declarations() {
    let app = TestApp::start().await;
    for content_type in [
        "text/plain;charset=UTF-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "",
        "image/png",
        "IMAGE/PNG; q=1",
        "image/x-png",
    ] {
        let url = app.upload_url(Uuid::new_v4(), "dot.png", "image/png").await;
        let request = app.client().put(&url).header("content-type", content_type).body(PNG);
        let response = Response::to(request).await;
        assert_eq!(response.status, 200, "{content_type:?}: {}", response.json());
    }
}

#[tokio::test]
async fn octet_stream_lets_the_content_correct_the_type_within_the_supported_set() {
    let app = TestApp::start().await;
    let put = async |name: &str, mime: &str, query: &str, body: &'static [u8]| {
        let contact = Uuid::new_v4();
        let url = app.upload_url(contact, name, mime).await;
        let request = app
            .client()
            .put(format!("{url}{query}"))
            .header("content-type", "application/octet-stream")
            .body(body);
        (Response::to(request).await, contact)
    };
    let (response, contact) = put("a", "application/pdf", "?filename=a.png", PNG).await;
    response.ok();
    assert_eq!(only_attachment(&app, contact).await["mimeType"], "image/png");
    let (response, contact) = put("a.png", "image/png", "?filename=b.pdf", PDF).await;
    response.ok();
    let attachment = only_attachment(&app, contact).await;
    assert_eq!(attachment["mimeType"], "application/pdf");
    assert_eq!(attachment["attachmentType"], "OTHER");
    let (response, _) = put("a.csv", "text/csv", "", b"<html><script>1</script></html>").await;
    assert_eq!(response.rejection(), (400, "MIME_TYPE_MISMATCH".to_owned()));
}

#[tokio::test]
async fn published_type_aliases_are_stored_in_their_registered_form() {
    let app = TestApp::start().await;
    let ole = std::io::Cursor::new(Vec::new());
    let mut ole = cfb::CompoundFile::create(ole).unwrap();
    ole.create_stream("/Workbook").unwrap();
    let xls = ole.into_inner().into_inner();
    for (name, declared, stored, body) in [
        ("a.xls", "application/vnd.ms-excel/", "application/vnd.ms-excel", xls.as_slice()),
        ("a.png", " Image/PNG ; charset=utf-8", "image/png", PNG),
        ("a.png", "image/x-png", "image/png", PNG),
        ("a.csv", "text/csv; charset=utf-8", "text/csv", b"a;b\n"),
    ] {
        let contact = Uuid::new_v4();
        app.upload(contact, name, declared, body).await.ok();
        assert_eq!(only_attachment(&app, contact).await["mimeType"], stored, "{declared}");
    }
}

#[tokio::test]
async fn a_content_digest_is_checked_against_the_bytes() {
    let app = TestApp::start().await;
    let digest = |bytes: &[u8]| STANDARD.encode(Sha256::digest(bytes));
    let (right, wrong) = (digest(PNG), digest(b"other"));
    let put = async |lines: &[String]| {
        let contact = Uuid::new_v4();
        let url = app.upload_url(contact, "dot.png", "image/png").await;
        let mut request = app.client().put(&url).body(PNG);
        for line in lines {
            request = request.header("content-digest", line);
        }
        let response = Response::to(request).await;
        let total = app.list(contact).await.ok()["metadata"]["total"].clone();
        assert_eq!(total, u64::from(response.status == 200));
        response
    };
    for lines in [
        vec![format!("sha-256=:{right}:")],
        vec![format!("sha-512=:AAAA:, SHA-256=:{right}:")],
        vec!["md5=:AAAA:".to_owned()],
        vec!["sha-512=:AAAA:".to_owned(), format!("sha-256=:{right}:")],
    ] {
        assert_eq!(put(&lines).await.status, 200, "{lines:?}");
    }
    let rejected = put(&[format!("sha-256=:{wrong}:")]).await;
    assert_eq!(rejected.rejection(), (400, "CHECKSUM_MISMATCH".to_owned()));
    assert_eq!(
        rejected.json()["details"]["applicationError"]["data"],
        json!({ "expected": sha256_hex(b"other"), "received": sha256_hex(PNG) })
    );
    let second_line = put(&["sha-512=:AAAA:".to_owned(), format!("sha-256=:{wrong}:")]).await;
    assert_eq!(second_line.rejection(), (400, "CHECKSUM_MISMATCH".to_owned()));
    for text in ["sha-256=abc", "sha-256=::", "sha-256=:AAAA:", "sha-256"] {
        let rejected = put(&[text.to_owned()]).await;
        let expected = if text == "sha-256" { 200 } else { 400 };
        assert_eq!(rejected.status, expected, "{text}");
    }
}

#[tokio::test]
async fn a_declared_size_or_hash_is_checked_against_the_bytes() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    let put = async |extra: Value| {
        let mut body = json!({ "fileName": "dot.png", "mimeType": "image/png" });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let url = app.generate(contact, &body).await.ok()["uploadUrl"].as_str().unwrap().to_owned();
        app.put(&url, PNG).await
    };
    put(json!({ "sizeInBytes": PNG.len() })).await.ok();
    put(json!({ "sizeInBytes": PNG.len().to_string(), "sha256": sha256_hex(PNG) })).await.ok();
    put(json!({ "sizeInBytes": null, "sha256": sha256_hex(PNG).to_uppercase() })).await.ok();
    for (extra, code) in [
        (json!({ "sizeInBytes": PNG.len() + 1 }), "SIZE_MISMATCH"),
        (json!({ "sizeInBytes": 0 }), "SIZE_MISMATCH"),
        (json!({ "sha256": sha256_hex(b"other") }), "CHECKSUM_MISMATCH"),
    ] {
        assert_eq!(put(extra.clone()).await.rejection(), (400, code.to_owned()), "{extra}");
    }
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 3);
}

#[tokio::test]
async fn declared_sizes_and_hashes_must_be_well_formed() {
    let app = TestApp::start().await;
    for (field, value, rule) in [
        ("sizeInBytes", json!(-1), "FORMAT"),
        ("sizeInBytes", json!(1.5), "FORMAT"),
        ("sizeInBytes", json!("many"), "FORMAT"),
        ("sizeInBytes", json!(true), "FORMAT"),
        ("sizeInBytes", json!(104_857_601), "MAX"),
        ("sha256", json!("abc"), "FORMAT"),
        ("sha256", json!("g".repeat(64)), "FORMAT"),
        ("sha256", json!(5), "FORMAT"),
    ] {
        let body = json!({ "fileName": "a.png", "mimeType": "image/png", field: value });
        let response = app.generate(Uuid::new_v4(), &body).await;
        assert_eq!(response.violations(), [(field.to_owned(), rule.to_owned())], "{body}");
    }
}

#[tokio::test]
async fn several_mebibytes_arrive_intact_with_and_without_a_length() {
    let app = TestApp::start().await;
    let file = csv(7 * 1024 * 1024 + 13);
    for chunked in [false, true] {
        let contact = Uuid::new_v4();
        let url = app.upload_url(contact, "big.csv", "text/csv").await;
        let body = if chunked {
            let pieces: Vec<_> = file.chunks(70_001).map(<[u8]>::to_vec).map(Ok).collect();
            reqwest::Body::wrap_stream(futures_util::stream::iter::<
                Vec<Result<Vec<u8>, std::io::Error>>,
            >(pieces))
        } else {
            reqwest::Body::from(file.clone())
        };
        let response = Response::to(app.client().put(&url).body(body)).await.ok();
        assert_eq!(response["file"]["sizeInBytes"], file.len().to_string());
        assert_eq!(response["file"]["hash"], sha256_hex(&file));
        let opened = app.open(response["file"]["url"].as_str().unwrap()).await;
        assert_eq!(sha256_hex(&opened.body), sha256_hex(&file), "chunked: {chunked}");
    }
}

#[tokio::test]
async fn a_form_of_several_mebibytes_arrives_intact() {
    let app = TestApp::start().await;
    let file = csv(5 * 1024 * 1024 + 1);
    let url = app.upload_url(Uuid::new_v4(), "big.csv", "text/csv").await;
    let form = Form::new().part("file", Part::bytes(file.clone()));
    let response = Response::to(app.client().post(&url).multipart(form)).await.ok();
    assert_eq!(response["file"]["hash"], sha256_hex(&file));
}

#[tokio::test]
async fn expect_100_continue_is_honoured_before_the_body_is_sent() {
    let app = TestApp::start().await;
    let url = app.upload_url(Uuid::new_v4(), "dot.png", "image/png").await;
    let mut raw = Raw::connect(&app).await;
    let (path, length) = (app.path_of(&url), PNG.len());
    raw.send(format!(
        "PUT {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\n\
         Content-Length: {length}\r\n\r\n"
    ))
    .await;
    assert!(raw.read_head().await.starts_with("HTTP/1.1 100 "));
    raw.send(PNG).await;
    assert_eq!(raw.read_response().await.status, 200);
}

#[tokio::test]
async fn an_invalid_upload_that_waits_for_100_continue_is_rejected_at_once() {
    let app = TestApp::start().await;
    let mut raw = Raw::connect(&app).await;
    raw.send(
        "PUT /upload/forged HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Expect: 100-continue\r\nContent-Length: 5000000\r\n\r\n",
    )
    .await;
    assert!(raw.read_head().await.starts_with("HTTP/1.1 403 "));
}

#[tokio::test]
async fn urls_for_several_files_come_together_and_errors_are_reported_per_file() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let post = async |files: &Value| {
        let path = format!("/dossier/v1/contacts/{contact}/upload-urls");
        Response::to(app.request(Method::POST, &path).json(&json!({ "files": files }))).await
    };
    let good = |name: &str| json!({ "fileName": name, "mimeType": "text/csv", "sizeInBytes": 4 });
    let requested =
        json!([good("a.csv"), { "fileName": "b.csv", "mimeType": "text/x" }, {}, good("c.csv")]);
    let returned = post(&requested).await.ok()["uploads"].clone();
    for index in [0, 3] {
        let url = returned[index]["uploadUrl"].as_str().unwrap();
        let stored = app.put(url, b"a,b\n").await.ok();
        assert_eq!(stored["file"]["displayName"], requested[index]["fileName"]);
        assert_eq!(returned[index]["error"], Value::Null);
    }
    for (index, alone) in [(1, &requested[1]), (2, &json!({}))] {
        let single = app.generate(contact, alone).await;
        assert_eq!(single.status, 400);
        assert_eq!(returned[index], json!({ "error": single.json() }));
    }
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 2);
    for (files, rule) in [
        (json!([]), "REQUIRED_FIELD"),
        (Value::Null, "REQUIRED_FIELD"),
        (json!({}), "FORMAT"),
        (json!([7]), "FORMAT"),
        (json!(vec![good("a.csv"); 41]), "MAX"),
    ] {
        assert_eq!(post(&files).await.violations(), [("files".to_owned(), rule.to_owned())]);
    }
    let longest = json!({ "fileName": "\u{10348}".repeat(260), "mimeType": "text/csv" });
    assert_eq!(post(&json!(vec![longest; 40])).await.status, 200);
}
