//! What a monitor asks for. Every name is here; values are written where things happen. Labels hold
//! words of ours only, so that no caller can make more of them (S22).

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// How a request was answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Answered {
    /// One of the methods that we know, or `other`.
    pub method: &'static str,
    /// The status.
    pub status: u16,
}

/// How a try to make a picture ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With a picture.
    Made,
    /// Nothing can be made of the original.
    Refused,
    /// The worker broke.
    Crashed,
    /// The worker did not end in time.
    TimedOut,
    /// There was no place to wait, or no worker.
    Busy,
}

/// The label of an [`Outcome`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Tried {
    /// Its name.
    pub outcome: &'static str,
}

/// What render workers do. Clones count together.
#[derive(Debug, Clone)]
pub struct Pictures {
    /// Tries to make a picture.
    pub tries: Family<Tried, Counter>,
    /// How long tries took that had a worker.
    pub seconds: Histogram,
    /// Workers that were started.
    pub worker_starts: Counter,
    /// Workers that there are.
    pub workers: Gauge,
}

/// How an attempt to tell a receiver ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Told {
    /// `delivered` or `failed`.
    pub outcome: &'static str,
}

/// The counters of one server.
pub struct Metrics {
    /// Answered requests.
    pub requests: Family<Answered, Counter>,
    /// Committed uploads.
    pub uploads: Counter,
    /// Bytes of these.
    pub upload_bytes: Counter,
    /// Originals that the scrub has read.
    pub scrubbed_files: Counter,
    /// Bytes of these.
    pub scrubbed_bytes: Counter,
    /// When the scrub last came to the end of all bytes, in Unix seconds.
    pub scrub_ended: Gauge<f64, AtomicU64>,
    /// Originals that are not what was uploaded, as far as the scrub has seen.
    pub damaged_blobs: Gauge,
    /// Attempts to tell receivers of events.
    pub webhook_attempts: Family<Told, Counter>,
    /// Deliveries that were given up after their last attempt.
    pub webhook_dead: Counter,
    /// 1 while everything can be written, 0 after a failed sync.
    pub writable: Gauge,
    /// What render workers do.
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
        registry.register("requests", "Answered requests", metrics.requests.clone());
        registry.register("uploads", "Committed uploads", metrics.uploads.clone());
        registry.register_with_unit(
            "upload",
            "Bytes of committed uploads",
            Unit::Bytes,
            metrics.upload_bytes.clone(),
        );
        registry.register(
            "scrubbed_files",
            "Originals that the scrub has read",
            metrics.scrubbed_files.clone(),
        );
        registry.register_with_unit(
            "scrubbed",
            "Bytes that the scrub has read",
            Unit::Bytes,
            metrics.scrubbed_bytes.clone(),
        );
        registry.register_with_unit(
            "scrub_ended_timestamp",
            "When the scrub last came to the end of all bytes",
            Unit::Seconds,
            metrics.scrub_ended.clone(),
        );
        registry.register(
            "damaged_blobs",
            "Originals that are not what was uploaded",
            metrics.damaged_blobs.clone(),
        );
        registry.register(
            "webhook_attempts",
            "Attempts to tell receivers of events",
            metrics.webhook_attempts.clone(),
        );
        registry.register(
            "webhook_dead",
            "Deliveries given up after their last attempt",
            metrics.webhook_dead.clone(),
        );
        registry.register(
            "writable",
            "1 while everything can be written, 0 after a failed sync",
            metrics.writable.clone(),
        );
        metrics.pictures.register(&mut registry);
        Self { registry, ..metrics }
    }
}

/// Upper ends of the buckets for the time that a picture takes.
const RENDER_SECONDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

impl Default for Pictures {
    fn default() -> Self {
        Self {
            tries: Family::default(),
            seconds: Histogram::new(RENDER_SECONDS),
            worker_starts: Counter::default(),
            workers: Gauge::default(),
        }
    }
}

impl Pictures {
    /// Counts a try.
    pub fn tried(&self, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Made => "made",
            Outcome::Refused => "refused",
            Outcome::Crashed => "crashed",
            Outcome::TimedOut => "timed_out",
            Outcome::Busy => "busy",
        };
        self.tries.get_or_create(&Tried { outcome }).inc();
    }

    fn register(&self, registry: &mut Registry) {
        registry.register("pictures", "Tries to make a picture", self.tries.clone());
        registry.register_with_unit(
            "render",
            "How long a try to make a picture took",
            Unit::Seconds,
            self.seconds.clone(),
        );
        registry.register(
            "render_worker_starts",
            "Render workers that were started",
            self.worker_starts.clone(),
        );
        registry.register("render_workers", "Render workers that there are", self.workers.clone());
    }
}

impl Metrics {
    /// Counts an answered request.
    pub fn answered(&self, method: &str, status: u16) {
        const METHODS: [&str; 7] = ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"];
        let method = METHODS.into_iter().find(|known| *known == method).unwrap_or("other");
        self.requests.get_or_create(&Answered { method, status }).inc();
    }

    /// Everything as `OpenMetrics` text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_that_callers_make_up_make_no_series() {
        let metrics = Metrics::default();
        metrics.answered("GET", 200);
        metrics.answered("BREW", 405);
        metrics.answered("STEEP", 405);
        let text = metrics.text();
        assert!(
            text.contains("dossier_requests_total{method=\"GET\",status=\"200\"} 1\n"),
            "{text}"
        );
        assert!(text.contains("dossier_requests_total{method=\"other\",status=\"405\"} 2\n"));
        assert!(text.contains("dossier_upload_bytes_total 0\n"), "{text}");
    }
}
