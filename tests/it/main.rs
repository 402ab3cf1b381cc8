//! Tests of behaviour, through HTTP against a real server: one binary, one file per feature.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod auth;
mod backup;
mod binary;
mod binary_folder;
mod binary_settings;
mod cors;
mod delete;
mod errors;
mod errors_http;
mod faults;
mod fsck;
mod full_disk;
mod handles;
mod isolation;
mod kill;
mod leases;
mod lists;
mod lists_cache;
mod lists_media;
mod media;
mod media_conditions;
mod media_host;
mod media_links;
mod media_matrix;
mod previews;
mod previews_hostile;
mod previews_isolation;
mod previews_processes;
mod quotas;
mod races;
#[path = "../../examples/kill_loop/rig/mod.rs"]
mod rig;
mod scrub;
mod slow_readers;
mod stable_links;
mod stop;
mod support;
mod transforms;
mod transforms_cache;
mod tus;
mod tus_life;
mod tus_refused;
mod uploads;
mod uploads_descriptor;
mod uploads_hostile;
mod uploads_refused;
mod uploads_repeated;
mod webhooks;
mod webhooks_cli;
mod webhooks_crash;
mod webhooks_reach;
mod webhooks_requests;
mod webhooks_retries;
