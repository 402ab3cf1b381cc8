//! The HTTP client behind the command line. It works with any server, by URL and API key. It uses
//! the contract and tus as any other client would, and nothing of the server's internals.

mod backoff;
mod download;
mod failure;
mod journal;
mod profiles;
mod resumable;
mod source;
mod upload;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::{Method, Response, StatusCode, header};
use serde_json::{Value, json};
use url::{Host, Url};
use uuid::Uuid;

use self::backoff::Backoff;
pub use self::download::{DownloadRequest, Fetched, download, print};
pub use self::failure::{Failure, Kind, Result};
pub use self::profiles::{Profile, Profiles};
pub use self::upload::{Stored, UploadRequest, put_file, put_stream};

/// Timeout to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of a small request.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);
/// Largest response body that is buffered: a thousand contacts are a quarter of a MiB.
const MAX_RESPONSE_BYTES: usize = 16 << 20;
/// Attachments per list page: the contract's maximum.
const LIST_PAGE: usize = 100;
/// Files per search page: the server's maximum.
const FILES_PAGE: usize = 200;
/// Contacts per list page: the server's maximum.
const CONTACTS_PAGE: usize = 1_000;
const USER_AGENT: &str = concat!("dossier/", env!("CARGO_PKG_VERSION"));
const SITE_HEADER: &str = "wix-site-id";

/// The items of a page as JSON, and the cursor of the next page.
pub type Page = (Vec<Value>, Option<String>);

/// A callback that receives the progress of a transfer.
pub type OnProgress = dyn Fn(ProgressEvent) + Send + Sync;

/// The progress of a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgressEvent {
    /// The size in bytes is known.
    Size(u64),
    /// Bytes transferred so far; decreases when some must be sent again.
    Position(u64),
    /// A retry follows.
    Retrying {
        /// The delay before the retry.
        delay: Duration,
        /// Why the last attempt failed.
        reason: String,
    },
}

/// A server and how to connect to it.
#[derive(Debug, Clone)]
pub struct Server {
    /// The base URL.
    pub url: Url,
    /// Additional CA certificates (PEM) to trust.
    pub ca: Option<Vec<u8>>,
    /// Whether plain http to another machine is allowed.
    pub allow_http: bool,
}

impl Server {
    /// Parses a server URL; https is the default scheme.
    ///
    /// # Errors
    ///
    /// If the text is not a server URL.
    pub fn parse_url(text: &str) -> Result<Url> {
        let invalid = || {
            Failure::new(Kind::Usage, format!("{text} is not a server URL"))
                .next("use a URL such as https://files.example.net or http://127.0.0.1:8080")
        };
        let with_scheme =
            if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let mut url = Url::parse(&with_scheme).map_err(|_| invalid())?;
        let is_web = matches!(url.scheme(), "http" | "https") && url.host().is_some();
        if !is_web || !url.username().is_empty() || url.query().is_some() {
            return Err(invalid());
        }
        // Request paths are joined to it.
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        Ok(url)
    }

    fn is_loopback(&self) -> bool {
        match self.url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            None => false,
        }
    }
}

/// A client for one server with one API key.
pub struct Client {
    http: reqwest::Client,
    base: Url,
    key: String,
    site: Option<Uuid>,
    /// Whether the server has responded. Nothing is retried before that, so a wrong URL fails at
    /// once.
    reached: AtomicBool,
}

/// An attachment of the contract's API.
#[derive(Debug, Clone)]
pub struct Attachment {
    /// The id.
    pub id: Uuid,
    /// The file name as it was uploaded; not safe as a path.
    pub file_name: String,
    /// The media type.
    pub mime_type: String,
    /// A link to the file, which expires.
    pub link: String,
    /// The whole JSON object.
    pub json: Value,
}

impl Attachment {
    fn from_json(json: Value) -> Option<Self> {
        let text = |name: &str| json[name].as_str().map(str::to_owned);
        let kind = if json["image"].is_object() { "image" } else { "document" };
        let link = json[kind]["url"].as_str().or(json[kind].as_str())?.to_owned();
        Some(Self {
            id: Uuid::try_parse(json["id"].as_str()?).ok()?,
            file_name: text("fileName")?,
            mime_type: text("mimeType")?,
            link,
            json,
        })
    }
}

