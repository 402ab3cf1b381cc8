//! Rejections of whole requests: bodies, paths, routes and methods; and what every response
//! carries.

use reqwest::{Method, StatusCode};
use serde_json::json;
use uuid::Uuid;

use crate::errors::{assert_invalid, assert_rejected, violation};
use crate::support::raw::Raw;
use crate::support::{Response, TestApp};

const COLLECTION: &str = "/contacts/v4/attachments";

#[tokio::test]
async fn a_body_that_is_not_json_is_rejected_with_line_and_column() {
    let app = TestApp::start().await;
    let path = format!("{COLLECTION}/{}/upload-url", Uuid::new_v4());
    for (body, line, column) in [
        (&b"{\"fileName\":"[..], 1, 12),
        (b"{\n  \"fileName\": 'a'\n}", 2, 15),
        (b"nonsense", 1, 2),
        (b"\xff\xfe", 1, 1),
        (b"{} {}", 1, 4),
        (b"fileName=a.csv&mimeType=text/csv", 1, 2),
    ] {
        let response = Response::to(app.request(Method::POST, &path).body(body.to_vec())).await;
        let description = format!("the body is not JSON: see line {line}, column {column}");
        let data = json!({ "line": line, "column": column });
        assert_rejected(&response, 400, "INVALID_ARGUMENT", &description, &data);
    }
}

#[tokio::test]
async fn an_endlessly_nested_body_is_rejected() {
    let app = TestApp::start().await;
    let path = format!("{COLLECTION}/{}/upload-url", Uuid::new_v4());
    let response = Response::to(app.request(Method::POST, &path).body("[".repeat(60_000))).await;
    assert_eq!(response.rejection(), (400, "INVALID_ARGUMENT".to_owned()));
}

#[tokio::test]
async fn a_body_that_is_not_an_object_is_rejected() {
    let app = TestApp::start().await;
    let path = format!("{COLLECTION}/{}/upload-url", Uuid::new_v4());
    for body in ["[]", "null", "1", "\"text\"", "true"] {
        for request in [
            app.request(Method::POST, &path).body(body),
            app.request(Method::GET, COLLECTION).body(body),
        ] {
            let response = Response::to(request).await;
            assert_rejected(&response, 400, "INVALID_ARGUMENT", "Expected an object", &json!({}));
        }
    }
    let body = json!({ "contactId": Uuid::new_v4().to_string(), "paging": [1] });
    let response = Response::to(app.request(Method::GET, COLLECTION).json(&body)).await;
    let data = Some(json!({ "type": "OBJECT" }));
    assert_invalid(&response, &[violation("paging", "FORMAT", "is not an object", data)], "paging");
}

#[tokio::test]
async fn json_is_read_whatever_its_content_type() {
    let app = TestApp::start().await;
    let path = format!("{COLLECTION}/{}/upload-url", Uuid::new_v4());
    let body = json!({ "fileName": "a.csv", "mimeType": "text/csv", "unknown": {} }).to_string();
    for content_type in [None, Some("application/json; charset=utf-8"), Some("text/plain")] {
        let mut request = app.request(Method::POST, &path).body(body.clone());
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        Response::to(request).await.ok();
    }
}

#[tokio::test]
async fn a_json_body_that_is_too_large_is_rejected() {
    let app = TestApp::start().await;
    let path = format!("{COLLECTION}/{}/upload-url", Uuid::new_v4());
    let body = json!({ "fileName": "a".repeat(70_000), "mimeType": "text/csv" });
    let response = Response::to(app.request(Method::POST, &path).json(&body)).await;
    let data = json!({ "limitBytes": 65_536 });
    assert_rejected(
        &response,
        413,
        "REQUEST_TOO_LARGE",
        "the request body must have at most 65536 bytes",
        &data,
    );
}

#[tokio::test]
async fn a_path_that_is_not_utf_8_is_rejected() {
    let app = TestApp::start().await;
    let good = Uuid::new_v4();
    for path in [
        format!("{COLLECTION}/%FF"),
        format!("{COLLECTION}/{good}/%C3%28"),
        "/media/%FF".to_owned(),
    ] {
        let response = app.get(&path).await;
        let description = "the path is not valid UTF-8";
        assert_rejected(&response, 400, "INVALID_ARGUMENT", description, &json!({}));
    }
}

#[tokio::test]
async fn an_unknown_route_is_a_json_404() {
    let app = TestApp::start().await;
    for path in [
        "/page",
        "/contacts/v4",
        "/contacts/v4/attachmentsx",
        "/contacts/v4/attachments/a/b/c",
        "/contacts/v5/attachments/a",
        "/contacts/v4/attachments//",
        "/index.html",
        "/%00/..%2f..%2fetc/passwd",
    ] {
        let response = app.get(path).await;
        let data = json!({ "method": "GET", "path": path });
        assert_rejected(&response, 404, "NOT_FOUND", "this URL was not found", &data);
        assert_eq!(response.header("content-type"), "application/json", "{path}");
    }
}

