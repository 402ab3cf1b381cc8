//! Bytes in a bucket: a real S3-compatible server behind a proxy that injects faults.

use dossier::actions::recover::recover;
use dossier::actions::sweep::sweep;
use reqwest::Method;
use serde_json::Value;
use uuid::Uuid;

use crate::support::bucket;
use crate::support::files::{csv, decoded, eventually, jpeg, png, quarters, transformed};
use crate::support::proxy::{Fault, Proxy};
use crate::support::raw::Raw;
use crate::support::{Dossier, PNG, Response, TestApp, run};

/// More than two parts.
const LARGE: usize = 20 << 20;
const SMALL: usize = 3_000;
const HOUR_SECONDS: i64 = 60 * 60;

async fn upload_file(app: &TestApp, bytes: &[u8]) -> (Uuid, Value) {
    let contact = Uuid::new_v4();
    app.upload(contact, "a.csv", "text/csv", bytes).await.ok();
    let attachment = app.list(contact).await.ok()["attachments"][0].clone();
    (contact, attachment)
}

pub(crate) fn link(attachment: &Value) -> &str {
    attachment["document"]["url"].as_str().unwrap()
}

async fn range(app: &TestApp, url: &str, range: &str) -> Response {
    Response::to(app.client().get(url).header("range", range)).await
}

/// A server whose bucket is behind a proxy.
pub(crate) async fn behind_proxy(more: &[(&str, &str)]) -> (TestApp, Proxy) {
    let folder = tempfile::tempdir().unwrap();
    let bucket = bucket::get_or_create(&folder.path().join("data"));
    let proxy = Proxy::in_front_of(bucket::address().to_string()).await;
    let (url, keys) = (bucket.at(proxy.address), bucket.credentials.to_str().unwrap().to_owned());
    let data = folder.keep().join("data");
    let settings =
        [("data", data.to_str().unwrap()), ("blobs", &url), ("blobs_credentials_file", &keys)];
    (TestApp::start_with(&[&settings, more].concat()).await, proxy)
}

#[tokio::test]
async fn small_and_large_files_are_returned_whole_and_in_ranges() {
    let app = TestApp::start_in_bucket(&[("media_cache_bytes", "0")]).await;
    for size in [SMALL, 8 << 20, LARGE] {
        let bytes = csv(size);
        let (_, attachment) = upload_file(&app, &bytes).await;
        let url = link(&attachment);
        let whole = app.open(url).await;
        assert_eq!(whole.status, 200);
        assert!(whole.body == bytes, "{size}");
        let part = range(&app, url, "bytes=1000-2999").await;
        assert_eq!((part.status.as_u16(), &*part.body), (206, &bytes[1_000..3_000]));
        let tail = range(&app, url, "bytes=-7").await;
        assert_eq!(tail.body, bytes[size - 7..]);
        let parts = range(&app, url, "bytes=0-9,2000-2009").await;
        let holds = |wanted: &[u8]| parts.body.windows(wanted.len()).any(|w| w == wanted);
        assert!(holds(&bytes[..10]) && holds(&bytes[2_000..2_010]), "{size}");
        let head = Response::to(app.client().head(url)).await;
        assert_eq!(head.header("content-length"), size.to_string());
    }
}

#[tokio::test]
async fn objects_have_hexadecimal_names_below_the_prefix_and_staging_is_emptied() {
    let app = TestApp::start_in_bucket(&[]).await;
    upload_file(&app, &csv(LARGE)).await;
    app.wait_until_staging_is_empty().await;
    let files = app.blob_files();
    assert_eq!(files.len(), 1, "{files:?}");
    let name = files[0].strip_prefix(app.store_folder().join("blobs")).unwrap().to_str().unwrap();
    assert!(name.bytes().all(|b| b.is_ascii_hexdigit() || b == b'/'), "{name}");
    let folders = ["staging", "states", "blobs"].map(|name| app.data().join(name).exists());
    assert_eq!(folders, [false; 3], "no bytes are on the local disk");
}

