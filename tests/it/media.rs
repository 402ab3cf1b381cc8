//! What a link returns: whole files, ranges, HEAD, and headers that keep a browser from running
//! anything (contract §10, S11, S13, S37).

use reqwest::Method;
use uuid::Uuid;

use crate::support::files::{PDF, csv, jpeg, quarters, sha256_hex};
use crate::support::{PNG, Response, TestApp};

/// Uploads a file and returns its link.
async fn link_of(app: &TestApp, name: &str, mime_type: &str, bytes: &[u8]) -> String {
    let file = app.upload(Uuid::new_v4(), name, mime_type, bytes).await.ok();
    file["file"]["url"].as_str().unwrap().to_owned()
}

async fn fetch(app: &TestApp, method: Method, url: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = app.client().request(method, url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Response::to(request).await
}

/// Every media response carries these, whatever its status.
fn assert_safe(response: &Response) {
    let status = response.status;
    assert_eq!(response.header("x-content-type-options"), "nosniff", "{status}");
    assert_eq!(
        response.header("content-security-policy"),
        "default-src 'none'; sandbox",
        "{status}"
    );
    assert_eq!(response.header("referrer-policy"), "no-referrer", "{status}");
    assert_eq!(response.header("cross-origin-resource-policy"), "cross-origin", "{status}");
    assert!(!response.header("x-wix-request-id").is_empty(), "{status}");
    assert!(response.headers.get("set-cookie").is_none(), "{status}");
}

#[tokio::test]
async fn a_whole_file_has_all_its_headers() {
    let app = TestApp::start().await;
    let link = link_of(&app, "cv.pdf", "application/pdf", PDF).await;
    let response = app.open(&link).await;
    assert_eq!((response.status.as_u16(), response.body.as_slice()), (200, PDF));
    assert_eq!(response.header("content-type"), "application/pdf");
    assert_eq!(response.header("content-length"), PDF.len().to_string());
    assert_eq!(response.header("etag"), format!("\"{}\"", sha256_hex(PDF)));
    assert_eq!(response.header("last-modified"), "Fri, 15 Jan 2027 08:00:00 GMT");
    assert_eq!(response.header("accept-ranges"), "bytes");
    assert_eq!(response.header("content-disposition"), "inline; filename=\"cv.pdf\"");
    assert_eq!(response.header("cache-control"), "private, max-age=3600, immutable");
    assert_safe(&response);
}

#[tokio::test]
async fn head_returns_the_headers_of_get_without_the_body() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    app.upload(contact, "dot.png", "image/png", PNG).await.ok();
    let list = app.list(contact).await.ok();
    for field in ["image", "previewImage"] {
        let link = list["attachments"][0][field]["url"].as_str().unwrap();
        let get = app.open(link).await;
        let head = fetch(&app, Method::HEAD, link, &[]).await;
        assert_eq!(get.status, 200);
        assert_eq!((head.status, head.body.len()), (get.status, 0));
        for (name, value) in &get.headers {
            if !matches!(name.as_str(), "date" | "x-wix-request-id") {
                assert_eq!(head.headers.get(name), Some(value), "{field} {name}");
            }
        }
        // Ranges are defined for GET only (RFC 9110 §14.2).
        let ranged = fetch(&app, Method::HEAD, link, &[("range", "bytes=0-0")]).await;
        assert_eq!(ranged.status, 200);
        assert_eq!(ranged.header("content-length"), get.body.len().to_string());
        let beyond = fetch(&app, Method::HEAD, link, &[("range", "bytes=99999999-")]).await;
        assert_eq!(beyond.status, 200);
    }
}

#[tokio::test]
async fn only_browser_safe_images_and_pdf_are_inline() {
    let app = TestApp::start().await;
    let photo = jpeg(&quarters(8, 8));
    let heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic".as_slice();
    let avif = b"\0\0\0\x18ftypavif\0\0\0\0mif1avif".as_slice();
    for (name, mime_type, bytes, expected) in [
        ("a.png", "image/png", PNG, "inline"),
        ("a.jpg", "image/jpeg", &photo, "inline"),
        ("a.gif", "image/gif", b"GIF89a\x01\0\x01\0\0\0\0;", "inline"),
        ("a.avif", "image/avif", avif, "inline"),
        ("a.pdf", "application/pdf", PDF, "inline"),
        ("a.csv", "text/csv", b"a,b\n", "attachment"),
        ("a.heic", "image/heic", heic, "attachment"),
        ("a.xbm", "image/x-xbitmap", b"#define x_width 8\n", "attachment"),
    ] {
        let response = app.open(&link_of(&app, name, mime_type, bytes).await).await;
        assert_eq!(response.status, 200);
        assert_eq!(
            response.header("content-disposition"),
            format!("{expected}; filename=\"{name}\""),
            "{mime_type}"
        );
        assert_eq!(response.header("content-type"), mime_type);
        assert_safe(&response);
    }
}

#[tokio::test]
async fn a_single_range_returns_its_bytes() {
    let app = TestApp::start().await;
    let file = csv(1_000);
    let link = link_of(&app, "a.csv", "text/csv", &file).await;
    for (range, expected, bytes) in [
        ("bytes=0-0", "bytes 0-0/1000", &file[..1]),
        ("bytes=0-499", "bytes 0-499/1000", &file[..500]),
        ("bytes=500-", "bytes 500-999/1000", &file[500..]),
        ("bytes=-1", "bytes 999-999/1000", &file[999..]),
        ("bytes=-5000", "bytes 0-999/1000", &file[..]),
        ("bytes=990-5000", "bytes 990-999/1000", &file[990..]),
        ("bytes=5-6,5000-", "bytes 5-6/1000", &file[5..7]),
    ] {
        let response = fetch(&app, Method::GET, &link, &[("range", range)]).await;
        assert_eq!((response.status.as_u16(), response.body.as_slice()), (206, bytes), "{range}");
        assert_eq!(response.header("content-range"), expected, "{range}");
        assert_eq!(response.header("content-length"), bytes.len().to_string(), "{range}");
        assert_eq!(response.header("content-type"), "text/csv");
        assert_safe(&response);
    }
}

