//! The places where bytes lie: a folder, buckets, or both while bytes move.

use std::path::Path;

use super::{CLOCK_SLACK_MS, Check};
use crate::app::Clock;
use crate::blobs::{Blobs, Failed, Probe, Step, Trouble};
use crate::config::Config;
use crate::domain::store_place::StorePlace;

const NEEDED: &str = "docs/s3.md says what is needed of a bucket";

/// Whether the folder of bytes can be used, if there is one.
pub(super) fn folder(root: &Path, config: &Config) -> Option<Check> {
    let also = config.blobs_also.as_ref().map(|(place, _)| place);
    if config.blobs != StorePlace::Local && also != Some(&StorePlace::Local) {
        return None;
    }
    let name = "stored files";
    Some(match Blobs::local(root) {
        Ok(_) => Check::fine(name, "the store opens; `dossier fsck` compares every file"),
        Err(error) => {
            Check::problem(name, format!("{error:#}"), "check the folder and its permissions")
        }
    })
}

/// Whether the buckets can be used, if there are any.
pub(super) fn buckets(config: &Config) -> Vec<Check> {
    let mut checks = Vec::new();
    for (setting, probed) in Blobs::probe(config) {
        let names = match setting {
            "blobs" => ["bucket", "clock of the bucket"],
            _ => ["second bucket", "clock of the second bucket"],
        };
        match probed {
            Ok(probe) => checks.extend(bucket(names, &probe, Clock::System.now_ms())),
            Err(error) => checks.push(Check::problem(names[0], format!("{error:#}"), NEEDED)),
        }
    }
    checks
}

fn bucket([name, clock]: [&'static str; 2], probe: &Probe, now_ms: i64) -> Vec<Check> {
    let tried: Vec<&str> = probe.steps.iter().map(|step| step.what).collect();
    let broken = probe.steps.iter().filter_map(|step| {
        let failed = step.outcome.as_ref().err()?;
        let detail = format!("{} does not work: {}", step.what, failed.problem);
        Some(Check::problem(name, detail, remedy(step, failed)))
    });
    let mut checks: Vec<Check> = broken.collect();
    if checks.is_empty() {
        checks.push(Check::fine(name, format!("tried: {}", tried.join(", "))));
    }
    let skew_ms = probe.store_ms.map_or(0, |store_ms| store_ms.abs_diff(now_ms));
    if skew_ms > CLOCK_SLACK_MS.unsigned_abs() {
        let detail = format!("the store's clock is {} seconds away from this one", skew_ms / 1_000);
        checks.push(Check::problem(clock, detail, "let NTP keep this machine's clock"));
    }
    checks
}

fn remedy(step: &Step, failed: &Failed) -> String {
    match failed.trouble {
        Some(Trouble::Right) => {
            format!("give these keys the right {}, as docs/s3.md lists them", step.right)
        }
        Some(Trouble::Clock) => "set the clock of this machine, and let NTP keep it".to_owned(),
        Some(Trouble::Settings) => format!("correct the settings; {NEEDED}"),
        Some(Trouble::Away) => "look at the store, and at the network on the way to it".to_owned(),
        None => NEEDED.to_owned(),
    }
}
