//! Where the bytes are kept, as a setting says it: on the local disk or in a bucket of an
//! S3-compatible store; and the keys to it, as the usual file of credentials holds them.

use std::fmt;
use std::path::PathBuf;

use url::Url;

/// The data folder, where nothing would mean no place at all.
const LOCAL: &str = "local";
const PARAMETERS: &str = "endpoint, region, style, checksums, ca";
const DEFAULT_REGION: &str = "us-east-1";
const PROFILE: &str = "default";
/// The length of bucket names, by the rules of S3.
const BUCKET_BYTES: std::ops::RangeInclusive<usize> = 3..=63;
/// Object names may have 1,024 bytes; ours are far shorter than what this leaves.
const PREFIX_BYTES: usize = 512;

/// Where the bytes are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorePlace {
    /// In the data folder.
    Local,
    /// In a bucket.
    S3(Bucket),
}

/// A bucket and how it is reached. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// The bucket's name.
    pub name: String,
    /// What object names begin with: empty, or ending with a slash.
    pub prefix: String,
    /// Scheme, host and port of the store; `None` for the one that AWS has in the region.
    pub endpoint: Option<Url>,
    /// What requests are signed for.
    pub region: String,
    /// Whether the bucket stands in the host name instead of the path.
    pub is_host_style: bool,
    /// Whether uploads carry SHA-256 headers, which some stores refuse.
    pub sends_checksums: bool,
    /// A PEM file of authorities that are trusted instead of those of the system.
    pub authorities: Option<PathBuf>,
}

/// Why a text names no store. Repeats no part that may hold a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PlaceRefused(String);

fn refused<T>(problem: impl Into<String>) -> Result<T, PlaceRefused> {
    Err(PlaceRefused(problem.into()))
}

impl StorePlace {
    /// Reads the setting: empty or `local`, or `s3://bucket/optional-prefix?endpoint=…&region=…`.
    ///
    /// # Errors
    ///
    /// One that names the part that breaks a rule, and the rule.
    pub fn parse(text: &str) -> Result<Self, PlaceRefused> {
        if text.is_empty() || text == LOCAL {
            return Ok(Self::Local);
        }
        let Ok(url) = Url::parse(text) else {
            return refused("is no URL such as s3://bucket/prefix?region=us-east-1");
        };
        if url.scheme() != "s3" {
            return refused("must be local or begin with s3://");
        }
        check_no_secrets(&url)?;
        if url.fragment().is_some() || url.port().is_some() {
            return refused("holds more than bucket, prefix and parameters: no port, no #");
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
                return refused(format!("{name}: stands there twice"));
            }
            bucket.set(&name, &value)?;
            seen.push(name);
        }
        Ok(Self::S3(bucket))
    }

    /// Whether both are the same bytes, however they are reached.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Local, Self::Local) => true,
            (Self::S3(one), Self::S3(two)) => one.names() == two.names(),
            _ => false,
        }
    }
}

impl Bucket {
    /// What its objects are found by. Without an endpoint the region says which store it is.
    fn names(&self) -> (&str, &str, Option<&Url>, Option<&str>) {
        let region = self.endpoint.is_none().then_some(self.region.as_str());
        (&self.name, &self.prefix, self.endpoint.as_ref(), region)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), PlaceRefused> {
        match (name, value) {
            ("endpoint", _) => self.endpoint = Some(endpoint(value)?),
            ("region", _) if is_region(value) => value.clone_into(&mut self.region),
            ("region", _) => return refused("region: must be small letters, digits and hyphens"),
            ("style", "path" | "host") => self.is_host_style = value == "host",
            ("style", _) => return refused("style: must be path or host"),
            ("checksums", "off" | "sha256") => self.sends_checksums = value == "sha256",
            ("ca", "") => return refused("ca: must name a file"),
            ("ca", _) => self.authorities = Some(value.into()),
            ("checksums", _) => return refused("checksums: must be off or sha256"),
            _ => return refused(format!("there is no parameter {name:?}; there are {PARAMETERS}")),
        }
        Ok(())
    }
}

/// Settings are shown and logged, so keys do not belong there.
fn check_no_secrets(url: &Url) -> Result<(), PlaceRefused> {
    let is_secret = |name: &str| {
        let name = name.to_ascii_lowercase();
        ["key", "secret", "token", "password", "credential"].iter().any(|word| name.contains(word))
    };
    let has_user = !url.username().is_empty() || url.password().is_some();
    if has_user || url.query_pairs().any(|(name, _)| is_secret(&name)) {
        return refused(
            "holds credentials: they belong in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or in \
             the file that blobs_credentials_file names",
        );
    }
    Ok(())
}

fn bucket_name(name: &str) -> Result<String, PlaceRefused> {
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let is_allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b);
    let bytes = name.as_bytes();
    let is_sound = BUCKET_BYTES.contains(&bytes.len())
        && bytes.iter().all(|byte| is_allowed(*byte))
        && ends(bytes.first())
        && ends(bytes.last())
        && !name.contains("..");
    if !is_sound {
        return refused("bucket: must be 3 to 63 small letters, digits, hyphens and dots");
    }
    Ok(name.to_owned())
}

/// Plain characters only: nothing in it may need escaping in a path or a signature.
fn prefix(path: &str) -> Result<String, PlaceRefused> {
    let trimmed = path.trim_matches('/');
    if trimmed.is_empty() {
        return Ok(String::new());
    }
    let is_plain = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    if trimmed.len() > PREFIX_BYTES || !trimmed.split('/').all(is_plain) {
        return refused(format!(
            "prefix: must be at most {PREFIX_BYTES} letters, digits, hyphens, underscores and \
             single slashes"
        ));
    }
    Ok(format!("{trimmed}/"))
}

fn endpoint(text: &str) -> Result<Url, PlaceRefused> {
    let problem = "endpoint: must be an http or https URL of scheme, host and port alone";
    let Ok(url) = Url::parse(text) else { return refused(problem) };
    let is_bare = url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if !matches!(url.scheme(), "http" | "https") || !is_bare {
        return refused(problem);
    }
    Ok(url)
}

fn is_region(text: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.len() <= 63 && text.bytes().all(is_allowed)
}

/// What requests to a store are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreKeys {
    /// Names the key.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: String,
    /// Goes with keys that live for some hours only.
    pub session_token: Option<String>,
}

impl fmt::Debug for StoreKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreKeys(***)")
    }
}

impl StoreKeys {
    /// Reads the profile `default` of a file of credentials in its usual form.
    ///
    /// # Errors
    ///
    /// One that says what is missing, without a word of what the file holds.
    pub fn parse_file(text: &str) -> Result<Self, PlaceRefused> {
        let (mut id, mut secret, mut token, mut is_ours) = (None, None, None, false);
        for line in text.lines().map(str::trim) {
            if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                is_ours = section.trim() == PROFILE;
                continue;
            }
            let Some((name, value)) = line.split_once('=').filter(|_| is_ours) else { continue };
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
            (None, _) => refused("has no aws_access_key_id in its profile [default]"),
            (_, None) => refused("has no aws_secret_access_key in its profile [default]"),
        }
    }
}

#[cfg(test)]
#[path = "store_place_tests.rs"]
mod tests;
