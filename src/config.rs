//! Settings from flags, the environment and a file, on top of the built-in defaults. Only this
//! module reads the environment. Raw input becomes a checked [`Config`], or an error that names the
//! setting, the problem and the source.

mod stores;

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use toml::{Table, Value};
use url::Url;

use crate::domain::media_host::PageSetting;
use crate::domain::quota::{Amount, Quotas};
use crate::domain::store_place::{StoreKeys, StoreLocation};
use crate::domain::webhook::{Reach, Schedule};
use stores::{STORE_VARIABLES, credentials, environment_credentials, second_location};

/// Every setting with its default and its explanation.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

/// The environment variable that names the settings file.
const FILE_VARIABLE: &str = "DOSSIER_CONFIG";
/// Most retries of a webhook.
const MAX_RETRIES: usize = 100;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// The prefix of environment variables that are settings.
const VARIABLE_PREFIX: &str = "DOSSIER_";
/// Environment variables of the client commands. They are not server settings.
const CLIENT_VARIABLES: [&str; 4] =
    ["DOSSIER_SERVER", "DOSSIER_KEY", "DOSSIER_SITE", "DOSSIER_PROFILE"];

/// What stands in `image`, `document` and `previewImage` (contract §16).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MediaReferences {
    /// Only `url` for callers that use the official SDK, both for all others.
    Auto,
    /// Always `id` and `url`.
    Id,
    /// Only `url`.
    Url,
}

/// Which transforms a media link opens (S38).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransformsAllowed {
    /// A fixed list.
    Presets,
    /// All transforms.
    Any,
    /// No transforms.
    Off,
}

/// Which contacts can have files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContactsPolicy {
    /// Every contact that was not deleted.
    Any,
    /// Only announced contacts.
    Registered,
}

/// Who serves originals that are stored in a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MediaDelivery {
    /// This server.
    Proxy,
    /// The bucket, by a redirect to a URL that expires after some minutes.
    Redirect,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// A text that is never printed or logged (S22), such as a URL with a password.
#[derive(Clone)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Checked settings. `config.default.toml` explains each.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config.default.toml documents every setting, once")]
pub struct Config {
    pub listen: SocketAddr,
    pub listen_tls: Option<SocketAddr>,
    pub listen_metrics: Option<SocketAddr>,
    pub data: PathBuf,
    pub database_url: Option<Secret>,
    pub database_password_file: Option<PathBuf>,
    pub database_connections: usize,
    pub blobs: StoreLocation,
    pub blobs_keys: Option<StoreKeys>,
    pub blobs_also: Option<(StoreLocation, Option<StoreKeys>)>,
    pub media_delivery: MediaDelivery,
    pub public_url: Option<Url>,
    pub media_url: Option<Url>,
    pub page: PageSetting,
    pub tls_files: Option<(PathBuf, PathBuf)>,
    pub tls_names: Vec<String>,
    pub media_references: MediaReferences,
    pub media_link_life_seconds: u32,
    pub upload_url_life_seconds: u32,
    pub upload_max_bytes: u64,
    pub uploads_at_once: usize,
    pub uploads_at_once_per_key: usize,
    pub quotas: Quotas,
    pub requests_per_minute: u32,
    pub body_idle_seconds: u64,
    pub body_min_bytes_per_second: u64,
    pub header_read_seconds: u64,
    pub page_cache_bytes: u64,
    pub preview_workers: usize,
    pub preview_seconds: u64,
    pub preview_max_pixels: u64,
    pub transforms: TransformsAllowed,
    pub transform_cache_bytes: u64,
    pub media_cache_bytes: u64,
    pub contacts_policy: ContactsPolicy,
    pub trash_days: u32,
    pub removal_grace_seconds: u32,
    pub tombstone_days: u32,
    pub event_days: u32,
    pub webhook_timeout_ms: u64,
    pub webhook_retries: Schedule,
    pub webhook_allow_private: bool,
    pub webhook_ca: Option<PathBuf>,
    pub scrub_days: u32,
    pub scrub_bytes_per_second: u64,
    pub cors_origins: Vec<String>,
    pub shutdown_notice_seconds: u64,
    pub shutdown_seconds: u64,
    pub log: String,
    pub log_format: LogFormat,
}

