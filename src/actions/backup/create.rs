//! Creates a backup beside a running server, or without one.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::app::Clock;
use crate::archive::{CHECKSUMS, EntryName, FORMAT, MANIFEST, Manifest, Writer, hex};
use crate::blobs::{BlobKey, Blobs, Part};
use crate::data_folder::{DataFolder, SECRETS};
use crate::db::{BlobRow, DatabaseLocation, Db, Inspection, copy_rows};
use crate::domain::timestamp::timestamp;

/// How long removals wait for a backup that no longer renews its hold.
const HOLD_MS: i64 = 5 * 60 * 1_000;
/// How often a running backup renews its hold.
const RENEW_INTERVAL: Duration = Duration::from_mins(1);
/// Damaged originals reported individually.
const MAX_REPORTED: usize = 20;
/// Bytes read at a time.
const READ_BYTES: usize = 1 << 20;

/// A completed backup.
#[derive(Debug, Clone)]
pub struct Created {
    /// Attachments in it.
    pub attachments: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// The time of its snapshot, in Unix milliseconds.
    pub snapshot_ms: i64,
}

/// Creates a backup at `target`, which must not exist.
///
/// # Errors
///
/// When an original is missing or altered, with its name: then no backup is kept. When anything
/// cannot be read or written.
pub async fn create(
    folder: DataFolder,
    blobs: Blobs,
    db: &Arc<Db>,
    clock: Clock,
    target: PathBuf,
) -> anyhow::Result<Created> {
    let hold = Uuid::new_v4();
    db.hold_removals(hold, clock.now_ms() + HOLD_MS).await?;
    let now_ms = clock.now_ms();
    let mut writing = tokio::task::spawn_blocking(move || write(&folder, &blobs, now_ms, &target));
    let written = loop {
        tokio::select! {
            written = &mut writing => break written,
            () = tokio::time::sleep(RENEW_INTERVAL) => {
                // If this keeps failing, removed bytes turn up missing and the backup fails.
                if let Err(error) = db.hold_removals(hold, clock.now_ms() + HOLD_MS).await {
                    tracing::warn!(?error, "the backup's hold was not renewed");
                }
            }
        }
    };
    db.release_removals(hold, clock.now_ms()).await?;
    written?
}

fn write(
    folder: &DataFolder,
    blobs: &Blobs,
    now_ms: i64,
    target: &Path,
) -> anyhow::Result<Created> {
    let mut writer = Writer::begin(target)?;
    let rows_file = writer.work().join("rows");
    copy_rows(&folder.database()?, &rows_file)?;
    let rows = Inspection::open(&DatabaseLocation::File(rows_file.clone()))?;
    let secrets: Vec<(usize, Vec<u8>)> = (0..SECRETS.len())
        .filter_map(|index| folder.read_secret(index).transpose().map(|read| (index, read)))
        .map(|(index, read)| Ok((index, read?)))
        .collect::<anyhow::Result<_>>()?;
    let sums_file = writer.work().join("sums");
    let mut created = Created { attachments: 0, bytes: 0, snapshot_ms: now_ms };
    let sums_sha256 = list(&sums_file, &rows, &rows_file, &secrets, &mut created)?;
    let about = Manifest {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        created_at: timestamp(now_ms),
        attachments: created.attachments,
        bytes: created.bytes,
        sums_sha256: hex(&sums_sha256),
    };
    let about = format!("{:#}\n", serde_json::to_value(&about)?);
    add_file(&mut writer, CHECKSUMS, &sums_file)?;
    writer.add(MANIFEST, about.len() as u64, &mut about.as_bytes())?;
    add_blobs(&mut writer, &rows, blobs)?;
    add_file(&mut writer, &EntryName::Database.path(), &rows_file)?;
    for (index, bytes) in secrets {
        writer.add(SECRETS[index], bytes.len() as u64, &mut bytes.as_slice())?;
    }
    writer.finish()?;
    Ok(created)
}

