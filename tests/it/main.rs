//! Tests of behaviour, through HTTP against a real server: one binary, one file per feature.

mod lists;
mod slow_readers;
mod support;
