//! `dossier demo`: the whole way of a file, for someone who has just cloned the project.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use super::{OWN_PROGRAM, demo_files, log_to_stderr, runtime, say};
use crate::app::Clock;
use crate::config::Config;
use crate::domain::image::kinds;
use crate::serve::{self, FirstStart};

/// Arguments of `dossier demo`.
#[derive(Args)]
pub(super) struct Demo {
    /// Leave the server running, until Ctrl-C, so that you can try more.
    #[arg(long)]
    keep: bool,
}

/// Runs the demo in a folder of its own, which is removed at the end.
pub(super) fn run(command: &Demo) -> anyhow::Result<()> {
    let folder = TemporaryFolder::make()?;
    let data = folder.0.display().to_string();
    let settings = [
        ("data", data.as_str()),
        ("listen", "127.0.0.1:0"),
        ("listen_tls", "127.0.0.1:0"),
        ("log", "warn"),
    ];
    let settings: Vec<(String, String)> =
        settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let config = Config::from_sources(None, &[], &settings)?;
    log_to_stderr(&config)?;
    runtime()?.block_on(async {
        let mut int = signal(SignalKind::interrupt())?;
        let mut term = signal(SignalKind::terminate())?;
        let mut server = serve::start(config, Clock::System, OWN_PROGRAM.as_ref()).await?;
        let first = server.first_start.take().context("the demo's folder was not empty")?;
        say(&format!("A server of its own, at http://{} (data in {data})\n", server.http))?;
        let shown = Visitor::new(server.http, &first).show().await;
        if let (Ok(links), true) = (&shown, command.keep) {
            say(&(what_next(&server, &first, links) + &missing()))?;
            tokio::select! {
                _ = int.recv() => {}
                _ = term.recv() => {}
            }
        }
        server.stop().await;
        shown.map(drop)
    })?;
    if !command.keep {
        // As it was called, so that the lines can be typed.
        let program = std::env::args().next().unwrap_or_else(|| "dossier".to_owned());
        say(&format!(
            "\nThat was all of it; the folder is gone again. To go on:\n  \
             {program} demo --keep    the same, and the server stays\n  \
             {program} serve          a server that keeps its files in ./dossier-data"
        ))?;
    }
    Ok(())
}

/// What a build for a first look does not show.
fn missing() -> String {
    let (_, absent) = kinds();
    if absent.is_empty() {
        return String::new();
    }
    let absent = absent.join(", ");
    format!("\n\nThis build makes no previews of {absent}; that of `cargo build --release` does.")
}

fn what_next(server: &serve::Server, first: &FirstStart, links: &[String]) -> String {
    let ca_file = server.ca_file.as_ref().map(|file| file.display().to_string());
    let https = server.https.map(|address| address.to_string()).unwrap_or_default();
    let page = first.sign_in.as_deref().unwrap_or_default();
    format!(
        "\nThe server stays until Ctrl-C. Its page, signed in by a link that works once, for 30 minutes:\n\n  \
         {page}\n\nThe files, by their links:\n\n  {}\n\nWith the official SDK:\n\n  \
         NODE_EXTRA_CA_CERTS={} node your-code.mjs\n\n  \
         createClient({{\n    modules: {{ attachments }},\n    \
         auth: ApiKeyStrategy({{ apiKey: '{}', siteId: '{}' }}),\n    \
         host: {{ apiBaseUrl: '{https}' }},\n  }})",
        links.join("\n  "),
        ca_file.unwrap_or_default(),
        first.key.secret,
        first.site.id,
    )
}

/// A folder that goes when the demo does.
struct TemporaryFolder(std::path::PathBuf);

impl TemporaryFolder {
    fn make() -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("dossier-demo-{}", Uuid::new_v4()));
        std::fs::create_dir(&folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // A folder that cannot be removed lies in the system's temporary folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Someone who uses the server by plain HTTP and says what they do.
struct Visitor<'a> {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
    first: &'a FirstStart,
}

struct Answer {
    status: StatusCode,
    content_type: String,
    body: Bytes,
}

impl<'a> Visitor<'a> {
    fn new(address: std::net::SocketAddr, first: &'a FirstStart) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { client, base: format!("http://{address}"), first }
    }

