//! A store that denies, stalls, delays or lies. Whatever it does, nothing acknowledged is lost,
//! nothing stays half stored, and the server recovers without a restart.

use std::path::Path;

use dossier::actions::recover::recover;
use dossier::actions::sweep::sweep;
use serde_json::Value;
use uuid::Uuid;

use crate::blobs_s3::{behind_proxy, link};
use crate::support::files::{chunked, csv, eventually};
use crate::support::moto::{self, MotoBucket};
use crate::support::proxy::{Fault, Proxy, Right};
use crate::support::{Response, TestApp, bucket, run};

/// More than two parts.
pub(crate) const LARGE: usize = 20 << 20;
const SMALL: usize = 3_000;
const HOUR_SECONDS: i64 = 60 * 60;
/// Every read goes to the store, and the next sweep removes what is deleted.
const NO_CACHE_NO_GRACE: [(&str, &str); 2] =
    [("media_cache_bytes", "0"), ("removal_grace_seconds", "0")];

/// A server behind a faulty store, with files that were acknowledged.
pub(crate) struct Rig {
    pub(crate) app: TestApp,
    pub(crate) proxy: Proxy,
    contact: Uuid,
    kept: Vec<Vec<u8>>,
}

impl Rig {
    /// Starts with a small and a large file.
    pub(crate) async fn start() -> Self {
        let (app, proxy) = behind_proxy(&NO_CACHE_NO_GRACE).await;
        let mut rig = Self { app, proxy, contact: Uuid::new_v4(), kept: Vec::new() };
        for size in [SMALL, LARGE] {
            let url = rig.url().await;
            rig.put_ok(&url, csv(size)).await;
        }
        rig.app.wait_until_staging_is_empty().await;
        rig
    }

    pub(crate) async fn url(&self) -> String {
        self.app.upload_url(self.contact, "a.csv", "text/csv").await
    }

    /// Uploads bytes of unknown length, so that a large file goes in parts.
    async fn put(&self, url: &str, bytes: &[u8]) -> Response {
        Response::to(self.app.client().put(url).body(chunked(bytes))).await
    }

    /// Uploads bytes of unknown length, which must succeed.
    async fn put_ok(&mut self, url: &str, bytes: Vec<u8>) {
        self.put(url, &bytes).await.ok();
        self.kept.push(bytes);
    }

    /// Uploads bytes of known length, which must succeed.
    pub(crate) async fn stream_ok(&mut self, url: &str, bytes: Vec<u8>) {
        self.app.put(url, &bytes).await.ok();
        self.kept.push(bytes);
    }

    /// The links of all files.
    async fn links(&self) -> Vec<String> {
        let list = self.app.list(self.contact).await.ok();
        list["attachments"].as_array().unwrap().iter().map(|a| link(a).to_owned()).collect()
    }

    /// The bytes behind a link; `None` if the store is reported unavailable or the response breaks
    /// off.
    async fn read(&self, link: &str) -> Option<Vec<u8>> {
        let response = self.app.client().get(link).send().await.unwrap();
        if response.status() == 503 {
            assert_eq!(response.headers()["retry-after"], "5");
            return None;
        }
        assert_eq!(response.status(), 200);
        response.bytes().await.ok().map(|bytes| bytes.to_vec())
    }

    /// Whether every acknowledged file can be read and there are no others.
    async fn has_exactly_acknowledged(&self) -> bool {
        let mut read = Vec::new();
        for link in self.links().await {
            read.push(self.read(&link).await.unwrap_or_default());
        }
        let mut kept = self.kept.clone();
        read.sort();
        kept.sort();
        read == kept
    }

