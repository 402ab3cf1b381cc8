//! Parses the blob store setting, which names the local disk or a bucket of an S3-compatible
//! store, and the store's keys from an AWS credentials file.

use std::fmt;
use std::path::PathBuf;

use url::Url;

/// Names the data folder where an empty value would mean no store at all.
const LOCAL: &str = "local";
const PARAMETERS: &str = "endpoint, region, style, checksums, ca";
const DEFAULT_REGION: &str = "us-east-1";
const PROFILE: &str = "default";
/// Length of a bucket name, by the rules of S3.
const BUCKET_BYTES: std::ops::RangeInclusive<usize> = 3..=63;
/// S3 limits object keys to 1,024 bytes. This leaves far more than our names need.
const PREFIX_BYTES: usize = 512;

/// Where blobs are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreLocation {
    /// In the data folder.
    Local,
    /// In a bucket.
    S3(Bucket),
}

/// A bucket and how to reach it. Contains no secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// The bucket's name.
    pub name: String,
    /// Prefix of all object keys: empty, or ending with a slash.
    pub prefix: String,
    /// Scheme, host and port of the store; `None` for AWS's endpoint of the region.
    pub endpoint: Option<Url>,
    /// The region that requests are signed for.
    pub region: String,
    /// Whether the bucket is in the host name (virtual-hosted style) instead of the path.
    pub is_host_style: bool,
    /// Whether uploads carry SHA-256 headers, which some stores reject.
    pub sends_checksums: bool,
    /// A PEM file of certificate authorities that are trusted instead of the system's.
    pub authorities: Option<PathBuf>,
}

/// Why a setting does not name a store. The text repeats no part that may contain a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidStoreLocation(String);

fn invalid<T>(problem: impl Into<String>) -> Result<T, InvalidStoreLocation> {
    Err(InvalidStoreLocation(problem.into()))
}

impl StoreLocation {
    /// Parses the setting: empty or `local`, or `s3://bucket/optional-prefix?endpoint=…&region=…`.
    ///
    /// # Errors
    ///
    /// An error that names the invalid part and the rule it breaks.
    pub fn parse(text: &str) -> Result<Self, InvalidStoreLocation> {
        if text.is_empty() || text == LOCAL {
            return Ok(Self::Local);
        }
        let Ok(url) = Url::parse(text) else {
            return invalid("is not a URL such as s3://bucket/prefix?region=us-east-1");
        };
        if url.scheme() != "s3" {
            return invalid("must be local or begin with s3://");
        }
        check_no_secrets(&url)?;
        if url.fragment().is_some() || url.port().is_some() {
            return invalid("must hold only bucket, prefix and parameters: no port, no #");
        }
        let mut bucket = Bucket {
            name: bucket_name(url.host_str().unwrap_or_default())?,
            prefix: prefix(url.path())?,
            endpoint: None,
            region: DEFAULT_REGION.to_owned(),
            is_host_style: false,
            sends_checksums: false,
            authorities: None,
        };
        let mut seen = Vec::new();
        for (name, value) in url.query_pairs() {
            if seen.contains(&name) {
                return invalid(format!("{name}: is given twice"));
            }
            bucket.set(&name, &value)?;
            seen.push(name);
        }
        Ok(Self::S3(bucket))
    }

    /// Whether both name the same store, however it is reached.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Local, Self::Local) => true,
            (Self::S3(one), Self::S3(two)) => one.identity() == two.identity(),
            _ => false,
        }
    }
}

impl Bucket {
    /// What identifies the store and its objects. Without an endpoint, the region selects the
    /// store.
    fn identity(&self) -> (&str, &str, Option<&Url>, Option<&str>) {
        let region = self.endpoint.is_none().then_some(self.region.as_str());
        (&self.name, &self.prefix, self.endpoint.as_ref(), region)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), InvalidStoreLocation> {
        match (name, value) {
            ("endpoint", _) => self.endpoint = Some(endpoint(value)?),
            ("region", _) if is_region(value) => value.clone_into(&mut self.region),
            ("region", _) => {
                return invalid("region: must be lower-case letters, digits and hyphens");
            }
            ("style", "path" | "host") => self.is_host_style = value == "host",
            ("style", _) => return invalid("style: must be path or host"),
            ("checksums", "off" | "sha256") => self.sends_checksums = value == "sha256",
            ("ca", "") => return invalid("ca: must name a file"),
            ("ca", _) => self.authorities = Some(value.into()),
            ("checksums", _) => return invalid("checksums: must be off or sha256"),
            _ => {
                return invalid(format!("unknown parameter {name:?}; parameters are {PARAMETERS}"));
            }
        }
        Ok(())
    }
}

