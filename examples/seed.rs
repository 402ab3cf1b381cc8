//! Fills an empty data folder for the benches: `seed DATA CONTACTS EACH DEEP [BYTES]` creates
//! CONTACTS contacts with EACH attachments and one contact with DEEP. The rows look like real ones;
//! the files exist only if BYTES gives their size. Prints site, key and contacts as one JSON
//! object.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use dossier::actions::sites::create_site;
use dossier::data_folder::DataFolder;
use dossier::db::Db;
use dossier::domain::ids::SiteId;
use rusqlite::{Connection, params};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// The creation time of the first attachment, in Unix milliseconds.
const START_MS: i64 = 1_750_000_000_000;

const NAMES: [&str; 4] = ["kitchen-before", "roof-detail", "signed-offer", "Küche Müller"];

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let (arguments, bytes) = match arguments.as_slice() {
        [first @ .., bytes] if first.len() == 5 => (first, Some(bytes.parse()?)),
        all => (all, None),
    };
    let [_, data, contacts, each, deep] = arguments else {
        anyhow::bail!("usage: seed DATA CONTACTS EACH DEEP [BYTES]");
    };
    let files = bytes.map(|bytes| Files::new(Path::new(data), bytes));
    let (contacts, each, deep): (u64, u64, u64) = (contacts.parse()?, each.parse()?, deep.parse()?);
    let folder = DataFolder::open(Path::new(data))?;
    let _lock = folder.lock()?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (site, key) = runtime.block_on(async {
        let db = Db::open(&dossier::db::DatabaseLocation::File(folder.database()?), 1)?;
        create_site(&db, START_MS, "bench", None, Some("bench")).await.map_err(anyhow::Error::from)
    })?;
    let mut connection = Connection::open(folder.database()?)?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    let transaction = connection.transaction()?;
    for contact in 1..=contacts {
        fill(&transaction, site.id, contact, each, files.as_ref())?;
    }
    fill(&transaction, site.id, contacts + 1, deep, files.as_ref())?;
    transaction.execute_batch(
        "INSERT INTO site_usage (site_id, attachment_count, total_bytes) \
         SELECT site_id, sum(attachment_count), sum(total_bytes) FROM contacts GROUP BY site_id",
    )?;
    transaction.commit()?;
    connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
    let seeded = json!({
        "siteId": site.id.to_string(),
        "apiKey": key.context("no key was created")?.secret,
        "firstContact": contact_id(1).to_string(),
        "deepContact": contact_id(contacts + 1).to_string(),
    });
    #[expect(clippy::print_stdout, reason = "it is this program's output")]
    {
        println!("{seeded}");
    }
    Ok(())
}

/// Ids that a load script can compute by counting.
fn contact_id(number: u64) -> Uuid {
    Uuid::from_u128(0x4000_8000_0000_0000_0000 | u128::from(number))
}

/// Identical files in place of uploads.
struct Files {
    blobs: PathBuf,
    bytes: Vec<u8>,
    sha256: [u8; 32],
}

impl Files {
    fn new(data: &Path, size: usize) -> Self {
        let bytes = vec![b'a'; size];
        let sha256 = Sha256::digest(&bytes).into();
        Self { blobs: data.join("blobs"), bytes, sha256 }
    }

    fn write(&self, site: SiteId, blob: Uuid) -> anyhow::Result<()> {
        let name = blob.simple().to_string();
        let folder = self.blobs.join(site.0.simple().to_string()).join(&name[..2]);
        if !folder.is_dir() {
            std::fs::create_dir_all(&folder)?;
        }
        Ok(std::fs::write(folder.join(name), &self.bytes)?)
    }
}

fn fill(
    connection: &Connection,
    site: SiteId,
    contact: u64,
    count: u64,
    files: Option<&Files>,
) -> anyhow::Result<()> {
    let size = files.map_or(1_048_576, |files| files.bytes.len() as i64);
    let (contact_id, last_ms) = (contact_id(contact), START_MS + count as i64);
    connection
        .prepare_cached(
            "INSERT INTO contacts (site_id, contact_id, attachment_count, total_bytes, revision, \
             last_created_at_ms) VALUES ($1, $2, $3, $4, $3, $5)",
        )?
        .execute(params![
            site.as_bytes(),
            contact_id.as_bytes(),
            count as i64,
            count as i64 * size,
            last_ms
        ])?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO attachments (site_id, contact_id, created_at_ms, attachment_id, file_name, \
         mime_type, media_extension, size_bytes, sha256, blob_id, width, height, has_preview) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    )?;
    for number in 0..count {
        // Nine pictures for each document.
        let is_image = number % 10 != 9;
        let (mime_type, extension) =
            if is_image { ("image/jpeg", "jpg") } else { ("application/pdf", "pdf") };
        let name = NAMES[number as usize % NAMES.len()];
        let (width, height) = if is_image { (4_000, 3_000) } else { (0, 0) };
        let blob = Uuid::new_v4();
        if let Some(files) = files {
            files.write(site, blob)?;
        }
        insert.execute(params![
            site.as_bytes(),
            contact_id.as_bytes(),
            START_MS + number as i64,
            Uuid::now_v7().as_bytes(),
            format!("{name}-{number:04}.{extension}"),
            mime_type,
            extension,
            size,
            files.map_or([number as u8; 32], |files| files.sha256),
            blob.as_bytes(),
            width,
            height,
            is_image,
        ])?;
    }
    Ok(())
}
