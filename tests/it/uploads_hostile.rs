//! Bodies that break off or stall, malformed HTTP, malicious file names, and a full disk (R2, R9,
//! R15, S9, S13, S14, S29, S36).

use std::process::Command;
use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use crate::support::files::{csv, eventually};
use crate::support::raw::Raw;
use crate::support::{PNG, TestApp};

fn put_head(path: &str, length: usize) -> String {
    format!(
        "PUT {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    )
}

#[tokio::test]
async fn a_body_that_breaks_off_anywhere_leaves_nothing_and_its_url_usable() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    let url = app.upload_url(contact, "a.csv", "text/csv").await;
    let file = csv(400_000);
    let path = app.path_of(&url);
    let cuts = (0..20).chain((20..file.len()).step_by(19_997)).chain([file.len() - 1]);
    for (number, cut) in cuts.enumerate() {
        let mut raw = Raw::connect(&app).await;
        raw.send(put_head(path, file.len())).await;
        raw.send(&file[..cut]).await;
        if number % 2 == 0 {
            raw.finish_sending().await;
            let response = raw.read_response().await;
            assert!(matches!(response.status, 0 | 400 | 408), "{cut}: {response:?}");
        }
    }
    app.wait_until_store_is_empty().await;
    eventually("no slot is in use", async || app.app().upload_slots.in_use() == 0).await;
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 0);
    app.put(&url, &file).await.ok();
}

#[tokio::test]
async fn chunked_and_form_bodies_that_break_off_leave_nothing() {
    let app = TestApp::start().await;
    let url = app.upload_url(Uuid::new_v4(), "a.csv", "text/csv").await;
    let path = app.path_of(&url);
    let chunked = format!(
        "PUT {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Transfer-Encoding: chunked\r\n\r\n4\r\na,b\n\r\n4\r\n1,2\n\r\n0\r\n\r\n"
    );
    let body = "--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\na,b\r\n--b--\r\n";
    let form = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    for request in [chunked, form] {
        let body_start = request.find("\r\n\r\n").unwrap() + 4;
        // Up to the byte before the end of the data.
        let data_end = request.rfind("--b--").or_else(|| request.rfind('0')).unwrap();
        for cut in body_start..data_end {
            let mut raw = Raw::connect(&app).await;
            raw.send(&request[..cut]).await;
            raw.finish_sending().await;
            let response = raw.read_response().await;
            assert!(
                matches!(response.status, 0 | 400 | 408),
                "{:?}: {response:?}",
                &request[..cut]
            );
        }
        app.wait_until_store_is_empty().await;
    }
    app.put(&url, b"a,b\n").await.ok();
}

#[tokio::test]
async fn a_stalled_body_times_out_with_408() {
    let app = TestApp::start_with(&[("body_idle_seconds", "1")]).await;
    let contact = Uuid::new_v4();
    let url = app.upload_url(contact, "a.png", "image/png").await;
    let path = app.path_of(&url);
    let form = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\
         Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
    );
    let put = format!("{}half", put_head(path, PNG.len()));
    let stall = async |request: String| {
        let mut raw = Raw::connect(&app).await;
        raw.send(request).await;
        raw.read_response().await
    };
    let (put, form) = tokio::join!(stall(put), stall(form));
    for response in [put, form] {
        assert_eq!(response.status, 408, "{response:?}");
        let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
        assert_eq!(body["details"]["applicationError"]["code"], "REQUEST_INTERRUPTED");
    }
    app.wait_until_store_is_empty().await;
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 0);
    app.put(&url, PNG).await.ok();
}

#[tokio::test]
async fn bytes_beyond_the_declared_length_are_not_stored() {
    let app = TestApp::start_with(&[("upload_max_bytes", "1000")]).await;
    let url = app.upload_url(Uuid::new_v4(), "a.csv", "text/csv").await;
    let path = app.path_of(&url);
    let response = app.raw(format!("{}a,b", put_head(path, 1_001))).await;
    assert_eq!(response.status, 413, "{response:?}");
    app.wait_until_store_is_empty().await;
    // The remaining bytes do not belong to this request.
    let mut raw = Raw::connect(&app).await;
    let next = "GET /dossier/v1/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let first = put_head(path, 4).replace("Connection: close\r\n", "");
    raw.send(format!("{first}a,b\n{next}")).await;
    let response = raw.read_response().await;
    assert_eq!(response.status, 200, "{response:?}");
    let body = String::from_utf8(response.body).unwrap();
    assert!(body.contains("\"sizeInBytes\":\"4\"") && body.contains("\"ok\""), "{body}");
}