#[tokio::test]
async fn an_unsupported_method_is_rejected_with_the_supported_ones() {
    let app = TestApp::start().await;
    let id = Uuid::new_v4();
    for (method, path, allow) in [
        (Method::POST, COLLECTION.to_owned(), "GET,HEAD"),
        (Method::DELETE, format!("{COLLECTION}/{id}"), "GET,HEAD"),
        (Method::PATCH, format!("{COLLECTION}/{id}/{id}"), "GET,HEAD,DELETE"),
        (Method::GET, format!("{COLLECTION}/{id}/upload-url"), "POST"),
        (Method::GET, "/upload/token".to_owned(), "PUT,POST"),
        (Method::PUT, "/media/id".to_owned(), "GET,HEAD"),
    ] {
        let response = Response::to(app.request(method.clone(), &path)).await;
        let description = format!("the method {method} is not allowed for this URL");
        assert_rejected(&response, 405, "METHOD_NOT_ALLOWED", &description, &json!({}));
        assert_eq!(response.header("allow"), allow, "{method} {path}");
    }
}

#[tokio::test]
async fn every_response_has_a_unique_request_id() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    let list = format!("{COLLECTION}/{contact}");
    let etag = app.get(&list).await.header("etag").to_owned();
    let requests = [
        (200, app.request(Method::GET, &list)),
        (200, app.request(Method::HEAD, &list)),
        (304, app.request(Method::GET, &list).header("if-none-match", etag)),
        (200, app.request(Method::OPTIONS, &list)),
        (200, app.anonymous(Method::GET, "/dossier/v1/health")),
        (400, app.request(Method::GET, &format!("{COLLECTION}/undefined"))),
        (401, app.anonymous(Method::GET, &list)),
        (403, app.anonymous(Method::PUT, "/upload/forged")),
        (404, app.request(Method::GET, &format!("{list}/{contact}"))),
        (404, app.request(Method::GET, "/nowhere")),
        (404, app.request(Method::GET, "/media/nothing")),
        (405, app.request(Method::PATCH, &list)),
    ];
    let mut ids = std::collections::HashSet::new();
    for (status, request) in requests {
        let response = Response::to(request).await;
        assert_eq!(response.status.as_u16(), status, "{response:?}");
        let id = response.header("x-wix-request-id");
        assert!(!id.is_empty(), "{response:?}");
        assert!(ids.insert(id.to_owned()), "request id {id} was used twice");
        if status >= 400 {
            assert_eq!(response.header("content-type"), "application/json");
        }
    }
}

#[tokio::test]
async fn a_client_cannot_choose_its_request_id() {
    let app = TestApp::start().await;
    let request = app.request(Method::GET, "/nowhere").header("x-wix-request-id", "mine");
    assert_ne!(Response::to(request).await.header("x-wix-request-id"), "mine");
}

#[tokio::test]
async fn an_internal_error_is_a_500_without_details() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    app.upload(contact, "a.csv", "text/csv", b"a,b\n1,2\n").await.ok();
    let list = app.list(contact).await.ok();
    let url = list["attachments"][0]["document"]["url"].as_str().unwrap();
    std::fs::remove_dir_all(app.data().join("blobs")).unwrap();
    let response = app.open(url).await;
    assert_eq!(response.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(response.json(), json!({ "message": "", "details": {} }));
    assert_eq!(response.header("content-type"), "application/json");
    assert!(!response.header("x-wix-request-id").is_empty());
}

#[tokio::test]
async fn a_request_above_the_rate_limit_gets_a_retry_after() {
    let app = TestApp::start_with(&[("requests_per_minute", "2")]).await;
    let contact = Uuid::new_v4();
    app.advance_seconds(20);
    app.list(contact).await.ok();
    app.list(contact).await.ok();
    let response = app.list(contact).await;
    let data = json!({ "retryAfterSeconds": 40 });
    let description = "too many requests; retry after 40 seconds";
    assert_rejected(&response, 429, "RESOURCE_EXHAUSTED", description, &data);
    assert_eq!(response.header("retry-after"), "40");
    app.advance_seconds(40);
    app.list(contact).await.ok();
}

#[tokio::test]
async fn a_json_body_that_ends_early_is_reported() {
    let app = TestApp::start().await;
    let path = format!("{COLLECTION}/{}/upload-url", Uuid::new_v4());
    let key = &app.key;
    let mut raw = Raw::connect(&app).await;
    raw.send(format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\nContent-Length: 99\r\n\r\n{{"
    ))
    .await;
    raw.finish_sending().await;
    let response = raw.read_response().await;
    assert_eq!(response.status, 408, "{response:?}");
}

#[tokio::test]
async fn a_stalled_json_body_times_out() {
    let app = TestApp::start_with(&[("body_idle_seconds", "1")]).await;
    let (path, key) = (format!("{COLLECTION}/{}/upload-url", Uuid::new_v4()), &app.key);
    let response = app
        .raw(format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\nConnection: close\r\n\
             Content-Length: 99\r\n\r\n{{"
        ))
        .await;
    assert_eq!(response.status, 408, "{response:?}");
    let json: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(json["details"]["applicationError"]["code"], "REQUEST_INTERRUPTED");
}
