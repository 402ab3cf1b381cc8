//! A real server in its own folder, on free ports, with a clock that only moves when a test moves
//! it, and an HTTP client for it.

pub(crate) mod bucket;
pub(crate) mod cluster;
pub(crate) mod database;
pub(crate) mod files;
pub(crate) mod gate;
pub(crate) mod moto;
mod process;
pub(crate) mod proxy;
pub(crate) mod raw;
pub(crate) mod receiver;
pub(crate) mod schema;
mod sites;
mod state;
pub(crate) mod terminal;
pub(crate) mod tls;
pub(crate) mod tus;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use dossier::app::{App, Clock};
use dossier::config::Config;
use dossier::data_folder::DataFolder;
use dossier::db::{DatabaseLocation, Inspection};
use dossier::serve::{self, Server};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

pub(crate) use bucket::Bucket;
pub(crate) use process::{CommandOutput, Dossier, command, failure, printed, run};
pub(crate) use sites::Member;

/// The clock at the start of every test, in Unix milliseconds.
pub(crate) const START_MS: i64 = 1_800_000_000_000;

/// The program, which also runs as the render worker.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_dossier");

/// Whether tests run in their long form (`scripts/test --all`) or on a sample.
#[expect(clippy::disallowed_methods, reason = "it chooses tests, not what the program does")]
pub(crate) fn runs_long_forms() -> bool {
    std::env::var("TEST_TIER").is_ok_and(|tier| tier == "all")
}

/// A PNG of one opaque red pixel.
pub(crate) const PNG: &[u8] = &[
    0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', 0, 0, 0, 0x0d, b'I', b'H', b'D', b'R', 0, 0,
    0, 1, 0, 0, 0, 1, 8, 2, 0, 0, 0, 0x90, 0x77, 0x53, 0xde, 0, 0, 0, 0x0c, b'I', b'D', b'A', b'T',
    0x78, 0x9c, 0x63, 0xf8, 0xcf, 0xc0, 0, 0, 3, 1, 1, 0, 0xc9, 0xfe, 0x92, 0xef, 0, 0, 0, 0, b'I',
    b'E', b'N', b'D', 0xae, 0x42, 0x60, 0x82,
];

/// A server with its first site and key.
pub(crate) struct TestApp {
    /// The running server.
    pub(crate) server: Server,
    /// Its HTTP address, without a trailing slash.
    pub(crate) base: String,
    /// The first site.
    pub(crate) site: Uuid,
    /// A key of the first site with every scope.
    pub(crate) key: String,
    /// The sign-in link that the first start printed.
    pub(crate) sign_in_link: Option<String>,
    client: reqwest::Client,
    now_ms: Arc<AtomicI64>,
    // Dropped last: it holds the server's files.
    folder: tempfile::TempDir,
}

