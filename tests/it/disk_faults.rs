//! A disk that fails under the real program, at each call in turn (R9, R11). No 200 is ever
//! returned for what is not durable, nothing is half stored, and reads continue.
//! `tests/faults/shim.c` sits between the program and the C library.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::tus::{PIECE, csv, token};
use crate::support::{Dossier, PNG, Response, command, run, runs_long_forms};

/// Classes of system calls, as in the shim.
const WRITES: i32 = 1;
const NAMES: i32 = 2;
const SYNCS: i32 = 4;

/// More calls than the scenario makes.
const MAX_CALLS: i32 = 400;
/// How long recovery may take to clean up after a failure.
const DEADLINE: Duration = Duration::from_secs(20);

/// How calls fail.
#[derive(Clone, Copy)]
struct Fault {
    classes: i32,
    /// 0: the call writes half of its bytes.
    error: i32,
    /// Whether all later calls fail too.
    lasting: bool,
}

/// The compiled shim, built once.
fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/shim.c");
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("libfaults.so");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&library, &source])
            .arg("-ldl")
            .status();
        assert!(built.unwrap().success(), "the shim does not compile");
        library
    })
}

/// The file that controls the shim.
struct Control(std::fs::File);

impl Control {
    fn new(path: &Path) -> Self {
        std::fs::write(path, [0; 24]).unwrap();
        Self(std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap())
    }

    fn set(&self, field: u64, value: i32) {
        self.0.write_all_at(&value.to_ne_bytes(), field * 4).unwrap();
    }

    fn get(&self, field: u64) -> i32 {
        let mut bytes = [0; 4];
        self.0.read_exact_at(&mut bytes, field * 4).unwrap();
        i32::from_ne_bytes(bytes)
    }

    /// Makes the call with this index fail.
    fn arm(&self, fault: Fault, index: i32) {
        for (field, value) in [(1, fault.error), (2, index), (3, fault.lasting.into())] {
            self.set(field, value);
        }
        self.set(0, fault.classes);
    }

    fn disarm(&self) {
        self.set(0, 0);
    }

    fn calls(&self) -> i32 {
        self.get(4)
    }

    fn hits(&self) -> i32 {
        self.get(5)
    }
}

/// A server with a client and key for it.
struct Server {
    _process: Dossier,
    client: reqwest::Client,
    base: String,
    key: String,
}