    /// The whole way of two files; returns the links that opened.
    async fn show(&self) -> anyhow::Result<Vec<String>> {
        let contact = Uuid::new_v4();
        say("A contact. It needs no announcement, but so the page has a name for it:")?;
        let path = format!("/dossier/v1/contacts/{contact}");
        self.call(Method::PUT, &path, Some(json!({ "label": "Ada Lovelace" }))).await?;
        let photo = demo_files::photo()?;
        self.upload(contact, "sunset.jpg", "image/jpeg", &photo).await?;
        let document = demo_files::document();
        self.upload(contact, "letter.pdf", "application/pdf", &document).await?;
        say("\nBoth are in the contact's list:")?;
        let path = format!("/contacts/v4/attachments/{contact}");
        let list = self.call(Method::GET, &path, None).await?;
        Ok(vec![
            self.open(&list, "/attachments/0/image/url", "the photo", Some(&photo)).await?,
            self.open(&list, "/attachments/0/previewImage/url", "its preview", None).await?,
            self.open(&list, "/attachments/1/document/url", "the document", Some(&document))
                .await?,
        ])
    }

    async fn upload(
        &self,
        contact: Uuid,
        name: &str,
        mime: &str,
        file: &[u8],
    ) -> anyhow::Result<()> {
        say(&format!(
            "\nUpload {name} ({} bytes): ask for a URL, then PUT the bytes.",
            file.len()
        ))?;
        let path = format!("/contacts/v4/attachments/{contact}/upload-url");
        let request = json!({ "fileName": name, "mimeType": mime });
        let answer = self.call(Method::POST, &path, Some(request)).await?;
        let url = answer["uploadUrl"].as_str().context("the answer has no uploadUrl")?.to_owned();
        let bytes = Bytes::copy_from_slice(file);
        let answer = self.send(Method::PUT, &url, &[("content-type", mime)], bytes).await?;
        say(&format!("  PUT {}", short(&url)))?;
        show_json(&answer)?;
        Ok(())
    }

    /// Calls the API and prints request and answer.
    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.base);
        let text = body.map(|body| body.to_string()).unwrap_or_default();
        say(&format!("  {method} {path} {text}"))?;
        let site = self.first.site.id.to_string();
        let headers = [
            ("authorization", self.first.key.secret.as_str()),
            ("wix-site-id", site.as_str()),
            ("content-type", "application/json"),
        ];
        let answer = self.send(method, &url, &headers, Bytes::from(text)).await?;
        show_json(&answer)
    }

    /// Opens a link as a browser would and checks what comes.
    async fn open(
        &self,
        list: &Value,
        pointer: &str,
        what: &str,
        expected: Option<&[u8]>,
    ) -> anyhow::Result<String> {
        let url = list.pointer(pointer).and_then(Value::as_str);
        let url = url.with_context(|| format!("the list has no {pointer}"))?;
        let answer = self.send(Method::GET, url, &[], Bytes::new()).await?;
        if answer.status != StatusCode::OK || expected.is_some_and(|bytes| bytes != answer.body) {
            bail!("the link of {what} answered {} with other bytes", answer.status);
        }
        let hash = crate::domain::hex::encode(&Sha256::digest(&answer.body));
        let same = if expected.is_some() { ", the very bytes that were sent" } else { "" };
        say(&format!(
            "\nThe link of {what} opens:\n  {}\n  {} {}, {} bytes, SHA-256 {}…{same}",
            short(url),
            answer.status.as_u16(),
            answer.content_type,
            answer.body.len(),
            &hash[..12]
        ))?;
        Ok(url.to_owned())
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> anyhow::Result<Answer> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self.client.request(request.body(Full::new(body))?).await?;
        let content_type =
            answer.headers().get("content-type").and_then(|value| value.to_str().ok());
        Ok(Answer {
            status: answer.status(),
            content_type: content_type.unwrap_or_default().to_owned(),
            body: answer.into_body().collect().await?.to_bytes(),
        })
    }
}

/// Long tokens are cut for reading.
fn short(url: &str) -> String {
    const SHOWN: usize = 96;
    match url.char_indices().nth(SHOWN) {
        Some((cut, _)) => format!("{}…", &url[..cut]),
        None => url.to_owned(),
    }
}

fn show_json(answer: &Answer) -> anyhow::Result<Value> {
    let value: Value = serde_json::from_slice(&answer.body).context("the answer is not JSON")?;
    let mut text = format!("  {}", answer.status.as_u16());
    for line in serde_json::to_string_pretty(&value)?.lines() {
        text.push_str("\n    ");
        text.push_str(&short(line));
    }
    say(&text)?;
    if answer.status != StatusCode::OK {
        bail!("the server answered {}", answer.status);
    }
    Ok(value)
}