impl TestApp {
    /// Starts a server with default settings.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts a server with these settings.
    pub(crate) async fn start_with(settings: &[(&str, &str)]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), settings, PROGRAM.as_ref()).await
    }

    /// Starts a server that stores its bytes in a bucket.
    pub(crate) async fn start_in_bucket(settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bucket = bucket::get_or_create(folder.path());
        let settings = [&bucket.settings(), settings].concat();
        Self::start_in(folder, &settings, PROGRAM.as_ref()).await
    }

    /// Starts a server with another program as its render worker.
    pub(crate) async fn start_with_worker(program: &Path, settings: &[(&str, &str)]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), settings, program).await
    }

    /// Starts a server whose data folder is `data` below this folder.
    pub(crate) async fn start_on(folder: &Path, settings: &[(&str, &str)]) -> Self {
        let data = folder.join("data");
        std::fs::create_dir(&data).unwrap();
        let settings = [settings, &[("data", data.to_str().unwrap())]].concat();
        Self::start_in(tempfile::tempdir().unwrap(), &settings, PROGRAM.as_ref()).await
    }

    async fn start_in(
        folder: tempfile::TempDir,
        settings: &[(&str, &str)],
        program: &Path,
    ) -> Self {
        let now_ms = Arc::new(AtomicI64::new(START_MS));
        let mut server = start_in(&folder, settings, &now_ms, program).await;
        let first = server.first_start.take().unwrap();
        Self {
            base: format!("http://{}", server.http),
            site: first.site.id.0,
            key: first.key.secret,
            sign_in_link: first.sign_in,
            client: client(),
            server,
            now_ms,
            folder,
        }
    }

    /// Starts another server on the same database and bucket, with the same keys and clock.
    pub(crate) async fn another_node(&self, settings: &[(&str, &str)]) -> Self {
        let folder = self.another_folder();
        self.copy_keys_to(folder.path());
        let server = start_node(&folder, settings, &self.now_ms).await;
        Self {
            base: format!("http://{}", server.http),
            site: self.site,
            key: self.key.clone(),
            sign_in_link: None,
            client: client(),
            server,
            now_ms: Arc::clone(&self.now_ms),
            folder,
        }
    }

    /// Copies this server's keys to a data folder.
    pub(crate) fn copy_keys_to(&self, folder: &Path) {
        for keys in ["signing.keys", "webhook.keys"] {
            std::fs::copy(self.data().join(keys), folder.join(keys)).unwrap();
        }
    }

    /// An empty data folder that shares this server's database and bucket.
    pub(crate) fn another_folder(&self) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        database::share(self.data(), folder.path());
        bucket::share(self.data(), folder.path());
        folder
    }

    /// Starts a server on an existing data folder, with a new key for its one site.
    pub(crate) async fn start_on_existing(data: &Path) -> Self {
        let data = data.to_str().unwrap();
        let created = printed(&["key", "create", "--json", "--data", data]);
        let created: Value = serde_json::from_str(&created).unwrap();
        let now_ms = Arc::new(AtomicI64::new(START_MS));
        let folder = tempfile::tempdir().unwrap();
        let server = start_in(&folder, &[("data", data)], &now_ms, PROGRAM.as_ref()).await;
        Self {
            base: format!("http://{}", server.http),
            site: created["siteId"].as_str().unwrap().parse().unwrap(),
            key: created["apiKey"].as_str().unwrap().to_owned(),
            sign_in_link: None,
            client: client(),
            server,
            now_ms,
            folder,
        }
    }

    /// Stops the server and starts it again on the same folder.
    pub(crate) async fn restart_with(self, settings: &[(&str, &str)]) -> Self {
        self.restart_after(async || {}, settings).await
    }

    /// Stops the server, runs something, and starts the server again on the same folder.
    pub(crate) async fn restart_after(
        self,
        between: impl AsyncFnOnce(),
        settings: &[(&str, &str)],
    ) -> Self {
        let Self { server, site, key, client, now_ms, folder, .. } = self;
        server.stop().await;
        between().await;
        let server = start_in(&folder, settings, &now_ms, PROGRAM.as_ref()).await;
        let base = format!("http://{}", server.http);
        Self { server, base, site, key, sign_in_link: None, client, now_ms, folder }
    }

    /// Stops the server and starts one in a new folder with only its rows and keys.
    pub(crate) async fn restart_in_new_folder(self, settings: &[(&str, &str)]) -> Self {
        let Self { server, site, key, client, now_ms, folder: before, .. } = self;
        server.stop().await;
        let folder = tempfile::tempdir().unwrap();
        database::copy(before.path(), folder.path());
        for keys in ["signing.keys", "webhook.keys"] {
            // The webhook keys may not have been created yet.
            let _ = std::fs::copy(before.path().join(keys), folder.path().join(keys));
        }
        let server = start_in(&folder, settings, &now_ms, PROGRAM.as_ref()).await;
        let base = format!("http://{}", server.http);
        Self { server, base, site, key, sign_in_link: None, client, now_ms, folder }
    }

    /// Stops the server and returns its folder.
    pub(crate) async fn stop(self) -> tempfile::TempDir {
        let Self { server, folder, .. } = self;
        server.stop().await;
        folder
    }

    /// The shared handles of the server.
    pub(crate) fn app(&self) -> &Arc<App> {
        &self.server.app
    }

    /// The data folder.
    pub(crate) fn data(&self) -> &Path {
        &self.server.app.config.data
    }

    /// Where the rows are stored.
    pub(crate) fn database_location(&self) -> DatabaseLocation {
        DatabaseLocation::from_config(
            &self.server.app.config,
            &DataFolder::open(self.data()).unwrap(),
        )
        .unwrap()
    }

    /// Reads the rows behind the server's back, on a thread that may block.
    pub(crate) fn inspect<T: Send>(&self, look: impl FnOnce(&Inspection) -> T + Send) -> T {
        let location = self.database_location();
        std::thread::scope(|scope| {
            let looking = scope.spawn(|| look(&Inspection::open(&location).unwrap()));
            looking.join().unwrap()
        })
    }

    /// Advances the clock.
    pub(crate) fn advance_seconds(&self, seconds: i64) {
        self.now_ms.fetch_add(seconds * 1_000, Ordering::SeqCst);
    }

    /// A request to this server without any credentials.
    pub(crate) fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// A request with the first site's key.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.anonymous(method, path)
            .header("authorization", &self.key)
            .header("wix-site-id", self.site.to_string())
    }

    /// Fetches any URL, such as a link.
    pub(crate) async fn open(&self, url: &str) -> Response {
        Response::to(self.client.get(url)).await
    }

    /// The client, for requests of any kind.
    pub(crate) fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// Lists a contact.
    pub(crate) async fn list(&self, contact: Uuid) -> Response {
        self.get(&format!("/contacts/v4/attachments/{contact}")).await
    }

    /// GET with the first key.
    pub(crate) async fn get(&self, path: &str) -> Response {
        Response::to(self.request(Method::GET, path)).await
    }

    /// DELETE with the first key.
    pub(crate) async fn delete(&self, path: &str) -> Response {
        Response::to(self.request(Method::DELETE, path)).await
    }

    /// Requests an upload URL.
    pub(crate) async fn generate(&self, contact: Uuid, body: &Value) -> Response {
        let path = format!("/contacts/v4/attachments/{contact}/upload-url");
        Response::to(self.request(Method::POST, &path).json(body)).await
    }

    /// Requests an upload URL and returns it.
    pub(crate) async fn upload_url(&self, contact: Uuid, name: &str, mime_type: &str) -> String {
        let body = json!({ "fileName": name, "mimeType": mime_type });
        let response = self.generate(contact, &body).await.ok();
        response["uploadUrl"].as_str().unwrap().to_owned()
    }

    /// PUTs bytes to an upload URL.
    pub(crate) async fn put(&self, url: &str, bytes: &[u8]) -> Response {
        Response::to(self.client.put(url).body(bytes.to_vec())).await
    }

    /// Requests an upload URL and PUTs the bytes.
    pub(crate) async fn upload(
        &self,
        contact: Uuid,
        name: &str,
        mime_type: &str,
        bytes: &[u8],
    ) -> Response {
        let url = self.upload_url(contact, name, mime_type).await;
        self.put(&url, bytes).await
    }
}

