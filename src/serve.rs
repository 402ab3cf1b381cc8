//! Starts the service and stops it in order: listeners first, then running requests, then
//! jobs, then the database.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum_server::Handle;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::RustlsConfig;
use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto::Builder;
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use url::Url;
use uuid::Uuid;

use crate::actions::sessions::{TRIES_A_MINUTE, sign_in_link};
use crate::actions::sites::{MadeKey, create_site};
use crate::app::{App, Clock, Previews, Tasks, Transforms, Webhooks, ZIP_PLACES};
use crate::blobs::Blobs;
use crate::config::Config;
use crate::data_folder::{DataFolder, FolderLock};
use crate::db::{Db, Place, Site};
use crate::domain::media_host::MediaHost;
use crate::domain::signing::SigningKeys;
use crate::error::Error;
use crate::http;
use crate::jobs;
use crate::media_cache::MediaCache;
use crate::metrics::Metrics;
use crate::page_cache::PageCache;
use crate::rate_limit::RateLimit;
use crate::registry::Registry;
use crate::request_log::RequestLog;
use crate::tls::Source;
use crate::upload_places::UploadPlaces;
use crate::webhook_client::{Policy, Resolver, WebhookClient};
use crate::webhook_keys::KeyRing;

/// Most threads that read the database.
const MAX_READING_THREADS: usize = 8;
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1_024;
/// Largest head of a request.
const MAX_HEADERS_BYTES: usize = 64 * 1024;
/// Requests at the same time on one HTTP/2 connection.
const MAX_STREAMS: u32 = 100;
/// An HTTP/2 connection that brings nothing for so long is asked whether it is alive, and cut off
/// when it does not answer for as long.
const HTTP2_PING_EVERY: Duration = Duration::from_secs(30);
/// Signatures being made at the same time for each processor: enough to keep it at work, and not so many
/// that whoever uploads meanwhile waits behind them.
const SIGNERS_OF_A_PROCESSOR: usize = 2;
/// Signed webhooks that are remembered for their second, each about 3 KB.
const SIGNED_TOKENS: usize = 256;
/// How often the certificate is looked at.
const CERTIFICATE_EVERY: Duration = Duration::from_hours(24);
/// The longest that making the first site and key may take; then another node does it.
const FIRST_START_MS: i64 = 10_000;
/// How often a node that waits for another one's first site looks for it.
const FIRST_START_LOOK: Duration = Duration::from_millis(100);

/// What a first start made.
#[derive(Debug)]
pub struct FirstStart {
    /// The first site.
    pub site: Site,
    /// Its first key.
    pub key: MadeKey,
    /// The link that signs its key in at the page, once; `None` where there is no page.
    pub sign_in: Option<String>,
}

/// A server that answers.
pub struct Server {
    /// The shared handles.
    pub app: Arc<App>,
    /// Where plain HTTP is answered.
    pub http: SocketAddr,
    /// Where HTTPS is answered.
    pub https: Option<SocketAddr>,
    /// Where a monitor is answered.
    pub metrics: Option<SocketAddr>,
    /// The authority that clients of the HTTPS address must trust; `None` for own files.
    pub ca_file: Option<std::path::PathBuf>,
    /// What the first start made, to be shown once.
    pub first_start: Option<FirstStart>,
    handles: Vec<Handle<SocketAddr>>,
    listeners: Vec<JoinHandle<std::io::Result<()>>>,
    _lock: FolderLock,
}