    /// Clears the fault and waits until only acknowledged files are left. Removal waits an hour,
    /// because another server might be using the bytes.
    pub(crate) async fn wait_until_recovered(&self) {
        self.proxy.set_fault(Fault::None);
        self.app.advance_seconds(HOUR_SECONDS + 60);
        eventually("exactly the acknowledged files are stored", async || {
            let recovered = recover(self.app.app()).await.is_ok();
            let swept = sweep(self.app.app()).await.is_ok();
            let is_clean = self.app.stored_files().len() == self.kept.len();
            recovered
                && swept
                && is_clean
                && self.app.states().is_empty()
                && self.has_exactly_acknowledged().await
        })
        .await;
    }
}

pub(crate) fn assert_unavailable(response: &Response) {
    assert_eq!(
        (response.status.as_u16(), response.header("retry-after")),
        (503, "5"),
        "{response:?}"
    );
}

#[tokio::test]
async fn a_store_that_rejects_writes_is_reported_and_the_same_urls_work_later() {
    let mut rig = Rig::start().await;
    for fault in [Fault::Denied(Right::Put), Fault::Skewed, Fault::Slow(u32::MAX), Fault::Cut(20)] {
        let urls = [rig.url().await, rig.url().await];
        let resumable = rig.url().await;
        rig.proxy.set_fault(fault);
        for (url, size) in urls.iter().zip([SMALL, LARGE]) {
            assert_unavailable(&rig.put(url, &csv(size)).await);
        }
        assert_unavailable(&rig.app.tus_create(&resumable, LARGE).await);
        let total = rig.app.list(rig.contact).await.ok()["metadata"]["total"].clone();
        assert_eq!(total, rig.kept.len(), "{fault:?}");
        if fault == Fault::Denied(Right::Put) {
            assert!(rig.has_exactly_acknowledged().await, "reads continue");
        }
        rig.proxy.set_fault(Fault::None);
        for (url, size) in urls.iter().zip([SMALL, LARGE]) {
            rig.put_ok(url, csv(size)).await;
        }
    }
    rig.wait_until_recovered().await;
}

#[tokio::test]
async fn a_store_that_denies_reads_is_reported_and_unverified_uploads_are_not_acknowledged() {
    let mut rig = Rig::start().await;
    let links = rig.links().await;
    let urls = [rig.url().await, rig.url().await];
    rig.proxy.set_fault(Fault::Denied(Right::Get));
    for link in &links {
        assert_unavailable(&rig.app.open(link).await);
    }
    // A single-call upload reports success itself; after several parts the server must check.
    rig.put_ok(&urls[0], csv(SMALL)).await;
    assert_unavailable(&rig.put(&urls[1], &csv(LARGE)).await);
    rig.wait_until_recovered().await;
}

#[tokio::test]
async fn deletes_that_a_store_denies_are_retried_later() {
    let mut rig = Rig::start().await;
    let url = rig.url().await;
    let gone = rig.app.list(rig.contact).await.ok()["attachments"][0].clone();
    let bytes = rig.read(link(&gone)).await.unwrap();
    rig.kept.retain(|kept| *kept != bytes);
    rig.proxy.set_fault(Fault::Denied(Right::Delete));
    rig.put_ok(&url, csv(5_000)).await;
    let pdf = rig.app.upload(rig.contact, "a.pdf", "application/pdf", &csv(LARGE)).await;
    assert_eq!(pdf.rejection(), (400, "MIME_TYPE_MISMATCH".to_owned()));
    let (contact, id) = (rig.contact, gone["id"].as_str().unwrap());
    rig.app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
    assert_eq!(rig.app.open(link(&gone)).await.status, 404);
    sweep(rig.app.app()).await.unwrap();
    assert_eq!(rig.app.blob_files().len(), 3, "its bytes are still stored");
    rig.wait_until_recovered().await;
}

#[tokio::test]
async fn a_store_that_denies_listing_only_prevents_finding_leftovers() {
    let mut rig = Rig::start().await;
    rig.proxy.set_fault(Fault::Denied(Right::List));
    recover(rig.app.app()).await.unwrap_err();
    for size in [SMALL, LARGE] {
        let url = rig.url().await;
        rig.put_ok(&url, csv(size)).await;
    }
    assert!(rig.has_exactly_acknowledged().await);
    rig.wait_until_recovered().await;
}