/// The settings as given, with unknown names rejected.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    listen: String,
    listen_tls: String,
    listen_metrics: String,
    data: PathBuf,
    database_url: String,
    database_password_file: PathBuf,
    database_connections: usize,
    blobs: String,
    blobs_credentials_file: PathBuf,
    blobs_also: String,
    blobs_also_credentials_file: PathBuf,
    media_delivery: MediaDelivery,
    public_url: String,
    media_url: String,
    page: PageSetting,
    tls_cert: PathBuf,
    tls_key: PathBuf,
    tls_names: Vec<String>,
    media_references: MediaReferences,
    media_link_life_seconds: u32,
    upload_url_life_seconds: u32,
    upload_max_bytes: u64,
    uploads_at_once: usize,
    uploads_at_once_per_key: usize,
    requests_per_minute: u32,
    body_idle_seconds: u64,
    body_min_bytes_per_second: u64,
    header_read_seconds: u64,
    page_cache_bytes: u64,
    preview_workers: usize,
    preview_seconds: u64,
    preview_max_pixels: u64,
    transforms: TransformsAllowed,
    transform_cache_bytes: u64,
    media_cache_bytes: u64,
    contacts_policy: ContactsPolicy,
    trash_days: u32,
    removal_grace_seconds: u32,
    tombstone_days: u32,
    event_days: u32,
    webhook_timeout_ms: u64,
    webhook_retry_minutes: Vec<u32>,
    webhook_allow_private: bool,
    webhook_ca: PathBuf,
    scrub_days: u32,
    scrub_bytes_per_second: u64,
    cors_origins: Vec<String>,
    shutdown_notice_seconds: u64,
    shutdown_seconds: u64,
    log: String,
    log_format: LogFormat,
    site_max_bytes: u64,
    site_max_files: u64,
    contact_max_bytes: u64,
    contact_max_files: u64,
}

impl Config {
    /// Which addresses webhooks may be sent to.
    pub fn webhook_reach(&self) -> Reach {
        if self.webhook_allow_private { Reach::Anywhere } else { Reach::Public }
    }

    /// Merges the defaults, the file, the environment and the flags, in this order.
    ///
    /// `flags` holds pairs of name and value.
    ///
    /// # Errors
    ///
    /// If a setting is unknown or invalid. The error names the setting and its source.
    pub fn load(file: Option<&Path>, flags: &[(String, String)]) -> anyhow::Result<Self> {
        Self::from_sources(file, &variables()?, flags)
    }

    /// [`Config::load`] with the environment as an argument.
    ///
    /// # Errors
    ///
    /// As [`Config::load`].
    pub fn from_sources(
        file: Option<&Path>,
        variables: &[(String, String)],
        flags: &[(String, String)],
    ) -> anyhow::Result<Self> {
        let mut settings: Table = DEFAULTS.parse().context("the built-in defaults are invalid")?;
        let named = variables.iter().find(|(name, _)| name == FILE_VARIABLE);
        if let Some(file) = file.or(named.map(|(_, path)| Path::new(path))) {
            merge_file(&mut settings, file)?;
        }
        let is_setting = |name: &str| {
            let others = STORE_VARIABLES.iter().chain(&CLIENT_VARIABLES).chain([&FILE_VARIABLE]);
            !others.into_iter().any(|other| *other == name)
        };
        for (variable, text) in variables.iter().filter(|(name, _)| is_setting(name)) {
            let name = variable.strip_prefix(VARIABLE_PREFIX).unwrap_or(variable);
            let name = name.to_ascii_lowercase();
            merge_text(&mut settings, &name, text).with_context(|| format!("in {variable}"))?;
        }
        for (name, text) in flags {
            merge_text(&mut settings, name, text)
                .with_context(|| format!("in --set {name} or its flag"))?;
        }
        let raw: Raw = settings.try_into().context("invalid settings")?;
        raw.check(environment_credentials(variables))
    }
}

/// Dossier's environment variables. Others are not read: they need not be UTF-8.
fn variables() -> anyhow::Result<Vec<(String, String)>> {
    #[expect(clippy::disallowed_methods, reason = "settings are read here and only here")]
    let ours = std::env::vars_os().filter_map(|(name, value)| {
        let is_ours =
            |name: &String| name.starts_with(VARIABLE_PREFIX) || STORE_VARIABLES.contains(&&**name);
        name.into_string().ok().filter(is_ours).zip(Some(value))
    });
    ours.map(|(name, value)| match value.into_string() {
        Ok(value) => Ok((name, value)),
        Err(_) => bail!("the value of {name} is not UTF-8"),
    })
    .collect()
}