/// Settings are shown and logged, so they must not contain keys.
fn check_no_secrets(url: &Url) -> Result<(), InvalidStoreLocation> {
    let is_secret = |name: &str| {
        let name = name.to_ascii_lowercase();
        ["key", "secret", "token", "password", "credential"].iter().any(|word| name.contains(word))
    };
    let has_user = !url.username().is_empty() || url.password().is_some();
    if has_user || url.query_pairs().any(|(name, _)| is_secret(&name)) {
        return invalid(
            "contains credentials: they belong in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or in \
             the file that blobs_credentials_file names",
        );
    }
    Ok(())
}

fn bucket_name(name: &str) -> Result<String, InvalidStoreLocation> {
    let is_edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let is_allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b);
    let bytes = name.as_bytes();
    let is_valid = BUCKET_BYTES.contains(&bytes.len())
        && bytes.iter().all(|byte| is_allowed(*byte))
        && is_edge(bytes.first())
        && is_edge(bytes.last())
        && !name.contains("..");
    if !is_valid {
        return invalid("bucket: must be 3 to 63 lower-case letters, digits, hyphens and dots");
    }
    Ok(name.to_owned())
}

/// Only characters that need no escaping in a path or a signature.
fn prefix(path: &str) -> Result<String, InvalidStoreLocation> {
    let trimmed = path.trim_matches('/');
    if trimmed.is_empty() {
        return Ok(String::new());
    }
    let is_plain = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    if trimmed.len() > PREFIX_BYTES || !trimmed.split('/').all(is_plain) {
        return invalid(format!(
            "prefix: must be at most {PREFIX_BYTES} letters, digits, hyphens, underscores and \
             single slashes"
        ));
    }
    Ok(format!("{trimmed}/"))
}

fn endpoint(text: &str) -> Result<Url, InvalidStoreLocation> {
    let problem = "endpoint: must be an http or https URL of scheme, host and port alone";
    let Ok(url) = Url::parse(text) else { return invalid(problem) };
    let is_bare = url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if !matches!(url.scheme(), "http" | "https") || !is_bare {
        return invalid(problem);
    }
    Ok(url)
}

fn is_region(text: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.len() <= 63 && text.bytes().all(is_allowed)
}

/// The keys that sign requests to a store.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreKeys {
    /// The id of the key.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: String,
    /// Required with temporary keys.
    pub session_token: Option<String>,
}

impl fmt::Debug for StoreKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreKeys(***)")
    }
}

impl StoreKeys {
    /// Parses the profile `default` of an AWS credentials file.
    ///
    /// # Errors
    ///
    /// An error that names what is missing and repeats nothing of the file.
    pub fn parse_file(text: &str) -> Result<Self, InvalidStoreLocation> {
        let (mut id, mut secret, mut token, mut in_profile) = (None, None, None, false);
        for line in text.lines().map(str::trim) {
            if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                in_profile = section.trim() == PROFILE;
                continue;
            }
            let Some((name, value)) = line.split_once('=').filter(|_| in_profile) else { continue };
            let value = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
            match name.trim() {
                "aws_access_key_id" => id = value,
                "aws_secret_access_key" => secret = value,
                "aws_session_token" => token = value,
                _ => {}
            }
        }
        match (id, secret) {
            (Some(access_key_id), Some(secret_access_key)) => {
                Ok(Self { access_key_id, secret_access_key, session_token: token })
            }
            (None, _) => invalid("has no aws_access_key_id in its profile [default]"),
            (_, None) => invalid("has no aws_secret_access_key in its profile [default]"),
        }
    }
}

#[cfg(test)]
#[path = "store_place_tests.rs"]
mod tests;
