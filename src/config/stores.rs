//! Where the bytes are, and the keys to it, from the settings and the environment.

use std::path::PathBuf;

use anyhow::{Context as _, bail};

use super::{read_text, some_path};
use crate::domain::store_place::{StoreKeys, StorePlace};

/// What hold the keys of buckets: id, key, session token.
pub(super) const STORE_KEYS: [&str; 3] =
    ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];

/// The keys of buckets, as the programs for S3 take them.
pub(super) fn store_keys(variables: &[(String, String)]) -> Option<StoreKeys> {
    let [id, secret, token] = STORE_KEYS.map(|name| {
        let value = variables.iter().find(|(variable, _)| variable == name);
        value.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
    });
    Some(StoreKeys { access_key_id: id?, secret_access_key: secret?, session_token: token })
}

/// The keys of a bucket: the file's, if there is one, else the environment's.
pub(super) fn keys_for(
    place: &StorePlace,
    setting: &'static str,
    file: PathBuf,
    keys: Option<StoreKeys>,
) -> anyhow::Result<Option<StoreKeys>> {
    match (place, some_path(file)) {
        (StorePlace::Local, _) => Ok(None),
        (StorePlace::S3(_), None) => Ok(keys),
        (StorePlace::S3(_), Some(file)) => {
            let text = read_text(&file).context(format!("in {setting}"))?;
            let keys = StoreKeys::parse_file(&text)
                .with_context(|| format!("{setting} {}", file.display()))?;
            Ok(Some(keys))
        }
    }
}

/// The second place, if there is one.
pub(super) fn also(
    blobs: &StorePlace,
    text: &str,
    file: PathBuf,
    keys: Option<StoreKeys>,
) -> anyhow::Result<Option<(StorePlace, Option<StoreKeys>)>> {
    if text.is_empty() {
        return Ok(None);
    }
    let place = StorePlace::parse(text).context("blobs_also")?;
    if place.is_same(blobs) {
        bail!("blobs_also names the same place as blobs");
    }
    let keys = keys_for(&place, "blobs_also_credentials_file", file, keys)?;
    Ok(Some((place, keys)))
}
