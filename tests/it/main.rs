//! Tests of behaviour, through HTTP against a real server: one binary, one file per feature.

mod lists;
mod support;
mod uploads;
mod uploads_descriptor;
mod uploads_hostile;
mod uploads_refused;
mod uploads_repeated;