/// Starts a server. When this returns, requests are answered. `program` is the path of
/// this program's own file from the root, started again for what happens in processes of their own.
///
/// # Errors
///
/// With a message that says what to do: folder in use, port in use, data of a newer release.
pub async fn start(config: Config, clock: Clock, program: &Path) -> anyhow::Result<Server> {
    let folder = DataFolder::open(&config.data)?;
    let lock = folder.lock()?;
    let db = Db::open(&Place::of(&config, &folder)?, reading_threads())?;
    let blobs = Arc::new(open_blobs(&config, &folder).await?);
    blobs.remove_unfinished_results()?;
    let keys = folder.signing_keys()?;
    // Bound before anything is made that can be shown only once.
    let plain = listen(config.listen)?;
    let tls = match config.listen_tls {
        Some(address) => Some((listen(address)?, certificates(&config, &folder)?)),
        None => None,
    };
    let monitored = config.listen_metrics.map(listen).transpose()?;
    let http = plain.local_addr()?;
    let node_id = Uuid::new_v4();
    let webhooks = webhooks(&config, folder);
    join_others(&db, &keys, &webhooks.keys, &clock).await?;
    let hosts = Hosts::of(&config, http)?;
    let first_start = first_start(&db, &clock, node_id, &hosts).await.map_err(unusable)?;
    let metrics = Metrics::default();
    let app = Arc::new(App {
        node_id,
        links_version: keys.links_version(&hosts.media_url),
        media_host: hosts.media_host,
        page_is_on: hosts.page_is_on,
        public_url: hosts.public_url,
        media_url: hosts.media_url,
        registry: Registry::load(&db).await?,
        pages: PageCache::new(config.page_cache_bytes),
        rate_limit: RateLimit::new(config.requests_per_minute),
        sign_in_tries: RateLimit::new(TRIES_A_MINUTE),
        upload_places: upload_places(&config),
        turns: Arc::default(),
        previews: Previews::new(&config, program.to_owned(), &metrics),
        transforms: Transforms::new(&config, &blobs),
        requests: RequestLog::default(),
        zip_places: Arc::new(Semaphore::new(ZIP_PLACES)),
        media: MediaCache::new(config.media_cache_bytes),
        webhooks,
        metrics,
        tasks: Tasks::default(),
        config,
        db,
        blobs,
        keys,
        clock,
    });
    let mut server = Server {
        app: Arc::clone(&app),
        http,
        https: None,
        metrics: None,
        ca_file: None,
        first_start,
        handles: Vec::new(),
        listeners: Vec::new(),
        _lock: lock,
    };
    server.answer_plain(plain, http::router(&app))?;
    if let Some(listener) = monitored {
        server.metrics = Some(listener.local_addr()?);
        server.answer_plain(listener, http::metrics_router(&app))?;
    }
    if let Some((listener, source)) = tls {
        server.answer_tls(listener, source).await?;
    }
    jobs::start(&app);
    Ok(server)
}

/// Opens the store of bytes, which may be asked over the network.
async fn open_blobs(config: &Config, folder: &DataFolder) -> anyhow::Result<Blobs> {
    let (config, root) = (config.clone(), folder.root().to_owned());
    tokio::task::spawn_blocking(move || Blobs::open(&root, &config)).await?
}

fn upload_places(config: &Config) -> Arc<UploadPlaces> {
    Arc::new(UploadPlaces::new(config.uploads_at_once, config.uploads_at_once_per_key))
}

fn reading_threads() -> usize {
    processors().min(MAX_READING_THREADS)
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = || {
        let socket = match address {
            SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
            SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)?.into_std()
    };
    listener().with_context(|| {
        format!(
            "cannot listen on {address}; is another server there? Choose other ports with \
             --listen and --listen-tls (port 0 picks a free one)"
        )
    })
}

fn certificates(config: &Config, folder: &DataFolder) -> anyhow::Result<Source> {
    Ok(match &config.tls_files {
        Some((cert, key)) => Source::Files { cert: cert.clone(), key: key.clone() },
        None => Source::Local { folder: folder.tls()?, names: certificate_names(config) },
    })
}

/// The names that clients will use: the given ones, the address, the hosts of our URLs.
fn certificate_names(config: &Config) -> Vec<String> {
    let mut names = config.tls_names.clone();
    let address = config.listen_tls.map(|address| address.ip());
    names.extend(address.filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_string()));
    let hosts =
        [&config.public_url, &config.media_url].into_iter().flatten().filter_map(Url::host_str);
    names.extend(hosts.map(|host| host.trim_matches(['[', ']']).to_owned()));
    names.sort();
    names.dedup();
    names
}

