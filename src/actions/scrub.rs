//! The scrub: rereads all originals, a few at a time, and reports those that differ from what was
//! uploaded (R22). It runs under a lease and saves its progress, so that a restart continues from
//! there.

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
use crate::blobs::{BlobKey, Part, drop_os_cache};
use crate::db::{BlobRow, Lease};
use crate::domain::ids::{AttachmentId, SiteId};
use crate::error::Result;

/// Originals read between two saves of the progress.
const FILES_PER_STEP: u32 = 64;
/// Bytes read at a time.
const READ_BYTES: usize = 1 << 20;
/// How long after this process's last renewal another one takes over.
const LEASE_MS: i64 = 5 * 60 * 1_000;
/// Bytes after which the lease is renewed within a file.
const RENEW_BYTES: u64 = 64 << 20;
/// Known damaged blobs loaded per step; more are found again in the next round.
const MAX_KNOWN_DAMAGED: u32 = 10_000;
/// Log lines about single files per round; more are only counted, so that an unavailable disk does
/// not fill the log.
const MAX_LOGGED_FILES: u64 = 100;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// The progress of a round, stored as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// When the round began, in Unix milliseconds.
    pub began_at_ms: i64,
    /// When it ended; 0 while it runs.
    pub ended_at_ms: i64,
    /// The cursor: site and attachment of the last original read.
    pub after: (Uuid, Uuid),
    /// Originals read.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Files found newly damaged or intact again in this round.
    #[serde(default, rename = "news")]
    pub changes: u64,
}

/// The outcome of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// More originals remain.
    More,
    /// The round is complete; the next one begins later.
    Ended,
    /// Nothing to do now, or another process has the lease.
    Idle,
}

/// Reads the next originals.
///
/// # Errors
///
/// When the database fails, or the lease was lost; the next step continues where the last one
/// ended.
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
    let (known, count) = app.db.damaged_blobs(MAX_KNOWN_DAMAGED).await?;
    app.metrics.damaged_blobs.set(count as i64);
    let (site, attachment) = progress.after;
    let rows = app.db.blobs_after(SiteId(site), AttachmentId(attachment), FILES_PER_STEP).await?;
    if rows.is_empty() {
        return end(app, &lease, progress).await;
    }
    let mut throttle = Throttle::new(app.config.scrub_bytes_per_second);
    for row in rows {
        let was_damaged = known.iter().any(|damaged| damaged.blob_id == row.blob_id);
        let problem = read_and_verify(app, &row, &mut throttle).await?;
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
    Ok(if save(app, &lease, &progress).await? { Step::More } else { Step::Idle })
}

async fn lease(app: &App) -> Result<Option<Lease>> {
    let now_ms = app.clock.now_ms();
    app.db.acquire_lease("scrub", app.node_id, now_ms, now_ms + LEASE_MS).await
}

async fn save(app: &App, lease: &Lease, progress: &Progress) -> Result<bool> {
    let text = serde_json::to_string(progress).map_err(anyhow::Error::from)?;
    app.db.save_progress(lease, text).await
}

async fn end(app: &App, lease: &Lease, mut progress: Progress) -> Result<Step> {
    app.db.delete_stale_damage().await?;
    progress.ended_at_ms = app.clock.now_ms();
    if !save(app, lease, &progress).await? {
        return Ok(Step::Idle);
    }
    let (_, damaged) = app.db.damaged_blobs(1).await?;
    app.metrics.damaged_blobs.set(damaged as i64);
    app.metrics.scrub_ended.set(progress.ended_at_ms as f64 / 1_000.0);
    let (files, bytes) = (progress.files, progress.bytes);
    tracing::info!(files, bytes, damaged, "scrub round complete");
    Ok(Step::Ended)
}

