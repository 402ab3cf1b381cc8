//! A server that runs out of file descriptors sheds load and recovers by itself (R10).

use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::tus::csv;
use crate::support::{Dossier, Response};

/// Few, but enough for an idle server.
const HANDLES: usize = 48;
/// More connections than descriptors.
const CONNECTIONS: usize = 100;
/// How long the server may take to recover once descriptors are free.
const DEADLINE: Duration = Duration::from_secs(30);

struct Server {
    _process: Dossier,
    base: String,
    key: String,
}

impl Server {
    fn with_few_handles(data: &str) -> Self {
        let program = env!("CARGO_BIN_EXE_dossier");
        let serve = "serve --ready-json --listen 127.0.0.1:0 --listen-tls off --set log=off";
        let script = format!("ulimit -n {HANDLES}; exec {program} {serve} --data {data}");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).env_clear();
        let mut process = Dossier::spawn(command);
        let ready = process.ready();
        let text = |name: &str| ready[name].as_str().unwrap().to_owned();
        Self { base: text("http"), key: text("apiKey"), _process: process }
    }

    async fn upload(&self, client: &Client, contact: Uuid) -> reqwest::Result<Response> {
        let url = format!("{}/contacts/v4/attachments/{contact}/upload-url", self.base);
        let body = json!({ "fileName": "a.csv", "mimeType": "text/csv" });
        let request = client.post(url).header("authorization", &self.key).json(&body);
        let response: Value = request.send().await?.json().await?;
        let response = client.put(response["uploadUrl"].as_str().unwrap()).body(csv(1_000));
        let response = response.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok(Response { status, headers, body: response.bytes().await?.to_vec() })
    }
}

#[tokio::test]
async fn without_file_descriptors_load_is_shed_until_some_are_free() {
    let (folder, contact) = (tempfile::tempdir().unwrap(), Uuid::new_v4());
    let server = Server::with_few_handles(folder.path().to_str().unwrap());
    // Its connection is opened before the others.
    let first = Client::new();
    assert_eq!(server.upload(&first, contact).await.unwrap().status, 200);
    let address = server.base.strip_prefix("http://").unwrap();
    let idle: Vec<TcpStream> =
        (0..CONNECTIONS).map(|_| TcpStream::connect(address).unwrap()).collect();
    let started = Instant::now();
    loop {
        let response = server.upload(&first, contact).await.unwrap();
        if response.status == 503 {
            assert_eq!(response.header("retry-after"), "1");
            break;
        }
        assert_eq!(response.status, 200);
        assert!(started.elapsed() < DEADLINE, "the descriptors do not run out");
    }
    drop(idle);
    let started = Instant::now();
    loop {
        // A new connection, which has to be accepted.
        match server.upload(&Client::new(), contact).await {
            Ok(response) if response.status == 200 => return,
            _ => assert!(started.elapsed() < DEADLINE, "the server does not recover"),
        }
    }
}