fn webhooks(config: &Config, folder: DataFolder) -> Webhooks {
    let policy = Policy {
        timeout: Duration::from_millis(config.webhook_timeout_ms),
        ca_file: config.webhook_ca.clone(),
    };
    Webhooks {
        client: WebhookClient::new(policy, Resolver::System),
        keys: Arc::new(KeyRing::new(folder)),
        signing: Semaphore::new(SIGNERS_OF_A_PROCESSOR * processors()),
        tokens: quick_cache::sync::Cache::new(SIGNED_TOKENS),
    }
}

/// Without the setting: plain HTTP on this machine, which needs no trust.
fn public_url(config: &Config, http: SocketAddr) -> String {
    match &config.public_url {
        Some(url) => url.to_string(),
        None if http.ip().is_unspecified() => format!("http://127.0.0.1:{}/", http.port()),
        None => format!("http://{http}/"),
    }
}

/// What the addresses come to.
struct Hosts {
    public_url: String,
    media_url: String,
    media_host: Option<MediaHost>,
    page_is_on: bool,
}

impl Hosts {
    fn of(config: &Config, http: SocketAddr) -> anyhow::Result<Self> {
        let public_url = public_url(config, http);
        let media_url =
            config.media_url.as_ref().map_or_else(|| public_url.clone(), Url::to_string);
        let public = public_url.parse()?;
        let media_host = MediaHost::apart_from(&media_url.parse()?, &public);
        let page_is_on = config.page.is_on(&public, media_host.as_ref());
        Ok(Self { public_url, media_url, media_host, page_is_on })
    }
}

/// What has to be settled with other processes before the first answer: on a database of its own nobody
/// else holds a job; on one that is shared the nodes sign with the same keys.
async fn join_others(
    db: &Db,
    keys: &SigningKeys,
    webhook_keys: &KeyRing,
    clock: &Clock,
) -> anyhow::Result<()> {
    if !db.is_shared() {
        // The folder's lock shows that whoever had one is gone.
        return Ok(db.end_leases(None).await?);
    }
    let webhook_keys = webhook_keys.ensure(clock.now_ms())?;
    agree_on_keys(db, "signing.keys", keys.fingerprints()).await?;
    agree_on_keys(db, "webhook.keys", webhook_keys.fingerprints()).await
}

/// Nodes that signed with keys of their own would refuse each other's links, and so would receivers of
/// webhooks.
async fn agree_on_keys(
    db: &Db,
    file: &'static str,
    fingerprints: Vec<Vec<u8>>,
) -> anyhow::Result<()> {
    anyhow::ensure!(
        db.agree_on_keys(file, fingerprints).await.map_err(|error| unusable(error.into()))?,
        "the keys in {file} are not those of the other nodes on this database: copy signing.keys \
         and webhook.keys from the data folder of one of them into this node's"
    );
    Ok(())
}

/// Who starts a server is told why the database cannot be used, also what no caller is told.
fn unusable(error: anyhow::Error) -> anyhow::Error {
    let error = match error.downcast() {
        Ok(Error::Internal(source)) => source,
        Ok(error) => error.into(),
        Err(error) => error,
    };
    error.context("cannot use the database")
}

/// Makes the first site with its first key, when there is none: of nodes that start together, one does.
async fn first_start(
    db: &Db,
    clock: &Clock,
    node: Uuid,
    hosts: &Hosts,
) -> anyhow::Result<Option<FirstStart>> {
    loop {
        if !db.sites().await?.is_empty() {
            return Ok(None);
        }
        let now_ms = clock.now_ms();
        if db.take_lease("first start", node, now_ms, now_ms + FIRST_START_MS).await?.is_some() {
            break;
        }
        tokio::time::sleep(FIRST_START_LOOK).await;
    }
    // Another one may have had the lease between the look and ours.
    let made = if db.sites().await?.is_empty() {
        let (site, key) = create_site(db, clock.now_ms(), "first", None, Some("first")).await?;
        key.map(|key| FirstStart { site, key, sign_in: None })
    } else {
        None
    };
    let made = match made {
        Some(first) if hosts.page_is_on => {
            let key = (first.site.id, first.key.id);
            let link = sign_in_link(db, clock.now_ms(), key, &hosts.public_url).await?;
            Some(FirstStart { sign_in: Some(link), ..first })
        }
        made => made,
    };
    db.end_leases(Some(node)).await?;
    Ok(made)
}

