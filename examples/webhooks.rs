//! The cost of webhook deliveries, for `bench/webhooks`: starts receivers, uploads, and prints one
//! JSON object of figures. `webhooks --url http://HOST:PORT --key K --part
//! latency|rate|fan-out|sign`. The server must be started with `--dev`. Exits by itself.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use clap::{Parser, ValueEnum};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use uuid::Uuid;

/// The time limit of a part.
const MAX_TIME: Duration = Duration::from_mins(10);
/// Concurrent requests during preparation.
const CONCURRENCY: usize = 32;

#[derive(Parser)]
struct Arguments {
    /// The server's URL.
    #[arg(long)]
    url: String,
    /// Its API key.
    #[arg(long)]
    key: String,
    /// What to measure.
    #[arg(long)]
    part: Part,
    /// Number of events, or of subscriptions for the fan-out.
    #[arg(long)]
    count: usize,
    /// Subscriptions of the fan-out whose receivers never respond.
    #[arg(long, default_value_t = 0)]
    dead: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Part {
    /// From an upload's response to its event, one at a time.
    Latency,
    /// Events per second to one receiver, during uploads.
    Rate,
    /// One event to very many receivers, some of them dead.
    FanOut,
    /// Signatures per second on one core, the upper bound of the rate.
    Sign,
}

/// When each event arrived at each path.
type Arrivals = Arc<Mutex<HashMap<(String, String), Instant>>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let figures = tokio::time::timeout(MAX_TIME, run(&arguments)).await.context("too slow")??;
    #[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
    {
        println!("{figures}");
    }
    Ok(())
}

async fn run(arguments: &Arguments) -> anyhow::Result<Value> {
    let caller = Caller {
        client: Client::builder(TokioExecutor::new()).build_http(),
        base: arguments.url.clone(),
        key: arguments.key.clone(),
    };
    let arrivals = Arrivals::default();
    let mut running = JoinSet::new();
    let receiver = listen(&mut running, Arc::clone(&arrivals)).await?;
    match arguments.part {
        Part::Latency => latency(&caller, &receiver, &arrivals, arguments.count).await,
        Part::Rate => rate(&caller, &receiver, &arrivals, arguments.count).await,
        Part::FanOut => {
            let silent = TcpListener::bind("127.0.0.1:0").await?;
            let dead = format!("http://{}", silent.local_addr()?);
            let urls: Vec<String> = (0..arguments.count)
                .map(|n| format!("{}/{n}", if n < arguments.dead { &dead } else { &receiver }))
                .collect();
            fan_out(&caller, urls, arguments.dead, &arrivals).await
        }
        Part::Sign => sign(arguments.count),
    }
}

async fn latency(
    caller: &Caller,
    receiver: &str,
    arrivals: &Arrivals,
    count: usize,
) -> anyhow::Result<Value> {
    caller.subscribe(format!("{receiver}/one"), Uuid::new_v4()).await?;
    let mut waited = Vec::with_capacity(count);
    for number in 1..=count {
        let answered = caller.upload().await?;
        wait_for(arrivals, number).await;
        let arrived = lock(arrivals).values().max().copied().context("nothing came")?;
        waited.push(arrived.saturating_duration_since(answered));
    }
    Ok(json!({ "p50_ms": percentile(&mut waited, 50), "p99_ms": percentile(&mut waited, 99) }))
}

