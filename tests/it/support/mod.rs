//! A real server in a folder of its own, on free ports, with a clock that stands still until a
//! test moves it; and a client that reads well.

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
use dossier::db::{Inspection, Place};
use dossier::serve::{self, Server};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

pub(crate) use bucket::Bucket;
pub(crate) use process::{Dossier, Ended, command, printed, refused, run};
pub(crate) use sites::Member;

/// When every test begins, in Unix milliseconds.
pub(crate) const START_MS: i64 = 1_800_000_000_000;

/// The program, which is also the one that becomes a render worker.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_dossier");

/// A PNG of one opaque red pixel.
pub(crate) const PNG: &[u8] = &[
    0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', 0, 0, 0, 0x0d, b'I', b'H', b'D', b'R', 0, 0,
    0, 1, 0, 0, 0, 1, 8, 2, 0, 0, 0, 0x90, 0x77, 0x53, 0xde, 0, 0, 0, 0x0c, b'I', b'D', b'A', b'T',
    0x78, 0x9c, 0x63, 0xf8, 0xcf, 0xc0, 0, 0, 3, 1, 1, 0, 0xc9, 0xfe, 0x92, 0xef, 0, 0, 0, 0, b'I',
    b'E', b'N', b'D', 0xae, 0x42, 0x60, 0x82,
];

/// A server and its first site and key.
pub(crate) struct TestApp {
    /// The running server.
    pub(crate) server: Server,
    /// Its HTTP address, without a slash at the end.
    pub(crate) base: String,
    /// The first site.
    pub(crate) site: Uuid,
    /// A key of the first site with every scope.
    pub(crate) key: String,
    /// The link that the first start made.
    pub(crate) sign_in_link: Option<String>,
    client: reqwest::Client,
    now_ms: Arc<AtomicI64>,
    // Dropped last: the server's files lie in it.
    folder: tempfile::TempDir,
}

