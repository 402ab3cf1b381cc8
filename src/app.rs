//! The shared state. Everything that handlers and jobs need is a field of [`App`] or an argument;
//! there is no global state.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use dossier_image::RenderLimits;
use futures_util::FutureExt as _;
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::blobs::{BlobKey, Blobs};
use crate::config::Config;
use crate::db::{Db, Removal, Site};
use crate::domain::ids::{EventId, SiteId};
use crate::domain::media_host::MediaHost;
use crate::domain::quota::Quotas;
use crate::domain::signing::{SigningKeys, link_expiry_s};
use crate::domain::transform::ResultId;
use crate::domain::webhook::Recipient;
use crate::media_cache::MediaCache;
use crate::metrics::Metrics;
use crate::page_cache::PageCache;
use crate::rate_limit::RateLimit;
use crate::registry::Registry;
use crate::render_workers::{RenderWorkers, Settings};
use crate::request_log::RequestLog;
use crate::single_flight::SingleFlight;
use crate::transform_cache::TransformCache;
use crate::turns::UploadLocks;
use crate::upload_places::UploadSlots;
use crate::webhook_client::WebhookClient;
use crate::webhook_keys::KeyRing;

/// Transforms in progress or queued; when exceeded, the response is 503 (S28).
const TRANSFORM_PERMITS: usize = 128;
/// Concurrent ZIP downloads, each a few MiB of memory; when exceeded, the response is 503 (S28).
pub const ZIP_PERMITS: usize = 32;
/// How long a render worker may be idle. An idle one costs memory; starting one costs some
/// milliseconds.
const RENDER_WORKER_IDLE_MAX: Duration = Duration::from_mins(1);

/// The shared state.
pub struct App {
    /// Identifies this process among the nodes.
    pub node_id: Uuid,
    /// The settings.
    pub config: Config,
    /// The base of upload URLs; ends with a slash.
    pub public_url: String,
    /// The base of media links; ends with a slash.
    pub media_url: String,
    /// The host of media links, if it differs from that of the public URL.
    pub media_host: Option<MediaHost>,
    /// Whether the page is on (S12).
    pub page_is_on: bool,
    /// Part of every list's `ETag`: changes when the form of links changes.
    pub links_version: u32,
    /// The database.
    pub db: Db,
    /// The blob store.
    pub blobs: Arc<Blobs>,
    /// The keys that sign links.
    pub keys: SigningKeys,
    /// The clock.
    pub clock: Clock,
    /// Sites and API keys.
    pub registry: Registry,
    /// The request rate of each key.
    pub rate_limit: RateLimit,
    /// The rate of sign-in attempts at the page.
    pub sign_in_attempts: RateLimit,
    /// Cached list responses.
    pub pages: PageCache,
    /// Limits concurrent uploads.
    pub upload_slots: Arc<UploadSlots>,
    /// Locks for resumable uploads.
    pub upload_locks: Arc<UploadLocks>,
    /// Renders previews.
    pub previews: Previews,
    /// Renders transforms.
    pub transforms: Transforms,
    /// The most recent requests.
    pub requests: RequestLog,
    /// Limits concurrent ZIP downloads.
    pub zip_permits: Arc<Semaphore>,
    /// Recently requested small files.
    pub media: MediaCache,
    /// Delivers events.
    pub webhooks: Webhooks,
    /// The metrics.
    pub metrics: Metrics,
    /// Work that outlives its request.
    pub tasks: Tasks,
}

/// What the delivery of events needs.
pub struct Webhooks {
    /// Sends events.
    pub client: WebhookClient,
    /// Signs events.
    pub keys: Arc<KeyRing>,
    /// Limits concurrent signatures to a few per CPU, so that uploads get their share of it.
    pub signing: Semaphore,
    /// The tokens signed within the current second, since many subscriptions may share one.
    pub tokens: Cache<(EventId, Recipient, i64), Arc<str>>,
}

/// Bounds on the rendering of previews.
pub struct Previews {
    /// Limits checked before anything is decoded.
    pub limits: RenderLimits,
    /// The processes that render.
    pub workers: RenderWorkers,
    /// One render per blob at a time.
    pub renders: SingleFlight<BlobKey>,
}

