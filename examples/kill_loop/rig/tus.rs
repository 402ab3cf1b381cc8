//! Resumable uploads: in pieces, gone on with after a kill.

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;

use super::client::{Answer, Client, path_of};
use super::files::Dice;
use super::load::{Shared, lock};
use super::log::Entry;

/// Pieces of an upload at most.
const MOST_PIECES: u64 = 4;

/// What is known of a resumable upload in flight.
#[derive(Debug, Clone, Default)]
pub(crate) struct InFlight {
    /// Its own URL, without the host, once its creation was acknowledged.
    pub(crate) location: Option<String>,
    /// Bytes that were acknowledged.
    pub(crate) offset: u64,
}

/// Sends a file as a resumable upload. What is acknowledged on the way is noted in the log.
pub(crate) async fn upload(
    shared: &Shared,
    place: usize,
    entry: &Entry,
    bytes: &[u8],
    dice: &mut Dice,
) -> anyhow::Result<Answer> {
    let client = &shared.client;
    let answer = create(client, entry, bytes.len(), dice).await?;
    if answer.status == 503 {
        return Ok(answer);
    }
    let location = location(&answer)?;
    let known = InFlight { location: Some(location.clone()), offset: 0 };
    lock(&shared.log).entries[place].in_flight = known;
    send_rest(client, &location, bytes, 0, dice, |offset| {
        lock(&shared.log).entries[place].in_flight.offset = offset;
    })
    .await?;
    finish(client, entry).await
}

/// Goes on with an upload that was cut by a kill, or begins anew.
pub(crate) async fn resume(
    client: &Client,
    entry: &Entry,
    bytes: &[u8],
    dice: &mut Dice,
) -> anyhow::Result<Answer> {
    let (location, offset) = match &entry.in_flight.location {
        Some(location) => (location.clone(), offset_of(client, entry, location).await?),
        None => (location(&create(client, entry, bytes.len(), dice).await?)?, 0),
    };
    send_rest(client, &location, bytes, offset, dice, |_| {}).await?;
    finish(client, entry).await
}

/// Where an upload stands after a kill: never before what was acknowledged.
async fn offset_of(client: &Client, entry: &Entry, location: &str) -> anyhow::Result<u64> {
    let answer = client.tus(Method::HEAD, location, &[], Vec::new()).await?;
    ensure!(answer.status == 200, "LOST: an acknowledged creation is answered {}", answer.status);
    let offset = answer.upload_offset.context("HEAD says no offset")?;
    let acknowledged = entry.in_flight.offset;
    ensure!(
        offset >= acknowledged,
        "LOST: {acknowledged} bytes were acknowledged, {offset} are there"
    );
    Ok(offset)
}

/// Ends an upload that nobody goes on with.
pub(crate) async fn terminate(client: &Client, location: &str) -> anyhow::Result<()> {
    let answer = client.tus(Method::DELETE, location, &[], Vec::new()).await?;
    ensure!(answer.status == 204, "a termination is answered {}", answer.status);
    Ok(())
}

async fn create(
    client: &Client,
    entry: &Entry,
    length: usize,
    dice: &mut Dice,
) -> anyhow::Result<Answer> {
    let length = length.to_string();
    if dice.percent(30) {
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

fn location(answer: &Answer) -> anyhow::Result<String> {
    if answer.status != 201 {
        bail!("a creation is answered {}: {}", answer.status, text(answer));
    }
    let location = answer.location.as_deref().context("a creation without Location")?;
    path_of(&location.into())
}

async fn send_rest(
    client: &Client,
    location: &str,
    bytes: &[u8],
    mut offset: u64,
    dice: &mut Dice,
    mut acknowledged: impl FnMut(u64),
) -> anyhow::Result<()> {
    let piece = bytes.len().div_ceil(dice.between(1, MOST_PIECES + 1) as usize).max(1);
    while offset < bytes.len() as u64 {
        let from = offset as usize;
        let to = bytes.len().min(from + piece);
        let at = offset.to_string();
        let headers =
            [("upload-offset", &*at), ("content-type", "application/offset+octet-stream")];
        let answer =
            client.tus(Method::PATCH, location, &headers, bytes[from..to].to_vec()).await?;
        // Too busy: like a lost answer.
        if answer.status == 503 {
            return Ok(());
        }
        if answer.status != 204 || answer.upload_offset != Some(to as u64) {
            let (status, at) = (answer.status, answer.upload_offset);
            bail!("bytes up to {to} are answered {status}, {at:?}: {}", text(&answer));
        }
        offset = to as u64;
        acknowledged(offset);
    }
    Ok(())
}

/// The last step of the vendor's documented code.
async fn finish(client: &Client, entry: &Entry) -> anyhow::Result<Answer> {
    let token = entry.upload_path.rsplit('/').next().unwrap_or_default();
    client.put_json(&format!("/upload/tus/{token}"), "{}").await
}

fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}