/// Writes the checksums of all files; returns the SHA-256 of that list.
fn list(
    file: &Path,
    rows: &Inspection,
    rows_file: &Path,
    secrets: &[(usize, Vec<u8>)],
    created: &mut Created,
) -> anyhow::Result<[u8; 32]> {
    let mut out = BufWriter::new(File::create_new(file)?);
    let mut whole = Sha256::new();
    let mut line = |sha256: &[u8; 32], name: EntryName| {
        let line = format!("{}  {}\n", hex(sha256), name.path());
        whole.update(&line);
        out.write_all(line.as_bytes())
    };
    rows.each_blob_in_order(|row| {
        created.attachments += 1;
        created.bytes += row.size_bytes;
        Ok(line(&row.sha256, EntryName::Blob(key(&row)))?)
    })?;
    let mut database = HashingReader { inner: File::open(rows_file)?, sha256: Sha256::new() };
    io::copy(&mut database, &mut io::sink())?;
    line(&database.sha256.finalize().into(), EntryName::Database)?;
    for (index, bytes) in secrets {
        line(&Sha256::digest(bytes).into(), EntryName::Secret(*index))?;
    }
    out.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(whole.finalize().into())
}

fn add_file(writer: &mut Writer, path: &str, file: &Path) -> anyhow::Result<()> {
    let mut file = File::open(file)?;
    let size_bytes = file.metadata()?.len();
    writer.add(path, size_bytes, &mut file).with_context(|| format!("cannot write {path}"))
}

/// Copies every original and verifies it against its row.
fn add_blobs(writer: &mut Writer, rows: &Inspection, blobs: &Blobs) -> anyhow::Result<()> {
    let (mut damaged, mut count) = (Vec::new(), 0_u64);
    rows.each_blob_in_order(|row| {
        if let Some(problem) = add_blob(writer, blobs, &row)? {
            count += 1;
            if damaged.len() < MAX_REPORTED {
                damaged.push(format!(
                    "attachment {} of site {}, blob {}: {problem}",
                    row.attachment_id, row.site_id, row.blob_id
                ));
            }
        }
        Ok(())
    })?;
    if count == 0 {
        return Ok(());
    }
    let more = count - damaged.len() as u64;
    let more = if more > 0 { format!("\n  … and {more} more") } else { String::new() };
    bail!(
        "{count} files differ from what was uploaded, so no backup was made:\n  {}{more}\n\
         `dossier fsck --hash` looks at them; put their bytes back from an older backup, or delete \
         these attachments",
        damaged.join("\n  ")
    )
}

/// Copies an original; returns the problem, if any.
fn add_blob(writer: &mut Writer, blobs: &Blobs, row: &BlobRow) -> anyhow::Result<Option<String>> {
    let file = match blobs.open_part(key(row), Part::Original) {
        Ok(file) => file,
        Err(error) => return Ok(Some(format!("cannot be read: {error}"))),
    };
    let mut hashed =
        HashingReader { inner: ReadTracker { file, failed: false }, sha256: Sha256::new() };
    let path = EntryName::Blob(key(row)).path();
    let mut bytes = io::BufReader::with_capacity(READ_BYTES, &mut hashed);
    let added = writer.add(&path, row.size_bytes, &mut bytes);
    match added {
        Err(error) if hashed.inner.failed => Ok(Some(format!("cannot be read: {error}"))),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Ok(Some(format!("size differs from the {} bytes of its row", row.size_bytes)))
        }
        Err(error) => Err(error).context("cannot write the backup"),
        Ok(()) if <[u8; 32]>::from(hashed.sha256.finalize()) == row.sha256 => Ok(None),
        Ok(()) => Ok(Some("SHA-256 mismatch".to_owned())),
    }
}

fn key(row: &BlobRow) -> BlobKey {
    BlobKey { site: row.site_id, blob: row.blob_id }
}

struct HashingReader<R> {
    inner: R,
    sha256: Sha256,
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.sha256.update(&buffer[..read]);
        Ok(read)
    }
}

/// Distinguishes a file that cannot be read from a backup that cannot be written.
struct ReadTracker {
    file: File,
    failed: bool,
}

impl Read for ReadTracker {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer);
        self.failed |= matches!(&read, Err(error) if error.kind() != io::ErrorKind::Interrupted);
        read
    }
}