impl Previews {
    /// Takes the bounds from the settings. `program` is the executable of the render workers.
    pub fn new(config: &Config, program: PathBuf, metrics: &Metrics) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = if config.preview_workers == 0 { processors } else { config.preview_workers };
        let deadline = Duration::from_secs(config.preview_seconds);
        let settings = Settings { program, workers, deadline, idle_max: RENDER_WORKER_IDLE_MAX };
        Self {
            limits: RenderLimits {
                max_pixels: config.preview_max_pixels,
                ..RenderLimits::default()
            },
            workers: RenderWorkers::new(settings, metrics.pictures.clone()),
            renders: SingleFlight::default(),
        }
    }
}

/// Bounds on the rendering of transforms, and their cache.
pub struct Transforms {
    /// Finished transforms.
    pub cache: Arc<TransformCache>,
    /// One render for each result of a blob at a time.
    pub renders: SingleFlight<(BlobKey, ResultId)>,
    /// Limits transforms in progress and queued.
    pub permits: Arc<Semaphore>,
}

impl Transforms {
    /// Takes the bounds from the settings.
    pub fn new(config: &Config, blobs: &Arc<Blobs>) -> Self {
        let cache = TransformCache::new(Arc::clone(blobs), config.transform_cache_bytes);
        Self {
            cache: Arc::new(cache),
            renders: SingleFlight::default(),
            permits: Arc::new(Semaphore::new(TRANSFORM_PERMITS)),
        }
    }
}

impl App {
    /// The effective quotas of a site.
    pub fn quotas(&self, site: SiteId) -> Quotas {
        let overrides = self.registry.site(site).map(|site| site.quotas).unwrap_or_default();
        overrides.or(self.config.quotas)
    }

    /// Why the server has become read-only; empty while it accepts writes.
    pub fn problems(&self) -> Vec<&str> {
        self.blobs.failure().into_iter().chain(self.db.failure()).collect()
    }

    /// How attachments deleted now are removed.
    pub fn removal(&self) -> Removal {
        Removal::now(&self.config, self.clock.now_ms())
    }

    /// The expiry of a site's media links created now, in Unix seconds.
    pub fn links_expire_s(&self, site: &Site) -> u32 {
        let life_seconds = site.link_life_seconds.unwrap_or(self.config.media_link_life_seconds);
        link_expiry_s(self.clock.now_ms(), life_seconds)
    }
}

/// The clock, which tests can move.
#[derive(Clone)]
pub enum Clock {
    /// The system clock.
    System,
    /// Unix milliseconds that stand still until someone moves them.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The current time in Unix milliseconds.
    pub fn now_ms(&self) -> i64 {
        match self {
            #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
            Self::System => std::time::SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_millis() as i64),
            Self::Manual(now_ms) => now_ms.load(Ordering::SeqCst),
        }
    }
}

/// Work that runs beside requests. A stop waits for it.
#[derive(Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    announced: CancellationToken,
    stopping: CancellationToken,
}

impl Tasks {
    /// Runs work that finishes on its own, even if its request is gone.
    pub fn spawn<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        // Boxed, so that tokio's task code, 80 functions, is compiled once per output type, not
        // once per future.
        self.tracker.spawn(work.boxed())
    }

    /// Runs a listener, which its own handle stops before all other work.
    #[expect(clippy::disallowed_methods, reason = "a stop ends listeners before tracked work")]
    pub fn spawn_listener<F>(&self, listener: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(listener)
    }

    /// Runs blocking work that finishes on its own.
    pub fn spawn_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let work: Box<dyn FnOnce() -> T + Send> = Box::new(work);
        self.tracker.spawn_blocking(work)
    }

    /// Resolves when the server begins to stop.
    pub async fn stopping(&self) {
        self.stopping.cancelled().await;
    }

    /// Whether the server has begun to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Announces a stop, so that health checks send requests elsewhere.
    pub fn announce_stop(&self) {
        self.announced.cancel();
    }

    /// Whether a stop was announced.
    pub fn is_stop_announced(&self) -> bool {
        self.announced.is_cancelled()
    }

    /// Signals jobs to stop and waits until all work is done.
    pub async fn stop(&self) {
        self.stopping.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}
