//! A server without file handles sheds load and comes back by itself (R10).

use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::tus::csv;
use crate::support::{Answer, Dossier};

/// Few, and enough for a server that does nothing.
const HANDLES: usize = 48;
/// More connections than that.
const CONNECTIONS: usize = 100;
/// How long the server may take to notice that there is room again.
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
        let mut process = Dossier::of(command);
        let ready = process.ready();
        let text = |name: &str| ready[name].as_str().unwrap().to_owned();
        Self { base: text("http"), key: text("apiKey"), _process: process }
    }

    async fn upload(&self, client: &Client, contact: Uuid) -> reqwest::Result<Answer> {
        let url = format!("{}/contacts/v4/attachments/{contact}/upload-url", self.base);
        let body = json!({ "fileName": "a.csv", "mimeType": "text/csv" });
        let request = client.post(url).header("authorization", &self.key).json(&body);
        let answer: Value = request.send().await?.json().await?;
        let answer = client.put(answer["uploadUrl"].as_str().unwrap()).body(csv(1_000));
        let answer = answer.send().await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        Ok(Answer { status, headers, body: answer.bytes().await?.to_vec() })
    }
}

#[tokio::test]
async fn without_file_handles_load_is_shed_and_then_taken_again() {
    let (folder, contact) = (tempfile::tempdir().unwrap(), Uuid::new_v4());
    let server = Server::with_few_handles(folder.path().to_str().unwrap());
    // Its connection is there before the others.
    let first = Client::new();
    assert_eq!(server.upload(&first, contact).await.unwrap().status, 200);
    let address = server.base.strip_prefix("http://").unwrap();
    let idle: Vec<TcpStream> =
        (0..CONNECTIONS).map(|_| TcpStream::connect(address).unwrap()).collect();
    let begin = Instant::now();
    loop {
        let answer = server.upload(&first, contact).await.unwrap();
        if answer.status == 503 {
            assert_eq!(answer.header("retry-after"), "1");
            break;
        }
        assert_eq!(answer.status, 200);
        assert!(begin.elapsed() < DEADLINE, "the handles do not run out");
    }
    drop(idle);
    let begin = Instant::now();
    loop {
        // A new connection, which has to be accepted.
        match server.upload(&Client::new(), contact).await {
            Ok(answer) if answer.status == 200 => return,
            _ => assert!(begin.elapsed() < DEADLINE, "it does not come back"),
        }
    }
}