#[tokio::test]
async fn invalid_ranges_return_the_whole_file() {
    let app = TestApp::start().await;
    let link = link_of(&app, "a.pdf", "application/pdf", PDF).await;
    for range in ["bytes=5-4", "bytes=a-b", "items=0-1", "bytes=", "0-1", "bytes=0-,0-,0-,0-"] {
        let response = fetch(&app, Method::GET, &link, &[("range", range)]).await;
        assert_eq!((response.status.as_u16(), response.body.as_slice()), (200, PDF), "{range}");
        assert!(response.headers.get("content-range").is_none(), "{range}");
    }
}

#[tokio::test]
async fn a_range_outside_the_file_is_416_with_its_size() {
    let app = TestApp::start().await;
    let link = link_of(&app, "a.pdf", "application/pdf", PDF).await;
    for range in ["bytes=1000-", "bytes=1000-2000,3000-", "bytes=-0"] {
        let response = fetch(&app, Method::GET, &link, &[("range", range)]).await;
        assert_eq!(response.rejection(), (416, "OUT_OF_RANGE".to_owned()), "{range}");
        assert_eq!(response.header("content-range"), format!("bytes */{}", PDF.len()));
        assert_safe(&response);
    }
}

#[tokio::test]
async fn several_ranges_return_a_valid_multipart_response() {
    let app = TestApp::start().await;
    let file = csv(700_000);
    let link = link_of(&app, "a.csv", "text/csv", &file).await;
    let ranges = "bytes=500000-699999, 0-9, -5";
    let response = fetch(&app, Method::GET, &link, &[("range", ranges)]).await;
    assert_eq!(response.status, 206);
    assert_eq!(response.header("content-length"), response.body.len().to_string());
    let boundary = response.header("content-type").strip_prefix("multipart/byteranges; boundary=");
    let boundary = boundary.expect("a type with its boundary").to_owned();
    let mut rest = response.body.as_slice();
    for (start, end) in [(500_000, 699_999), (0, 9), (699_995, 699_999)] {
        let head = format!(
            "\r\n--{boundary}\r\nContent-Type: text/csv\r\n\
             Content-Range: bytes {start}-{end}/700000\r\n\r\n"
        );
        rest = rest.strip_prefix(head.as_bytes()).expect("the head of a part");
        let (bytes, after) = rest.split_at(end - start + 1);
        assert!(bytes == &file[start..=end], "{start}");
        rest = after;
    }
    assert_eq!(rest, format!("\r\n--{boundary}--\r\n").as_bytes());
    assert_safe(&response);
}

#[tokio::test]
async fn random_ranges_of_a_large_file_add_up_to_the_file() {
    let app = TestApp::start().await;
    let file = csv(3 * 1024 * 1024 + 7);
    let link = link_of(&app, "a.csv", "text/csv", &file).await;
    let (mut at, mut step) = (0, 1);
    let mut read = Vec::new();
    while at < file.len() {
        step = (step * 7 + 13) % 700_001;
        let end = (at + step).min(file.len() - 1);
        let range = format!("bytes={at}-{end}");
        let response = fetch(&app, Method::GET, &link, &[("range", &range)]).await;
        assert_eq!(response.status, 206);
        read.extend_from_slice(&response.body);
        at = end + 1;
    }
    assert_eq!(sha256_hex(&read), sha256_hex(&file));
    assert_eq!(sha256_hex(&app.open(&link).await.body), sha256_hex(&file));
}

#[tokio::test]
async fn errors_are_safe_json_and_not_cached() {
    let app = TestApp::start().await;
    let link = link_of(&app, "a.pdf", "application/pdf", PDF).await;
    let (path, _) = link.split_once('?').unwrap();
    let unknown = path.replace("/ugd/", "/ugd/000000");
    for (url, status) in [
        (path.to_owned(), 403),
        (format!("{path}?token=x"), 403),
        (unknown, 404),
        (format!("{}/media/nothing", app.base), 404),
        (link.replace('?', "/preview?").replace("/ugd/", "/media/"), 404),
    ] {
        let response = app.open(&url).await;
        assert_eq!(response.status, status, "{url}");
        assert_eq!(response.header("content-type"), "application/json");
        assert_eq!(response.header("cache-control"), "no-store", "{url}");
        assert_safe(&response);
    }
}

#[tokio::test]
async fn links_accept_only_get_and_head() {
    let app = TestApp::start().await;
    let link = link_of(&app, "a.pdf", "application/pdf", PDF).await;
    for method in [Method::PUT, Method::POST, Method::DELETE, Method::PATCH] {
        let response = fetch(&app, method.clone(), &link, &[]).await;
        assert_eq!(response.rejection(), (405, "METHOD_NOT_ALLOWED".to_owned()), "{method}");
        assert_eq!(response.header("allow"), "GET,HEAD");
    }
    assert_eq!(app.open(&link).await.body, PDF);
}

#[tokio::test]
async fn credentials_and_cookies_are_ignored() {
    let app = TestApp::start().await;
    let link = link_of(&app, "a.pdf", "application/pdf", PDF).await;
    let headers = [("authorization", app.key.as_str()), ("cookie", "session=1")];
    assert_eq!(fetch(&app, Method::GET, &link, &headers).await.status, 200);
    let (path, _) = link.split_once('?').unwrap();
    assert_eq!(fetch(&app, Method::GET, path, &headers).await.status, 403);
}
