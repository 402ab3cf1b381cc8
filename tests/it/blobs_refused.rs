//! A store that refuses, is silent, comes late or lies. Whatever it does: nothing that was acknowledged is
//! lost, nothing stays half kept, and when it is over the server works without a new start.

use std::path::Path;

use dossier::actions::recover::recover;
use dossier::actions::sweep::sweep;
use serde_json::Value;
use uuid::Uuid;

use crate::blobs_s3::{behind_proxy, link};
use crate::support::files::{chunked, csv, eventually};
use crate::support::moto::{self, MotoBucket};
use crate::support::proxy::{Fault, Proxy, Right};
use crate::support::{Answer, TestApp, bucket, run};

/// More than two parts.
pub(crate) const LARGE: usize = 20 << 20;
const SMALL: usize = 3_000;
const HOUR_SECONDS: i64 = 60 * 60;
/// Every read asks the store, and what is deleted goes with the next sweep.
const AT_ONCE: [(&str, &str); 2] = [("media_cache_bytes", "0"), ("removal_grace_seconds", "0")];

/// A server with files that were acknowledged.
pub(crate) struct Rig {
    pub(crate) app: TestApp,
    pub(crate) proxy: Proxy,
    contact: Uuid,
    kept: Vec<Vec<u8>>,
}

impl Rig {
    /// One with a small and a large file.
    pub(crate) async fn start() -> Self {
        let (app, proxy) = behind_proxy(&AT_ONCE).await;
        let mut rig = Self { app, proxy, contact: Uuid::new_v4(), kept: Vec::new() };
        for size in [SMALL, LARGE] {
            let url = rig.url().await;
            rig.keeps(&url, csv(size)).await;
        }
        rig.app.nothing_staged().await;
        rig
    }

    pub(crate) async fn url(&self) -> String {
        self.app.upload_url(self.contact, "a.csv", "text/csv").await
    }

    /// Uploads bytes of which nobody knows before how many there are: a large file goes in parts.
    async fn put(&self, url: &str, bytes: &[u8]) -> Answer {
        Answer::of(self.app.client().put(url).body(chunked(bytes))).await
    }

    /// Uploads a file so, which must work.
    async fn keeps(&mut self, url: &str, bytes: Vec<u8>) {
        self.put(url, &bytes).await.ok();
        self.kept.push(bytes);
    }

    /// The same with a size that is announced.
    pub(crate) async fn streams(&mut self, url: &str, bytes: Vec<u8>) {
        self.app.put(url, &bytes).await.ok();
        self.kept.push(bytes);
    }

    /// The links of all files.
    async fn links(&self) -> Vec<String> {
        let list = self.app.list(self.contact).await.ok();
        list["attachments"].as_array().unwrap().iter().map(|a| link(a).to_owned()).collect()
    }

    /// What a link opens; `None` when it says that the store is away, or its answer breaks.
    async fn opened(&self, link: &str) -> Option<Vec<u8>> {
        let answer = self.app.client().get(link).send().await.unwrap();
        if answer.status() == 503 {
            assert_eq!(answer.headers()["retry-after"], "5");
            return None;
        }
        assert_eq!(answer.status(), 200);
        answer.bytes().await.ok().map(|bytes| bytes.to_vec())
    }

    /// Whether every acknowledged file opens, and there is no other one.
    async fn has_all(&self) -> bool {
        let mut opened = Vec::new();
        for link in self.links().await {
            opened.push(self.opened(&link).await.unwrap_or_default());
        }
        let mut kept = self.kept.clone();
        opened.sort();
        kept.sort();
        opened == kept
    }

    /// Ends the fault and waits until nothing is there but what was acknowledged. That takes an hour where
    /// another server might be at work on it.
    pub(crate) async fn recovers(&self) {
        self.proxy.fails(Fault::None);
        self.app.advance_seconds(HOUR_SECONDS + 60);
        eventually("what was acknowledged is there, and nothing else", async || {
            let recovered = recover(self.app.app()).await.is_ok();
            let swept = sweep(self.app.app()).await.is_ok();
            let is_clean = self.app.stored_files().len() == self.kept.len();
            recovered && swept && is_clean && self.app.states().is_empty() && self.has_all().await
        })
        .await;
    }
}

pub(crate) fn says_away(answer: &Answer) {
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "5"), "{answer:?}");
}

