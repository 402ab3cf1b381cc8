//! The data folder from outside: what lies on disk must be what the rows say.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use dossier::domain::hex;
use rusqlite::{Connection, OpenFlags};

/// How long the jobs of a start may take, on a machine under load.
const DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// What a killed server left in staging.
#[derive(Default)]
pub(crate) struct LeftBehind {
    /// Uploads in all.
    pub(crate) staged: usize,
    /// Those whose bytes had been linked to their place: a row may exist or not.
    pub(crate) linked: usize,
}

/// Looks at a folder on which no server runs.
pub(crate) fn left_behind(data: &Path) -> anyhow::Result<LeftBehind> {
    let mut found = LeftBehind::default();
    for entry in std::fs::read_dir(data.join("staging"))? {
        found.staged += 1;
        found.linked += usize::from(entry?.metadata()?.nlink() > 1);
    }
    Ok(found)
}

/// Waits until the jobs of the running server have settled everything. `to_the_end`: removals
/// of deleted bytes too.
pub(crate) async fn settled(data: &Path, to_the_end: bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let problems = problems(data, to_the_end)?;
        if problems.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("the store is not settled:\n  {}", problems.join("\n  "));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The rows that name bytes.
struct Rows {
    /// Blobs of attachments, with their sizes.
    blobs: HashMap<String, u64>,
    /// Blobs that are to be removed.
    removals: HashSet<String>,
    /// Blobs of resumable uploads in flight, by id alone.
    uploads: HashSet<String>,
}

fn problems(data: &Path, to_the_end: bool) -> anyhow::Result<Vec<String>> {
    let mut problems = Vec::new();
    // Read before the rows: a resumable upload's file is there before its row.
    let staged: Vec<_> = std::fs::read_dir(data.join("staging"))?.collect::<Result<_, _>>()?;
    let rows = rows(data, &mut problems)?;
    for entry in staged {
        let name = entry.file_name().to_string_lossy().into_owned();
        let blob = name.rsplit('.').next().unwrap_or_default();
        if !rows.uploads.contains(blob) {
            problems.push(format!("in staging: {name}"));
        }
    }
    if to_the_end && !rows.removals.is_empty() {
        problems.push(format!("{} removals are still to come", rows.removals.len()));
    }
    let sizes = files(&data.join("blobs"), &rows, to_the_end, &mut problems)?;
    for (blob, size) in rows.blobs {
        match sizes.get(&blob) {
            Some(found) if *found == size => {}
            Some(found) => problems.push(format!("{blob} has {found} bytes, its row says {size}")),
            None => problems.push(format!("a row without bytes: {blob}")),
        }
    }
    Ok(problems)
}

/// Reads what the rows name, and whether the counters are true.
fn rows(data: &Path, problems: &mut Vec<String>) -> anyhow::Result<Rows> {
    let file = data.join("dossier.db");
    let database = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    database.busy_timeout(DEADLINE)?;
    database.execute_batch("BEGIN")?;
    let blobs = database
        .prepare("SELECT site_id, blob_id, size_bytes FROM attachments")?
        .query_map([], |row| Ok((blob(row)?, row.get::<_, i64>(2)? as u64)))?
        .collect::<Result<_, _>>()?;
    let removals = database
        .prepare("SELECT site_id, blob_id FROM blob_removals")?
        .query_map([], blob)?
        .collect::<Result<_, _>>()?;
    let uploads = database
        .prepare("SELECT blob_id FROM uploads")?
        .query_map([], |row| Ok(hex::encode(&row.get::<_, Vec<u8>>(0)?)))?
        .collect::<Result<_, _>>()?;
    for (what, wrong) in [
        (
            "contacts whose counters are not true",
            "SELECT COUNT(*) FROM contacts WHERE (attachment_count, total_bytes) IS NOT (SELECT \
             COUNT(*), COALESCE(SUM(size_bytes), 0) FROM attachments WHERE \
             attachments.site_id = contacts.site_id \
             AND attachments.contact_id = contacts.contact_id)",
        ),
        (
            "attachments whose contact has no row",
            "SELECT COUNT(*) FROM attachments WHERE NOT EXISTS (SELECT 1 FROM contacts WHERE \
             contacts.site_id = attachments.site_id \
             AND contacts.contact_id = attachments.contact_id)",
        ),
        (
            "attachments whose upload URL is not spent",
            "SELECT COUNT(*) FROM attachments WHERE NOT EXISTS (SELECT 1 FROM spent_uploads \
             WHERE spent_uploads.site_id = attachments.site_id \
             AND spent_uploads.attachment_id = attachments.attachment_id)",
        ),
    ] {
        let count: i64 = database.query_row(wrong, [], |row| row.get(0))?;
        if count > 0 {
            problems.push(format!("{count} {what}"));
        }
    }
    Ok(Rows { blobs, removals, uploads })
}

/// Where a row's bytes lie below `blobs`.
fn blob(row: &rusqlite::Row<'_>) -> rusqlite::Result<String> {
    let (site, blob) = (row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?);
    let (site, blob) = (hex::encode(&site), hex::encode(&blob));
    Ok(format!("{site}/{}/{blob}", &blob[..2]))
}

/// The sizes of all originals; what belongs to no row is a problem.
fn files(
    blobs: &Path,
    rows: &Rows,
    to_the_end: bool,
    problems: &mut Vec<String>,
) -> anyhow::Result<HashMap<String, u64>> {
    let (mut sizes, mut folders) = (HashMap::new(), vec![blobs.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            // A preview's temporary name may go at any time.
            let Ok(metadata) = path.symlink_metadata() else { continue };
            if metadata.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(blobs)?.to_str().context("a name that is no text")?;
            let (whole, part) = name.split_once('.').unwrap_or((name, ""));
            let is_due = !to_the_end && rows.removals.contains(whole);
            if !matches!(part, "" | "preview" | "preview.new") {
                problems.push(format!("a file of unknown kind: {name}"));
            } else if !rows.blobs.contains_key(whole) && !is_due {
                problems.push(format!("bytes without a row: {name}"));
            }
            if part.is_empty() {
                sizes.insert(name.to_owned(), metadata.len());
            }
        }
    }
    Ok(sizes)
}
