//! Clients that request a file and do not read it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

const FILE_BYTES: usize = 48 << 20;
const SLOW_READERS: usize = 4;
/// Less than two files. An idle server and a running download need far less.
const MAX_RESIDENT_KIB: u64 = 80 << 10;

/// A server in its own process, so that its memory can be measured.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Program {
    fn start(data: &std::path::Path) -> (Self, Value) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dossier"))
            .args(["serve", "--listen", "127.0.0.1:0", "--listen-tls", "off", "--ready-json"])
            .arg("--data")
            .arg(data)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (Self(child), serde_json::from_str(&line).unwrap())
    }

    fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_unread_download_is_not_buffered_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (server, ready) = Program::start(folder.path());
    let (base, client) = (ready["http"].as_str().unwrap(), reqwest::Client::new());
    let contact = uuid::Uuid::new_v4();
    let url: Value = client
        .post(format!("{base}/contacts/v4/attachments/{contact}/upload-url"))
        .header("authorization", ready["apiKey"].as_str().unwrap())
        .json(&json!({ "fileName": "long.pdf", "mimeType": "application/pdf" }))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let mut file = b"%PDF-1.7\n".to_vec();
    file.resize(FILE_BYTES, b' ');
    let put = client.put(url["uploadUrl"].as_str().unwrap()).body(file);
    let uploaded: Value = put.send().await.unwrap().json().await.unwrap();
    let link = uploaded["file"]["url"].as_str().unwrap();

    let (host, path) = link.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let slow_readers: Vec<TcpStream> = (0..SLOW_READERS)
        .map(|_| {
            let mut stream = TcpStream::connect(host).unwrap();
            write!(stream, "GET /{path} HTTP/1.1\r\nhost: {host}\r\n\r\n").unwrap();
            let mut status = String::new();
            BufReader::with_capacity(64, &stream).read_line(&mut status).unwrap();
            assert!(status.starts_with("HTTP/1.1 200"), "{status}");
            stream
        })
        .collect();
    // The server could buffer the whole file while the others read.
    for _ in 0..2 {
        let body = client.get(link).send().await.unwrap().bytes().await.unwrap();
        assert_eq!(body.len(), FILE_BYTES);
    }
    let peak_kib = server.peak_kib();
    drop(slow_readers);
    assert!(peak_kib < MAX_RESIDENT_KIB, "{peak_kib} KiB");
}
