//! What a monitor asks for. Every name is here; values are written where things happen. Labels hold
//! words of ours only, so that no caller can make more of them (S22).

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// How a request was answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Answered {
    /// One of the methods that we know, or `other`.
    pub method: &'static str,
    /// The status.
    pub status: u16,
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
    /// 1 while everything can be written, 0 after a failed sync.
    pub writable: Gauge,
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
            writable: Gauge::default(),
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
            "writable",
            "1 while everything can be written, 0 after a failed sync",
            metrics.writable.clone(),
        );
        Self { registry, ..metrics }
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
