//! Conditional requests for media, in the order of RFC 9110 §13.2.2.

use uuid::Uuid;

use crate::support::files::{PDF, sha256_hex};
use crate::support::{Response, TestApp};

/// The modification time of the attachment below, which was uploaded half a second later.
const MODIFIED: &str = "Fri, 15 Jan 2027 08:00:00 GMT";
const BEFORE: &str = "Fri, 15 Jan 2027 07:59:59 GMT";
const AFTER: &str = "Fri, 15 Jan 2027 08:00:01 GMT";

async fn start() -> (TestApp, String) {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    // The second upload at one instant is dated a millisecond later, off the full second.
    app.upload(contact, "first.pdf", "application/pdf", PDF).await.ok();
    let file = app.upload(contact, "cv.pdf", "application/pdf", PDF).await.ok();
    let link = file["file"]["url"].as_str().unwrap().to_owned();
    (app, link)
}

async fn fetch(app: &TestApp, link: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = app.client().get(link);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Response::to(request).await
}

#[tokio::test]
async fn an_unchanged_file_is_not_sent_again() {
    let (app, link) = start().await;
    let etag = format!("\"{}\"", sha256_hex(PDF));
    let (weak, among) = (format!("W/{etag}"), format!("\"x\", {etag}, \"y\""));
    for (name, value) in [
        ("if-none-match", etag.as_str()),
        ("if-none-match", &weak),
        ("if-none-match", &among),
        ("if-none-match", "*"),
        ("if-modified-since", MODIFIED),
        ("if-modified-since", AFTER),
    ] {
        let response = fetch(&app, &link, &[(name, value), ("range", "bytes=0-0")]).await;
        assert_eq!((response.status.as_u16(), response.body.len()), (304, 0), "{name}: {value}");
        assert_eq!(response.header("etag"), etag);
        assert_eq!(response.header("cache-control"), "private, max-age=3600, immutable");
        assert_eq!(response.header("last-modified"), MODIFIED);
        assert_eq!(response.header("x-content-type-options"), "nosniff");
    }
}

#[tokio::test]
async fn a_changed_or_incomparable_file_is_sent() {
    let (app, link) = start().await;
    for headers in [
        &[("if-none-match", "\"other\"")][..],
        &[("if-modified-since", BEFORE)],
        &[("if-modified-since", "yesterday")],
        &[("if-modified-since", "")],
        // With both headers, the ETag decides.
        &[("if-none-match", "\"other\""), ("if-modified-since", AFTER)],
    ] {
        let response = fetch(&app, &link, headers).await;
        assert_eq!((response.status.as_u16(), response.body.as_slice()), (200, PDF), "{headers:?}");
    }
}

#[tokio::test]
async fn a_failed_precondition_is_412() {
    let (app, link) = start().await;
    let weak = format!("W/\"{}\"", sha256_hex(PDF));
    for headers in [
        &[("if-match", "\"other\"")][..],
        &[("if-match", weak.as_str())],
        &[("if-unmodified-since", BEFORE)],
        &[("if-match", "\"other\""), ("if-unmodified-since", AFTER)],
        &[("if-match", "\"other\""), ("if-none-match", "*")],
    ] {
        let response = fetch(&app, &link, headers).await;
        assert_eq!(response.rejection(), (412, "FAILED_PRECONDITION".to_owned()), "{headers:?}");
    }
}

#[tokio::test]
async fn a_precondition_that_holds_changes_nothing() {
    let (app, link) = start().await;
    let etag = format!("\"{}\"", sha256_hex(PDF));
    for headers in [
        &[("if-match", etag.as_str())][..],
        &[("if-match", "*")],
        &[("if-unmodified-since", MODIFIED)],
        &[("if-unmodified-since", "no date")],
        &[("if-match", etag.as_str()), ("if-unmodified-since", BEFORE)],
    ] {
        assert_eq!(fetch(&app, &link, headers).await.status, 200, "{headers:?}");
    }
}

#[tokio::test]
async fn if_range_returns_the_range_only_of_the_same_file() {
    let (app, link) = start().await;
    let etag = format!("\"{}\"", sha256_hex(PDF));
    let weak = format!("W/{etag}");
    for (value, status) in [
        (etag.as_str(), 206),
        (MODIFIED, 206),
        ("\"other\"", 200),
        (&weak, 200),
        (BEFORE, 200),
        // The date must be exactly the file's (RFC 9110 §13.1.5).
        (AFTER, 200),
        ("neither tag nor date", 200),
    ] {
        let headers = [("range", "bytes=0-3"), ("if-range", value)];
        assert_eq!(fetch(&app, &link, &headers).await.status, status, "{value}");
        let headers = [("range", "bytes=9999-"), ("if-range", value)];
        let outside = if status == 206 { 416 } else { 200 };
        assert_eq!(fetch(&app, &link, &headers).await.status, outside, "{value}");
    }
    let without_range = fetch(&app, &link, &[("if-range", "\"other\"")]).await;
    assert_eq!(without_range.status, 200);
}
