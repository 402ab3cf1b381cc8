//! Reads all originals again, a few at a time, and reports those that are not what was uploaded
//! (R22). Under a lease; how far it has come is written down, so that a restart goes on there.

use std::fs::File;
use std::io::{self, Read as _};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use uuid::Uuid;

use crate::app::App;
use crate::blobs::{BlobKey, Part, forget_cached};
use crate::db::{BlobRow, Lease};
use crate::domain::ids::{AttachmentId, SiteId};
use crate::error::Result;

/// Originals between two notes of how far it has come.
const A_STEP: u32 = 64;
/// Bytes that are read at once.
const READ_BYTES: usize = 1 << 20;
/// How long another process waits after this one has said nothing more.
const LEASE_MS: i64 = 5 * 60 * 1_000;
/// Bytes after which the lease is renewed within a file.
const RENEW_BYTES: u64 = 64 << 20;
/// Damaged blobs that are remembered in a step; more are found again in the next round.
const MOST_DAMAGED: u32 = 10_000;
/// Lines about single files in the log of a round; more are only counted, so that a disk that is away
/// does not fill the log.
const MOST_LINES: u64 = 100;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// How far a round has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// When the round began, in Unix milliseconds.
    pub began_at_ms: i64,
    /// When it ended; 0 while it goes on.
    pub ended_at_ms: i64,
    /// The last original that was read: its site and attachment.
    pub after: (Uuid, Uuid),
    /// Originals that were read.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Files whose damage, or its end, was found in this round.
    #[serde(default)]
    pub news: u64,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There is more to read.
    More,
    /// The round is over; the next one begins later.
    Ended,
    /// Nothing to do now, or another process does it.
    Idle,
}

/// Reads the next originals.
///
/// # Errors
///
/// When the database fails, or the lease was lost; the next step begins where the last one ended.
pub async fn step(app: &Arc<App>) -> Result<Step> {
    let now_ms = app.clock.now_ms();
    let every_ms = i64::from(app.config.scrub_days) * DAY_MS;
    if every_ms == 0 {
        return Ok(Step::Idle);
    }
    let Some(lease) = lease(app).await? else { return Ok(Step::Idle) };
    let mut progress = serde_json::from_str(&lease.progress).unwrap_or_default();
    let Progress { began_at_ms, ended_at_ms, .. } = progress;
    if ended_at_ms != 0 && now_ms < began_at_ms + every_ms && now_ms >= ended_at_ms {
        return Ok(Step::Idle);
    }
    if ended_at_ms != 0 || began_at_ms == 0 {
        progress = Progress { began_at_ms: now_ms, ..Progress::default() };
    }
    let (known, count) = app.db.damaged_blobs(MOST_DAMAGED).await?;
    app.metrics.damaged_blobs.set(count as i64);
    let (site, attachment) = progress.after;
    let rows = app.db.blobs_after(SiteId(site), AttachmentId(attachment), A_STEP).await?;
    if rows.is_empty() {
        return end(app, &lease, progress).await;
    }
    let mut pace = Pace::new(app.config.scrub_bytes_per_second);
    for row in rows {
        let was_damaged = known.iter().any(|damaged| damaged.blob_id == row.blob_id);
        let problem = look(app, &row, &mut pace).await?;
        if app.tasks.is_stopping() {
            break;
        }
        app.metrics.scrubbed_files.inc();
        progress.files += 1;
        progress.bytes += row.size_bytes;
        progress.after = (row.site_id.0, row.attachment_id.0);
        if problem.is_some() || was_damaged {
            report(app, &lease, row, problem, &mut progress).await?;
        }
    }
    Ok(if keep(app, &lease, &progress).await? { Step::More } else { Step::Idle })
}

async fn lease(app: &App) -> Result<Option<Lease>> {
    let now_ms = app.clock.now_ms();
    app.db.take_lease("scrub", app.node_id, now_ms, now_ms + LEASE_MS).await
}

async fn keep(app: &App, lease: &Lease, progress: &Progress) -> Result<bool> {
    let text = serde_json::to_string(progress).map_err(anyhow::Error::from)?;
    app.db.keep_progress(lease, text).await
}

async fn end(app: &App, lease: &Lease, mut progress: Progress) -> Result<Step> {
    app.db.forget_damage().await?;
    progress.ended_at_ms = app.clock.now_ms();
    if !keep(app, lease, &progress).await? {
        return Ok(Step::Idle);
    }
    let (_, damaged) = app.db.damaged_blobs(1).await?;
    app.metrics.damaged_blobs.set(damaged as i64);
    app.metrics.scrub_ended.set(progress.ended_at_ms as f64 / 1_000.0);
    let (files, bytes) = (progress.files, progress.bytes);
    tracing::info!(files, bytes, damaged, "the scrub has read all originals");
    Ok(Step::Ended)
}