#[tokio::test]
async fn a_store_that_takes_nothing_is_said_and_the_same_urls_work_later() {
    let mut rig = Rig::start().await;
    for fault in [Fault::Denied(Right::Put), Fault::Skewed, Fault::Slow(u32::MAX), Fault::Cut(20)] {
        let urls = [rig.url().await, rig.url().await];
        let resumable = rig.url().await;
        rig.proxy.fails(fault);
        for (url, size) in urls.iter().zip([SMALL, LARGE]) {
            says_away(&rig.put(url, &csv(size)).await);
        }
        says_away(&rig.app.tus_create(&resumable, LARGE).await);
        let total = rig.app.list(rig.contact).await.ok()["metadata"]["total"].clone();
        assert_eq!(total, rig.kept.len(), "{fault:?}");
        if fault == Fault::Denied(Right::Put) {
            assert!(rig.has_all().await, "reads go on");
        }
        rig.proxy.fails(Fault::None);
        for (url, size) in urls.iter().zip([SMALL, LARGE]) {
            rig.keeps(url, csv(size)).await;
        }
    }
    rig.recovers().await;
}

#[tokio::test]
async fn a_store_that_gives_nothing_is_said_and_what_cannot_be_seen_is_not_acknowledged() {
    let mut rig = Rig::start().await;
    let links = rig.links().await;
    let urls = [rig.url().await, rig.url().await];
    rig.proxy.fails(Fault::Denied(Right::Get));
    for link in &links {
        says_away(&rig.app.open(link).await);
    }
    // One call says whether it is there; several are looked at.
    rig.keeps(&urls[0], csv(SMALL)).await;
    says_away(&rig.put(&urls[1], &csv(LARGE)).await);
    rig.recovers().await;
}

#[tokio::test]
async fn what_a_store_does_not_delete_is_deleted_later() {
    let mut rig = Rig::start().await;
    let url = rig.url().await;
    let gone = rig.app.list(rig.contact).await.ok()["attachments"][0].clone();
    let bytes = rig.opened(link(&gone)).await.unwrap();
    rig.kept.retain(|kept| *kept != bytes);
    rig.proxy.fails(Fault::Denied(Right::Delete));
    rig.keeps(&url, csv(5_000)).await;
    let pdf = rig.app.upload(rig.contact, "a.pdf", "application/pdf", &csv(LARGE)).await;
    assert_eq!(pdf.refused(), (400, "MIME_TYPE_MISMATCH".to_owned()));
    let (contact, id) = (rig.contact, gone["id"].as_str().unwrap());
    rig.app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
    assert_eq!(rig.app.open(link(&gone)).await.status, 404);
    sweep(rig.app.app()).await.unwrap();
    assert_eq!(rig.app.blob_files().len(), 3, "its bytes are still there");
    rig.recovers().await;
}

#[tokio::test]
async fn a_store_that_lists_nothing_only_keeps_what_was_left_from_being_found() {
    let mut rig = Rig::start().await;
    rig.proxy.fails(Fault::Denied(Right::List));
    recover(rig.app.app()).await.unwrap_err();
    for size in [SMALL, LARGE] {
        let url = rig.url().await;
        rig.keeps(&url, csv(size)).await;
    }
    assert!(rig.has_all().await);
    rig.recovers().await;
}

#[tokio::test]
async fn a_store_that_is_slow_for_a_moment_is_asked_again() {
    let mut rig = Rig::start().await;
    for size in [SMALL, LARGE] {
        let url = rig.url().await;
        rig.proxy.fails(Fault::Slow(3));
        rig.keeps(&url, csv(size)).await;
        assert!(rig.proxy.has_failed());
        rig.proxy.fails(Fault::Slow(3));
        assert!(rig.has_all().await);
        assert!(rig.proxy.has_failed());
    }
    rig.recovers().await;
}

#[tokio::test]
async fn an_answer_that_is_cut_is_said_before_it_begins_or_breaks() {
    let mut rig = Rig::start().await;
    let url = rig.url().await;
    for most in [20, 700, 1 << 20] {
        rig.proxy.fails(Fault::Cut(most));
        for link in rig.links().await {
            let opened = rig.opened(&link).await;
            assert!(opened.is_none_or(|bytes| rig.kept.contains(&bytes)), "{most}");
        }
    }
    rig.proxy.fails(Fault::None);
    rig.keeps(&url, csv(SMALL)).await;
    rig.recovers().await;
}

#[tokio::test]
async fn a_store_that_is_silent_is_given_up_in_time() {
    let mut rig = Rig::start().await;
    let urls = [rig.url().await, rig.url().await, rig.url().await];
    let links = rig.links().await;
    rig.proxy.fails(Fault::Silent);
    let (small, large) = (csv(SMALL), csv(LARGE));
    // All at once: each of them takes its whole time.
    let answers = tokio::join!(
        rig.app.open(&links[0]),
        rig.app.open(&links[1]),
        rig.put(&urls[0], &small),
        rig.put(&urls[1], &large),
        rig.app.put(&urls[2], &large)
    );
    for answer in [answers.0, answers.1, answers.2, answers.3, answers.4] {
        says_away(&answer);
    }
    rig.proxy.fails(Fault::None);
    for (url, bytes) in urls.iter().zip([small, large]) {
        rig.keeps(url, bytes).await;
    }
    rig.recovers().await;
}