async fn start_in(
    folder: &tempfile::TempDir,
    settings: &[(&str, &str)],
    now_ms: &Arc<AtomicI64>,
    program: &Path,
) -> Server {
    let data = folder.path().to_str().unwrap();
    let own = [
        ("data", data),
        ("listen", "127.0.0.1:0"),
        ("listen_tls", "off"),
        // Decoders are slow in a debug build while all tests run at once.
        ("preview_seconds", "60"),
    ];
    let given = settings.iter().find(|(name, _)| *name == "data").map(|(_, data)| Path::new(*data));
    let given = given.unwrap_or(folder.path());
    let (url, bucket) = (database::url_for(given).unwrap_or_default(), bucket::if_enabled(given));
    let bucket = bucket.as_ref().map(Bucket::settings).unwrap_or_default();
    let bucket = bucket.into_iter().filter(|(name, _)| !name.is_empty()).collect::<Vec<_>>();
    let own = [own.as_slice(), &[("database_url", url.as_str())], &bucket].concat();
    let settings: Vec<(String, String)> = own
        .iter()
        .chain(settings)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let config = Config::from_sources(None, &[], &settings).unwrap();
    serve::start(config, Clock::Manual(Arc::clone(now_ms)), program).await.unwrap()
}

/// Starts a server in a folder that already has the other nodes' keys.
pub(crate) async fn start_node(
    folder: &tempfile::TempDir,
    settings: &[(&str, &str)],
    now_ms: &Arc<AtomicI64>,
) -> Server {
    start_in(folder, settings, now_ms, PROGRAM.as_ref()).await
}

/// The error of a server that must not start in this folder.
pub(crate) async fn startup_error(folder: &tempfile::TempDir) -> String {
    let database = database::url_for(folder.path()).unwrap_or_default();
    let settings = [
        ("data", folder.path().to_str().unwrap()),
        ("listen", "127.0.0.1:0"),
        ("listen_tls", "off"),
        ("database_url", &database),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = Config::from_sources(None, &[], &settings).unwrap();
    let started = serve::start(config, Clock::System, PROGRAM.as_ref()).await;
    format!("{:#}", started.err().unwrap())
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

/// A response that was read to its end.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// Sends a request and reads the whole response.
    pub(crate) async fn to(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        Self { status, headers, body: response.bytes().await.unwrap().to_vec() }
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{error}: {} {}", self.status, String::from_utf8_lossy(&self.body))
        })
    }

    /// The JSON of a 200 response.
    pub(crate) fn ok(&self) -> Value {
        let json = self.json();
        assert_eq!(self.status, StatusCode::OK, "{json}");
        json
    }

    /// Status and application error code of an error response.
    pub(crate) fn rejection(&self) -> (u16, String) {
        let json = self.json();
        let code = json["details"]["applicationError"]["code"].as_str().unwrap_or_default();
        (self.status.as_u16(), code.to_owned())
    }

    /// Field and rule of each violation of a 400.
    pub(crate) fn violations(&self) -> Vec<(String, String)> {
        let json = self.json();
        assert_eq!(self.status, StatusCode::BAD_REQUEST, "{json}");
        let violations = json["details"]["validationError"]["fieldViolations"].as_array();
        let violations = violations.unwrap_or_else(|| panic!("no violations: {json}"));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        violations.iter().map(|v| (text(&v["field"]), text(&v["violatedRule"]))).collect()
    }

    /// A header's value, empty if it is absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}
