//! Starts the server and stops it in order: listeners first, then running requests, then jobs, then
//! the database.

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

use crate::actions::sessions::{SIGN_IN_ATTEMPTS_PER_MINUTE, sign_in_link};
use crate::actions::sites::{CreatedKey, create_site};
use crate::app::{App, Clock, Previews, Tasks, Transforms, Webhooks, ZIP_PERMITS};
use crate::blobs::Blobs;
use crate::config::Config;
use crate::data_folder::{DataFolder, FolderLock};
use crate::db::{DatabaseLocation, Db, Site};
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
use crate::upload_places::UploadSlots;
use crate::webhook_client::{Policy, Resolver, WebhookClient};
use crate::webhook_keys::KeyRing;

/// Maximum number of threads that read the database.
const MAX_READING_THREADS: usize = 8;
/// Connections that may wait to be accepted (the listen backlog).
const BACKLOG: u32 = 1_024;
/// Largest request head.
const MAX_HEADERS_BYTES: usize = 64 * 1024;
/// Concurrent requests on one HTTP/2 connection.
const MAX_STREAMS: u32 = 100;
/// An HTTP/2 connection that is silent for this long is pinged, and closed when it does not respond
/// for as long again.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(30);
/// Concurrent signatures per CPU: enough to keep it busy, few enough that uploads do not queue
/// behind them.
const SIGNERS_PER_CPU: usize = 2;
/// Cached webhook tokens, each about 3 KB and valid for its second only.
const TOKEN_CACHE_SIZE: usize = 256;
/// How often the certificate is checked for renewal.
const CERTIFICATE_CHECK_INTERVAL: Duration = Duration::from_hours(24);
/// Longest time for creating the first site and key; after it, another node takes over.
const FIRST_START_LEASE_MS: i64 = 10_000;
/// How often a node polls for the first site that another node is creating.
const FIRST_START_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// What a first start created.
#[derive(Debug)]
pub struct FirstStart {
    /// The first site.
    pub site: Site,
    /// Its first key.
    pub key: CreatedKey,
    /// A one-time link that signs in with this key at the page; `None` where the page is off.
    pub sign_in: Option<String>,
}

/// A running server.
pub struct Server {
    /// The shared state.
    pub app: Arc<App>,
    /// The address of plain HTTP.
    pub http: SocketAddr,
    /// The address of HTTPS.
    pub https: Option<SocketAddr>,
    /// The address of the metrics.
    pub metrics: Option<SocketAddr>,
    /// The local certificate authority that clients of the HTTPS address must trust; `None` when
    /// the certificate comes from the user's files.
    pub ca_file: Option<std::path::PathBuf>,
    /// What the first start created; its secrets are shown only once.
    pub first_start: Option<FirstStart>,
    handles: Vec<Handle<SocketAddr>>,
    listeners: Vec<JoinHandle<std::io::Result<()>>>,
    _lock: FolderLock,
}