impl TestApp {
    /// Starts a server with the defaults.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts a server with settings of its own.
    pub(crate) async fn start_with(settings: &[(&str, &str)]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), settings, PROGRAM.as_ref()).await
    }

    /// Starts a server whose bytes are in a bucket.
    pub(crate) async fn start_in_bucket(settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bucket = bucket::make(folder.path());
        let settings = [&bucket.settings(), settings].concat();
        Self::start_in(folder, &settings, PROGRAM.as_ref()).await
    }

    /// Starts a server whose render workers are another program.
    pub(crate) async fn start_with_worker(program: &Path, settings: &[(&str, &str)]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), settings, program).await
    }

    /// Starts a server whose data lie in `data` below a folder of the test's own.
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

    /// Starts another server on the same database and bucket, with the same keys, clock and settings'
    /// defaults.
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

    /// Gives a data folder the keys of this server.
    pub(crate) fn copy_keys_to(&self, folder: &Path) {
        for keys in ["signing.keys", "webhook.keys"] {
            std::fs::copy(self.data().join(keys), folder.join(keys)).unwrap();
        }
    }

    /// An empty data folder whose server would use the same database.
    pub(crate) fn another_folder(&self) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        database::share(self.data(), folder.path());
        bucket::share(self.data(), folder.path());
        folder
    }

    /// Starts a server on a data folder that is there, with a new key of its one site.
    pub(crate) async fn start_over(data: &Path) -> Self {
        let data = data.to_str().unwrap();
        let made = printed(&["key", "create", "--json", "--data", data]);
        let made: Value = serde_json::from_str(&made).unwrap();
        let now_ms = Arc::new(AtomicI64::new(START_MS));
        let folder = tempfile::tempdir().unwrap();
        let server = start_in(&folder, &[("data", data)], &now_ms, PROGRAM.as_ref()).await;
        Self {
            base: format!("http://{}", server.http),
            site: made["siteId"].as_str().unwrap().parse().unwrap(),
            key: made["apiKey"].as_str().unwrap().to_owned(),
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

    /// Stops the server, lets something happen, and starts it again on the same folder.
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

    /// Stops the server and starts another one in a folder that has its rows and its keys, and no other
    /// file of it.
    pub(crate) async fn replaced(self, settings: &[(&str, &str)]) -> Self {
        let Self { server, site, key, client, now_ms, folder: before, .. } = self;
        server.stop().await;
        let folder = tempfile::tempdir().unwrap();
        database::copy(before.path(), folder.path());
        for keys in ["signing.keys", "webhook.keys"] {
            // Those for webhooks may not have been made yet.
            let _ = std::fs::copy(before.path().join(keys), folder.path().join(keys));
        }
        let server = start_in(&folder, settings, &now_ms, PROGRAM.as_ref()).await;
        let base = format!("http://{}", server.http);
        Self { server, base, site, key, sign_in_link: None, client, now_ms, folder }
    }

    /// Stops the server and leaves its folder.
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

    /// Where the rows are.
    pub(crate) fn rows(&self) -> Place {
        Place::of(&self.server.app.config, &DataFolder::open(self.data()).unwrap()).unwrap()
    }

    /// Looks at the rows from beside the server, on a thread that may wait for them.
    pub(crate) fn inspect<T: Send>(&self, look: impl FnOnce(&Inspection) -> T + Send) -> T {
        let place = self.rows();
        std::thread::scope(|scope| {
            let looking = scope.spawn(|| look(&Inspection::open(&place).unwrap()));
            looking.join().unwrap()
        })
    }

    /// Moves the clock.
    pub(crate) fn advance_seconds(&self, seconds: i64) {
        self.now_ms.fetch_add(seconds * 1_000, Ordering::SeqCst);
    }

    /// A request to this server without any credentials.
    pub(crate) fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// A request with the first key and site.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.anonymous(method, path)
            .header("authorization", &self.key)
            .header("wix-site-id", self.site.to_string())
    }

    /// Fetches any URL, such as a link.
    pub(crate) async fn open(&self, url: &str) -> Answer {
        Answer::of(self.client.get(url)).await
    }

    /// The client, for requests of any form.
    pub(crate) fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// Lists a contact.
    pub(crate) async fn list(&self, contact: Uuid) -> Answer {
        self.get(&format!("/contacts/v4/attachments/{contact}")).await
    }

    /// GET with the first key.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    /// DELETE with the first key.
    pub(crate) async fn delete(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::DELETE, path)).await
    }

    /// Asks for an upload URL.
    pub(crate) async fn generate(&self, contact: Uuid, body: &Value) -> Answer {
        let path = format!("/contacts/v4/attachments/{contact}/upload-url");
        Answer::of(self.request(Method::POST, &path).json(body)).await
    }

    /// Asks for an upload URL and returns it.
    pub(crate) async fn upload_url(&self, contact: Uuid, name: &str, mime_type: &str) -> String {
        let body = json!({ "fileName": name, "mimeType": mime_type });
        let answer = self.generate(contact, &body).await.ok();
        answer["uploadUrl"].as_str().unwrap().to_owned()
    }

    /// PUTs bytes to an upload URL.
    pub(crate) async fn put(&self, url: &str, bytes: &[u8]) -> Answer {
        Answer::of(self.client.put(url).body(bytes.to_vec())).await
    }

    /// Asks for an upload URL and PUTs the bytes.
    pub(crate) async fn upload(
        &self,
        contact: Uuid,
        name: &str,
        mime_type: &str,
        bytes: &[u8],
    ) -> Answer {
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
        // Decoders of a debug build on a machine that runs all tests at once are slow.
        ("preview_seconds", "60"),
    ];
    let given = settings.iter().find(|(name, _)| *name == "data").map(|(_, data)| Path::new(*data));
    let given = given.unwrap_or(folder.path());
    let (url, bucket) = (database::of(given).unwrap_or_default(), bucket::of(given));
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

/// Starts a server in a folder that has the keys of others.
pub(crate) async fn start_node(
    folder: &tempfile::TempDir,
    settings: &[(&str, &str)],
    now_ms: &Arc<AtomicI64>,
) -> Server {
    start_in(folder, settings, now_ms, PROGRAM.as_ref()).await
}

/// Why a server does not start in a folder.
pub(crate) async fn start_refused(folder: &tempfile::TempDir) -> String {
    let database = database::of(folder.path()).unwrap_or_default();
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

/// An answer that was read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Sends a request and reads its answer.
    pub(crate) async fn of(request: RequestBuilder) -> Self {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        Self { status, headers, body: answer.bytes().await.unwrap().to_vec() }
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{error}: {} {}", self.status, String::from_utf8_lossy(&self.body))
        })
    }

    /// The JSON of a 200.
    pub(crate) fn ok(&self) -> Value {
        let json = self.json();
        assert_eq!(self.status, StatusCode::OK, "{json}");
        json
    }

    /// Status and application error code of a refusal.
    pub(crate) fn refused(&self) -> (u16, String) {
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

    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}
