//! Asks a server for the command line: any server, over HTTP, with a key of it. It knows the contract
//! and tus as any other client does, and nothing of what the server is made of.

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
pub use self::download::{Fetched, Wanted, download, print};
pub use self::failure::{Failure, Kind, Result};
pub use self::profiles::{Profile, Profiles};
pub use self::upload::{Sending, Stored, put_file, put_stream};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the server may be silent while it is asked for something small.
const SILENCE: Duration = Duration::from_mins(1);
/// Largest answer that is read whole: a thousand contacts are a quarter of a MiB.
const MOST_ANSWER_BYTES: usize = 16 << 20;
/// Attachments in one list answer: the contract's most.
const LIST_PAGE: usize = 100;
/// Files in one answer of the search: the server's most.
const FILES_PAGE: usize = 200;
/// Contacts in one list answer: the server's most.
const CONTACTS_PAGE: usize = 1_000;
const USER_AGENT: &str = concat!("dossier/", env!("CARGO_PKG_VERSION"));
const SITE: &str = "wix-site-id";

/// Items as the server shows them, and what names the next page.
pub type Page = (Vec<Value>, Option<String>);

/// Told how far something has come.
pub type Told = dyn Fn(Event) + Send + Sync;

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The size became known.
    Size(u64),
    /// So many bytes are there; less than before when some have to be sent again.
    At(u64),
    /// It is tried again after a while.
    Waiting {
        /// After how long.
        wait: Duration,
        /// Why.
        why: String,
    },
}

/// Which server, and how it is spoken to.
#[derive(Debug, Clone)]
pub struct Server {
    /// Its address.
    pub url: Url,
    /// More authorities (PEM) that its certificate may come from.
    pub ca: Option<Vec<u8>>,
    /// Plain http may be spoken to another machine.
    pub allow_http: bool,
}

impl Server {
    /// Reads an address; one without a scheme is https.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn parse_url(text: &str) -> Result<Url> {
        let wrong = || {
            Failure::new(Kind::Usage, format!("{text} is no address of a server"))
                .next("give one such as https://files.example.net or http://127.0.0.1:8080")
        };
        let with_scheme =
            if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let mut url = Url::parse(&with_scheme).map_err(|_| wrong())?;
        let is_web = matches!(url.scheme(), "http" | "https") && url.host().is_some();
        if !is_web || !url.username().is_empty() || url.query().is_some() {
            return Err(wrong());
        }
        // What is asked for is joined to it.
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

/// A server and a key of it.
pub struct Client {
    http: reqwest::Client,
    base: Url,
    key: String,
    site: Option<Uuid>,
    /// Until the first answer nothing is tried again, so that a wrong address is told at once.
    reached: AtomicBool,
}

/// An attachment as the contract shows it.
#[derive(Debug, Clone)]
pub struct Attachment {
    /// Its id.
    pub id: Uuid,
    /// Its name, as it was given.
    pub file_name: String,
    /// Its type.
    pub mime_type: String,
    /// What opens it, for a while.
    pub link: String,
    /// All of the answer.
    pub json: Value,
}

impl Attachment {
    fn read(json: Value) -> Option<Self> {
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
    /// Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// When the server may not be spoken to like this, or its authority cannot be read.
    pub fn new(server: &Server, key: &str, site: Option<Uuid>) -> Result<Self> {
        let base = server.url.clone();
        let is_plain = base.scheme() == "http";
        if is_plain && !server.is_loopback() && !server.allow_http {
            let what = format!("{base} would show the key and the files to everybody on the way");
            return Err(Failure::new(Kind::Usage, what)
                .next("use https, or --allow-http where the network itself is private"));
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT)
            // One stream has the whole connection: windows of HTTP/2 would only hold it up.
            .http1_only();
        if let Some(pem) = &server.ca {
            let found = reqwest::Certificate::from_pem_bundle(pem).unwrap_or_default();
            if found.is_empty() {
                return Err(Failure::new(Kind::Usage, "the file of --ca holds no certificate"));
            }
            builder = builder.tls_certs_merge(found);
        } else if is_plain {
            // The system's authorities take time to read, and a small container has none.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(|error| {
            Failure::failed(format!("TLS is not available: {error}"))
                .next("install the system's certificates (Debian: apt-get install ca-certificates)")
        })?;
        Ok(Self { http, base, key: key.to_owned(), site, reached: AtomicBool::new(false) })
    }

