//! Checks of the file storage: a folder, buckets, or both during a migration.

use std::path::Path;

use super::{CLOCK_SLACK_MS, Check};
use crate::app::Clock;
use crate::blobs::{Blobs, Probe, ProbeStep, StepFailure, StoreErrorKind};
use crate::config::Config;
use crate::domain::store_place::StoreLocation;

const SEE_DOCS: &str = "see docs/s3.md for what a bucket needs";

/// Checks the folder of stored files, if the settings use one.
pub(super) fn folder(root: &Path, config: &Config) -> Option<Check> {
    let also = config.blobs_also.as_ref().map(|(location, _)| location);
    if config.blobs != StoreLocation::Local && also != Some(&StoreLocation::Local) {
        return None;
    }
    let name = "stored files";
    Some(match Blobs::local(root) {
        Ok(_) => {
            Check::fine(name, "the folder can be used; run `dossier fsck` to check every file")
        }
        Err(error) => {
            Check::problem(name, format!("{error:#}"), "check the folder and its permissions")
        }
    })
}

/// Checks the buckets, if the settings name any.
pub(super) fn buckets(config: &Config) -> Vec<Check> {
    let mut checks = Vec::new();
    for (setting, probed) in Blobs::probe(config) {
        let names = match setting {
            "blobs" => ["bucket", "clock of the bucket"],
            _ => ["second bucket", "clock of the second bucket"],
        };
        match probed {
            Ok(probe) => checks.extend(bucket(names, &probe, Clock::System.now_ms())),
            Err(error) => checks.push(Check::problem(names[0], format!("{error:#}"), SEE_DOCS)),
        }
    }
    checks
}

fn bucket([name, clock]: [&'static str; 2], probe: &Probe, now_ms: i64) -> Vec<Check> {
    let steps: Vec<&str> = probe.steps.iter().map(|step| step.name).collect();
    let problems = probe.steps.iter().filter_map(|step| {
        let failed = step.outcome.as_ref().err()?;
        let detail = format!("{} failed: {}", step.name, failed.problem);
        Some(Check::problem(name, detail, remedy(step, failed)))
    });
    let mut checks: Vec<Check> = problems.collect();
    if checks.is_empty() {
        checks.push(Check::fine(name, format!("tested: {}", steps.join(", "))));
    }
    let skew_ms = probe.store_ms.map_or(0, |store_ms| store_ms.abs_diff(now_ms));
    if skew_ms > CLOCK_SLACK_MS.unsigned_abs() {
        let detail =
            format!("the store's clock differs by {} seconds from this machine's", skew_ms / 1_000);
        checks.push(Check::problem(clock, detail, "synchronise this machine's clock with NTP"));
    }
    checks
}

fn remedy(step: &ProbeStep, failed: &StepFailure) -> String {
    match failed.kind {
        Some(StoreErrorKind::Permission) => {
            format!("grant these credentials the permission {} (docs/s3.md)", step.permission)
        }
        Some(StoreErrorKind::Clock) => {
            "set this machine's clock and synchronise it with NTP".to_owned()
        }
        Some(StoreErrorKind::Settings) => format!("correct the settings; {SEE_DOCS}"),
        Some(StoreErrorKind::Unavailable) => "check the store and the network to it".to_owned(),
        None => SEE_DOCS.to_owned(),
    }
}
