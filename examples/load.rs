//! Uploads for the benches, the same way to Dossier and to a plain `WebDAV` server: `load --url
//! http://HOST:PORT --count N --connections C --bytes B [--key K --site S]`. With a key, N upload
//! URLs are requested first; with `--bucket` the URLs are presigned for an S3 store, with keys from
//! the environment; with neither, the files get generated names below the URL. Only the PUTs are
//! timed. Exits after N uploads.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::Parser;
use futures_util::stream;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::body::Frame;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use object_store::aws::AmazonS3Builder;
use object_store::signer::Signer as _;
use serde_json::json;
use tokio::net::TcpStream;

/// Bytes passed to the connection at a time.
const CHUNK_BYTES: usize = 256 * 1024;
/// The time limit of a bench.
const MAX_TIME: Duration = Duration::from_mins(5);

/// Uploads files and measures how long that takes.
#[derive(Parser)]
struct Arguments {
    /// The server's URL.
    #[arg(long)]
    url: String,
    /// Number of uploads.
    #[arg(long)]
    count: usize,
    /// Concurrent uploads, each on its own keep-alive connection.
    #[arg(long)]
    connections: usize,
    /// Size of each file in bytes.
    #[arg(long)]
    bytes: u64,
    /// Dossier's API key.
    #[arg(long)]
    key: Option<String>,
    /// The key's site.
    #[arg(long, default_value = "")]
    site: String,
    /// A bucket in an S3 store.
    #[arg(long)]
    bucket: Option<String>,
}

type Body = BoxBody<Bytes, Infallible>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arc::new(Arguments::parse());
    tokio::time::timeout(MAX_TIME, run(arguments)).await.context("the time limit was exceeded")?
}

async fn run(arguments: Arc<Arguments>) -> anyhow::Result<()> {
    let address = arguments.url.strip_prefix("http://").context("the URL is not http://")?;
    let address = Arc::new(address.trim_end_matches('/').to_owned());
    let paths = paths(&arguments, &address).await?;
    let paths = Arc::new(Mutex::new(paths));
    let mut connections = Vec::new();
    for _ in 0..arguments.connections {
        connections.push(connect(&address).await?);
    }
    let start = Instant::now();
    let mut workers = tokio::task::JoinSet::new();
    for connection in connections {
        let work = (Arc::clone(&arguments), Arc::clone(&address), Arc::clone(&paths));
        workers.spawn(upload_all(connection, work));
    }
    let mut times_ms = Vec::new();
    while let Some(worker) = workers.join_next().await {
        times_ms.extend(worker??);
    }
    let seconds = start.elapsed().as_secs_f64();
    times_ms.sort_by(f64::total_cmp);
    let at = |share: f64| times_ms[((times_ms.len() - 1) as f64 * share) as usize];
    let bytes = times_ms.len() as f64 * arguments.bytes as f64;
    let figures = json!({
        "uploads": times_ms.len(),
        "seconds": seconds,
        "mib_per_second": bytes / seconds / f64::from(1 << 20),
        "p50_ms": at(0.5),
        "p99_ms": at(0.99),
    });
    #[expect(clippy::print_stdout, reason = "it is this program's output")]
    {
        println!("{figures}");
    }
    Ok(())
}

/// Opens a connection, which is driven in the background.
async fn connect(address: &str) -> anyhow::Result<SendRequest<Body>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    #[expect(clippy::disallowed_methods, reason = "the program ends with its connections")]
    tokio::spawn(connection);
    Ok(sender)
}