/// Reads a small text file that a person has written.
///
/// # Errors
///
/// If the file cannot be read.
pub fn read_text(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

fn merge_file(settings: &mut Table, file: &Path) -> anyhow::Result<()> {
    let text = read_text(file)?;
    let given: Table = text.parse().with_context(|| format!("in {}", file.display()))?;
    for (name, value) in given {
        find_setting(settings, &name).with_context(|| format!("in {}", file.display()))?;
        settings.insert(name, value);
    }
    Ok(())
}

fn find_setting<'a>(settings: &'a Table, name: &str) -> anyhow::Result<&'a Value> {
    settings.get(name).with_context(|| {
        let names: Vec<&str> = settings.keys().map(String::as_str).collect();
        format!("there is no setting {name:?}; the settings are: {}", names.join(", "))
    })
}

/// Parses a text as the type of the setting.
fn merge_text(settings: &mut Table, name: &str, text: &str) -> anyhow::Result<()> {
    let must_be = |what: &str| format!("{name} must be {what}, not {text:?}");
    let value = match find_setting(settings, name)? {
        Value::Integer(_) => {
            let number = text.parse().ok().filter(|number: &i64| *number >= 0);
            Value::Integer(number.with_context(|| must_be("a number"))?)
        }
        Value::Boolean(_) => {
            let is = text.parse().ok();
            Value::Boolean(is.with_context(|| must_be("true or false"))?)
        }
        Value::Array(items) if items.iter().any(Value::is_integer) => {
            let items = text.split(',').map(|item| item.trim().parse().map(Value::Integer));
            let items: Result<_, _> = items.collect();
            Value::Array(items.with_context(|| must_be("numbers separated by commas"))?)
        }
        Value::Array(_) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Value::Array(items.map(|item| Value::String(item.to_owned())).collect())
        }
        _ => Value::String(text.to_owned()),
    };
    settings.insert(name.to_owned(), value);
    Ok(())
}

impl Raw {
    fn check_positive(&self) -> anyhow::Result<()> {
        positive("media_link_life_seconds", self.media_link_life_seconds.into())?;
        positive("upload_url_life_seconds", self.upload_url_life_seconds.into())?;
        positive("upload_max_bytes", self.upload_max_bytes)?;
        positive("uploads_at_once", self.uploads_at_once as u64)?;
        positive("uploads_at_once_per_key", self.uploads_at_once_per_key as u64)?;
        positive("body_idle_seconds", self.body_idle_seconds)?;
        positive("header_read_seconds", self.header_read_seconds)?;
        positive("preview_seconds", self.preview_seconds)?;
        positive("webhook_timeout_ms", self.webhook_timeout_ms)
    }

