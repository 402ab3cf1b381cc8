//! Tests of behaviour, through HTTP against a real server: one binary, one file per feature.

mod auth;
mod binary;
mod cors;
mod delete;
mod errors;
mod isolation;
mod lists;
mod lists_cache;
mod lists_media;
mod support;
mod uploads;
mod uploads_descriptor;
mod uploads_hostile;
mod uploads_refused;
mod uploads_repeated;
