//! The metrics. Every name is defined here; values are updated where things happen. Labels have a
//! fixed set of values, so that no caller can create new series (S22).

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// The labels of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// One of the known methods, or `other`.
    pub method: &'static str,
    /// The status.
    pub status: u16,
}

/// The outcome of an attempt to render a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A picture was rendered.
    Rendered,
    /// The original cannot be rendered.
    Rejected,
    /// The worker crashed.
    Crashed,
    /// The worker exceeded its deadline.
    TimedOut,
    /// The queue was full, or no worker could start.
    Busy,
}

/// The labels of an attempt to render.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RenderLabels {
    /// The name of an [`Outcome`].
    pub outcome: &'static str,
}

/// The metrics of render workers. Clones share their counters.
#[derive(Debug, Clone)]
pub struct Pictures {
    /// Attempts to render a picture.
    pub attempts: Family<RenderLabels, Counter>,
    /// The duration of attempts that had a worker.
    pub seconds: Histogram,
    /// Workers started.
    pub worker_starts: Counter,
    /// Workers running.
    pub workers: Gauge,
}

/// The labels of a delivery attempt.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DeliveryOutcome {
    /// `delivered` or `failed`.
    pub outcome: &'static str,
}

/// The metrics of one server.
pub struct Metrics {
    /// Completed requests.
    pub requests: Family<RequestLabels, Counter>,
    /// Committed uploads.
    pub uploads: Counter,
    /// Bytes of these.
    pub upload_bytes: Counter,
    /// Originals read by the scrub.
    pub scrubbed_files: Counter,
    /// Bytes of these.
    pub scrubbed_bytes: Counter,
    /// When the scrub last completed a round, in Unix seconds.
    pub scrub_ended: Gauge<f64, AtomicU64>,
    /// Originals that differ from what was uploaded, as far as the scrub has found.
    pub damaged_blobs: Gauge,
    /// Attempts to deliver events.
    pub webhook_attempts: Family<DeliveryOutcome, Counter>,
    /// Deliveries abandoned after their last attempt.
    pub webhook_dead: Counter,
    /// 1 while the server accepts writes, 0 after a failed sync.
    pub writable: Gauge,
    /// The metrics of render workers.
    pub pictures: Pictures,
    registry: Registry,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("dossier");
        let metrics = Self {
            requests: Family::default(),
            uploads: Counter::default(),
            upload_bytes: Counter::default(),
            scrubbed_files: Counter::default(),
            scrubbed_bytes: Counter::default(),
            scrub_ended: Gauge::default(),
            damaged_blobs: Gauge::default(),
            webhook_attempts: Family::default(),
            webhook_dead: Counter::default(),
            writable: Gauge::default(),
            pictures: Pictures::default(),
            registry: Registry::default(),
        };
        registry.register("requests", "Completed requests", metrics.requests.clone());
        registry.register("uploads", "Committed uploads", metrics.uploads.clone());
        registry.register_with_unit(
            "upload",
            "Bytes of committed uploads",
            Unit::Bytes,
            metrics.upload_bytes.clone(),
        );
        registry.register(
            "scrubbed_files",
            "Originals read by the scrub",
            metrics.scrubbed_files.clone(),
        );
        registry.register_with_unit(
            "scrubbed",
            "Bytes read by the scrub",
            Unit::Bytes,
            metrics.scrubbed_bytes.clone(),
        );
        registry.register_with_unit(
            "scrub_ended_timestamp",
            "When the scrub last completed a round",
            Unit::Seconds,
            metrics.scrub_ended.clone(),
        );
        registry.register(
            "damaged_blobs",
            "Originals that differ from what was uploaded",
            metrics.damaged_blobs.clone(),
        );
        registry.register(
            "webhook_attempts",
            "Attempts to deliver events",
            metrics.webhook_attempts.clone(),
        );
        registry.register(
            "webhook_dead",
            "Deliveries abandoned after their last attempt",
            metrics.webhook_dead.clone(),
        );
        registry.register(
            "writable",
            "1 while the server accepts writes, 0 after a failed sync",
            metrics.writable.clone(),
        );
        metrics.pictures.register(&mut registry);
        Self { registry, ..metrics }
    }
}

/// Upper bounds of the buckets for render times.
const RENDER_BUCKETS_SECONDS: [f64; 10] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

impl Default for Pictures {
    fn default() -> Self {
        Self {
            attempts: Family::default(),
            seconds: Histogram::new(RENDER_BUCKETS_SECONDS),
            worker_starts: Counter::default(),
            workers: Gauge::default(),
        }
    }
}

impl Pictures {
    /// Counts an attempt to render.
    pub fn count_attempt(&self, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Rendered => "made",
            Outcome::Rejected => "refused",
            Outcome::Crashed => "crashed",
            Outcome::TimedOut => "timed_out",
            Outcome::Busy => "busy",
        };
        self.attempts.get_or_create(&RenderLabels { outcome }).inc();
    }

    fn register(&self, registry: &mut Registry) {
        registry.register("pictures", "Attempts to render a picture", self.attempts.clone());
        registry.register_with_unit(
            "render",
            "How long an attempt to render a picture took",
            Unit::Seconds,
            self.seconds.clone(),
        );
        registry.register(
            "render_worker_starts",
            "Render workers started",
            self.worker_starts.clone(),
        );
        registry.register("render_workers", "Render workers running", self.workers.clone());
    }
}

impl Metrics {
    /// Counts a completed request.
    pub fn count_request(&self, method: &str, status: u16) {
        const METHODS: [&str; 7] = ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"];
        let method = METHODS.into_iter().find(|known| *known == method).unwrap_or("other");
        self.requests.get_or_create(&RequestLabels { method, status }).inc();
    }

    /// All metrics as `OpenMetrics` text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_methods_create_no_series() {
        let metrics = Metrics::default();
        metrics.count_request("GET", 200);
        metrics.count_request("BREW", 405);
        metrics.count_request("STEEP", 405);
        let text = metrics.text();
        assert!(
            text.contains("dossier_requests_total{method=\"GET\",status=\"200\"} 1\n"),
            "{text}"
        );
        assert!(text.contains("dossier_requests_total{method=\"other\",status=\"405\"} 2\n"));
        assert!(text.contains("dossier_upload_bytes_total 0\n"), "{text}");
    }
}