/// Notes what is new: damage, or none any more.
async fn report(
    app: &App,
    lease: &Lease,
    row: BlobRow,
    problem: Option<String>,
    progress: &mut Progress,
) -> Result<()> {
    let damage = problem.clone().map(|problem| (problem, app.clock.now_ms()));
    if !app.db.note_scrubbed(lease, row, damage).await? {
        return Ok(());
    }
    progress.news += 1;
    match &problem {
        Some(_) => app.metrics.damaged_blobs.inc(),
        None => app.metrics.damaged_blobs.dec(),
    };
    let BlobRow { site_id, attachment_id, blob_id, .. } = row;
    match problem {
        _ if progress.news > MOST_LINES => {}
        Some(problem) => tracing::error!(%site_id, %attachment_id, %blob_id, problem,
            "bytes on disk are not those that were uploaded: put them back from a backup"),
        None => tracing::info!(%site_id, %attachment_id, %blob_id, "damaged bytes are whole again"),
    }
    if progress.news == MOST_LINES {
        tracing::warn!(
            "the rest of this round is only counted, in dossier_damaged_blobs; \
            `dossier fsck --hash` names files"
        );
    }
    Ok(())
}

/// Reads an original; returns what is wrong with it.
async fn look(app: &App, row: &BlobRow, pace: &mut Pace) -> Result<Option<String>> {
    let key = BlobKey { site: row.site_id, blob: row.blob_id };
    let blobs = Arc::clone(&app.blobs);
    let opened = blocking(app, move || blobs.open_part(key, Part::Original)).await?;
    let mut file = match opened {
        Ok(file) => {
            forget_cached(&file, 0, None);
            file
        }
        // The store is away, which says nothing of what it holds.
        Err(error) if error.kind() == io::ErrorKind::NetworkDown => return Err(error.into()),
        Err(error) => return Ok(Some(format!("cannot be read: {error}"))),
    };
    let (mut sha256, mut read_bytes, mut renew_at) = (Sha256::new(), 0_u64, RENEW_BYTES);
    loop {
        let (returned, hash, read) =
            blocking(app, move || read_some(file, sha256, read_bytes)).await?;
        (file, sha256) = (returned, hash);
        match read {
            Ok(0) => break,
            Ok(read) => {
                read_bytes += read as u64;
                app.metrics.scrubbed_bytes.inc_by(read as u64);
                pace.wait(read as u64).await;
            }
            Err(error) => return Ok(Some(format!("cannot be read: {error}"))),
        }
        if app.tasks.is_stopping() {
            return Ok(None);
        }
        if read_bytes >= renew_at {
            renew_at += RENEW_BYTES;
            lease(app).await?;
        }
    }
    if read_bytes != row.size_bytes {
        return Ok(Some(format!("{read_bytes} bytes, {} expected", row.size_bytes)));
    }
    let is_whole = <[u8; 32]>::from(sha256.finalize()) == row.sha256;
    Ok((!is_whole).then(|| "another SHA-256".to_owned()))
}

fn read_some(mut file: File, mut sha256: Sha256, offset: u64) -> (File, Sha256, io::Result<usize>) {
    let mut buffer = vec![0; READ_BYTES];
    let read = file.read(&mut buffer);
    if let Ok(read) = read {
        sha256.update(&buffer[..read]);
        forget_cached(&file, offset, NonZeroU64::new(read as u64));
    }
    (file, sha256, read)
}

async fn blocking<T: Send + 'static>(
    app: &App,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    Ok(app.tasks.spawn_blocking(work).await.map_err(anyhow::Error::from)?)
}

/// Keeps to so many bytes a second.
struct Pace {
    bytes_per_second: u64,
    begun: Instant,
    bytes: u64,
}

impl Pace {
    /// 0 is any number.
    fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, begun: Instant::now(), bytes: 0 }
    }

    async fn wait(&mut self, bytes: u64) {
        self.bytes += bytes;
        if self.bytes_per_second > 0 {
            let due = Duration::from_secs_f64(self.bytes as f64 / self.bytes_per_second as f64);
            tokio::time::sleep_until(self.begun + due).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_pace_is_kept_over_all_reads() {
        let (begun, mut pace) = (Instant::now(), Pace::new(1_000));
        for bytes in [500, 1, 2_499] {
            pace.wait(bytes).await;
        }
        assert_eq!(begun.elapsed().as_millis(), 3_000);
        let mut unbound = Pace::new(0);
        unbound.wait(u64::MAX).await;
        assert_eq!(begun.elapsed().as_millis(), 3_000);
    }
}
