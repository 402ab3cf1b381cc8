//! The shared handles. Everything that handlers and jobs need is a field of [`App`] or an
//! argument; there is no global state.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

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
use crate::domain::image::RenderLimits;
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
use crate::turns::Turns;
use crate::upload_places::UploadPlaces;
use crate::webhook_client::WebhookClient;
use crate::webhook_keys::KeyRing;

/// Transforms that are made or wait to be made; one more is answered 503 (S28).
const TRANSFORM_PLACES: usize = 128;
/// ZIP files on their way at once, each a few MiB of memory; one more is answered 503 (S28).
pub const ZIP_PLACES: usize = 32;
/// How long a render worker may have nothing to do: an idle one costs memory, starting one some
/// milliseconds.
const RENDER_WORKER_IDLE_MAX: Duration = Duration::from_mins(1);

/// The shared handles.
pub struct App {
    /// This process among those that share the work.
    pub node_id: Uuid,
    /// The settings.
    pub config: Config,
    /// What upload URLs begin with; ends with a slash.
    pub public_url: String,
    /// What media links begin with; ends with a slash.
    pub media_url: String,
    /// The host of media links, if it is another one.
    pub media_host: Option<MediaHost>,
    /// Whether people may use the page (S12).
    pub page_is_on: bool,
    /// Part of every list's `ETag`: changes with the form of links.
    pub links_version: u32,
    /// The rows.
    pub db: Db,
    /// The bytes.
    pub blobs: Arc<Blobs>,
    /// What signs links.
    pub keys: SigningKeys,
    /// The time.
    pub clock: Clock,
    /// Sites and keys.
    pub registry: Registry,
    /// Requests of each key.
    pub rate_limit: RateLimit,
    /// Tries to sign in at the page.
    pub sign_in_tries: RateLimit,
    /// Finished list answers.
    pub pages: PageCache,
    /// Places for uploads.
    pub upload_places: Arc<UploadPlaces>,
    /// Who works on which resumable upload.
    pub turns: Arc<Turns>,
    /// The making of previews.
    pub previews: Previews,
    /// The making of transforms.
    pub transforms: Transforms,
    /// What was asked last.
    pub requests: RequestLog,
    /// Places for ZIP files on their way.
    pub zip_places: Arc<Semaphore>,
    /// Small files that were just asked for.
    pub media: MediaCache,
    /// The telling of events.
    pub webhooks: Webhooks,
    /// What a monitor asks for.
    pub metrics: Metrics,
    /// Work that outlives its request.
    pub tasks: Tasks,
}

/// What telling events needs.
pub struct Webhooks {
    /// Sends them.
    pub client: WebhookClient,
    /// Signs them.
    pub keys: Arc<KeyRing>,
    /// Places for signatures being made: a few for each processor, so that whoever uploads meanwhile has
    /// a share of it.
    pub signing: Semaphore,
    /// What was signed within this second: many receivers may be told the same.
    pub tokens: Cache<(EventId, Recipient, i64), Arc<str>>,
}

/// Bounds on the making of previews.
pub struct Previews {
    /// Checked before anything is decoded.
    pub limits: RenderLimits,
    /// Where they are made.
    pub workers: RenderWorkers,
    /// One maker per blob.
    pub makers: SingleFlight<BlobKey>,
}

impl Previews {
    /// Reads the bounds from the settings. `program` is what becomes a render worker.
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
            makers: SingleFlight::default(),
        }
    }
}

/// Bounds on the making of transforms, and where they are kept.
pub struct Transforms {
    /// Finished ones.
    pub cache: Arc<TransformCache>,
    /// One maker for each result of a blob.
    pub makers: SingleFlight<(BlobKey, ResultId)>,
    /// Places to be made in.
    pub places: Arc<Semaphore>,
}

impl Transforms {
    /// Reads the bounds from the settings.
    pub fn new(config: &Config, blobs: &Arc<Blobs>) -> Self {
        let cache = TransformCache::new(Arc::clone(blobs), config.transform_cache_bytes);
        Self {
            cache: Arc::new(cache),
            makers: SingleFlight::default(),
            places: Arc::new(Semaphore::new(TRANSFORM_PLACES)),
        }
    }
}

impl App {
    /// The quotas that hold for a site.
    pub fn quotas(&self, site: SiteId) -> Quotas {
        let own = self.registry.site(site).map(|site| site.quotas).unwrap_or_default();
        own.over(self.config.quotas)
    }

    /// Why nothing is written any more; empty while everything is.
    pub fn problems(&self) -> Vec<&str> {
        self.blobs.failure().into_iter().chain(self.db.failure()).collect()
    }

    /// How what is deleted now goes.
    pub fn removal(&self) -> Removal {
        Removal::now(&self.config, self.clock.now_ms())
    }

    /// When a site's media links that are made now end, in Unix seconds.
    pub fn links_expire_s(&self, site: &Site) -> u32 {
        let life_seconds = site.link_life_seconds.unwrap_or(self.config.media_link_life_seconds);
        link_expiry_s(self.clock.now_ms(), life_seconds)
    }
}

/// The time, which tests can move.
#[derive(Clone)]
pub enum Clock {
    /// The system's.
    System,
    /// Unix milliseconds that stand still until someone moves them.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// Unix milliseconds.
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

/// Work that runs beside requests and that a stop waits for.
#[derive(Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    announced: CancellationToken,
    stopping: CancellationToken,
}

impl Tasks {
    /// Runs work that finishes by itself, also when its request is gone.
    pub fn spawn<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        // In a box, so that what tokio makes of a task is compiled once for each output and not for
        // each work: it is 80 functions.
        self.tracker.spawn(work.boxed())
    }

    /// Runs a listener, which is stopped by its own handle before all other work.
    #[expect(clippy::disallowed_methods, reason = "a stop ends listeners before tracked work")]
    pub fn spawn_listener<F>(&self, listener: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(listener)
    }

    /// Runs blocking work that finishes by itself.
    pub fn spawn_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let work: Box<dyn FnOnce() -> T + Send> = Box::new(work);
        self.tracker.spawn_blocking(work)
    }

    /// Ends when the server begins to stop.
    pub async fn stopping(&self) {
        self.stopping.cancelled().await;
    }

    /// Whether the server has begun to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Says that a stop is near, so that whoever asks for health sends its requests elsewhere.
    pub fn announce_stop(&self) {
        self.announced.cancel();
    }

    /// Whether a stop was announced.
    pub fn is_stop_announced(&self) -> bool {
        self.announced.is_cancelled()
    }

    /// Tells jobs to stop and waits until all work is done.
    pub async fn stop(&self) {
        self.stopping.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}