impl Server {
    fn start(folder: &Path, key: Option<String>, control: Option<&Path>) -> Self {
        let data = folder.join("data");
        let own = ["serve", "--ready-json", "--listen", "127.0.0.1:0", "--listen-tls", "off"];
        let grace = ["--set", "removal_grace_seconds=0", "--set", "log=off", "--data"];
        // Every read must reach the disk.
        let media = ["--set", "media_cache_bytes=0", "--set", "transforms=any"];
        let arguments = [&own[..], &media, &grace, &[data.to_str().unwrap()]].concat();
        let mut command = command(&arguments, &[]);
        if let Some(control) = control {
            command.env("LD_PRELOAD", shim()).env("FAULT_CONTROL", control);
            command.env("FAULT_ROOT", &data);
        }
        let mut process = Dossier::spawn(command);
        let ready = process.ready();
        let key = key.unwrap_or_else(|| ready["apiKey"].as_str().unwrap().to_owned());
        let base = ready["http"].as_str().unwrap().to_owned();
        Self { _process: process, client: reqwest::Client::new(), base, key }
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Response {
        let url = format!("{}{path}", self.base);
        let request = self.client.request(method, url).header("authorization", &self.key);
        Response::to(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
    }

    async fn list(&self, contact: Uuid) -> Vec<Value> {
        let response = self.call(Method::GET, &attachments(contact), None).await;
        response.ok()["attachments"].as_array().unwrap().clone()
    }

    async fn upload_url(&self, contact: Uuid, name: &str, mime_type: &str) -> String {
        let body = json!({ "fileName": name, "mimeType": mime_type });
        let path = format!("{}/upload-url", attachments(contact));
        let response = self.call(Method::POST, &path, Some(body)).await.ok();
        response["uploadUrl"].as_str().unwrap().to_owned()
    }

    async fn put(&self, contact: Uuid, name: &str, bytes: &[u8]) -> Response {
        let mime_type = if bytes == PNG { "image/png" } else { "text/csv" };
        let url = self.upload_url(contact, name, mime_type).await;
        Response::to(self.client.put(url).body(bytes.to_vec())).await
    }

    /// A resumable upload in two pieces; returns the last response.
    async fn tus(&self, contact: Uuid, name: &str, bytes: &[u8]) -> Response {
        let url = self.upload_url(contact, name, "text/csv").await;
        let tus =
            |method, url: &str| self.client.request(method, url).header("tus-resumable", "1.0.0");
        let length = bytes.len().to_string();
        let created = Response::to(tus(Method::POST, &url).header("upload-length", length)).await;
        if created.status != 201 {
            return created;
        }
        let half = bytes.len() / 2;
        for (from, to) in [(0, half), (half, bytes.len())] {
            let piece = tus(Method::PATCH, created.header("location"))
                .header(PIECE.0, PIECE.1)
                .header("upload-offset", from.to_string())
                .body(bytes[from..to].to_vec());
            let response = Response::to(piece).await;
            if response.status != 204 {
                return response;
            }
        }
        let finish = format!("{}/upload/tus/{}", self.base, token(&url));
        Response::to(self.client.put(finish).body("{}")).await
    }
}

fn attachments(contact: Uuid) -> String {
    format!("/contacts/v4/attachments/{contact}")
}

/// What was acknowledged and what was rejected.
#[derive(Default)]
struct ScenarioResult {
    rejected: Vec<u16>,
    kept: Vec<(&'static str, Vec<u8>)>,
    is_deleted: bool,
}

/// Uploads, deletes and reads. Reads must work whatever fails.
async fn scenario(server: &Server, contact: Uuid) -> ScenarioResult {
    let mut result = ScenarioResult::default();
    let table = csv(40_000);
    for (name, bytes) in [("new.csv", &*table), ("new.png", PNG)] {
        match server.put(contact, name, bytes).await.status.as_u16() {
            200 => result.kept.push((name, bytes.to_vec())),
            rejected => result.rejected.push(rejected),
        }
    }
    // The preview is made in the background unless requested. Whether it can be stored does not
    // matter here.
    let listed = server.list(contact).await;
    let preview = listed.iter().find_map(|one| one["previewImage"]["url"].as_str());
    if let Some(preview) = preview {
        Response::to(server.client.get(preview)).await;
    }
    match server.tus(contact, "tus.csv", &table).await.status.as_u16() {
        200 => result.kept.push(("tus.csv", table.clone())),
        rejected => result.rejected.push(rejected),
    }
    let listed = server.list(contact).await;
    let old = listed.iter().find(|one| one["fileName"] == "old.csv").unwrap();
    let path = format!("{}/{}", attachments(contact), old["id"].as_str().unwrap());
    match server.call(Method::DELETE, &path, None).await.status.as_u16() {
        200 => result.is_deleted = true,
        rejected => result.rejected.push(rejected),
    }
    let kept = listed.iter().find(|one| one["fileName"] == "kept.csv").unwrap();
    let link = kept["document"]["url"].as_str().unwrap();
    assert_eq!(Response::to(server.client.get(link)).await.body, csv(2_000));
    result
}

/// After a restart everything acknowledged is stored and nothing is half stored.
async fn check(server: &Server, folder: &Path, contact: Uuid, result: &ScenarioResult) {
    let listed = server.list(contact).await;
    let names: Vec<&str> = listed.iter().map(|one| one["fileName"].as_str().unwrap()).collect();
    assert!(!result.is_deleted || !names.contains(&"old.csv"), "a deleted file came back");
    for (name, _) in &result.kept {
        assert!(names.contains(name), "LOST: {name} of {names:?}");
    }
    for one in &listed {
        let expected = match one["fileName"].as_str().unwrap() {
            "new.png" => PNG.to_vec(),
            "old.csv" | "kept.csv" => csv(2_000),
            _ => csv(40_000),
        };
        let media = if one["image"].is_object() { &one["image"] } else { &one["document"] };
        let opened = Response::to(server.client.get(media["url"].as_str().unwrap())).await;
        assert!(opened.body == expected, "{one}: {} bytes", opened.body.len());
    }
    let data = folder.join("data");
    let fsck = ["fsck", "--hash", "--json", "--data", data.to_str().unwrap()].map(str::to_owned);
    let started = Instant::now();
    loop {
        let look = fsck.clone();
        let output = tokio::task::spawn_blocking(move || run(&look)).await.unwrap();
        let report: Value = serde_json::from_str(&output.out).unwrap();
        let in_flight = report["uploadsInFlight"].as_u64().unwrap();
        let staged = std::fs::read_dir(data.join("staging")).unwrap().count() as u64;
        if output.code == Some(0) && staged == in_flight {
            return;
        }
        assert!(started.elapsed() < DEADLINE, "{staged} staged, {output:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The result of one run with a failing call.
struct Outcome {
    hits: i32,
    calls: i32,
    rejected: Vec<u16>,
    health: u16,
}

async fn with_fault(fault: Fault, index: i32) -> Outcome {
    let (folder, contact) = (tempfile::tempdir().unwrap(), Uuid::new_v4());
    let path = folder.path().join("control");
    let control = Control::new(&path);
    let server = Server::start(folder.path(), None, Some(&path));
    for name in ["old.csv", "kept.csv"] {
        server.put(contact, name, &csv(2_000)).await.ok();
    }
    control.arm(fault, index);
    let result = scenario(&server, contact).await;
    let health = server.call(Method::GET, "/dossier/v1/health", None).await;
    let (hits, calls) = (control.hits(), control.calls());
    control.disarm();
    let health = health.status.as_u16();
    if health != 200 {
        // It stays so until the next start, even if the disk works again.
        let response = server.put(contact, "late.csv", &csv(40_000)).await;
        assert_eq!(response.status, 503, "{response:?}");
    }
    let key = server.key.clone();
    drop(server);
    let server = Server::start(folder.path(), Some(key), None);
    check(&server, folder.path(), contact, &result).await;
    Outcome { hits, calls, rejected: result.rejected, health }
}

/// One in this many calls fails in the daily sample; all of them in the long form.
const SAMPLE: i32 = 6;

/// How many of the scenario's calls of a class are made to fail, at least.
fn sampled(calls: usize) -> usize {
    if runs_long_forms() { calls } else { calls / SAMPLE as usize }
}

/// Fails each call in turn, or a sample with a different start in each run, until the scenario ends
/// before it reaches the failing call.
async fn at_each_call(fault: Fault) -> Vec<Outcome> {
    let step = if runs_long_forms() { 1 } else { SAMPLE };
    let first = 1 + (Uuid::new_v4().as_u128() % step as u128) as i32;
    let mut outcomes = Vec::new();
    for index in (first..MAX_CALLS).step_by(step as usize) {
        let outcome = with_fault(fault, index).await;
        if outcome.hits == 0 {
            assert!(outcome.calls > 0, "the shim saw no call");
            return outcomes;
        }
        outcomes.push(outcome);
    }
    panic!("the scenario makes more than {MAX_CALLS} calls");
}

#[tokio::test]
async fn a_disk_that_fills_up_at_any_call_is_reported_and_loses_nothing() {
    let fault = Fault { classes: WRITES | NAMES, error: libc::ENOSPC, lasting: true };
    let outcomes = at_each_call(fault).await;
    assert!(outcomes.iter().any(|outcome| outcome.rejected.contains(&507)));
    for outcome in &outcomes {
        assert_eq!(outcome.health, 200, "a full disk is not a broken disk");
        let others = outcome.rejected.iter().find(|status| ![507, 503].contains(*status));
        assert_eq!(others, None, "{:?}", outcome.rejected);
    }
}

#[tokio::test]
async fn an_io_error_at_any_call_never_acknowledges_what_is_not_durable() {
    let fault = Fault { classes: WRITES | NAMES, error: libc::EIO, lasting: false };
    let outcomes = at_each_call(fault).await;
    assert!(outcomes.iter().any(|outcome| outcome.rejected.contains(&500)));
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_written_until_a_restart() {
    let fault = Fault { classes: SYNCS, error: libc::EIO, lasting: false };
    let outcomes = at_each_call(fault).await;
    assert!(outcomes.len() >= sampled(6), "{} syncs", outcomes.len());
    for outcome in &outcomes {
        assert!(!outcome.rejected.is_empty());
        assert_eq!(outcome.health, 503);
    }
}

#[tokio::test]
async fn a_short_write_is_continued() {
    let fault = Fault { classes: WRITES, error: 0, lasting: false };
    let outcomes = at_each_call(fault).await;
    assert!(outcomes.len() >= sampled(21), "{} writes", outcomes.len());
    for outcome in &outcomes {
        assert_eq!((&*outcome.rejected, outcome.health), (&[][..], 200));
    }
}

#[tokio::test]
async fn a_transform_is_returned_even_if_caching_it_fails() {
    let (folder, contact) = (tempfile::tempdir().unwrap(), Uuid::new_v4());
    let path = folder.path().join("control");
    let control = Control::new(&path);
    let server = Server::start(folder.path(), None, Some(&path));
    server.put(contact, "new.png", PNG).await.ok();
    let one = server.list(contact).await.remove(0);
    let open = async |url: String| Response::to(server.client.get(url)).await.status.as_u16();
    // So that no background work is left.
    assert_eq!(open(one["previewImage"]["url"].as_str().unwrap().to_owned()).await, 200);
    let (mut size, mut hits) = (0, 0);
    for (classes, error) in [
        (WRITES | NAMES, libc::ENOSPC),
        (WRITES | NAMES, libc::EIO),
        (SYNCS, libc::EIO),
        (WRITES, 0),
    ] {
        for index in 1..MAX_CALLS {
            size += 1;
            let transform = format!("/v1/fit/w_{size},h_{size}/a?");
            let url = one["image"]["url"].as_str().unwrap().replace('?', &transform);
            let before = control.hits();
            control.arm(Fault { classes, error, lasting: false }, control.calls() + index);
            assert_eq!(open(url.clone()).await, 200, "call {index} of {classes}");
            control.disarm();
            assert_eq!(open(url).await, 200);
            if control.hits() == before {
                break;
            }
            hits += 1;
        }
    }
    assert!(hits > 8, "{hits} calls failed");
    let health = server.call(Method::GET, "/dossier/v1/health", None).await;
    assert_eq!(health.status, 200, "no upload depends on what failed");
    check(&server, folder.path(), contact, &ScenarioResult::default()).await;
}