impl Server {
    fn answer_plain(&mut self, listener: TcpListener, router: Router) -> anyhow::Result<()> {
        let handle = Handle::new();
        let mut server = axum_server::from_tcp(listener)?
            .acceptor(NoDelayAcceptor::new())
            .handle(handle.clone());
        limits(server.http_builder(), &self.app.config);
        let service = router.into_make_service();
        self.listeners.push(self.app.tasks.spawn_listener(server.serve(service)));
        self.handles.push(handle);
        Ok(())
    }

    async fn answer_tls(&mut self, listener: TcpListener, source: Source) -> anyhow::Result<()> {
        let tls = source.config(now(&self.app.clock)).await?;
        self.https = Some(listener.local_addr()?);
        self.ca_file = source.authority_file();
        let handle = Handle::new();
        let mut server =
            axum_server::from_tcp_rustls(listener, tls.clone())?.handle(handle.clone());
        limits(server.http_builder(), &self.app.config);
        let service = http::router(&self.app).into_make_service();
        self.listeners.push(self.app.tasks.spawn_listener(server.serve(service)));
        self.handles.push(handle);
        keep_certificate(&self.app, source, tls);
        Ok(())
    }

    /// Stops in order: health says so while everything is still answered, no new connections,
    /// running requests get their time, jobs end, the database closes.
    pub async fn stop(self) {
        self.app.tasks.announce_stop();
        tokio::time::sleep(Duration::from_secs(self.app.config.shutdown_notice_seconds)).await;
        let patience = Duration::from_secs(self.app.config.shutdown_seconds);
        for handle in &self.handles {
            handle.graceful_shutdown(Some(patience));
        }
        for listener in self.listeners {
            // How a listener ended says nothing any more.
            let _ = listener.await;
        }
        // What nobody waits for any more is not begun.
        self.app.previews.workers.close();
        self.app.tasks.stop().await;
        self.app.previews.workers.stop().await;
        if let Err(error) = self.app.db.end_leases(Some(self.app.node_id)).await {
            // They end by themselves.
            tracing::warn!(?error, "this server's jobs were not given back");
        }
    }
}

fn limits(builder: &mut Builder<hyper_util::rt::TokioExecutor>, config: &Config) {
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(config.header_read_seconds))
        // Not pipeline_flush: it copies every body and buffers it without bound (R28).
        .max_buf_size(MAX_HEADERS_BYTES * 4);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEADERS_BYTES as u32)
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(HTTP2_PING_EVERY)
        .keep_alive_timeout(HTTP2_PING_EVERY);
}

/// Looks at the certificate once a day and puts a renewed one, or new files, in place.
fn keep_certificate(app: &Arc<App>, source: Source, tls: RustlsConfig) {
    let shared = Arc::clone(app);
    app.tasks.spawn(async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(CERTIFICATE_EVERY) => {}
                () = shared.tasks.stopping() => return,
            }
            let renewed = match source.current(now(&shared.clock)) {
                Ok((cert, key)) => tls.reload_from_pem(cert, key).await.map_err(Into::into),
                Err(error) => Err(error),
            };
            if let Err(error) = renewed {
                tracing::error!(error = format!("{error:#}"), "the certificate was not renewed");
            }
        }
    });
}

fn now(clock: &Clock) -> OffsetDateTime {
    let seconds = clock.now_ms() / 1_000;
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