impl Client {
    /// Creates a client without connecting.
    ///
    /// # Errors
    ///
    /// If plain http is not allowed for the server, or its CA certificates cannot be read.
    pub fn new(server: &Server, key: &str, site: Option<Uuid>) -> Result<Self> {
        let base = server.url.clone();
        let is_plain = base.scheme() == "http";
        if is_plain && !server.is_loopback() && !server.allow_http {
            let what = format!(
                "{base} is not encrypted: the key and the files could be read on the network"
            );
            return Err(Failure::new(Kind::Usage, what)
                .next("use https, or --allow-http on a private network"));
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT_TIMEOUT)
            // A transfer has the connection to itself; HTTP/2 flow control would only slow it down.
            .http1_only();
        if let Some(pem) = &server.ca {
            let found = reqwest::Certificate::from_pem_bundle(pem).unwrap_or_default();
            if found.is_empty() {
                return Err(Failure::new(Kind::Usage, "the file of --ca contains no certificate"));
            }
            builder = builder.tls_certs_merge(found);
        } else if is_plain {
            // Loading the system's CA certificates takes time, and a minimal container has none.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(|error| {
            Failure::failed(format!("TLS is not available: {error}"))
                .next("install the system's certificates (Debian: apt-get install ca-certificates)")
        })?;
        Ok(Self { http, base, key: key.to_owned(), site, reached: AtomicBool::new(false) })
    }

    /// The server URL for messages, without a trailing slash.
    pub fn address(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Builds a request with the API key.
    fn request(&self, method: Method, path: &str) -> Result<reqwest::RequestBuilder> {
        let request =
            self.request_without_key(method, path)?.header(header::AUTHORIZATION, &self.key);
        Ok(match self.site {
            Some(site) => request.header(SITE_HEADER, site.to_string()),
            None => request,
        })
    }

    /// Builds a request without the API key, for URLs that carry their own authorisation.
    fn request_without_key(&self, method: Method, path: &str) -> Result<reqwest::RequestBuilder> {
        let url = self.base.join(path);
        let url = url.map_err(|_| Failure::failed(format!("{path} is not a valid path")))?;
        Ok(self.http.request(method, url))
    }

    /// Sends a request once.
    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response> {
        let response = request.send().await;
        let response = response.map_err(|error| Failure::from_transport(&error, self.address()))?;
        self.reached.store(true, Ordering::Relaxed);
        Ok(response)
    }

    /// Sends a request once, with [`REQUEST_TIMEOUT`], and parses the response if it is a success.
    async fn send_once(&self, request: reqwest::RequestBuilder) -> Result<(StatusCode, Value)> {
        let exchange = async {
            let response = self.send(request).await?;
            let (status, response) = (response.status(), self.check_status(response).await?);
            let body = self.body(response).await?;
            if body.is_empty() {
                return Ok((status, Value::Null));
            }
            let json = serde_json::from_slice(&body).map_err(|_| self.not_dossier())?;
            Ok((status, json))
        };
        let timed_out = || {
            let what = format!(
                "{} did not respond within {} seconds",
                self.address(),
                REQUEST_TIMEOUT.as_secs()
            );
            Failure { is_retryable: true, ..Failure::new(Kind::Unreachable, what) }
        };
        tokio::time::timeout(REQUEST_TIMEOUT, exchange).await.unwrap_or_else(|_| Err(timed_out()))
    }

    fn not_dossier(&self) -> Failure {
        let what = format!("{} is not a Dossier server", self.address());
        Failure::new(Kind::Unreachable, what).next("check the URL")
    }

    /// Returns the response if it is a success, else the failure that it reports.
    async fn check_status(&self, response: Response) -> Result<Response> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let retry_after = response.headers().get(header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
        let body = self.body(response).await.unwrap_or_default();
        Err(Failure::from_response(status, retry_after, &body, self.address()))
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let chunk = response.chunk().await;
            let chunk = chunk.map_err(|error| Failure::from_transport(&error, self.address()))?;
            let Some(chunk) = chunk else { return Ok(body) };
            if body.len() + chunk.len() > MAX_RESPONSE_BYTES {
                return Err(self.not_dossier());
            }
            body.extend_from_slice(&chunk);
        }
    }

    /// Calls the API with retries. For idempotent requests only.
    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let mut backoff = Backoff::default();
        loop {
            let mut request = self.request(method.clone(), path)?;
            if let Some(body) = body {
                request =
                    request.header(header::CONTENT_TYPE, "application/json").body(body.to_string());
            }
            match self.send_once(request).await {
                Ok((_, response)) => return Ok(response),
                Err(failure) => self.wait_to_retry(&mut backoff, failure, &|_| {}).await?,
            }
        }
    }

    /// Waits before a retry.
    ///
    /// # Errors
    ///
    /// The failure itself, if it is not retryable or no retries are left.
    async fn wait_to_retry(
        &self,
        backoff: &mut Backoff,
        failure: Failure,
        on_progress: &OnProgress,
    ) -> Result<()> {
        let reached = self.reached.load(Ordering::Relaxed);
        let delay = backoff.next_delay(failure.retry_after_seconds);
        let Some(delay) = delay.filter(|_| failure.is_retryable && reached) else {
            return Err(failure);
        };
        on_progress(ProgressEvent::Retrying { delay, reason: failure.what });
        tokio::time::sleep(delay).await;
        Ok(())
    }

    /// Fetches `/dossier/v1/health`, of an unhealthy server too.
    ///
    /// # Errors
    ///
    /// If there is no response, or not that of a Dossier server.
    pub async fn health(&self) -> Result<Value> {
        let response =
            self.send(self.request_without_key(Method::GET, "dossier/v1/health")?).await?;
        let body = self.body(response).await?;
        let health: Value = serde_json::from_slice(&body).map_err(|_| self.not_dossier())?;
        if health["status"].is_string() { Ok(health) } else { Err(self.not_dossier()) }
    }

    /// Fetches the identity of the API key: `key` with its `name` and `scopes`, and its `site`.
    ///
    /// # Errors
    ///
    /// If the key is unknown, or the server has several sites and none was chosen.
    pub async fn who_am_i(&self) -> Result<Value> {
        let who = self.call(Method::GET, "dossier/v1/whoami", None).await?;
        if who["key"]["scopes"].is_array() { Ok(who) } else { Err(self.not_dossier()) }
    }

    /// Fetches the site's usage and quotas.
    ///
    /// # Errors
    ///
    /// If the key lacks the scope.
    pub async fn usage(&self) -> Result<Value> {
        let mut usage = self.call(Method::GET, "dossier/v1/usage", None).await?;
        let site = usage["site"].take();
        if site["totalBytes"].is_string() { Ok(site) } else { Err(self.not_dossier()) }
    }

    /// Fetches a page of the site's contacts after a cursor. Returns the next cursor; `None` on the
    /// last page.
    ///
    /// # Errors
    ///
    /// If the request fails.
    pub async fn contacts(&self, after: Option<&str>) -> Result<Page> {
        let cursor = after.map(|after| format!("&after={after}")).unwrap_or_default();
        let path = format!("dossier/v1/contacts?limit={CONTACTS_PAGE}{cursor}");
        self.page(&path, "contacts").await
    }

    /// Fetches a page of a `/dossier/v1` list: its items, and `next` unless it is the last page.
    async fn page(&self, path: &str, items: &str) -> Result<Page> {
        let mut response = self.call(Method::GET, path, None).await?;
        let Value::Array(found) = response[items].take() else {
            return Err(self.not_dossier());
        };
        Ok((found, response["next"].as_str().map(str::to_owned)))
    }

    /// Fetches a page of a contact's files from the search, oldest first. Returns the next cursor;
    /// `None` on the last page.
    ///
    /// # Errors
    ///
    /// If the request fails.
    pub async fn files(&self, contact: Uuid, cursor: Option<&str>) -> Result<Page> {
        let after = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let query = format!("sort=created&limit={FILES_PAGE}{after}");
        let path = format!("dossier/v1/contacts/{contact}/attachments?{query}");
        self.page(&path, "attachments").await
    }

    /// Fetches a page of a contact's attachments, oldest first, and whether it is the last.
    ///
    /// # Errors
    ///
    /// If the request fails.
    pub async fn list(&self, contact: Uuid, offset: usize) -> Result<(Vec<Attachment>, bool)> {
        let paging = format!("paging.limit={LIST_PAGE}&paging.offset={offset}");
        let path = format!("contacts/v4/attachments/{contact}?{paging}");
        let mut response = self.call(Method::GET, &path, None).await?;
        let Value::Array(found) = response["attachments"].take() else {
            return Err(self.not_dossier());
        };
        let is_last = found.len() < LIST_PAGE;
        let found: Option<Vec<_>> = found.into_iter().map(Attachment::from_json).collect();
        Ok((found.ok_or_else(|| self.not_dossier())?, is_last))
    }

    /// Fetches an attachment, with a fresh link.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`] if it does not exist.
    pub async fn get(&self, contact: Uuid, id: Uuid) -> Result<Attachment> {
        let path = format!("contacts/v4/attachments/{contact}/{id}");
        let mut response = self.call(Method::GET, &path, None).await?;
        Attachment::from_json(response["attachment"].take()).ok_or_else(|| self.not_dossier())
    }

    /// Deletes an attachment.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`] if it does not exist.
    pub async fn delete(&self, contact: Uuid, id: Uuid) -> Result<()> {
        let path = format!("contacts/v4/attachments/{contact}/{id}");
        // Not retried: after a lost response the retry would return "not found".
        self.send_once(self.request(Method::DELETE, &path)?).await.map(drop)
    }

    /// Requests an upload URL and returns its token. `bound` are properties that the URL is bound
    /// to.
    async fn upload_token(
        &self,
        upload: &UploadRequest,
        bound: &[(&str, Value)],
    ) -> Result<String> {
        let mut body = json!({
            "fileName": upload.file_name, "mimeType": upload.mime_type.as_str(),
        });
        for (name, value) in bound {
            body[*name] = value.clone();
        }
        let path = format!("contacts/v4/attachments/{}/upload-url", upload.contact);
        let response = self.call(Method::POST, &path, Some(&body)).await?;
        let token = response["uploadUrl"].as_str().and_then(|url| url.rsplit_once("/upload/"));
        token.map(|(_, token)| token.to_owned()).ok_or_else(|| self.not_dossier())
    }
}
