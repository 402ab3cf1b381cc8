//! Resumable uploads in several pieces, continued after a kill.

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;

use super::client::{Client, Response, path_of};
use super::files::Rng;
use super::load::{Shared, lock};
use super::log::Entry;

/// The most pieces of an upload.
const MAX_PIECES: u64 = 4;

/// Progress of a resumable upload.
#[derive(Debug, Clone, Default)]
pub(crate) struct TusProgress {
    /// Its own URL, without the host, once its creation was acknowledged.
    pub(crate) location: Option<String>,
    /// Bytes acknowledged so far.
    pub(crate) offset: u64,
}

/// Sends a file as a resumable upload and records acknowledged progress in the log.
pub(crate) async fn upload(
    shared: &Shared,
    index: usize,
    entry: &Entry,
    bytes: &[u8],
    rng: &mut Rng,
) -> anyhow::Result<Response> {
    let client = &shared.client;
    let response = create(client, entry, bytes.len(), rng).await?;
    if response.status == 503 {
        return Ok(response);
    }
    let location = location(&response)?;
    let known = TusProgress { location: Some(location.clone()), offset: 0 };
    lock(&shared.log).entries[index].tus_progress = known;
    send_rest(client, &location, bytes, 0, rng, |offset| {
        lock(&shared.log).entries[index].tus_progress.offset = offset;
    })
    .await?;
    finish(client, entry).await
}

/// Continues an upload interrupted by a kill, or starts again.
pub(crate) async fn resume(
    client: &Client,
    entry: &Entry,
    bytes: &[u8],
    rng: &mut Rng,
) -> anyhow::Result<Response> {
    let (location, offset) = match &entry.tus_progress.location {
        Some(location) => (location.clone(), offset_of(client, entry, location).await?),
        None => (location(&create(client, entry, bytes.len(), rng).await?)?, 0),
    };
    send_rest(client, &location, bytes, offset, rng, |_| {}).await?;
    finish(client, entry).await
}

/// An upload's offset after a kill, which must not be below what was acknowledged.
async fn offset_of(client: &Client, entry: &Entry, location: &str) -> anyhow::Result<u64> {
    let response = client.tus(Method::HEAD, location, &[], Vec::new()).await?;
    ensure!(response.status == 200, "LOST: an acknowledged creation returns {}", response.status);
    let offset = response.upload_offset.context("HEAD returned no offset")?;
    let acknowledged = entry.tus_progress.offset;
    ensure!(
        offset >= acknowledged,
        "LOST: {acknowledged} bytes were acknowledged, {offset} are stored"
    );
    Ok(offset)
}

/// Terminates an upload.
pub(crate) async fn terminate(client: &Client, location: &str) -> anyhow::Result<()> {
    let response = client.tus(Method::DELETE, location, &[], Vec::new()).await?;
    ensure!(response.status == 204, "a termination returned {}", response.status);
    Ok(())
}

async fn create(
    client: &Client,
    entry: &Entry,
    length: usize,
    rng: &mut Rng,
) -> anyhow::Result<Response> {
    let length = length.to_string();
    if rng.percent(30) {
        return client
            .tus(Method::POST, &entry.upload_path, &[("upload-length", &length)], Vec::new())
            .await;
    }
    let token = entry.upload_path.rsplit('/').next().unwrap_or_default();
    let metadata =
        format!("filename {},token {}", STANDARD.encode(&entry.file.name), STANDARD.encode(token));
    let headers = [("upload-length", &*length), ("upload-metadata", &*metadata)];
    client.tus(Method::POST, "/upload/tus", &headers, Vec::new()).await
}

fn location(response: &Response) -> anyhow::Result<String> {
    if response.status != 201 {
        bail!("a creation returned {}: {}", response.status, text(response));
    }
    let location = response.location.as_deref().context("a creation without Location")?;
    path_of(&location.into())
}

async fn send_rest(
    client: &Client,
    location: &str,
    bytes: &[u8],
    mut offset: u64,
    rng: &mut Rng,
    mut acknowledged: impl FnMut(u64),
) -> anyhow::Result<()> {
    let piece = bytes.len().div_ceil(rng.between(1, MAX_PIECES + 1) as usize).max(1);
    while offset < bytes.len() as u64 {
        let from = offset as usize;
        let to = bytes.len().min(from + piece);
        let at = offset.to_string();
        let headers =
            [("upload-offset", &*at), ("content-type", "application/offset+octet-stream")];
        let response =
            client.tus(Method::PATCH, location, &headers, bytes[from..to].to_vec()).await?;
        // Too busy: treated like a lost response.
        if response.status == 503 {
            return Ok(());
        }
        if response.status != 204 || response.upload_offset != Some(to as u64) {
            let (status, at) = (response.status, response.upload_offset);
            bail!("bytes up to {to} returned {status}, {at:?}: {}", text(&response));
        }
        offset = to as u64;
        acknowledged(offset);
    }
    Ok(())
}

/// The last step of the vendor's documented code.
async fn finish(client: &Client, entry: &Entry) -> anyhow::Result<Response> {
    let token = entry.upload_path.rsplit('/').next().unwrap_or_default();
    client.put_json(&format!("/upload/tus/{token}"), "{}").await
}

fn text(response: &Response) -> String {
    String::from_utf8_lossy(&response.body).into_owned()
}
