//! The data folder from outside: files on disk must match the rows.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use dossier::domain::hex;
use rusqlite::{Connection, OpenFlags};

/// How long the jobs of a start may take on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// What a killed server left in staging.
#[derive(Default)]
pub(crate) struct Leftovers {
    /// All staged uploads.
    pub(crate) staged: usize,
    /// Those already linked to their final path, with or without a row.
    pub(crate) linked: usize,
}

/// Inspects a folder while no server runs.
pub(crate) fn leftovers(data: &Path) -> anyhow::Result<Leftovers> {
    let mut found = Leftovers::default();
    for entry in std::fs::read_dir(data.join("staging"))? {
        found.staged += 1;
        found.linked += usize::from(entry?.metadata()?.nlink() > 1);
    }
    Ok(found)
}

/// Waits until the running server's jobs have settled everything; with `include_removals` also
/// until all deleted bytes are removed.
pub(crate) async fn wait_until_settled(data: &Path, include_removals: bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let problems = problems(data, include_removals)?;
        if problems.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("the store is not settled:\n  {}", problems.join("\n  "));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The rows that refer to bytes.
struct Rows {
    /// Blobs of attachments, with their sizes.
    blobs: HashMap<String, u64>,
    /// Blobs that await removal.
    removals: HashSet<String>,
    /// Blobs of resumable uploads in progress, by id only.
    uploads: HashSet<String>,
}

fn problems(data: &Path, include_removals: bool) -> anyhow::Result<Vec<String>> {
    let mut problems = Vec::new();
    // Read before the rows, because a resumable upload's file exists before its row.
    let staged: Vec<_> = std::fs::read_dir(data.join("staging"))?.collect::<Result<_, _>>()?;
    let rows = rows(data, &mut problems)?;
    for entry in staged {
        let name = entry.file_name().to_string_lossy().into_owned();
        let blob = name.rsplit('.').next().unwrap_or_default();
        if !rows.uploads.contains(blob) {
            problems.push(format!("in staging: {name}"));
        }
    }
    if include_removals && !rows.removals.is_empty() {
        problems.push(format!("{} removals are pending", rows.removals.len()));
    }
    let sizes = files(&data.join("blobs"), &rows, include_removals, &mut problems)?;
    for (blob, size) in rows.blobs {
        match sizes.get(&blob) {
            Some(found) if *found == size => {}
            Some(found) => problems.push(format!("{blob} has {found} bytes, but its row {size}")),
            None => problems.push(format!("a row without bytes: {blob}")),
        }
    }
    Ok(problems)
}

/// Reads the blobs in the rows and checks the counters.
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
            "contacts with wrong counters",
            "SELECT COUNT(*) FROM contacts WHERE (attachment_count, total_bytes) IS NOT (SELECT \
             COUNT(*), COALESCE(SUM(size_bytes), 0) FROM attachments WHERE \
             attachments.site_id = contacts.site_id \
             AND attachments.contact_id = contacts.contact_id)",
        ),
        (
            "attachments without a contact row",
            "SELECT COUNT(*) FROM attachments WHERE NOT EXISTS (SELECT 1 FROM contacts WHERE \
             contacts.site_id = attachments.site_id \
             AND contacts.contact_id = attachments.contact_id)",
        ),
        (
            "attachments whose upload URL is not used up",
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

/// The path of a row's bytes below `blobs`.
fn blob(row: &rusqlite::Row<'_>) -> rusqlite::Result<String> {
    let (site, blob) = (row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?);
    let (site, blob) = (hex::encode(&site), hex::encode(&blob));
    Ok(format!("{site}/{}/{blob}", &blob[..2]))
}

/// The sizes of all originals; files without a row are problems.
fn files(
    blobs: &Path,
    rows: &Rows,
    include_removals: bool,
    problems: &mut Vec<String>,
) -> anyhow::Result<HashMap<String, u64>> {
    let (mut sizes, mut folders) = (HashMap::new(), vec![blobs.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            // A preview's temporary file may disappear at any time.
            let Ok(metadata) = path.symlink_metadata() else { continue };
            if metadata.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(blobs)?.to_str().context("a name that is not UTF-8")?;
            let (whole, part) = name.split_once('.').unwrap_or((name, ""));
            let is_due = !include_removals && rows.removals.contains(whole);
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
