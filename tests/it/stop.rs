//! A stop loses nothing acknowledged and leaves nothing half done (R26).

use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::{self, AbortHandle};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::tus::{PIECE, csv};
use crate::support::{Dossier, Response, run};

/// Concurrent uploading clients.
const CLIENTS: usize = 6;
const FILE_BYTES: usize = 60_000;

struct Running {
    process: Dossier,
    base: String,
    key: String,
    client: reqwest::Client,
}

impl Running {
    fn start(data: &Path, more: &[&str], key: Option<&str>) -> Self {
        let (process, ready) = Dossier::serve(data, more);
        let key = key.map_or_else(|| ready["apiKey"].as_str().unwrap().to_owned(), str::to_owned);
        let base = ready["http"].as_str().unwrap().to_owned();
        Self { process, base, key, client: reqwest::Client::new() }
    }

    fn list(&self, contact: Uuid) -> reqwest::RequestBuilder {
        let url = format!("{}/contacts/v4/attachments/{contact}", self.base);
        self.client.get(url).header("authorization", &self.key)
    }

    fn health(&self) -> reqwest::RequestBuilder {
        self.client.get(format!("{}/dossier/v1/health", self.base))
    }
}

/// Requests an upload URL; an error once the server is gone.
async fn upload_url(
    client: &reqwest::Client,
    (base, key): (&str, &str),
    contact: Uuid,
    name: &str,
) -> reqwest::Result<String> {
    let url = format!("{base}/contacts/v4/attachments/{contact}/upload-url");
    let body = json!({ "fileName": name, "mimeType": "text/csv" });
    let response = client.post(url).header("authorization", key).json(&body).send().await?;
    let response: Value = response.error_for_status()?.json().await?;
    Ok(response["uploadUrl"].as_str().unwrap().to_owned())
}

/// Uploads until the server is gone; returns the acknowledged names.
async fn upload_until_gone(
    client: reqwest::Client,
    base: String,
    key: String,
    contact: Uuid,
    number: usize,
) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for count in 0.. {
        let name = format!("{number}-{count}.csv");
        let Ok(url) = upload_url(&client, (&base, &key), contact, &name).await else { break };
        match client.put(url).body(csv(FILE_BYTES)).send().await {
            Ok(response) if response.status() == 200 => acknowledged.push(name),
            _ => break,
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_loses_nothing() {
    let (folder, contact) = (tempfile::tempdir().unwrap(), Uuid::new_v4());
    let server = Running::start(folder.path(), &["--set", "shutdown_seconds=2"], None);
    let (base, key) = (server.base.clone(), server.key.clone());
    let mut uploads = JoinSet::new();
    for number in 0..CLIENTS {
        let (base, key) = (base.clone(), key.clone());
        uploads.spawn(upload_until_gone(server.client.clone(), base, key, contact, number));
    }
    // A resumable upload that stalls in the middle of a piece.
    let url = upload_url(&server.client, (&base, &key), contact, "tus.csv").await.unwrap();
    let tus =
        |method, url: &str| server.client.request(method, url).header("tus-resumable", "1.0.0");
    let created = Response::to(tus(Method::POST, &url).header("upload-length", "1000")).await;
    let location = created.header("location").to_owned();
    let piece = tus(Method::PATCH, &location).header(PIECE.0, PIECE.1);
    Response::to(piece.header("upload-offset", "0").body(csv(500))).await;
    let (_keep, half) = stalled_body();
    let piece = tus(Method::PATCH, &location).header(PIECE.0, PIECE.1);
    let mut stalled = JoinSet::new();
    stalled.spawn(piece.header("upload-offset", "500").body(half).send());
    let started = Instant::now();
    while server.list(contact).send().await.unwrap().json::<Value>().await.unwrap()["metadata"]
        ["total"]
        .as_u64()
        < Some(20)
    {
        assert!(started.elapsed() < Duration::from_secs(30), "the load does not start");
    }
    let output = tokio::task::spawn_blocking(move || server.process.stop()).await.unwrap();
    assert_eq!(output.code, Some(0));
    drop(stalled);
    let mut acknowledged = Vec::new();
    while let Some(names) = uploads.join_next().await {
        acknowledged.extend(names.unwrap());
    }
    assert!(acknowledged.len() >= 20);
    let data = folder.path().to_str().unwrap().to_owned();
    let fsck = move || run(&["fsck", "--hash", "--json", "--data", &data]);
    let report = tokio::task::spawn_blocking(fsck).await.unwrap();
    assert_eq!(report.code, Some(0), "{report:?}");
    let report: Value = serde_json::from_str(&report.out).unwrap();
    assert_eq!(report["uploadsInFlight"], 1);
    assert!(report["rows"].as_u64() >= Some(acknowledged.len() as u64), "{report}");
    let server = Running::start(folder.path(), &[], Some(&key));
    let head = server.client.head(location.replace(&base, &server.base));
    let head = Response::to(head.header("tus-resumable", "1.0.0")).await;
    assert!(head.offset() >= 500, "{head:?}");
}

/// A body that sends some bytes and then stalls until the handle aborts it.
fn stalled_body() -> (AbortHandle, reqwest::Body) {
    let first = stream::iter([Ok::<_, std::io::Error>(csv(100))]);
    let (rest, handle) = stream::abortable(stream::pending::<std::io::Result<Vec<u8>>>());
    (handle, reqwest::Body::wrap_stream(first.chain(rest)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_is_announced_while_requests_are_still_served() {
    let (folder, contact) = (tempfile::tempdir().unwrap(), Uuid::new_v4());
    let server = Running::start(folder.path(), &["--set", "shutdown_notice_seconds=600"], None);
    assert_eq!(Response::to(server.health()).await.ok()["status"], "ok");
    server.process.signal("TERM");
    let started = Instant::now();
    while Response::to(server.health()).await.status == 200 {
        assert!(started.elapsed() < Duration::from_secs(30), "health does not report the stop");
    }
    let health = Response::to(server.health()).await;
    assert_eq!((health.status.as_u16(), health.json()["status"].as_str()), (503, Some("stopping")));
    assert_eq!(Response::to(server.list(contact)).await.ok()["metadata"]["total"], 0);
    // A second request does not wait.
    let output = tokio::task::spawn_blocking(move || server.process.stop()).await.unwrap();
    assert_eq!(output.code, Some(0));
}