#[tokio::test]
async fn requests_to_a_briefly_overloaded_store_are_retried() {
    let mut rig = Rig::start().await;
    for size in [SMALL, LARGE] {
        let url = rig.url().await;
        rig.proxy.set_fault(Fault::Slow(3));
        rig.put_ok(&url, csv(size)).await;
        assert!(rig.proxy.has_failed());
        rig.proxy.set_fault(Fault::Slow(3));
        assert!(rig.has_exactly_acknowledged().await);
        assert!(rig.proxy.has_failed());
    }
    rig.wait_until_recovered().await;
}

#[tokio::test]
async fn a_truncated_response_fails_before_it_starts_or_is_cut() {
    let mut rig = Rig::start().await;
    let url = rig.url().await;
    for most in [20, 700, 1 << 20] {
        rig.proxy.set_fault(Fault::Cut(most));
        for link in rig.links().await {
            let read = rig.read(&link).await;
            assert!(read.is_none_or(|bytes| rig.kept.contains(&bytes)), "{most}");
        }
    }
    rig.proxy.set_fault(Fault::None);
    rig.put_ok(&url, csv(SMALL)).await;
    rig.wait_until_recovered().await;
}

#[tokio::test]
async fn a_silent_store_times_out() {
    let mut rig = Rig::start().await;
    let urls = [rig.url().await, rig.url().await, rig.url().await];
    let links = rig.links().await;
    rig.proxy.set_fault(Fault::Silent);
    let (small, large) = (csv(SMALL), csv(LARGE));
    // Concurrently, since each waits for its full timeout.
    let responses = tokio::join!(
        rig.app.open(&links[0]),
        rig.app.open(&links[1]),
        rig.put(&urls[0], &small),
        rig.put(&urls[1], &large),
        rig.app.put(&urls[2], &large)
    );
    for response in [responses.0, responses.1, responses.2, responses.3, responses.4] {
        assert_unavailable(&response);
    }
    rig.proxy.set_fault(Fault::None);
    for (url, bytes) in urls.iter().zip([small, large]) {
        rig.put_ok(url, bytes).await;
    }
    rig.wait_until_recovered().await;
}

#[tokio::test]
async fn a_request_that_reaches_the_store_twice_takes_effect_once() {
    let mut rig = Rig::start().await;
    for (doubled, size) in [
        ("/staging/", SMALL),
        ("/blobs/", SMALL),
        ("partNumber=", LARGE),
        ("CompleteMultipartUpload", LARGE),
        ("DELETE ", SMALL),
    ] {
        let url = rig.url().await;
        rig.proxy.set_fault(Fault::Doubled(doubled));
        rig.put_ok(&url, csv(size)).await;
        rig.app.wait_until_staging_is_empty().await;
        assert!(rig.proxy.has_failed(), "{doubled}");
    }
    rig.wait_until_recovered().await;
}

#[tokio::test]
async fn a_request_that_reaches_the_store_too_late_leaves_nothing() {
    let mut rig = Rig::start().await;
    let url = rig.url().await;
    rig.proxy.set_fault(Fault::Late);
    assert_unavailable(&rig.put(&url, &csv(5_000)).await);
    rig.proxy.set_fault(Fault::None);
    rig.put_ok(&url, csv(5_000)).await;
    assert_eq!(rig.app.blob_files().len(), 3);
    assert_eq!(rig.proxy.deliver_late().await, "HTTP/1.1 200 OK");
    assert_eq!(rig.app.blob_files().len(), 4, "one blob without a row");
    rig.wait_until_recovered().await;
}