#[tokio::test]
async fn a_call_that_the_store_gets_twice_is_done_once() {
    let mut rig = Rig::start().await;
    for (doubled, size) in [
        ("/staging/", SMALL),
        ("/blobs/", SMALL),
        ("partNumber=", LARGE),
        ("CompleteMultipartUpload", LARGE),
        ("DELETE ", SMALL),
    ] {
        let url = rig.url().await;
        rig.proxy.fails(Fault::Doubled(doubled));
        rig.keeps(&url, csv(size)).await;
        rig.app.nothing_staged().await;
        assert!(rig.proxy.has_failed(), "{doubled}");
    }
    rig.recovers().await;
}

#[tokio::test]
async fn a_call_that_the_store_gets_when_all_is_over_leaves_nothing() {
    let mut rig = Rig::start().await;
    let url = rig.url().await;
    rig.proxy.fails(Fault::Late);
    says_away(&rig.put(&url, &csv(5_000)).await);
    rig.proxy.fails(Fault::None);
    rig.keeps(&url, csv(5_000)).await;
    assert_eq!(rig.app.blob_files().len(), 3);
    assert_eq!(rig.proxy.deliver().await, "HTTP/1.1 200 OK");
    assert_eq!(rig.app.blob_files().len(), 4, "one that no row names");
    rig.recovers().await;
}

#[tokio::test]
async fn a_store_that_names_wrong_versions_never_sends_wrong_bytes() {
    let mut rig = Rig::start().await;
    for method in ["PUT", "HEAD", "GET"] {
        let urls = [rig.url().await, rig.url().await];
        rig.proxy.fails(Fault::WrongEtag(method));
        for (url, size) in urls.iter().zip([SMALL, LARGE]) {
            rig.keeps(url, csv(size)).await;
        }
        for link in rig.links().await {
            let opened = rig.opened(&link).await;
            assert!(opened.is_none_or(|bytes| rig.kept.contains(&bytes)), "{method}");
        }
    }
    rig.recovers().await;
}

#[tokio::test]
async fn other_bytes_of_a_small_file_are_never_sent() {
    let rig = Rig::start().await;
    let mark = "14057b7ef767814f";
    assert!(csv(SMALL).starts_with(mark.as_bytes()));
    let links = rig.links().await;
    rig.proxy.fails(Fault::AnsweredAltered(mark));
    let mut statuses = Vec::new();
    for link in &links {
        let answer = rig.app.client().get(link).send().await.unwrap();
        statuses.push((answer.status().as_u16(), answer.content_length()));
    }
    assert!(statuses.iter().any(|(status, _)| *status == 500), "{statuses:?}");
    rig.recovers().await;
}

#[tokio::test]
async fn a_mark_that_cannot_be_read_makes_no_hole_and_takes_nothing_away() {
    let mut rig = Rig::start().await;
    let bytes = csv(LARGE);
    let (_, location) = rig.app.tus_begin(rig.contact, LARGE).await;
    assert_eq!(rig.app.tus_patch(&location, 0, &bytes[..12 << 20]).await.status, 204);
    rig.proxy.fails(Fault::AnsweredAltered("\"at_ms\""));
    rig.app.advance_seconds(HOUR_SECONDS + 60);
    assert_eq!(recover(rig.app.app()).await.unwrap(), (0, 0));
    let patched = rig.app.tus_patch(&location, 12 << 20, &bytes[12 << 20..]).await;
    assert_eq!(patched.status, 204, "{patched:?}");
    rig.kept.push(bytes);
    rig.recovers().await;
}