    fn check(self, keys: Option<StoreKeys>) -> anyhow::Result<Config> {
        self.check_positive()?;
        let tls_files = tls_files(some_path(self.tls_cert), some_path(self.tls_key))?;
        self.cors_origins.iter().try_for_each(|origin| check_origin(origin))?;
        let blobs = StoreLocation::parse(&self.blobs).context("blobs")?;
        let blobs_also = second_location(
            &blobs,
            &self.blobs_also,
            self.blobs_also_credentials_file,
            keys.clone(),
        )?;
        let blobs_keys =
            credentials(&blobs, "blobs_credentials_file", self.blobs_credentials_file, keys)?;
        Ok(Config {
            listen: address("listen", &self.listen)?,
            listen_tls: address_or_off("listen_tls", &self.listen_tls)?,
            listen_metrics: address_or_off("listen_metrics", &self.listen_metrics)?,
            data: self.data,
            database_url: Some(Secret(self.database_url)).filter(|url| !url.0.is_empty()),
            database_password_file: some_path(self.database_password_file),
            database_connections: self.database_connections,
            blobs,
            blobs_keys,
            blobs_also,
            media_delivery: self.media_delivery,
            public_url: base_url("public_url", &self.public_url)?,
            media_url: base_url("media_url", &self.media_url)?,
            page: self.page,
            tls_files,
            tls_names: self.tls_names,
            media_references: self.media_references,
            media_link_life_seconds: self.media_link_life_seconds,
            upload_url_life_seconds: self.upload_url_life_seconds,
            upload_max_bytes: self.upload_max_bytes,
            uploads_at_once: self.uploads_at_once,
            uploads_at_once_per_key: self.uploads_at_once_per_key,
            quotas: Quotas {
                site: Amount { files: self.site_max_files, bytes: self.site_max_bytes },
                contact: Amount { files: self.contact_max_files, bytes: self.contact_max_bytes },
            },
            requests_per_minute: self.requests_per_minute,
            body_idle_seconds: self.body_idle_seconds,
            body_min_bytes_per_second: self.body_min_bytes_per_second,
            header_read_seconds: self.header_read_seconds,
            page_cache_bytes: self.page_cache_bytes,
            preview_workers: self.preview_workers,
            preview_seconds: self.preview_seconds,
            preview_max_pixels: self.preview_max_pixels,
            transforms: self.transforms,
            transform_cache_bytes: self.transform_cache_bytes,
            media_cache_bytes: self.media_cache_bytes,
            contacts_policy: self.contacts_policy,
            trash_days: self.trash_days,
            removal_grace_seconds: self.removal_grace_seconds,
            tombstone_days: self.tombstone_days,
            event_days: self.event_days,
            webhook_timeout_ms: self.webhook_timeout_ms,
            webhook_retries: retries(self.webhook_retry_minutes, self.event_days)?,
            webhook_allow_private: self.webhook_allow_private,
            webhook_ca: some_path(self.webhook_ca),
            scrub_days: self.scrub_days,
            scrub_bytes_per_second: self.scrub_bytes_per_second,
            cors_origins: self.cors_origins,
            shutdown_notice_seconds: self.shutdown_notice_seconds,
            shutdown_seconds: self.shutdown_seconds,
            log: self.log,
            log_format: self.log_format,
        })
    }
}

fn some_path(path: PathBuf) -> Option<PathBuf> {
    Some(path).filter(|path| !path.as_os_str().is_empty())
}

fn tls_files(
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
) -> anyhow::Result<Option<(PathBuf, PathBuf)>> {
    if cert.is_some() != key.is_some() {
        bail!("tls_cert and tls_key must be set together");
    }
    Ok(cert.zip(key))
}

fn positive(name: &str, number: u64) -> anyhow::Result<()> {
    if number == 0 {
        bail!("{name} must be at least 1");
    }
    Ok(())
}

/// Checks the delays between attempts. An event must be kept for as long as it may be retried.
fn retries(minutes: Vec<u32>, event_days: u32) -> anyhow::Result<Schedule> {
    if minutes.len() > MAX_RETRIES || minutes.contains(&0) {
        bail!("webhook_retry_minutes must be at most {MAX_RETRIES} numbers, each at least 1");
    }
    let schedule = Schedule::new(minutes);
    if schedule.max_age_ms() > i64::from(event_days) * DAY_MS {
        bail!("event_days must be at least the sum of webhook_retry_minutes");
    }
    Ok(schedule)
}

/// Checks that an origin is exactly what browsers send, because it is compared as text (S26).
fn check_origin(origin: &str) -> anyhow::Result<()> {
    let as_sent = Url::parse(origin).map(|url| url.origin().ascii_serialization());
    if origin == "*" || as_sent.is_ok_and(|as_sent| as_sent == origin && as_sent != "null") {
        return Ok(());
    }
    bail!(
        "cors_origins: {origin:?} is not an origin such as https://app.example.com, in lower \
         case and without a trailing slash"
    )
}

fn address_or_off(name: &str, text: &str) -> anyhow::Result<Option<SocketAddr>> {
    if text == "off" { Ok(None) } else { address(name, text).map(Some) }
}

fn address(name: &str, text: &str) -> anyhow::Result<SocketAddr> {
    text.to_socket_addrs().ok().and_then(|mut found| found.next()).with_context(|| {
        format!("{name} must be an address with a port, such as 127.0.0.1:8080, not {text:?}")
    })
}

/// Parses a base URL and appends a slash to its path, so that paths can be joined to it.
fn base_url(name: &str, text: &str) -> anyhow::Result<Option<Url>> {
    if text.is_empty() {
        return Ok(None);
    }
    let problem = || format!("{name} must be an http or https URL, not {text:?}");
    let mut url = Url::parse(text).with_context(problem)?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        bail!(problem());
    }
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
        bail!("{name} may contain only scheme, host, port and path: {text:?}");
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(Some(url))
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