#[tokio::test]
async fn wrong_etags_from_a_store_never_lead_to_wrong_bytes() {
    let mut rig = Rig::start().await;
    for method in ["PUT", "HEAD", "GET"] {
        let urls = [rig.url().await, rig.url().await];
        rig.proxy.set_fault(Fault::WrongEtag(method));
        for (url, size) in urls.iter().zip([SMALL, LARGE]) {
            rig.put_ok(url, csv(size)).await;
        }
        for link in rig.links().await {
            let read = rig.read(&link).await;
            assert!(read.is_none_or(|bytes| rig.kept.contains(&bytes)), "{method}");
        }
    }
    rig.wait_until_recovered().await;
}

#[tokio::test]
async fn altered_bytes_of_a_small_file_are_never_sent() {
    let rig = Rig::start().await;
    let mark = "14057b7ef767814f";
    assert!(csv(SMALL).starts_with(mark.as_bytes()));
    let links = rig.links().await;
    rig.proxy.set_fault(Fault::ResponseAltered(mark));
    let mut statuses = Vec::new();
    for link in &links {
        let response = rig.app.client().get(link).send().await.unwrap();
        statuses.push((response.status().as_u16(), response.content_length()));
    }
    assert!(statuses.iter().any(|(status, _)| *status == 500), "{statuses:?}");
    rig.wait_until_recovered().await;
}

#[tokio::test]
async fn an_unreadable_mark_causes_no_gap_and_removes_nothing() {
    let mut rig = Rig::start().await;
    let bytes = csv(LARGE);
    let (_, location) = rig.app.tus_begin(rig.contact, LARGE).await;
    assert_eq!(rig.app.tus_patch(&location, 0, &bytes[..12 << 20]).await.status, 204);
    rig.proxy.set_fault(Fault::ResponseAltered("\"at_ms\""));
    rig.app.advance_seconds(HOUR_SECONDS + 60);
    assert_eq!(recover(rig.app.app()).await.unwrap(), (0, 0));
    let patched = rig.app.tus_patch(&location, 12 << 20, &bytes[12 << 20..]).await;
    assert_eq!(patched.status, 204, "{patched:?}");
    rig.kept.push(bytes);
    rig.wait_until_recovered().await;
}

/// Only some stores check the `ETag`s of parts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_with_wrong_etags_are_sent_again() {
    let bucket = MotoBucket::create().await;
    let proxy = Proxy::in_front_of(moto::address().to_owned()).await;
    let blobs = bucket.url.replace(moto::address(), &proxy.address.to_string());
    let settings = [("blobs", &*blobs), ("blobs_credentials_file", &bucket.credentials())];
    let app = TestApp::start_with(&settings).await;
    let (contact, bytes) = (Uuid::new_v4(), csv(LARGE));
    let url = app.upload_url(contact, "a.csv", "text/csv").await;
    let (_, location) = app.tus_begin(contact, LARGE).await;
    proxy.set_fault(Fault::WrongEtag("PUT"));
    let found = doctor(app.data(), Path::new(&bucket.credentials()), &blobs);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].0.contains("does not recognise parts by the ETags"), "{found:?}");
    assert_unavailable(&Response::to(app.client().put(&url).body(chunked(&bytes))).await);
    assert_eq!(app.tus_patch(&location, 0, &bytes[..12 << 20]).await.status, 204);
    proxy.set_fault(Fault::None);
    app.put(&url, &bytes).await.ok();
    let lost = app.tus_patch(&location, 12 << 20, &bytes[12 << 20..]).await;
    assert_eq!(lost.rejection(), (410, "UPLOAD_GONE".to_owned()));
    assert_eq!(app.tus_head(&location).await.status, 410);
    let (_, location) = app.tus_begin(contact, LARGE).await;
    assert_eq!(app.tus_patch(&location, 0, &bytes).await.status, 204);
    let list = app.list(contact).await.ok();
    assert_eq!(list["metadata"]["total"], 2);
    for attachment in list["attachments"].as_array().unwrap() {
        assert!(app.open(link(attachment)).await.body == bytes);
    }
    eventually("only the two files are stored", async || bucket.objects().await.len() == 2).await;
}