async fn rate(
    caller: &Caller,
    receiver: &str,
    arrivals: &Arrivals,
    count: usize,
) -> anyhow::Result<Value> {
    let started = Instant::now();
    let webhook = caller.subscribe(format!("{receiver}/one"), Uuid::new_v4()).await?;
    all(count, |_| {
        let caller = caller.clone();
        async move { caller.upload().await.map(drop) }
    })
    .await?;
    wait_for(arrivals, count).await;
    let live_s = started.elapsed().as_secs_f64();
    // The same events replayed: delivery alone sets the rate, while uploads continue.
    lock(arrivals).clear();
    let started = Instant::now();
    let path = format!("/dossier/v1/webhooks/{webhook}/replay");
    let body = json!({ "since": "2020-01-01T00:00:00Z" });
    let (mut uploads, done) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
    let (beside, counted) = (caller.clone(), Arc::clone(&done));
    uploads.spawn(async move {
        while beside.upload().await.is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let replayed = caller.call(Method::POST, &path, &body).await?;
    if replayed["replayed"].as_u64() < Some(count as u64) {
        bail!("only {replayed} events were replayed");
    }
    wait_for(arrivals, count).await;
    let replay_s = started.elapsed().as_secs_f64();
    uploads.abort_all();
    let (delivered, beside) = (lock(arrivals).len() as f64, done.load(Ordering::Relaxed) as f64);
    Ok(json!({
        "uploads_per_second": count as f64 / live_s,
        "told_per_second": delivered / replay_s,
        "uploads_beside_per_second": beside / replay_s,
    }))
}

async fn fan_out(
    caller: &Caller,
    urls: Vec<String>,
    dead: usize,
    arrivals: &Arrivals,
) -> anyhow::Result<Value> {
    const EVENTS: usize = 5;
    let (app, healthy) = (Uuid::new_v4(), urls.len() - dead);
    all(urls.len(), |number| {
        let (caller, url) = (caller.clone(), urls[number].clone());
        async move { caller.subscribe(url, app).await.map(drop) }
    })
    .await?;
    let mut waited = Vec::new();
    for _ in 0..EVENTS {
        lock(arrivals).clear();
        let answered = caller.upload().await?;
        wait_for(arrivals, healthy).await;
        let arrived = lock(arrivals);
        waited.extend(arrived.values().map(|at| at.saturating_duration_since(answered)));
    }
    Ok(json!({
        "healthy": healthy, "dead": dead,
        "p50_ms": percentile(&mut waited, 50), "p99_ms": percentile(&mut waited, 99),
    }))
}

fn sign(count: usize) -> anyhow::Result<Value> {
    let key = KeyPair::generate(KeySize::Rsa2048).context("no key")?;
    let (random, mut signature) = (SystemRandom::new(), vec![0; key.public_modulus_len()]);
    let started = Instant::now();
    for number in 0..count {
        key.sign(&RSA_PKCS1_SHA256, &random, &number.to_be_bytes(), &mut signature)
            .context("not signed")?;
    }
    Ok(json!({ "signed_per_second": count as f64 / started.elapsed().as_secs_f64() }))
}

/// Runs this many tasks, some concurrently.
async fn all<F>(count: usize, work: impl Fn(usize) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let mut running = JoinSet::new();
    for number in 0..count {
        if running.len() >= CONCURRENCY {
            running.join_next().await.context("nothing runs")???;
        }
        running.spawn(work(number));
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(())
}

async fn wait_for(arrivals: &Arrivals, count: usize) {
    while lock(arrivals).len() < count {
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
}

fn lock(arrivals: &Arrivals) -> std::sync::MutexGuard<'_, HashMap<(String, String), Instant>> {
    arrivals.lock().unwrap_or_else(PoisonError::into_inner)
}

fn percentile(waited: &mut [Duration], percent: usize) -> f64 {
    waited.sort_unstable();
    let at = (waited.len() * percent / 100).min(waited.len().saturating_sub(1));
    waited.get(at).map_or(0.0, |waited| waited.as_secs_f64() * 1e3)
}

#[derive(Clone)]
struct Caller {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
    key: String,
}

impl Caller {
    async fn send(&self, method: Method, url: &str, body: Bytes) -> anyhow::Result<Value> {
        let request = Request::builder().method(method).uri(url);
        let request = request.header("authorization", &self.key).body(Full::new(body))?;
        let response = self.client.request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if status != 200 {
            bail!("{status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(serde_json::from_slice(&body)?)
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send(method, &format!("{}{path}", self.base), body.to_string().into()).await
    }

    /// Creates a subscription and returns its id.
    async fn subscribe(&self, url: String, app: Uuid) -> anyhow::Result<String> {
        let app = app.to_string();
        let body = json!({
            "url": url, "eventTypes": ["attachment_created"], "appId": app, "instanceId": app,
        });
        let created = self.call(Method::POST, "/dossier/v1/webhooks", &body).await?;
        Ok(created["webhook"]["id"].as_str().context("no id")?.to_owned())
    }

    /// Uploads a small file; returns when the response arrived.
    async fn upload(&self) -> anyhow::Result<Instant> {
        let path = format!("/contacts/v4/attachments/{}/upload-url", Uuid::new_v4());
        let body = json!({ "fileName": "a.csv", "mimeType": "text/csv" });
        let url = self.call(Method::POST, &path, &body).await?;
        let url = url["uploadUrl"].as_str().context("no uploadUrl")?;
        self.send(Method::PUT, url, Bytes::from_static(b"name,town\nAda,London\n")).await?;
        Ok(Instant::now())
    }
}

/// Starts a receiver that responds at once and records arrivals.
async fn listen(running: &mut JoinSet<()>, arrivals: Arrivals) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    running.spawn(async move {
        let mut open = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let arrivals = Arc::clone(&arrivals);
            open.spawn(async move {
                let service = service_fn(|request| receive(request, Arc::clone(&arrivals)));
                // The server closes connections when it no longer needs them.
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    Ok(url)
}

async fn receive(
    request: Request<Incoming>,
    arrivals: Arrivals,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (at, path) = (Instant::now(), request.uri().path().to_owned());
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes);
    if let Some(id) = body.ok().and_then(|token| event_id(&token)) {
        lock(&arrivals).entry((path, id)).or_insert(at);
    }
    Ok(Response::new(Full::new(Bytes::new())))
}

fn event_id(token: &[u8]) -> Option<String> {
    let claims = URL_SAFE_NO_PAD.decode(token.split(|byte| *byte == b'.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    let data: Value = serde_json::from_str(claims["data"].as_str()?).ok()?;
    let event: Value = serde_json::from_str(data["data"].as_str()?).ok()?;
    Some(event["id"].as_str()?.to_owned())
}