#[tokio::test]
async fn names_are_kept_as_given_and_served_safely() {
    let app = TestApp::start().await;
    let names = [
        "../../etc/passwd".to_owned(),
        "..\\..\\x.png".to_owned(),
        "/etc/x.png".to_owned(),
        "C:\\x.png".to_owned(),
        "\"quoted\"; filename=\"evil.png".to_owned(),
        "line\r\nSet-Cookie: a=b\r\n.png".to_owned(),
        "📷 été.png".to_owned(),
        "photo\u{202e}gnp.png".to_owned(),
        "zero\u{200b}width.png".to_owned(),
        "n".repeat(256) + ".png",
        "CON".to_owned(),
        "NUL.png".to_owned(),
        "a.png. . .".to_owned(),
        " ".to_owned(),
        ".".to_owned(),
        "..".to_owned(),
        "%2e%2e%2fx.png".to_owned(),
        "a:b.png".to_owned(),
    ];
    let contact = Uuid::new_v4();
    for name in &names {
        let response = app.upload(contact, name, "image/png", PNG).await.ok();
        assert_eq!(response["file"]["displayName"], json!(name));
        let opened = app.open(response["file"]["url"].as_str().unwrap()).await;
        assert_eq!((opened.status.as_u16(), opened.body.as_slice()), (200, PNG), "{name:?}");
        let disposition = opened.header("content-disposition");
        assert!(is_safe(disposition), "{name:?}: {disposition}");
        assert!(opened.headers.get("set-cookie").is_none());
    }
    let list = app.list(contact).await.ok();
    let listed = list["attachments"].as_array().unwrap().iter();
    let listed: Vec<_> = listed.map(|item| item["fileName"].as_str().unwrap()).collect();
    assert_eq!(listed, names);
    for path in app.stored_files() {
        let name = path.file_name().unwrap().to_str().unwrap();
        let ours = |byte: u8| byte.is_ascii_hexdigit() || b".previewn".contains(&byte);
        assert!(name.bytes().all(ours), "{name}");
    }
}

/// `inline` or `attachment`, with a quoted name that contains no quote, backslash or separator, and
/// an encoded name if needed.
fn is_safe(disposition: &str) -> bool {
    let rest = disposition.strip_prefix("inline; filename=\"");
    let Some((plain, rest)) = rest.and_then(|rest| rest.split_once('"')) else { return false };
    let encoded = match rest {
        "" => "",
        rest => match rest.strip_prefix("; filename*=UTF-8''") {
            Some(encoded) => encoded,
            None => return false,
        },
    };
    let decoded = percent_encoding::percent_decode_str(encoded).decode_utf8().unwrap();
    let harmless = |name: &str| {
        let bad =
            |c: char| c.is_control() || "/\\:\"".contains(c) || "\u{202e}\u{200b}".contains(c);
        !name.contains(bad) && !matches!(name, "." | ".." | "CON" | "NUL.png")
    };
    !plain.is_empty() && plain.is_ascii() && harmless(plain) && harmless(&decoded)
}

#[tokio::test]
async fn hostile_requests_never_break_the_server() {
    let app = TestApp::start_with(&[("header_read_seconds", "1")]).await;
    let url = app.upload_url(Uuid::new_v4(), "a.csv", "text/csv").await;
    let path = app.path_of(&url);
    let put = |headers: &str| format!("PUT {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\na,b\n");
    let many = "X-Header: value\r\n".repeat(500);
    let mut requests: Vec<Vec<u8>> = [
        put("Content-Length: -1"),
        put("Content-Length: 4, 5"),
        put("Content-Length: 4\r\nContent-Length: 5"),
        put("Content-Length: 99999999999999999999999"),
        put("Content-Length: 18446744073709551615"),
        put("Content-Length: 0x4"),
        put("Content-Length: +4"),
        put("Content-Length: "),
        put("Transfer-Encoding: chunked"),
        put("Transfer-Encoding: gzip, identity"),
        put("Transfer-Encoding: chunked, chunked"),
        put("Transfer-Encoding : chunked"),
        put("Content-Length: 4\r\nTransfer-Encoding: chunked"),
        put("Transfer-Encoding: chunked\r\nContent-Length: 4"),
        put("X\0: y"),
        put("X: y\0z"),
        put(" folded: header"),
        put(&many),
        put(&format!("X: {}", "h".repeat(700_000))),
        put("Content-Type: \u{1F4F7}\r\nContent-Digest: \u{1F4F7}"),
        put("Expect: something-else\r\nContent-Length: 4\r\nConnection: close"),
        put("Upgrade: websocket\r\nConnection: Upgrade"),
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "GET http://[::1 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a/".repeat(100_000)),
        "GET /media/%00?token=%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(),
        "GET /media/..%2f..%2fetc HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(),
        "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(),
        "\r\n\r\n\r\n".to_owned(),
    ]
    .into_iter()
    .map(String::into_bytes)
    .collect();
    requests.push(vec![0; 1_000]);
    requests.push(vec![0xff; 100_000]);
    requests.push(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".to_vec());
    for request in requests {
        let mut raw = Raw::connect(&app).await;
        raw.send(&request).await;
        raw.finish_sending().await;
        let response = raw.read_response().await;
        let start = String::from_utf8_lossy(&request[..request.len().min(150)]).into_owned();
        assert!(response.status < 500, "{start:?}: {}", response.head);
        assert!(!response.head.contains("text/html"), "{start:?}: {}", response.head);
        assert_eq!(app.get("/dossier/v1/health").await.status, 200, "after {start:?}");
    }
}