    /// The address, as it is shown.
    pub fn address(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// A request with the key.
    fn request(&self, method: Method, path: &str) -> Result<reqwest::RequestBuilder> {
        let request = self.bare(method, path)?.header(header::AUTHORIZATION, &self.key);
        Ok(match self.site {
            Some(site) => request.header(SITE, site.to_string()),
            None => request,
        })
    }

    /// A request whose address is all the authority that it needs.
    fn bare(&self, method: Method, path: &str) -> Result<reqwest::RequestBuilder> {
        let url = self.base.join(path);
        let url = url.map_err(|_| Failure::failed(format!("{path} is no address")))?;
        Ok(self.http.request(method, url))
    }

    /// Sends once.
    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response> {
        let answer = request.send().await;
        let answer = answer.map_err(|error| Failure::no_answer(&error, self.address()))?;
        self.reached.store(true, Ordering::Relaxed);
        Ok(answer)
    }

    /// Sends once, waits for no longer than [`SILENCE`], and reads the answer if it is a success.
    async fn once(&self, request: reqwest::RequestBuilder) -> Result<(StatusCode, Value)> {
        let exchange = async {
            let answer = self.send(request).await?;
            let (status, answer) = (answer.status(), self.accepted(answer).await?);
            let body = self.body(answer).await?;
            if body.is_empty() {
                return Ok((status, Value::Null));
            }
            let json = serde_json::from_slice(&body).map_err(|_| self.is_no_server())?;
            Ok((status, json))
        };
        let silent = || {
            let what = format!("{} is silent for {} seconds", self.address(), SILENCE.as_secs());
            Failure { passes: true, ..Failure::new(Kind::Unreachable, what) }
        };
        tokio::time::timeout(SILENCE, exchange).await.unwrap_or_else(|_| Err(silent()))
    }

    fn is_no_server(&self) -> Failure {
        let what = format!("{} answers, but not as a Dossier server does", self.address());
        Failure::new(Kind::Unreachable, what).next("check the address")
    }

    /// The answer, if it is a success.
    async fn accepted(&self, answer: Response) -> Result<Response> {
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let after = answer.headers().get(header::RETRY_AFTER);
        let after = after.and_then(|value| value.to_str().ok()?.parse().ok());
        let body = self.body(answer).await.unwrap_or_default();
        Err(Failure::answered(status, after, &body, self.address()))
    }

    async fn body(&self, mut answer: Response) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let chunk = answer.chunk().await;
            let chunk = chunk.map_err(|error| Failure::no_answer(&error, self.address()))?;
            let Some(chunk) = chunk else { return Ok(body) };
            if body.len() + chunk.len() > MOST_ANSWER_BYTES {
                return Err(self.is_no_server());
            }
            body.extend_from_slice(&chunk);
        }
    }

