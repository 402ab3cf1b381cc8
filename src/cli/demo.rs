//! `dossier demo`: a file's lifecycle, for someone who has just cloned the project.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::Args;
use dossier_image::formats;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use super::{OWN_PROGRAM, demo_files, log_to_stderr, print_stdout, runtime};
use crate::app::Clock;
use crate::config::Config;
use crate::serve::{self, FirstStart};

/// Arguments of `dossier demo`.
#[derive(Args)]
pub(super) struct Demo {
    /// Keep the server running until Ctrl-C, so that you can try more.
    #[arg(long)]
    keep: bool,
}

/// Runs the demo in a temporary folder, which is removed at the end.
pub(super) fn run(command: &Demo) -> anyhow::Result<()> {
    let folder = TemporaryFolder::create()?;
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
        print_stdout(&format!(
            "Started a temporary server at http://{} (data in {data})\n",
            server.http
        ))?;
        let outcome = Visitor::new(server.http, &first).run().await;
        if let (Ok(links), true) = (&outcome, command.keep) {
            print_stdout(&(keep_message(&server, &first, links) + &missing_formats()))?;
            tokio::select! {
                _ = int.recv() => {}
                _ = term.recv() => {}
            }
        }
        server.stop().await;
        outcome.map(drop)
    })?;
    if !command.keep {
        // The name it was called by, so that the lines can be pasted.
        let program = std::env::args().next().unwrap_or_else(|| "dossier".to_owned());
        print_stdout(&format!(
            "\nDone. The temporary folder was removed. Next:\n  \
             {program} demo --keep    run the demo again and keep the server running\n  \
             {program} serve          start a server that stores its files in ./dossier-data"
        ))?;
    }
    Ok(())
}

/// Names the formats that a reduced build makes no previews of.
fn missing_formats() -> String {
    let absent = formats().left_out;
    if absent.is_empty() {
        return String::new();
    }
    let absent = absent.join(", ");
    format!(
        "\n\nThis build makes no previews of {absent}. \
         Build with `cargo build --release` for those."
    )
}

fn keep_message(server: &serve::Server, first: &FirstStart, links: &[String]) -> String {
    let ca_file = server.ca_file.as_ref().map(|file| file.display().to_string());
    let https = server.https.map(|address| address.to_string()).unwrap_or_default();
    let page = first.sign_in.as_deref().unwrap_or_default();
    format!(
        "\nThe server runs until Ctrl-C. To sign in to its page, open this link once, \
         within 30 minutes:\n\n  \
         {page}\n\nLinks to the files:\n\n  {}\n\nWith the official SDK:\n\n  \
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

/// A temporary folder, removed on drop.
struct TemporaryFolder(std::path::PathBuf);

impl TemporaryFolder {
    fn create() -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("dossier-demo-{}", Uuid::new_v4()));
        std::fs::create_dir(&folder)
            .with_context(|| format!("cannot create the folder {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // Best effort: the system cleans its temporary folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A plain HTTP client that prints what it does.
struct Visitor<'a> {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
    first: &'a FirstStart,
}

struct DemoResponse {
    status: StatusCode,
    content_type: String,
    body: Bytes,
}

impl<'a> Visitor<'a> {
    fn new(address: std::net::SocketAddr, first: &'a FirstStart) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { client, base: format!("http://{address}"), first }
    }

    /// Runs two files through their lifecycle; returns links that were opened.
    async fn run(&self) -> anyhow::Result<Vec<String>> {
        let contact = Uuid::new_v4();
        print_stdout(
            "Announce a contact. This is optional; it gives the contact a label on the page.",
        )?;
        let path = format!("/dossier/v1/contacts/{contact}");
        self.call(Method::PUT, &path, Some(json!({ "label": "Ada Lovelace" }))).await?;
        let photo = demo_files::photo()?;
        self.upload(contact, "sunset.jpg", "image/jpeg", &photo).await?;
        let document = demo_files::document();
        self.upload(contact, "letter.pdf", "application/pdf", &document).await?;
        print_stdout("\nList the contact's attachments:")?;
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
        print_stdout(&format!(
            "\nUpload {name} ({} bytes): request an upload URL, then PUT the bytes to it.",
            file.len()
        ))?;
        let path = format!("/contacts/v4/attachments/{contact}/upload-url");
        let request = json!({ "fileName": name, "mimeType": mime });
        let response = self.call(Method::POST, &path, Some(request)).await?;
        let url =
            response["uploadUrl"].as_str().context("the response has no uploadUrl")?.to_owned();
        let bytes = Bytes::copy_from_slice(file);
        let response = self.send(Method::PUT, &url, &[("content-type", mime)], bytes).await?;
        print_stdout(&format!("  PUT {}", short(&url)))?;
        show_json(&response)?;
        Ok(())
    }

    /// Calls the API and prints the request and the response.
    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.base);
        let text = body.map(|body| body.to_string()).unwrap_or_default();
        print_stdout(&format!("  {method} {path} {text}"))?;
        let site = self.first.site.id.to_string();
        let headers = [
            ("authorization", self.first.key.secret.as_str()),
            ("wix-site-id", site.as_str()),
            ("content-type", "application/json"),
        ];
        let response = self.send(method, &url, &headers, Bytes::from(text)).await?;
        show_json(&response)
    }

    /// Opens a link as a browser would and checks the response.
    async fn open(
        &self,
        list: &Value,
        pointer: &str,
        what: &str,
        expected: Option<&[u8]>,
    ) -> anyhow::Result<String> {
        let url = list.pointer(pointer).and_then(Value::as_str);
        let url = url.with_context(|| format!("the list has no {pointer}"))?;
        let response = self.send(Method::GET, url, &[], Bytes::new()).await?;
        if response.status != StatusCode::OK || expected.is_some_and(|bytes| bytes != response.body)
        {
            bail!("the link of {what} returned {} or the wrong bytes", response.status);
        }
        let hash = crate::domain::hex::encode(&Sha256::digest(&response.body));
        let identical = if expected.is_some() { ", identical to the upload" } else { "" };
        print_stdout(&format!(
            "\nOpen the link of {what}:\n  {}\n  {} {}, {} bytes, SHA-256 {}…{identical}",
            short(url),
            response.status.as_u16(),
            response.content_type,
            response.body.len(),
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
    ) -> anyhow::Result<DemoResponse> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.client.request(request.body(Full::new(body))?).await?;
        let content_type =
            response.headers().get("content-type").and_then(|value| value.to_str().ok());
        Ok(DemoResponse {
            status: response.status(),
            content_type: content_type.unwrap_or_default().to_owned(),
            body: response.into_body().collect().await?.to_bytes(),
        })
    }
}

/// Truncates long tokens for display.
fn short(url: &str) -> String {
    const MAX_CHARS: usize = 96;
    match url.char_indices().nth(MAX_CHARS) {
        Some((cut, _)) => format!("{}…", &url[..cut]),
        None => url.to_owned(),
    }
}

fn show_json(response: &DemoResponse) -> anyhow::Result<Value> {
    let value: Value =
        serde_json::from_slice(&response.body).context("the response is not JSON")?;
    let mut text = format!("  {}", response.status.as_u16());
    for line in serde_json::to_string_pretty(&value)?.lines() {
        text.push_str("\n    ");
        text.push_str(&short(line));
    }
    print_stdout(&text)?;
    if response.status != StatusCode::OK {
        bail!("the server returned {}", response.status);
    }
    Ok(value)
}