/// The problems that doctor finds with a bucket, each with its remedy.
fn doctor(data: &Path, credentials: &Path, url: &str) -> Vec<(String, String)> {
    let blobs = format!("blobs={url}");
    let keys = format!("blobs_credentials_file={}", credentials.display());
    let data = data.to_str().unwrap();
    let output = run(&["doctor", "--json", "--data", data, "--set", &blobs, "--set", &keys]);
    let report: Value = serde_json::from_str(&output.out).unwrap();
    let of_bucket = |check: &&Value| check["name"] == "bucket" && check["state"] != "fine";
    let checks = report["checks"].as_array().unwrap().iter().filter(of_bucket);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let found: Vec<_> = checks.map(|c| (text(&c["detail"]), text(&c["remedy"]))).collect();
    assert!(found.is_empty() || output.code == Some(1), "{output:?}");
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_and_startup_report_what_a_store_denies() {
    let (app, proxy) = behind_proxy(&NO_CACHE_NO_GRACE).await;
    let (bucket, data) = (bucket::get_or_create(app.data()), app.data().to_owned());
    let _folder = app.stop().await;
    let url = bucket.at(proxy.address);
    let probes = bucket.folder.join("probe");
    let left = || std::fs::read_dir(&probes).map_or(0, Iterator::count);
    assert_eq!(doctor(&data, &bucket.credentials, &url), []);
    for (fault, expected, remedy) in [
        (Fault::Denied(Right::List), &["listing", "lack the permission"][..], "s3:ListBucket"),
        (Fault::Denied(Right::Put), &["writing", "lack the permission"], "s3:PutObject"),
        (Fault::Denied(Right::Get), &["reading"], "s3:GetObject"),
        (Fault::Skewed, &["clock of this machine", "2031-02-03T04:05:06Z"], "NTP"),
        (Fault::Slow(u32::MAX), &["too busy"], "check the store"),
        (Fault::Unavailable, &["listing"], "check the store"),
        (Fault::Silent, &["did not respond in time"], "check the store"),
        (Fault::WrongEtag("HEAD"), &["reading a range", "ETag"], "check the store"),
    ] {
        proxy.set_fault(fault);
        let found = doctor(&data, &bucket.credentials, &url);
        assert_eq!(found.len(), 1, "{fault:?} {found:?}");
        let (detail, advice) = &found[0];
        assert!(expected.iter().all(|expected| detail.contains(expected)), "{fault:?} {detail}");
        assert!(advice.contains(remedy), "{fault:?} {advice}");
        assert!(!detail.contains("test-secret"), "{detail}");
        assert_eq!(left(), 0, "{fault:?}");
    }
    proxy.set_fault(Fault::Denied(Right::Delete));
    let found = doctor(&data, &bucket.credentials, &url);
    for (number, right) in [(0, "s3:DeleteObject"), (1, "s3:AbortMultipartUpload")] {
        assert!(found[number].1.contains(right), "{found:?}");
    }
    assert!(found[0].0.contains("/probe/") && left() == 1, "{found:?}");
    for (fault, expected) in [
        (Fault::Denied(Right::List), "lack the permission"),
        (Fault::Skewed, "clock of this machine"),
    ] {
        proxy.set_fault(fault);
        let (blobs, keys) = (format!("blobs={url}"), bucket.credentials.to_str().unwrap());
        let arguments =
            ["serve", "--listen", "127.0.0.1:0", "--listen-tls", "off", "--set", &blobs];
        let keys = format!("blobs_credentials_file={keys}");
        let output =
            run(&[&arguments[..], &["--set", &keys, "--data", data.to_str().unwrap()]].concat());
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(
            output.err.contains(expected) && output.err.contains("cannot be used"),
            "{output:?}"
        );
    }
}