#[tokio::test]
async fn deleting_a_file_removes_it_and_its_preview_from_the_bucket() {
    let app = TestApp::start_in_bucket(&[("removal_grace_seconds", "0")]).await;
    let contact = Uuid::new_v4();
    app.upload(contact, "a.jpg", "image/jpeg", &jpeg(&quarters(900, 700))).await.ok();
    let attachment = app.list(contact).await.ok()["attachments"][0].clone();
    let preview = app.open(attachment["previewImage"]["url"].as_str().unwrap()).await;
    assert_eq!(decoded(&preview.body).dimensions(), (640, 498));
    assert_eq!(app.blob_files().len(), 2);
    let id = attachment["id"].as_str().unwrap();
    app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
    sweep(app.app()).await.unwrap();
    assert_eq!(app.blob_files(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn cached_transforms_of_files_removed_by_another_server_are_swept() {
    let app = TestApp::start_in_bucket(&[("transforms", "any")]).await;
    let (link, _) = app.picture("a.png", &png(&quarters(400, 300))).await;
    let small = transformed(&link, "fill/w_100,h_100/a.png");
    assert_eq!(app.open(&small).await.status, 200);
    let cache = std::sync::Arc::clone(&app.app().transforms.cache);
    eventually("the transform is cached", async || app.cached_files().len() == 1).await;
    std::fs::remove_dir_all(app.store_folder().join("blobs")).unwrap();
    tokio::task::spawn_blocking(move || cache.rebuild().unwrap()).await.unwrap();
    assert_eq!(app.cached_files(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn rejected_bytes_leave_nothing_in_the_bucket() {
    let app = TestApp::start_in_bucket(&[]).await;
    let contact = Uuid::new_v4();
    let large = [PNG, &csv(LARGE)].concat();
    let rejected = app.upload(contact, "a.pdf", "application/pdf", &large).await.rejection();
    assert_eq!(rejected, (400, "MIME_TYPE_MISMATCH".to_owned()));
    app.wait_until_store_is_empty().await;
}

#[tokio::test]
async fn a_client_that_disconnects_leaves_nothing_in_the_bucket() {
    let app = TestApp::start_in_bucket(&[]).await;
    let url = app.upload_url(Uuid::new_v4(), "a.csv", "text/csv").await;
    let mut client = Raw::connect(&app).await;
    let path = app.path_of(&url);
    let head = format!("PUT {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {LARGE}\r\n\r\n");
    client.send(head).await;
    client.send(csv(LARGE - 5)).await;
    drop(client);
    app.wait_until_store_is_empty().await;
}

#[tokio::test]
async fn leftovers_of_a_dead_server_are_removed_once_nobody_can_be_using_them() {
    let app = TestApp::start_in_bucket(&[]).await;
    let (contact, _) = upload_file(&app, &csv(SMALL)).await;
    app.wait_until_staging_is_empty().await;
    let kept = app.blob_files();
    let staged = dossier::blobs::StagedKey {
        key: dossier::blobs::BlobKey {
            site: dossier::domain::ids::SiteId(app.site),
            blob: dossier::domain::ids::BlobId(Uuid::new_v4()),
        },
        attachment: dossier::domain::ids::AttachmentId(Uuid::new_v4()),
    };
    let (blobs, now_ms) = (app.app().blobs.clone(), app.app().clock.now_ms());
    let sealing = tokio::task::spawn_blocking(move || {
        let mut upload = blobs.stage(staged, None, now_ms).unwrap();
        upload.append(&csv(LARGE).into()).unwrap();
        upload.seal().unwrap();
        // As if its server had died at this point.
        blobs.abandon(staged);
    });
    sealing.await.unwrap();
    assert_eq!(app.blob_files().len(), 2);
    assert_eq!(recover(app.app()).await.unwrap(), (0, 0), "another server may be using it");
    assert_eq!(app.blob_files().len(), 2);
    // The mark is dated when it is written, which may be late on a busy machine.
    app.advance_seconds(HOUR_SECONDS + 60);
    assert_eq!(recover(app.app()).await.unwrap(), (0, 1));
    assert_eq!(app.blob_files(), kept);
    app.wait_until_staging_is_empty().await;
    let attachment = app.list(contact).await.ok()["attachments"][0].clone();
    assert_eq!(app.open(link(&attachment)).await.body, csv(SMALL));
}

#[tokio::test]
async fn a_redirect_to_the_bucket_returns_the_same_bytes() {
    let app = TestApp::start_in_bucket(&[("media_delivery", "redirect")]).await;
    let bytes = csv(LARGE);
    let (_, attachment) = upload_file(&app, &bytes).await;
    let response = app.open(link(&attachment)).await;
    assert_eq!((response.status.as_u16(), response.header("cache-control")), (302, "no-store"));
    let elsewhere = response.header("location");
    assert!(elsewhere.contains(&bucket::address().to_string()), "{elsewhere}");
    let opened = app.open(elsewhere).await;
    assert_eq!(opened.status, 200, "{}", String::from_utf8_lossy(&opened.body));
    assert!(opened.body == bytes);
    assert_eq!(opened.header("content-type"), "text/csv");
    let part = range(&app, elsewhere, "bytes=5-9").await;
    assert_eq!((part.status.as_u16(), &*part.body), (206, &bytes[5..10]));
    let tampered = elsewhere.replace("X-Amz-Expires=300", "X-Amz-Expires=3000");
    assert_eq!(app.open(&tampered).await.status, 403);
}

#[tokio::test]
async fn deleted_or_unchanged_files_are_not_redirected() {
    let app = TestApp::start_in_bucket(&[("media_delivery", "redirect")]).await;
    let (contact, attachment) = upload_file(&app, &csv(SMALL)).await;
    let head = Response::to(app.client().head(link(&attachment))).await;
    assert_eq!((head.status.as_u16(), head.header("content-length")), (200, "3000"));
    let known = app.client().get(link(&attachment)).header("if-none-match", head.header("etag"));
    assert_eq!(Response::to(known).await.status, 304);
    let id = attachment["id"].as_str().unwrap();
    app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
    assert_eq!(app.open(link(&attachment)).await.status, 404);
}

#[tokio::test]
async fn r12_an_unavailable_store_is_reported_and_the_server_recovers_by_itself() {
    let (app, proxy) = behind_proxy(&[]).await;
    let bytes = csv(SMALL);
    let (contact, attachment) = upload_file(&app, &bytes).await;
    let url = app.upload_url(contact, "b.csv", "text/csv").await;
    proxy.set_fault(Fault::Unavailable);
    for response in [app.open(link(&attachment)).await, app.put(&url, &bytes).await] {
        assert_eq!((response.status.as_u16(), response.header("retry-after")), (503, "5"));
    }
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 1, "lists do not need the store");
    proxy.set_fault(Fault::None);
    assert_eq!(app.open(link(&attachment)).await.body, bytes);
    app.put(&url, &bytes).await.ok();
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 2);
}

#[tokio::test]
async fn r12_a_truncated_response_is_never_passed_off_as_complete() {
    let (app, proxy) = behind_proxy(&[]).await;
    let (small, large) = (csv(SMALL), csv(LARGE));
    let ((_, first), (_, second)) =
        (upload_file(&app, &small).await, upload_file(&app, &large).await);
    proxy.set_fault(Fault::Cut(700));
    let response = app.open(link(&first)).await;
    assert!(response.status.is_server_error(), "{response:?}");
    proxy.set_fault(Fault::Cut(1 << 20));
    let response = app.client().get(link(&second)).send().await.unwrap();
    assert!(response.bytes().await.is_err(), "the connection must break off");
    proxy.set_fault(Fault::None);
    assert!(app.open(link(&second)).await.body == large);
}

#[tokio::test]
async fn r12_an_object_of_another_version_is_not_sent() {
    let (app, proxy) = behind_proxy(&[]).await;
    let (_, attachment) = upload_file(&app, &csv(LARGE)).await;
    proxy.set_fault(Fault::WrongEtag("GET"));
    let response = app.client().get(link(&attachment)).send().await.unwrap();
    assert!(!response.status().is_success() || response.bytes().await.is_err());
}

#[tokio::test]
async fn r12_an_upload_whose_last_response_was_lost_is_stored_once() {
    let (app, proxy) = behind_proxy(&[]).await;
    for (size, lost) in [(SMALL, "/blobs/"), (LARGE, "CompleteMultipartUpload")] {
        proxy.set_fault(Fault::ResponsesLost(lost));
        let contact = Uuid::new_v4();
        let url = app.upload_url(contact, "a.csv", "text/csv").await;
        let first = app.put(&url, &csv(size)).await;
        proxy.set_fault(Fault::None);
        if !first.status.is_success() {
            assert_eq!(first.status, 503, "{first:?}");
            app.put(&url, &csv(size)).await.ok();
        }
        let list = app.list(contact).await.ok();
        assert_eq!(list["metadata"]["total"], 1, "{list}");
        assert!(app.open(link(&list["attachments"][0])).await.body == csv(size));
    }
    app.advance_seconds(HOUR_SECONDS + 1);
    recover(app.app()).await.unwrap();
    app.wait_until_staging_is_empty().await;
    assert_eq!(app.blob_files().len(), 2);
}

#[tokio::test]
async fn a_resumable_upload_continues_from_the_bucket_alone() {
    let app = TestApp::start_in_bucket(&[]).await;
    let contact = Uuid::new_v4();
    let bytes = csv(30 << 20);
    let (_, location) = app.tus_begin(contact, bytes.len()).await;
    let ends = [1, 3 << 20, 12 << 20, (12 << 20) + 1, 29 << 20, bytes.len()];
    let mut offset = 0;
    for end in ends {
        assert_eq!(app.tus_head(&location).await.offset(), offset as u64);
        let patched = app.tus_patch(&location, offset, &bytes[offset..end]).await;
        assert_eq!(patched.status, 204, "{patched:?}");
        offset = end;
    }
    let attachment = app.list(contact).await.ok()["attachments"][0].clone();
    assert!(app.open(link(&attachment)).await.body == bytes);
    app.wait_until_staging_is_empty().await;
    assert!(!app.store_folder().join("states").exists() || app.states().is_empty());
}

#[tokio::test]
async fn a_terminated_resumable_upload_leaves_nothing_in_the_bucket() {
    let app = TestApp::start_in_bucket(&[]).await;
    let bytes = csv(LARGE);
    let (_, location) = app.tus_begin(Uuid::new_v4(), bytes.len()).await;
    app.tus_patch(&location, 0, &bytes[..LARGE - 1_000]).await;
    assert_eq!(app.states().len(), 1);
    let response = app.tus(Method::DELETE, &location, &[], b"").await;
    assert_eq!(response.status, 204);
    app.wait_until_store_is_empty().await;
    assert_eq!(app.states(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn an_unusable_bucket_is_reported_in_plain_words() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = bucket::get_or_create(folder.path());
    let (data, keys) = (folder.path().to_str().unwrap(), bucket.credentials.to_str().unwrap());
    let wrong = folder.path().join("wrong");
    std::fs::write(
        &wrong,
        "[default]\naws_access_key_id = test-id\naws_secret_access_key = hidden\n",
    )
    .unwrap();
    let name = bucket.url.split('/').nth(2).unwrap();
    let absent = bucket.url.replace(name, "no-such-bucket");
    for (url, keys, expected) in [
        (&*absent, keys, "there is no such bucket"),
        (&*bucket.url, wrong.to_str().unwrap(), "secret access key is wrong"),
        (&*bucket.url, "", "there are no credentials"),
        ("s3://x", keys, "bucket: must be"),
        (&*bucket.at("127.0.0.1:1".parse().unwrap()), keys, "cannot be used"),
    ] {
        let (blobs, keys) = (format!("blobs={url}"), format!("blobs_credentials_file={keys}"));
        let output = run(&[
            "serve",
            "--data",
            data,
            "--listen",
            "127.0.0.1:0",
            "--listen-tls",
            "off",
            "--set",
            &blobs,
            "--set",
            &keys,
        ]);
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(output.err.contains(expected), "{}", output.err);
        assert!(!output.err.contains("hidden"), "{}", output.err);
    }
}

#[tokio::test]
async fn doctor_checks_every_bucket_permission_and_leaves_nothing() {
    let app = TestApp::start_in_bucket(&[]).await;
    let bucket = bucket::get_or_create(app.data());
    let folder = app.stop().await;
    let settings = bucket.settings().map(|(name, value)| format!("{name}={value}"));
    let data = folder.path().to_str().unwrap();
    let output =
        run(&["doctor", "--json", "--data", data, "--set", &settings[0], "--set", &settings[1]]);
    let checks: Value = serde_json::from_str(&output.out).unwrap();
    let checks = checks["checks"].as_array().unwrap();
    let found: Vec<_> = checks.iter().filter(|check| check["name"] == "bucket").collect();
    assert_eq!(found.len(), 1, "{checks:?}");
    assert_eq!(found[0]["state"], "fine");
    let detail = found[0]["detail"].as_str().unwrap();
    for tried in ["listing", "writing", "range", "presigned", "deleting", "parts"] {
        assert!(detail.contains(tried), "{detail}");
    }
    assert!(
        std::fs::read_dir(bucket.folder.join("probe")).is_ok_and(|mut left| left.next().is_none())
    );
}

/// The peak memory of the whole process while many large uploads arrive at once.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn r28_many_concurrent_large_uploads_use_little_memory() {
    const UPLOADS: usize = 16;
    // Far less than the 320 MiB that arrive. A debug build uses 29 MiB at rest.
    const MAX_KIB: u64 = 128 << 10;

    let folder = tempfile::tempdir().unwrap();
    let bucket = bucket::get_or_create(folder.path());
    let settings = bucket.settings().map(|(name, value)| format!("{name}={value}"));
    let more = ["--set", &settings[0], "--set", &settings[1]];
    let (server, first) = Dossier::serve(folder.path(), &more);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let (base, key) = (text(&first["http"]), text(&first["apiKey"]));
    let site = text(&first["siteId"]);
    let bytes = bytes::Bytes::from(csv(LARGE));
    let client = reqwest::Client::new();
    let uploads = (0..UPLOADS).map(async |_| {
        let path = format!("/contacts/v4/attachments/{}/upload-url", Uuid::new_v4());
        let response = client
            .post(format!("{base}{path}"))
            .header("authorization", &key)
            .header("wix-site-id", &site)
            .json(&serde_json::json!({ "fileName": "a.csv", "mimeType": "text/csv" }));
        let url = text(&Response::to(response).await.ok()["uploadUrl"]);
        Response::to(client.put(url).body(bytes.clone())).await.ok();
    });
    futures_util::future::join_all(uploads).await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak_kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak_kib < MAX_KIB, "{peak_kib} KiB");
}