/// Starts a server. It accepts requests when this returns. `program` is the absolute path of this
/// program's executable, which is started again for sandboxed work.
///
/// # Errors
///
/// With a message that states the remedy: folder in use, port in use, data of a newer release.
pub async fn start(config: Config, clock: Clock, program: &Path) -> anyhow::Result<Server> {
    let folder = DataFolder::open(&config.data)?;
    let lock = folder.lock()?;
    let db = Db::open(&DatabaseLocation::from_config(&config, &folder)?, reading_threads())?;
    let blobs = Arc::new(open_blobs(&config, &folder).await?);
    blobs.remove_unfinished_results()?;
    let keys = folder.signing_keys()?;
    // Bound before anything is created that can be shown only once.
    let plain = listen(config.listen)?;
    let tls = match config.listen_tls {
        Some(address) => Some((listen(address)?, certificates(&config, &folder)?)),
        None => None,
    };
    let metrics_listener = config.listen_metrics.map(listen).transpose()?;
    let http = plain.local_addr()?;
    let node_id = Uuid::new_v4();
    let webhooks = webhooks(&config, folder);
    coordinate(&db, &keys, &webhooks.keys, &clock).await?;
    let urls = PublicUrls::from_config(&config, http)?;
    let first_start = first_start(&db, &clock, node_id, &urls).await.map_err(database_error)?;
    let metrics = Metrics::default();
    let app = Arc::new(App {
        node_id,
        links_version: keys.links_version(&urls.media_url),
        media_host: urls.media_host,
        page_is_on: urls.page_is_on,
        public_url: urls.public_url,
        media_url: urls.media_url,
        registry: Registry::load(&db).await?,
        pages: PageCache::new(config.page_cache_bytes),
        rate_limit: RateLimit::new(config.requests_per_minute),
        sign_in_attempts: RateLimit::new(SIGN_IN_ATTEMPTS_PER_MINUTE),
        upload_slots: upload_slots(&config),
        upload_locks: Arc::default(),
        previews: Previews::new(&config, program.to_owned(), &metrics),
        transforms: Transforms::new(&config, &blobs),
        requests: RequestLog::default(),
        zip_permits: Arc::new(Semaphore::new(ZIP_PERMITS)),
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
    server.serve_plain(plain, http::router(&app))?;
    if let Some(listener) = metrics_listener {
        server.metrics = Some(listener.local_addr()?);
        server.serve_plain(listener, http::metrics_router(&app))?;
    }
    if let Some((listener, source)) = tls {
        server.serve_tls(listener, source).await?;
    }
    jobs::start(&app);
    Ok(server)
}

/// Opens the blob store. Blocking: it may make network requests.
async fn open_blobs(config: &Config, folder: &DataFolder) -> anyhow::Result<Blobs> {
    let (config, root) = (config.clone(), folder.root().to_owned());
    tokio::task::spawn_blocking(move || Blobs::open(&root, &config)).await?
}

fn upload_slots(config: &Config) -> Arc<UploadSlots> {
    Arc::new(UploadSlots::new(config.uploads_at_once, config.uploads_at_once_per_key))
}

fn reading_threads() -> usize {
    cpu_count().min(MAX_READING_THREADS)
}

fn cpu_count() -> usize {
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

/// The names that clients will use: the configured ones, the listen address, the hosts of the
/// public URLs.
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
        signing: Semaphore::new(SIGNERS_PER_CPU * cpu_count()),
        tokens: quick_cache::sync::Cache::new(TOKEN_CACHE_SIZE),
    }
}

/// By default plain HTTP on this machine, which needs no trust.
fn public_url(config: &Config, http: SocketAddr) -> String {
    match &config.public_url {
        Some(url) => url.to_string(),
        None if http.ip().is_unspecified() => format!("http://127.0.0.1:{}/", http.port()),
        None => format!("http://{http}/"),
    }
}

/// What follows from the public URL and the media URL.
struct PublicUrls {
    public_url: String,
    media_url: String,
    media_host: Option<MediaHost>,
    page_is_on: bool,
}

impl PublicUrls {
    fn from_config(config: &Config, http: SocketAddr) -> anyhow::Result<Self> {
        let public_url = public_url(config, http);
        let media_url =
            config.media_url.as_ref().map_or_else(|| public_url.clone(), Url::to_string);
        let public = public_url.parse()?;
        let media_host = MediaHost::distinct_from(&media_url.parse()?, &public);
        let page_is_on = config.page.is_on(&public, media_host.as_ref());
        Ok(Self { public_url, media_url, media_host, page_is_on })
    }
}

/// Coordinates with other processes before the first response. On a private database, leftover
/// leases end, as no other process can hold one. On a shared one, all nodes must sign with the same
/// keys.
async fn coordinate(
    db: &Db,
    keys: &SigningKeys,
    webhook_keys: &KeyRing,
    clock: &Clock,
) -> anyhow::Result<()> {
    if !db.is_shared() {
        // The folder's lock proves that their holders are gone.
        return Ok(db.end_leases(None).await?);
    }
    let webhook_keys = webhook_keys.ensure(clock.now_ms())?;
    register_key_fingerprints(db, "signing.keys", keys.fingerprints()).await?;
    register_key_fingerprints(db, "webhook.keys", webhook_keys.fingerprints()).await
}

/// Nodes with different keys would reject each other's links, and receivers would reject their
/// webhooks.
async fn register_key_fingerprints(
    db: &Db,
    file: &'static str,
    fingerprints: Vec<Vec<u8>>,
) -> anyhow::Result<()> {
    anyhow::ensure!(
        db.register_key_fingerprints(file, fingerprints)
            .await
            .map_err(|error| database_error(error.into()))?,
        "the keys in {file} are not those of the other nodes on this database: copy signing.keys \
         and webhook.keys from the data folder of one of them into this node's"
    );
    Ok(())
}

/// Unwraps the cause, which HTTP callers never see, for the person who starts the server.
fn database_error(error: anyhow::Error) -> anyhow::Error {
    let error = match error.downcast() {
        Ok(Error::Internal(source)) => source,
        Ok(error) => error.into(),
        Err(error) => error,
    };
    error.context("cannot use the database")
}

/// Creates the first site and its first key if there is none. Of nodes that start together, exactly
/// one does.
async fn first_start(
    db: &Db,
    clock: &Clock,
    node: Uuid,
    urls: &PublicUrls,
) -> anyhow::Result<Option<FirstStart>> {
    loop {
        if !db.sites().await?.is_empty() {
            return Ok(None);
        }
        let now_ms = clock.now_ms();
        if db
            .acquire_lease("first start", node, now_ms, now_ms + FIRST_START_LEASE_MS)
            .await?
            .is_some()
        {
            break;
        }
        tokio::time::sleep(FIRST_START_POLL_INTERVAL).await;
    }
    // Another node may have held the lease in between.
    let created = if db.sites().await?.is_empty() {
        let (site, key) = create_site(db, clock.now_ms(), "first", None, Some("first")).await?;
        key.map(|key| FirstStart { site, key, sign_in: None })
    } else {
        None
    };
    let created = match created {
        Some(first) if urls.page_is_on => {
            let key = (first.site.id, first.key.id);
            let link = sign_in_link(db, clock.now_ms(), key, &urls.public_url).await?;
            Some(FirstStart { sign_in: Some(link), ..first })
        }
        created => created,
    };
    db.end_leases(Some(node)).await?;
    Ok(created)
}

impl Server {
    fn serve_plain(&mut self, listener: TcpListener, router: Router) -> anyhow::Result<()> {
        let handle = Handle::new();
        let mut server = axum_server::from_tcp(listener)?
            .acceptor(NoDelayAcceptor::new())
            .handle(handle.clone());
        set_limits(server.http_builder(), &self.app.config);
        let service = router.into_make_service();
        self.listeners.push(self.app.tasks.spawn_listener(server.serve(service)));
        self.handles.push(handle);
        Ok(())
    }

    async fn serve_tls(&mut self, listener: TcpListener, source: Source) -> anyhow::Result<()> {
        let tls = source.config(now(&self.app.clock)).await?;
        self.https = Some(listener.local_addr()?);
        self.ca_file = source.authority_file();
        let handle = Handle::new();
        let mut server =
            axum_server::from_tcp_rustls(listener, tls.clone())?.handle(handle.clone());
        set_limits(server.http_builder(), &self.app.config);
        let service = http::router(&self.app).into_make_service();
        self.listeners.push(self.app.tasks.spawn_listener(server.serve(service)));
        self.handles.push(handle);
        renew_certificate(&self.app, source, tls);
        Ok(())
    }

    /// Stops in order: health reports it while requests are still served, then no new connections,
    /// running requests get their time, jobs end, the database closes.
    pub async fn stop(self) {
        self.app.tasks.announce_stop();
        tokio::time::sleep(Duration::from_secs(self.app.config.shutdown_notice_seconds)).await;
        let grace_period = Duration::from_secs(self.app.config.shutdown_seconds);
        for handle in &self.handles {
            handle.graceful_shutdown(Some(grace_period));
        }
        for listener in self.listeners {
            // A listener's error no longer matters.
            let _ = listener.await;
        }
        // Queued jobs that nobody waits for any more are not started.
        self.app.previews.workers.close();
        self.app.tasks.stop().await;
        self.app.previews.workers.stop().await;
        if let Err(error) = self.app.db.end_leases(Some(self.app.node_id)).await {
            // They expire on their own.
            tracing::warn!(?error, "this server's leases were not released");
        }
    }
}

fn set_limits(builder: &mut Builder<hyper_util::rt::TokioExecutor>, config: &Config) {
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
        .keep_alive_interval(HTTP2_PING_INTERVAL)
        .keep_alive_timeout(HTTP2_PING_INTERVAL);
}

/// Checks the certificate once a day, and loads a renewed one or replaced files.
fn renew_certificate(app: &Arc<App>, source: Source, tls: RustlsConfig) {
    let shared = Arc::clone(app);
    app.tasks.spawn(async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(CERTIFICATE_CHECK_INTERVAL) => {}
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
