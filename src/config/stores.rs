//! The location of stored files and its credentials, from the settings and the environment.

use std::path::PathBuf;

use anyhow::{Context as _, bail};

use super::{read_text, some_path};
use crate::domain::store_place::{StoreKeys, StoreLocation};

/// The environment variables with bucket credentials: key id, secret key, session token.
pub(super) const STORE_VARIABLES: [&str; 3] =
    ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];

/// The bucket credentials of the environment, by the variables that S3 tools use.
pub(super) fn environment_credentials(variables: &[(String, String)]) -> Option<StoreKeys> {
    let [id, secret, token] = STORE_VARIABLES.map(|name| {
        let value = variables.iter().find(|(variable, _)| variable == name);
        value.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
    });
    Some(StoreKeys { access_key_id: id?, secret_access_key: secret?, session_token: token })
}

/// The credentials of a bucket: from the file if one is set, else from the environment.
pub(super) fn credentials(
    location: &StoreLocation,
    setting: &'static str,
    file: PathBuf,
    keys: Option<StoreKeys>,
) -> anyhow::Result<Option<StoreKeys>> {
    match (location, some_path(file)) {
        (StoreLocation::Local, _) => Ok(None),
        (StoreLocation::S3(_), None) => Ok(keys),
        (StoreLocation::S3(_), Some(file)) => {
            let text = read_text(&file).context(format!("in {setting}"))?;
            let keys = StoreKeys::parse_file(&text)
                .with_context(|| format!("{setting} {}", file.display()))?;
            Ok(Some(keys))
        }
    }
}

/// The location in `blobs_also`, if it is set.
pub(super) fn second_location(
    blobs: &StoreLocation,
    text: &str,
    file: PathBuf,
    keys: Option<StoreKeys>,
) -> anyhow::Result<Option<(StoreLocation, Option<StoreKeys>)>> {
    if text.is_empty() {
        return Ok(None);
    }
    let location = StoreLocation::parse(text).context("blobs_also")?;
    if location.is_same(blobs) {
        bail!("blobs_also names the same location as blobs");
    }
    let keys = credentials(&location, "blobs_also_credentials_file", file, keys)?;
    Ok(Some((location, keys)))
}
