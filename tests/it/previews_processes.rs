//! Render workers as operating system processes, under the real program: they end with it however
//! it ends, are reaped when they die, and do not use its memory for decoding.

use std::fs::read_to_string;
use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::files::{eventually, jpeg, png, quarters};
use crate::support::{Dossier, Response};

/// The most that one 12-megapixel picture may add to the server's peak: far less than its pixels.
const GROWTH_MAX_KIB: u64 = 16 * 1024;

struct Server {
    process: Dossier,
    id: u32,
    base: String,
    key: String,
    client: reqwest::Client,
}

impl Server {
    fn start(data: &Path) -> Self {
        let (process, ready) =
            Dossier::serve(data, &["--set", "log=off", "--set", "preview_seconds=60"]);
        let text = |name: &str| ready[name].as_str().unwrap().to_owned();
        let (base, key, id) = (text("http"), text("apiKey"), process.id());
        Self { process, id, base, key, client: reqwest::Client::new() }
    }

    fn call(&self, method: Method, contact: Uuid, more: &str) -> reqwest::RequestBuilder {
        let url = format!("{}/contacts/v4/attachments/{contact}{more}", self.base);
        self.client.request(method, url).header("authorization", &self.key)
    }

    /// Uploads a picture and requests its preview.
    async fn preview(&self, name: &str, mime_type: &str, bytes: Vec<u8>) -> u16 {
        let contact = Uuid::new_v4();
        let body = json!({ "fileName": name, "mimeType": mime_type });
        let url = self.call(Method::POST, contact, "/upload-url").json(&body);
        let url = Response::to(url).await.ok()["uploadUrl"].as_str().unwrap().to_owned();
        Response::to(self.client.put(url).body(bytes)).await.ok();
        let list: Value = Response::to(self.call(Method::GET, contact, "")).await.ok();
        let link = list["attachments"][0]["previewImage"]["url"].as_str().unwrap();
        Response::to(self.client.get(link)).await.status.as_u16()
    }

    async fn small_preview(&self) -> u16 {
        self.preview("a.jpg", "image/jpeg", jpeg(&quarters(800, 600))).await
    }

    /// The server's peak memory.
    fn peak_kib(&self) -> u64 {
        let status = read_to_string(format!("/proc/{}/status", self.id)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// The server's child processes with their states.
    fn children(&self) -> Vec<(u32, char)> {
        let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.filter_map(|id| {
            process(id).filter(|found| found.1 == self.id).map(|(state, _)| (id, state))
        })
        .collect()
    }
}

/// State and parent of a process.
fn process(id: u32) -> Option<(char, u32)> {
    let stat = read_to_string(format!("/proc/{id}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Whether a process is dead or a zombie. The system may take a while to reap an orphan.
fn has_ended(id: u32) -> bool {
    process(id).is_none_or(|(state, _)| ['Z', 'X'].contains(&state))
}

#[tokio::test]
async fn workers_end_with_a_killed_server() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    assert_eq!(server.small_preview().await, 200);
    let workers = server.children();
    assert!(!workers.is_empty());
    server.process.signal("KILL");
    for (worker, _) in workers {
        eventually("the worker has ended", async || has_ended(worker)).await;
    }
}

#[tokio::test]
async fn workers_end_with_a_stopped_server() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    assert_eq!(server.small_preview().await, 200);
    let workers = server.children();
    assert!(!workers.is_empty());
    tokio::task::spawn_blocking(move || server.process.stop()).await.unwrap();
    for (worker, _) in workers {
        assert_eq!(process(worker), None, "a worker outlived the server");
    }
}

#[tokio::test]
async fn killed_workers_are_reaped_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    for _ in 0..3 {
        assert_eq!(server.small_preview().await, 200);
        let workers = server.children();
        assert!(!workers.is_empty());
        for (worker, _) in &workers {
            let kill = format!("kill -9 {worker}");
            std::process::Command::new("sh").args(["-c", &kill]).status().unwrap();
        }
        eventually("dead workers are reaped", async || {
            server
                .children()
                .iter()
                .all(|(id, state)| *state != 'Z' && workers.iter().all(|(killed, _)| killed != id))
        })
        .await;
    }
    assert_eq!(server.small_preview().await, 200);
}

#[tokio::test]
async fn decoding_a_large_picture_does_not_use_the_servers_memory() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    assert_eq!(server.small_preview().await, 200);
    let before_kib = server.peak_kib();
    // 36 MB of pixels.
    let large = png(&quarters(4_000, 3_000));
    assert_eq!(server.preview("a.png", "image/png", large).await, 200);
    let grown_kib = server.peak_kib() - before_kib;
    assert!(grown_kib < GROWTH_MAX_KIB, "{before_kib} KiB and {grown_kib} more");
}