/// Of stores only some compare what they called the parts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_that_were_called_by_wrong_names_are_sent_again() {
    let bucket = MotoBucket::make().await;
    let proxy = Proxy::before(moto::address().to_owned()).await;
    let blobs = bucket.url.replace(moto::address(), &proxy.address.to_string());
    let settings = [("blobs", &*blobs), ("blobs_credentials_file", &bucket.credentials())];
    let app = TestApp::start_with(&settings).await;
    let (contact, bytes) = (Uuid::new_v4(), csv(LARGE));
    let url = app.upload_url(contact, "a.csv", "text/csv").await;
    let (_, location) = app.tus_begin(contact, LARGE).await;
    proxy.fails(Fault::WrongEtag("PUT"));
    let found = doctor(app.data(), Path::new(&bucket.credentials()), &blobs);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].0.contains("does not know the parts by the ETags"), "{found:?}");
    says_away(&Answer::of(app.client().put(&url).body(chunked(&bytes))).await);
    assert_eq!(app.tus_patch(&location, 0, &bytes[..12 << 20]).await.status, 204);
    proxy.fails(Fault::None);
    app.put(&url, &bytes).await.ok();
    let lost = app.tus_patch(&location, 12 << 20, &bytes[12 << 20..]).await;
    assert_eq!(lost.refused(), (410, "UPLOAD_GONE".to_owned()));
    assert_eq!(app.tus_head(&location).await.status, 410);
    let (_, location) = app.tus_begin(contact, LARGE).await;
    assert_eq!(app.tus_patch(&location, 0, &bytes).await.status, 204);
    let list = app.list(contact).await.ok();
    assert_eq!(list["metadata"]["total"], 2);
    for attachment in list["attachments"].as_array().unwrap() {
        assert!(app.open(link(attachment)).await.body == bytes);
    }
    eventually("only both files are there", async || bucket.objects().await.len() == 2).await;
}

/// What doctor says of the bucket: each thing that is wrong, with what to do.
fn doctor(data: &Path, credentials: &Path, url: &str) -> Vec<(String, String)> {
    let blobs = format!("blobs={url}");
    let keys = format!("blobs_credentials_file={}", credentials.display());
    let data = data.to_str().unwrap();
    let looked = run(&["doctor", "--json", "--data", data, "--set", &blobs, "--set", &keys]);
    let report: Value = serde_json::from_str(&looked.out).unwrap();
    let of_bucket = |check: &&Value| check["name"] == "bucket" && check["state"] != "fine";
    let checks = report["checks"].as_array().unwrap().iter().filter(of_bucket);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let found: Vec<_> = checks.map(|c| (text(&c["detail"]), text(&c["remedy"]))).collect();
    assert!(found.is_empty() || looked.code == Some(1), "{looked:?}");
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_and_a_start_say_what_a_store_refuses() {
    let (app, proxy) = behind_proxy(&AT_ONCE).await;
    let (bucket, data) = (bucket::make(app.data()), app.data().to_owned());
    let _folder = app.stop().await;
    let url = bucket.at(proxy.address);
    let probes = bucket.folder.join("probe");
    let left = || std::fs::read_dir(&probes).map_or(0, Iterator::count);
    assert_eq!(doctor(&data, &bucket.credentials, &url), []);
    for (fault, said, remedy) in [
        (Fault::Denied(Right::List), &["listing", "lack the right"][..], "s3:ListBucket"),
        (Fault::Denied(Right::Put), &["writing", "lack the right"], "s3:PutObject"),
        (Fault::Denied(Right::Get), &["reading"], "s3:GetObject"),
        (Fault::Skewed, &["clock of this machine", "2031-02-03T04:05:06Z"], "NTP"),
        (Fault::Slow(u32::MAX), &["too busy"], "look at the store"),
        (Fault::Away, &["listing"], "look at the store"),
        (Fault::Silent, &["did not answer in time"], "look at the store"),
        (Fault::WrongEtag("HEAD"), &["reading a range", "ETag"], "look at the store"),
    ] {
        proxy.fails(fault);
        let found = doctor(&data, &bucket.credentials, &url);
        assert_eq!(found.len(), 1, "{fault:?} {found:?}");
        let (detail, told) = &found[0];
        assert!(said.iter().all(|said| detail.contains(said)), "{fault:?} {detail}");
        assert!(told.contains(remedy), "{fault:?} {told}");
        assert!(!detail.contains("test-secret"), "{detail}");
        assert_eq!(left(), 0, "{fault:?}");
    }
    proxy.fails(Fault::Denied(Right::Delete));
    let found = doctor(&data, &bucket.credentials, &url);
    for (number, right) in [(0, "s3:DeleteObject"), (1, "s3:AbortMultipartUpload")] {
        assert!(found[number].1.contains(right), "{found:?}");
    }
    assert!(found[0].0.contains("/probe/") && left() == 1, "{found:?}");
    for (fault, said) in
        [(Fault::Denied(Right::List), "lack the right"), (Fault::Skewed, "clock of this machine")]
    {
        proxy.fails(fault);
        let (blobs, keys) = (format!("blobs={url}"), bucket.credentials.to_str().unwrap());
        let place = ["serve", "--listen", "127.0.0.1:0", "--listen-tls", "off", "--set", &blobs];
        let keys = format!("blobs_credentials_file={keys}");
        let ended =
            run(&[&place[..], &["--set", &keys, "--data", data.to_str().unwrap()]].concat());
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.err.contains(said) && ended.err.contains("cannot be used"), "{ended:?}");
    }
}