/// The path of each upload.
async fn paths(arguments: &Arguments, address: &str) -> anyhow::Result<VecDeque<String>> {
    if let Some(bucket) = &arguments.bucket {
        return presigned(arguments, bucket).await;
    }
    let Some(key) = &arguments.key else {
        let process = std::process::id();
        return Ok((0..arguments.count).map(|n| format!("/{process}-{n}.pdf")).collect());
    };
    let mut sender = connect(address).await?;
    let mut paths = VecDeque::new();
    for number in 0..arguments.count {
        let contact = uuid::Uuid::from_u128(0x4000_8000_0000_0000_0000 | (number as u128 % 100));
        let body = json!({ "fileName": format!("{number}.pdf"), "mimeType": "application/pdf" });
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("/contacts/v4/attachments/{contact}/upload-url"))
            .header(header::HOST, address)
            .header(header::AUTHORIZATION, key)
            .header("wix-site-id", &arguments.site)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(body.to_string()).boxed())?;
        sender.ready().await?;
        let (status, response) = send(&mut sender, request).await?;
        let response: serde_json::Value = serde_json::from_slice(&response)?;
        let url =
            response["uploadUrl"].as_str().with_context(|| format!("{status}: {response}"))?;
        let path = url.splitn(4, '/').nth(3).context("the upload URL has no path")?;
        paths.push_back(format!("/{path}"));
    }
    Ok(paths)
}

/// The paths of presigned URLs for an S3 store.
async fn presigned(arguments: &Arguments, bucket: &str) -> anyhow::Result<VecDeque<String>> {
    let store = AmazonS3Builder::from_env()
        .with_endpoint(&arguments.url)
        .with_allow_http(true)
        .with_region("us-east-1")
        .with_bucket_name(bucket)
        .build()?;
    let mut paths = VecDeque::new();
    for number in 0..arguments.count {
        let name = format!("{}-{number}.pdf", std::process::id());
        let url = store.signed_url(Method::PUT, &name.into(), MAX_TIME).await?;
        let query = url.query().context("the URL is not signed")?;
        paths.push_back(format!("{}?{query}", url.path()));
    }
    Ok(paths)
}

async fn send(
    sender: &mut SendRequest<Body>,
    request: Request<Body>,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let response = sender.send_request(request).await?;
    let status = response.status();
    Ok((status, response.into_body().collect().await?.to_bytes()))
}

type Work = (Arc<Arguments>, Arc<String>, Arc<Mutex<VecDeque<String>>>);

async fn upload_all(
    mut sender: SendRequest<Body>,
    (arguments, address, paths): Work,
) -> anyhow::Result<Vec<f64>> {
    let (first, chunk) = chunks();
    let mut times_ms = Vec::new();
    loop {
        let path = paths.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(path) = path else { return Ok(times_ms) };
        let request = Request::builder()
            .method(Method::PUT)
            .uri(path)
            .header(header::HOST, address.as_str())
            .header(header::CONTENT_TYPE, "application/pdf")
            .header(header::CONTENT_LENGTH, arguments.bytes)
            .body(body(&first, &chunk, arguments.bytes))?;
        sender.ready().await?;
        let start = Instant::now();
        let (status, response) = send(&mut sender, request).await?;
        if !status.is_success() {
            bail!("an upload returned {status}: {}", String::from_utf8_lossy(&response));
        }
        times_ms.push(start.elapsed().as_secs_f64() * 1e3);
    }
}

/// The start of a PDF, and a chunk of incompressible bytes to follow it.
fn chunks() -> (Bytes, Bytes) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = Vec::with_capacity(CHUNK_BYTES);
    while noise.len() < CHUNK_BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend_from_slice(&state.to_le_bytes());
    }
    let chunk = Bytes::from(noise.clone());
    noise[..9].copy_from_slice(b"%PDF-1.7\n");
    (Bytes::from(noise), chunk)
}

fn body(first: &Bytes, chunk: &Bytes, bytes: u64) -> Body {
    let (first, chunk) = (first.clone(), chunk.clone());
    let pieces = (0..bytes).step_by(CHUNK_BYTES).map(move |offset| {
        let piece = if offset == 0 { &first } else { &chunk };
        let length = (bytes - offset).min(CHUNK_BYTES as u64) as usize;
        Ok(Frame::data(piece.slice(..length)))
    });
    StreamBody::new(stream::iter(pieces)).boxed()
}
