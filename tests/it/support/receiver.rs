//! A receiver of webhooks that answers as a test wants, byte for byte, and keeps what it was told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dossier::domain::timestamp::parse_timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::files::eventually;
use super::{Answer, TestApp};

/// What a receiver does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Answers with a status and more header lines.
    Status(u16, &'static str),
    /// Never answers.
    Silence,
    /// Hangs up.
    Close,
    /// Answers 200 with a body that does not end.
    Endless,
    /// Answers with these bytes and hangs up.
    Bytes(&'static [u8]),
}

/// 200, as it should be.
pub(crate) const OK: Reply = Reply::Status(200, "");

type Choose = Box<dyn Fn(usize, &Value) -> Reply + Send>;

struct Shared {
    told: Vec<Told>,
    choose: Choose,
    connections: usize,
}

/// A running receiver.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    // Dropped with the receiver, which ends it.
    _task: tokio::task::JoinSet<()>,
}

/// Something that a receiver was told.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    /// The request's line and headers.
    pub(crate) head: String,
    /// The body: a token.
    pub(crate) token: String,
    /// The token's claims.
    pub(crate) claims: Value,
    /// The claim `data`.
    pub(crate) data: Value,
    /// The event.
    pub(crate) event: Value,
}

impl Told {
    fn of(head: String, token: String) -> Self {
        let text = |value: &Value| serde_json::from_str(value.as_str().unwrap()).unwrap();
        let part = token.split('.').nth(1).unwrap();
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        let data: Value = text(&claims["data"]);
        Self { head, token, event: text(&data["data"]), data, claims }
    }

    /// The event's id.
    pub(crate) fn id(&self) -> String {
        self.event["id"].as_str().unwrap().to_owned()
    }
}

impl Receiver {
    /// Starts one that answers everything in the same way.
    pub(crate) async fn start(reply: Reply) -> Self {
        Self::start_with(move |_, _| reply.clone()).await
    }

    /// Starts one that chooses by the number of the request, from 0 on, and by the event.
    pub(crate) async fn start_with(
        choose: impl Fn(usize, &Value) -> Reply + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared =
            Arc::new(Mutex::new(Shared { told: vec![], choose: Box::new(choose), connections: 0 }));
        let mut task = tokio::task::JoinSet::new();
        task.spawn(serve(listener, Arc::clone(&shared)));
        Self { address, shared, _task: task }
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/webhooks?key=a", self.address)
    }

    /// From now on everything is answered like this.
    pub(crate) fn reply(&self, reply: Reply) {
        self.shared.lock().unwrap().choose = Box::new(move |_, _| reply.clone());
    }

    /// What it was told, in order.
    pub(crate) fn told(&self) -> Vec<Told> {
        self.shared.lock().unwrap().told.clone()
    }

    /// Connections that were made.
    pub(crate) fn connections(&self) -> usize {
        self.shared.lock().unwrap().connections
    }

    /// Waits until it was told so many times.
    pub(crate) async fn told_times(&self, count: usize) -> Vec<Told> {
        let what = format!("the receiver was told {count} times");
        eventually(&what, async || self.told().len() >= count).await;
        self.told()
    }
}

async fn serve(listener: TcpListener, shared: Arc<Mutex<Shared>>) {
    let mut open = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        shared.lock().unwrap().connections += 1;
        open.spawn(answer(stream, Arc::clone(&shared)));
    }
}

async fn answer(mut stream: TcpStream, shared: Arc<Mutex<Shared>>) {
    while let Some((head, token)) = request(&mut stream).await {
        let told = Told::of(head, token);
        let reply = {
            let mut shared = shared.lock().unwrap();
            let reply = (shared.choose)(shared.told.len(), &told.event);
            shared.told.push(told);
            reply
        };
        let answered = match reply {
            Reply::Status(status, more) => {
                let answer = format!("HTTP/1.1 {status} X\r\n{more}Content-Length: 2\r\n\r\nok");
                stream.write_all(answer.as_bytes()).await
            }
            Reply::Silence => std::future::pending().await,
            Reply::Close => return,
            Reply::Endless => endless(&mut stream).await,
            Reply::Bytes(bytes) => {
                // The other side may have had enough.
                let _ = stream.write_all(bytes).await;
                return;
            }
        };
        if answered.is_err() {
            return;
        }
    }
}

async fn endless(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
    loop {
        stream.write_all(b"a\r\nxxxxxxxxxx\r\n").await?;
    }
}

async fn request(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    loop {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|end| end + 4);
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = head.to_ascii_lowercase();
            let length = length.split("content-length: ").nth(1).unwrap();
            let length: usize = length.split('\r').next().unwrap().parse().unwrap();
            if bytes.len() >= end + length {
                return Some((head, String::from_utf8(bytes[end..].to_vec()).unwrap()));
            }
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return None;
        }
    }
}

impl TestApp {
    /// Starts a server whose receivers may lie on this machine.
    pub(crate) async fn telling() -> Self {
        Self::telling_with(&[]).await
    }

    /// [`TestApp::telling`] with settings of its own.
    pub(crate) async fn telling_with(settings: &[(&str, &str)]) -> Self {
        Self::start_with(&[&[("webhook_allow_private", "true")], settings].concat()).await
    }

    /// Makes a subscription and returns its id.
    pub(crate) async fn subscribe(&self, receiver: &Receiver) -> String {
        self.subscribe_to(receiver, &["attachment_created", "attachment_deleted"]).await
    }

    /// Makes a subscription to some events and returns its id.
    pub(crate) async fn subscribe_to(&self, receiver: &Receiver, types: &[&str]) -> String {
        let body = json!({ "url": receiver.url(), "eventTypes": types });
        let made = self.post("/dossier/v1/webhooks", &body).await.ok();
        made["webhook"]["id"].as_str().unwrap().to_owned()
    }

    /// POSTs JSON with the first key.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(reqwest::Method::POST, path).json(body)).await
    }

    /// Moves the clock and lets the deliverer see it.
    pub(crate) fn advance_and_look(&self, seconds: i64) {
        self.advance_seconds(seconds);
        self.app().db.wake_outbox();
    }

    /// Moves the clock to when a delivery is tried next; returns by how many seconds.
    pub(crate) fn advance_to(&self, delivery: &Value) -> i64 {
        let next = parse_timestamp(delivery["nextAttempt"].as_str().unwrap()).unwrap();
        let seconds = (next - self.app().clock.now_ms() + 999) / 1_000;
        self.advance_and_look(seconds);
        seconds
    }

    /// The log of a subscription, the newest event first.
    pub(crate) async fn deliveries(&self, webhook: &str) -> Vec<Value> {
        let log = self.get(&format!("/dossier/v1/webhooks/{webhook}/deliveries")).await.ok();
        log["deliveries"].as_array().unwrap().clone()
    }

    /// Waits until every delivery of a subscription stands so, and has so many attempts.
    pub(crate) async fn settled(&self, webhook: &str, state: &str, attempts: usize) -> Vec<Value> {
        let what = format!("deliveries are {state} after {attempts} attempts");
        eventually(&what, async || {
            let log = self.deliveries(webhook).await;
            log.iter().all(|one| {
                one["state"] == state && one["attempts"].as_array().unwrap().len() == attempts
            })
        })
        .await;
        self.deliveries(webhook).await
    }
}