    /// Calls the API, again and again while that can help: for what may be asked twice.
    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let mut backoff = Backoff::default();
        loop {
            let mut request = self.request(method.clone(), path)?;
            if let Some(body) = body {
                request =
                    request.header(header::CONTENT_TYPE, "application/json").body(body.to_string());
            }
            match self.once(request).await {
                Ok((_, answer)) => return Ok(answer),
                Err(failure) => self.wait(&mut backoff, failure, &|_| {}).await?,
            }
        }
    }

    /// Waits until it may be tried again.
    ///
    /// # Errors
    ///
    /// The failure itself, when that does not help or was tried often enough.
    async fn wait(&self, backoff: &mut Backoff, failure: Failure, told: &Told) -> Result<()> {
        let reached = self.reached.load(Ordering::Relaxed);
        let wait = backoff.wait(failure.retry_after_seconds);
        let Some(wait) = wait.filter(|_| failure.passes && reached) else { return Err(failure) };
        told(Event::Waiting { wait, why: failure.what });
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// What `/dossier/v1/health` says, also when it is not well.
    ///
    /// # Errors
    ///
    /// When there is no answer.
    pub async fn health(&self) -> Result<Value> {
        let answer = self.send(self.bare(Method::GET, "dossier/v1/health")?).await?;
        let body = self.body(answer).await?;
        let health: Value = serde_json::from_slice(&body).map_err(|_| self.is_no_server())?;
        if health["status"].is_string() { Ok(health) } else { Err(self.is_no_server()) }
    }

    /// Whose key it is: `key` with its `name` and `scopes`, and the `site` that it opens.
    ///
    /// # Errors
    ///
    /// When the key is not known, or the server has several sites and none was named.
    pub async fn who_am_i(&self) -> Result<Value> {
        let who = self.call(Method::GET, "dossier/v1/whoami", None).await?;
        if who["key"]["scopes"].is_array() { Ok(who) } else { Err(self.is_no_server()) }
    }

    /// What the site holds, and may hold at most.
    ///
    /// # Errors
    ///
    /// When the key may not see it.
    pub async fn usage(&self) -> Result<Value> {
        let mut usage = self.call(Method::GET, "dossier/v1/usage", None).await?;
        let site = usage["site"].take();
        if site["totalBytes"].is_string() { Ok(site) } else { Err(self.is_no_server()) }
    }

    /// A page of the site's contacts, behind one; the next call's `after` unless it was the last.
    ///
    /// # Errors
    ///
    /// When the server does not answer it.
    pub async fn contacts(&self, after: Option<&str>) -> Result<Page> {
        let behind = after.map(|after| format!("&after={after}")).unwrap_or_default();
        let path = format!("dossier/v1/contacts?limit={CONTACTS_PAGE}{behind}");
        self.page(&path, "contacts").await
    }

    /// A page of a list of ours: its items, and `next` unless it was the last.
    async fn page(&self, path: &str, items: &str) -> Result<Page> {
        let mut answer = self.call(Method::GET, path, None).await?;
        let Value::Array(found) = answer[items].take() else {
            return Err(self.is_no_server());
        };
        Ok((found, answer["next"].as_str().map(str::to_owned)))
    }

    /// A page of a contact's files as people look for them, oldest first; the next call's `cursor` unless
    /// it was the last.
    ///
    /// # Errors
    ///
    /// When the server does not answer it.
    pub async fn files(&self, contact: Uuid, cursor: Option<&str>) -> Result<Page> {
        let behind = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let asked = format!("sort=created&limit={FILES_PAGE}{behind}");
        let path = format!("dossier/v1/contacts/{contact}/attachments?{asked}");
        self.page(&path, "attachments").await
    }

    /// A page of a contact's attachments, oldest first, and whether it was the last.
    ///
    /// # Errors
    ///
    /// When the server does not answer it.
    pub async fn list(&self, contact: Uuid, offset: usize) -> Result<(Vec<Attachment>, bool)> {
        let paging = format!("paging.limit={LIST_PAGE}&paging.offset={offset}");
        let path = format!("contacts/v4/attachments/{contact}?{paging}");
        let mut answer = self.call(Method::GET, &path, None).await?;
        let Value::Array(found) = answer["attachments"].take() else {
            return Err(self.is_no_server());
        };
        let is_last = found.len() < LIST_PAGE;
        let found: Option<Vec<_>> = found.into_iter().map(Attachment::read).collect();
        Ok((found.ok_or_else(|| self.is_no_server())?, is_last))
    }

    /// One attachment, with a fresh link.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`] when there is none.
    pub async fn get(&self, contact: Uuid, id: Uuid) -> Result<Attachment> {
        let path = format!("contacts/v4/attachments/{contact}/{id}");
        let mut answer = self.call(Method::GET, &path, None).await?;
        Attachment::read(answer["attachment"].take()).ok_or_else(|| self.is_no_server())
    }

    /// Deletes an attachment.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`] when there is none.
    pub async fn delete(&self, contact: Uuid, id: Uuid) -> Result<()> {
        let path = format!("contacts/v4/attachments/{contact}/{id}");
        // Once only: after a lost answer a second one would say that there is none.
        self.once(self.request(Method::DELETE, &path)?).await.map(drop)
    }

    /// The part of an upload URL that names the upload, behind the server's address.
    async fn upload_token(&self, sending: &Sending, bound: &[(&str, Value)]) -> Result<String> {
        let mut body = json!({
            "fileName": sending.file_name, "mimeType": sending.mime_type.as_str(),
        });
        for (name, value) in bound {
            body[*name] = value.clone();
        }
        let path = format!("contacts/v4/attachments/{}/upload-url", sending.contact);
        let answer = self.call(Method::POST, &path, Some(&body)).await?;
        let token = answer["uploadUrl"].as_str().and_then(|url| url.rsplit_once("/upload/"));
        token.map(|(_, token)| token.to_owned()).ok_or_else(|| self.is_no_server())
    }
}