/// Records a change: new damage, or a repair.
async fn report(
    app: &App,
    lease: &Lease,
    row: BlobRow,
    problem: Option<String>,
    progress: &mut Progress,
) -> Result<()> {
    let damage = problem.clone().map(|problem| (problem, app.clock.now_ms()));
    if !app.db.record_scrub(lease, row, damage).await? {
        return Ok(());
    }
    progress.changes += 1;
    match &problem {
        Some(_) => app.metrics.damaged_blobs.inc(),
        None => app.metrics.damaged_blobs.dec(),
    };
    let BlobRow { site_id, attachment_id, blob_id, .. } = row;
    match problem {
        _ if progress.changes > MAX_LOGGED_FILES => {}
        Some(problem) => tracing::error!(%site_id, %attachment_id, %blob_id, problem,
            "stored bytes differ from what was uploaded: restore them from a backup"),
        None => {
            tracing::info!(%site_id, %attachment_id, %blob_id, "damaged bytes are intact again");
        }
    }
    if progress.changes == MAX_LOGGED_FILES {
        tracing::warn!(
            "further damage in this round is only counted, in dossier_damaged_blobs; \
            `dossier fsck --hash` lists the files"
        );
    }
    Ok(())
}

/// Reads an original; returns the problem, if any.
async fn read_and_verify(
    app: &App,
    row: &BlobRow,
    throttle: &mut Throttle,
) -> Result<Option<String>> {
    let key = BlobKey { site: row.site_id, blob: row.blob_id };
    let blobs = Arc::clone(&app.blobs);
    let opened = blocking(app, move || blobs.open_part(key, Part::Original)).await?;
    let mut file = match opened {
        Ok(file) => {
            drop_os_cache(&file, 0, None);
            file
        }
        // An unavailable store says nothing about what it holds.
        Err(error) if error.kind() == io::ErrorKind::NetworkDown => return Err(error.into()),
        Err(error) => return Ok(Some(format!("cannot be read: {error}"))),
    };
    let (mut sha256, mut read_bytes, mut renew_at) = (Sha256::new(), 0_u64, RENEW_BYTES);
    loop {
        let (returned, hash, read) =
            blocking(app, move || read_chunk(file, sha256, read_bytes)).await?;
        (file, sha256) = (returned, hash);
        match read {
            Ok(0) => break,
            Ok(read) => {
                read_bytes += read as u64;
                app.metrics.scrubbed_bytes.inc_by(read as u64);
                throttle.wait(read as u64).await;
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
    let is_intact = <[u8; 32]>::from(sha256.finalize()) == row.sha256;
    Ok((!is_intact).then(|| "SHA-256 mismatch".to_owned()))
}

fn read_chunk(
    mut file: File,
    mut sha256: Sha256,
    offset: u64,
) -> (File, Sha256, io::Result<usize>) {
    let mut buffer = vec![0; READ_BYTES];
    let read = file.read(&mut buffer);
    if let Ok(read) = read {
        sha256.update(&buffer[..read]);
        drop_os_cache(&file, offset, NonZeroU64::new(read as u64));
    }
    (file, sha256, read)
}

async fn blocking<T: Send + 'static>(
    app: &App,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    Ok(app.tasks.spawn_blocking(work).await.map_err(anyhow::Error::from)?)
}

/// Limits reads to a number of bytes per second.
struct Throttle {
    bytes_per_second: u64,
    started: Instant,
    bytes: u64,
}

impl Throttle {
    /// 0 means unlimited.
    fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, started: Instant::now(), bytes: 0 }
    }

    async fn wait(&mut self, bytes: u64) {
        self.bytes += bytes;
        if self.bytes_per_second > 0 {
            let due = Duration::from_secs_f64(self.bytes as f64 / self.bytes_per_second as f64);
            tokio::time::sleep_until(self.started + due).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_throttle_covers_all_reads() {
        let (started, mut throttle) = (Instant::now(), Throttle::new(1_000));
        for bytes in [500, 1, 2_499] {
            throttle.wait(bytes).await;
        }
        assert_eq!(started.elapsed().as_millis(), 3_000);
        let mut unlimited = Throttle::new(0);
        unlimited.wait(u64::MAX).await;
        assert_eq!(started.elapsed().as_millis(), 3_000);
    }
}
