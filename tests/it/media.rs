//! What a link answers: whole, in parts, to HEAD, with headers that keep a browser from running
//! anything (design §5, S11, S13, S37).

use reqwest::Method;
use uuid::Uuid;

use crate::support::files::{PDF, csv, jpeg, quarters, sha256_hex};
use crate::support::{Answer, PNG, TestApp};

/// Uploads a file and returns its link.
async fn link_of(app: &TestApp, name: &str, mime_type: &str, bytes: &[u8]) -> String {
    let file = app.upload(Uuid::new_v4(), name, mime_type, bytes).await.ok();
    file["file"]["url"].as_str().unwrap().to_owned()
}

async fn ask(app: &TestApp, method: Method, url: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = app.client().request(method, url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(request).await
}

/// Every answer of media carries these, whatever its status.
fn assert_safe(answer: &Answer) {
    let status = answer.status;
    assert_eq!(answer.header("x-content-type-options"), "nosniff", "{status}");
    assert_eq!(answer.header("content-security-policy"), "default-src 'none'; sandbox", "{status}");
    assert_eq!(answer.header("referrer-policy"), "no-referrer", "{status}");
    assert_eq!(answer.header("cross-origin-resource-policy"), "cross-origin", "{status}");
    assert!(!answer.header("x-wix-request-id").is_empty(), "{status}");
    assert!(answer.headers.get("set-cookie").is_none(), "{status}");
}

#[tokio::test]
async fn a_whole_file_has_all_its_headers() {
    let app = TestApp::start().await;
    let link = link_of(&app, "cv.pdf", "application/pdf", PDF).await;
    let answer = app.open(&link).await;
    assert_eq!((answer.status.as_u16(), answer.body.as_slice()), (200, PDF));
    assert_eq!(answer.header("content-type"), "application/pdf");
    assert_eq!(answer.header("content-length"), PDF.len().to_string());
    assert_eq!(answer.header("etag"), format!("\"{}\"", sha256_hex(PDF)));
    assert_eq!(answer.header("last-modified"), "Fri, 15 Jan 2027 08:00:00 GMT");
    assert_eq!(answer.header("accept-ranges"), "bytes");
    assert_eq!(answer.header("content-disposition"), "inline; filename=\"cv.pdf\"");
    assert_eq!(answer.header("cache-control"), "private, max-age=3600, immutable");
    assert_safe(&answer);
}

#[tokio::test]
async fn head_answers_what_get_would_without_the_body() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    app.upload(contact, "dot.png", "image/png", PNG).await.ok();
    let list = app.list(contact).await.ok();
    for field in ["image", "previewImage"] {
        let link = list["attachments"][0][field]["url"].as_str().unwrap();
        let get = app.open(link).await;
        let head = ask(&app, Method::HEAD, link, &[]).await;
        assert_eq!(get.status, 200);
        assert_eq!((head.status, head.body.len()), (get.status, 0));
        for (name, value) in &get.headers {
            if !matches!(name.as_str(), "date" | "x-wix-request-id") {
                assert_eq!(head.headers.get(name), Some(value), "{field} {name}");
            }
        }
        // A range is defined for GET alone (RFC 9110 §14.2).
        let ranged = ask(&app, Method::HEAD, link, &[("range", "bytes=0-0")]).await;
        assert_eq!(ranged.status, 200);
        assert_eq!(ranged.header("content-length"), get.body.len().to_string());
        let beyond = ask(&app, Method::HEAD, link, &[("range", "bytes=99999999-")]).await;
        assert_eq!(beyond.status, 200);
    }
}

#[tokio::test]
async fn only_pictures_that_browsers_show_and_pdf_are_inline() {
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
        let answer = app.open(&link_of(&app, name, mime_type, bytes).await).await;
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.header("content-disposition"),
            format!("{expected}; filename=\"{name}\""),
            "{mime_type}"
        );
        assert_eq!(answer.header("content-type"), mime_type);
        assert_safe(&answer);
    }
}

#[tokio::test]
async fn one_range_is_answered_with_its_bytes() {
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
        let answer = ask(&app, Method::GET, &link, &[("range", range)]).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_slice()), (206, bytes), "{range}");
        assert_eq!(answer.header("content-range"), expected, "{range}");
        assert_eq!(answer.header("content-length"), bytes.len().to_string(), "{range}");
        assert_eq!(answer.header("content-type"), "text/csv");
        assert_safe(&answer);
    }
}

