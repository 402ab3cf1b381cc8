//! Generates docs/metrics.md from the text that a monitor gets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use dossier::metrics::{DeliveryOutcome, Metrics, Outcome};

use crate::{assert_up_to_date, cell};

const INTRODUCTION: &str = "\
# Metrics

`listen_metrics` opens an address of its own, so that metrics are never public by accident. `GET /metrics` returns OpenMetrics
text, for Prometheus and others:

```sh
dossier serve --set listen_metrics=127.0.0.1:9464
```

```sh
curl -s http://127.0.0.1:9464/metrics
```

```text
# TYPE dossier_uploads counter
dossier_uploads_total 0
…
dossier_writable 1
…
# EOF
```

Values are those of one server since its start. A metric with labels appears with its first value. Labels have a fixed set
of values, so no caller can create new series.

<!-- Generated from src/metrics.rs by UPDATE_DOCS=1 cargo test --test docs -->

| metric | type | labels | meaning |
|---|---|---|---|
";

const ALERTS: &str = "
## What to watch

| condition | meaning | what to do |
|---|---|---|
| `dossier_writable == 0` | a sync failed, and nothing is written until a restart | check the disk, then restart the server |
| `dossier_damaged_blobs > 0` | bytes on disk are not those that were uploaded | the log names the files: restore them from a backup, and check the disk |
| `dossier_scrub_ended_timestamp_seconds` older than `scrub_days` | the scrub does not keep up | raise `scrub_bytes_per_second` |
| `rate(dossier_webhook_dead_total) > 0` | a receiver failed for two days | `dossier webhook deliveries`, then `dossier webhook replay` |
| `rate(dossier_pictures_total{outcome=\"busy\"}) > 0` | previews wait too long | raise `preview_workers` |
";

/// The text of a server that has counted something of everything.
fn text() -> String {
    use Outcome::{Busy, Crashed, Rejected, Rendered, TimedOut};

    let metrics = Metrics::default();
    metrics.count_request("GET", 200);
    for outcome in [Rendered, Rejected, Crashed, TimedOut, Busy] {
        metrics.pictures.count_attempt(outcome);
    }
    for outcome in ["delivered", "failed"] {
        metrics.webhook_attempts.get_or_create(&DeliveryOutcome { outcome }).inc();
    }
    metrics.text()
}

/// The labels of a metric, with the values of an outcome. Buckets of a histogram have one that is not ours.
fn labels(text: &str, name: &str) -> String {
    let samples = text.lines().filter(|line| line.starts_with(name));
    let sets = samples.filter_map(|line| line.split_once('{')?.1.split_once('}'));
    let pairs = sets.flat_map(|(set, _)| set.split(',')).filter_map(|pair| pair.split_once('='));
    let mut labels = BTreeMap::<&str, BTreeSet<&str>>::new();
    for (label, value) in pairs.filter(|(label, _)| *label != "le") {
        labels.entry(label).or_default().insert(value.trim_matches('"'));
    }
    let shown = labels.into_iter().map(|(label, values)| match label {
        "outcome" => {
            let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
            format!("`{label}`: {}", values.join(", "))
        }
        _ => format!("`{label}`"),
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn page() -> String {
    let metrics = text();
    let mut page = INTRODUCTION.to_owned();
    for line in metrics.lines() {
        let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' '))
        else {
            continue;
        };
        let kind = format!("# TYPE {name} ");
        let kind = metrics.lines().find_map(|line| line.strip_prefix(&kind)).unwrap();
        let ending = if kind == "counter" { "_total" } else { "" };
        let sample = format!("{name}{ending}");
        let labels = labels(&metrics, &sample);
        writeln!(page, "| `{sample}` | {kind} | {labels} | {} |", cell(help)).unwrap();
    }
    page + ALERTS
}

#[test]
fn every_metric_is_in_the_book() {
    let page = page();
    for name in ALERTS.split('`').filter(|part| part.contains("dossier_")) {
        let name = name.trim_start_matches("rate(");
        let end = name.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(name.len());
        assert!(page.contains(&format!("| `{}` |", &name[..end])), "there is no metric {name}");
    }
    assert_up_to_date("docs/metrics.md", &page);
}
