//! A webhook receiver that responds exactly as a test wants and records its deliveries.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dossier::domain::timestamp::parse_timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::files::eventually;
use super::{Response, TestApp};

/// What a receiver does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Responds with this status and extra header lines.
    Status(u16, &'static str),
    /// Never responds.
    Silence,
    /// Closes the connection.
    Close,
    /// Responds 200 with an endless body.
    Endless,
    /// Responds with these bytes and closes the connection.
    Bytes(&'static [u8]),
}

/// A plain 200.
pub(crate) const OK: Reply = Reply::Status(200, "");

type Choose = Box<dyn Fn(usize, &Value) -> Reply + Send>;

struct Shared {
    deliveries: Vec<Delivery>,
    choose: Choose,
    connections: usize,
}

/// A running receiver.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    // Ends when the receiver is dropped.
    _task: tokio::task::JoinSet<()>,
}

/// A delivery as received.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    /// The request line and headers.
    pub(crate) head: String,
    /// The body, which is a token.
    pub(crate) token: String,
    /// The token's claims.
    pub(crate) claims: Value,
    /// The claim `data`.
    pub(crate) data: Value,
    /// The event.
    pub(crate) event: Value,
}

impl Delivery {
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
    /// Starts a receiver with one reply for everything.
    pub(crate) async fn start(reply: Reply) -> Self {
        Self::start_with(move |_, _| reply.clone()).await
    }

    /// Starts a receiver that chooses its reply by the request's index from 0 and by the event.
    pub(crate) async fn start_with(
        choose: impl Fn(usize, &Value) -> Reply + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Mutex::new(Shared {
            deliveries: vec![],
            choose: Box::new(choose),
            connections: 0,
        }));
        let mut task = tokio::task::JoinSet::new();
        task.spawn(serve(listener, Arc::clone(&shared)));
        Self { address, shared, _task: task }
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/webhooks?key=a", self.address)
    }

    /// Replies like this from now on.
    pub(crate) fn reply(&self, reply: Reply) {
        self.shared.lock().unwrap().choose = Box::new(move |_, _| reply.clone());
    }

    /// The deliveries received, in order.
    pub(crate) fn deliveries(&self) -> Vec<Delivery> {
        self.shared.lock().unwrap().deliveries.clone()
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.lock().unwrap().connections
    }

    /// Waits for this many deliveries.
    pub(crate) async fn wait_for_deliveries(&self, count: usize) -> Vec<Delivery> {
        let what = format!("{count} deliveries");
        eventually(&what, async || self.deliveries().len() >= count).await;
        self.deliveries()
    }
}

async fn serve(listener: TcpListener, shared: Arc<Mutex<Shared>>) {
    let mut open = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        shared.lock().unwrap().connections += 1;
        open.spawn(respond(stream, Arc::clone(&shared)));
    }
}

async fn respond(mut stream: TcpStream, shared: Arc<Mutex<Shared>>) {
    while let Some((head, token)) = request(&mut stream).await {
        let delivery = Delivery::of(head, token);
        let reply = {
            let mut shared = shared.lock().unwrap();
            let reply = (shared.choose)(shared.deliveries.len(), &delivery.event);
            shared.deliveries.push(delivery);
            reply
        };
        let answered = match reply {
            Reply::Status(status, more) => {
                let response = format!("HTTP/1.1 {status} X\r\n{more}Content-Length: 2\r\n\r\nok");
                stream.write_all(response.as_bytes()).await
            }
            Reply::Silence => std::future::pending().await,
            Reply::Close => return,
            Reply::Endless => endless(&mut stream).await,
            Reply::Bytes(bytes) => {
                // The client may have closed already.
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
    /// Starts a server that may deliver to private addresses such as this machine's.
    pub(crate) async fn start_with_webhooks() -> Self {
        Self::start_with_webhooks_and(&[]).await
    }

    /// [`TestApp::start_with_webhooks`] with more settings.
    pub(crate) async fn start_with_webhooks_and(settings: &[(&str, &str)]) -> Self {
        Self::start_with(&[&[("webhook_allow_private", "true")], settings].concat()).await
    }

    /// Creates a subscription and returns its id.
    pub(crate) async fn subscribe(&self, receiver: &Receiver) -> String {
        self.subscribe_to(receiver, &["attachment_created", "attachment_deleted"]).await
    }

    /// Creates a subscription to these event types and returns its id.
    pub(crate) async fn subscribe_to(&self, receiver: &Receiver, types: &[&str]) -> String {
        let body = json!({ "url": receiver.url(), "eventTypes": types });
        let created = self.post("/dossier/v1/webhooks", &body).await.ok();
        created["webhook"]["id"].as_str().unwrap().to_owned()
    }

    /// POSTs JSON with the first key.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Response {
        Response::to(self.request(reqwest::Method::POST, path).json(body)).await
    }

    /// Advances the clock and wakes the deliverer.
    pub(crate) fn advance_and_wake(&self, seconds: i64) {
        self.advance_seconds(seconds);
        self.app().db.wake_outbox();
    }

    /// Advances the clock to a delivery's next attempt; returns by how many seconds.
    pub(crate) fn advance_to(&self, delivery: &Value) -> i64 {
        let next = parse_timestamp(delivery["nextAttempt"].as_str().unwrap()).unwrap();
        let seconds = (next - self.app().clock.now_ms() + 999) / 1_000;
        self.advance_and_wake(seconds);
        seconds
    }

    /// The delivery log of a subscription, newest event first.
    pub(crate) async fn deliveries(&self, webhook: &str) -> Vec<Value> {
        let log = self.get(&format!("/dossier/v1/webhooks/{webhook}/deliveries")).await.ok();
        log["deliveries"].as_array().unwrap().clone()
    }

    /// Waits until every delivery of a subscription is in this state with this many attempts.
    pub(crate) async fn wait_for_state(
        &self,
        webhook: &str,
        state: &str,
        attempts: usize,
    ) -> Vec<Value> {
        let what = format!("deliveries are {state} after {attempts} attempts");
        eventually(&what, async || {
            let log = self.deliveries(webhook).await;
            log.iter().all(|item| {
                item["state"] == state && item["attempts"].as_array().unwrap().len() == attempts
            })
        })
        .await;
        self.deliveries(webhook).await
    }
}