#[tokio::test]
async fn ranges_that_are_none_get_the_whole_file() {
    let app = TestApp::start().await;
    let link = link_of(&app, "a.pdf", "application/pdf", PDF).await;
    for range in ["bytes=5-4", "bytes=a-b", "items=0-1", "bytes=", "0-1", "bytes=0-,0-,0-,0-"] {
        let answer = ask(&app, Method::GET, &link, &[("range", range)]).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_slice()), (200, PDF), "{range}");
        assert!(answer.headers.get("content-range").is_none(), "{range}");
    }
}

#[tokio::test]
async fn a_range_outside_the_file_is_416_with_its_size() {
    let app = TestApp::start().await;
    let link = link_of(&app, "a.pdf", "application/pdf", PDF).await;
    for range in ["bytes=1000-", "bytes=1000-2000,3000-", "bytes=-0"] {
        let answer = ask(&app, Method::GET, &link, &[("range", range)]).await;
        assert_eq!(answer.refused(), (416, "OUT_OF_RANGE".to_owned()), "{range}");
        assert_eq!(answer.header("content-range"), format!("bytes */{}", PDF.len()));
        assert_safe(&answer);
    }
}

#[tokio::test]
async fn several_ranges_come_as_parts_that_read_back() {
    let app = TestApp::start().await;
    let file = csv(700_000);
    let link = link_of(&app, "a.csv", "text/csv", &file).await;
    let ranges = "bytes=500000-699999, 0-9, -5";
    let answer = ask(&app, Method::GET, &link, &[("range", ranges)]).await;
    assert_eq!(answer.status, 206);
    assert_eq!(answer.header("content-length"), answer.body.len().to_string());
    let boundary = answer.header("content-type").strip_prefix("multipart/byteranges; boundary=");
    let boundary = boundary.expect("a type with its boundary").to_owned();
    let mut rest = answer.body.as_slice();
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
    assert_safe(&answer);
}

#[tokio::test]
async fn a_large_file_in_random_pieces_is_the_same_file() {
    let app = TestApp::start().await;
    let file = csv(3 * 1024 * 1024 + 7);
    let link = link_of(&app, "a.csv", "text/csv", &file).await;
    let (mut at, mut step) = (0, 1);
    let mut read = Vec::new();
    while at < file.len() {
        step = (step * 7 + 13) % 700_001;
        let end = (at + step).min(file.len() - 1);
        let range = format!("bytes={at}-{end}");
        let answer = ask(&app, Method::GET, &link, &[("range", &range)]).await;
        assert_eq!(answer.status, 206);
        read.extend_from_slice(&answer.body);
        at = end + 1;
    }
    assert_eq!(sha256_hex(&read), sha256_hex(&file));
    assert_eq!(sha256_hex(&app.open(&link).await.body), sha256_hex(&file));
}

#[tokio::test]
async fn refusals_are_safe_json_that_nobody_keeps() {
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
        let answer = app.open(&url).await;
        assert_eq!(answer.status, status, "{url}");
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("cache-control"), "no-store", "{url}");
        assert_safe(&answer);
    }
}

#[tokio::test]
async fn only_get_and_head_open_a_link() {
    let app = TestApp::start().await;
    let link = link_of(&app, "a.pdf", "application/pdf", PDF).await;
    for method in [Method::PUT, Method::POST, Method::DELETE, Method::PATCH] {
        let answer = ask(&app, method.clone(), &link, &[]).await;
        assert_eq!(answer.refused(), (405, "METHOD_NOT_ALLOWED".to_owned()), "{method}");
        assert_eq!(answer.header("allow"), "GET,HEAD");
    }
    assert_eq!(app.open(&link).await.body, PDF);
}

#[tokio::test]
async fn sent_credentials_and_cookies_change_nothing() {
    let app = TestApp::start().await;
    let link = link_of(&app, "a.pdf", "application/pdf", PDF).await;
    let headers = [("authorization", app.key.as_str()), ("cookie", "session=1")];
    assert_eq!(ask(&app, Method::GET, &link, &headers).await.status, 200);
    let (path, _) = link.split_once('?').unwrap();
    assert_eq!(ask(&app, Method::GET, path, &headers).await.status, 403);
}
