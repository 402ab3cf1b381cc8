#![doc = include_str!("../ARCHITECTURE.md")]

pub mod actions;
pub mod app;
pub mod blobs;
pub mod cli;
pub mod config;
pub mod data_folder;
pub mod db;
pub mod domain;
pub mod error;
pub mod http;
pub mod jobs;
pub mod page_cache;
pub mod registry;
pub mod serve;
pub mod single_flight;
pub mod tls;