#[tokio::test]
async fn a_content_length_besides_chunked_encoding_is_ignored_and_ends_the_connection() {
    let app = TestApp::start().await;
    for headers in [
        "Content-Length: 40\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
    ] {
        let url = app.upload_url(Uuid::new_v4(), "a.csv", "text/csv").await;
        let path = app.path_of(&url);
        let request =
            format!("PUT {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n4\r\na,b\n\r\n0\r\n\r\n");
        let response = app.raw(&request).await;
        let body = String::from_utf8_lossy(&response.body);
        assert!(response.status == 200 && body.contains("\"sizeInBytes\":\"4\""), "{response:?}");
        let smuggled = format!("{request}GET /dossier/v1/health HTTP/1.1\r\nHost: x\r\n\r\n");
        let response = app.raw(smuggled).await;
        assert!(!String::from_utf8_lossy(&response.body).contains("HTTP/1.1"), "{response:?}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_headers_is_disconnected() {
    let app = TestApp::start_with(&[("header_read_seconds", "1")]).await;
    let mut raw = Raw::connect(&app).await;
    raw.send("GET /dossier/v1/health HTTP/1.1\r\nX-Slow: ").await;
    let response = raw.read_response().await;
    assert!(matches!(response.status, 0 | 408), "{response:?}");
}

/// A small tmpfs, unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` with a warning where mounting is not allowed.
    #[expect(clippy::print_stderr, reason = "a test that did not run must not look like one")]
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "dossier-test"])
            .arg(folder.path())
            .status();
        if done.is_ok_and(|status| status.success()) {
            return Some(Self(folder));
        }
        eprintln!("SKIPPED: mounting a small disk needs root; a full disk was not tested");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_rejects_uploads_with_507_and_serves_the_rest() {
    let Some(disk) = SmallDisk::mount() else { return };
    let data = disk.0.path().join("data");
    let app = TestApp::start_with(&[("data", data.to_str().unwrap())]).await;
    let contact = Uuid::new_v4();
    let file = app.upload(contact, "a.png", "image/png", PNG).await.ok();
    let link = file["file"]["url"].as_str().unwrap();
    let stored = || std::fs::read_dir(data.join("staging")).unwrap().count();
    let url = app.upload_url(contact, "a.csv", "text/csv").await;
    let rejected = app.put(&url, &csv(6 * 1024 * 1024)).await;
    assert_eq!(rejected.status, 507);
    assert_eq!(rejected.json(), json!({ "message": "", "details": {} }));
    eventually("the store is empty", async || stored() == 0).await;
    // Now with not a single free byte.
    let filler = data.join("filler");
    let written = std::fs::write(&filler, vec![1; 5 * 1024 * 1024]);
    assert!(written.is_err(), "the disk is full");
    for size in [100, 100_000] {
        assert_eq!(app.put(&url, &csv(size)).await.status, 507, "{size}");
    }
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 1);
    assert_eq!(app.open(link).await.body, PNG);
    std::fs::remove_file(&filler).unwrap();
    app.put(&url, &csv(100_000)).await.ok();
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 2);
    eventually("staging is empty", async || stored() == 0).await;
    tokio::time::timeout(Duration::from_secs(20), app.server.stop()).await.unwrap();
}
