//! What the executor guarantees to reads and writes.

use super::*;
use crate::db::sql::params;

fn database() -> (tempfile::TempDir, Sqlite) {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = Sqlite::open(&folder.path().join("db"), 1, Arc::default()).unwrap();
    (folder, sqlite)
}

fn spend(connection: &Connection, number: u8) -> Result<Done<()>> {
    connection
        .prepare_cached(
            "INSERT INTO spent_uploads (site_id, attachment_id, expires_at_ms) VALUES ($1, $1, 0)",
        )?
        .execute(params![[number; 16]])?;
    Ok(Done { value: (), changed: None })
}

async fn write<T: Send + 'static>(
    sqlite: &Sqlite,
    job: impl Fn(&Connection) -> Result<Done<T>> + Send + 'static,
) -> Result<T> {
    sqlite.write_with_changes(Box::new(job), |_, _| ()).await
}

async fn spent(sqlite: &Sqlite) -> i64 {
    let count = "SELECT COUNT(*) FROM spent_uploads";
    let count = sqlite.read(Box::new(|connection| {
        connection.prepare_cached(count)?.query_row(&[], |row| row.get(0))
    }));
    count.await.unwrap()
}

#[tokio::test]
async fn a_failed_write_rolls_back_only_its_own_changes() {
    let (_folder, sqlite) = database();
    let bad = write(&sqlite, |connection| {
        spend(connection, 1)?;
        Err::<Done<()>, _>(Error::PreconditionFailed)
    });
    let good = write(&sqlite, |connection| spend(connection, 2));
    let (bad, good) = tokio::join!(bad, good);
    assert!(matches!(bad, Err(Error::PreconditionFailed)));
    good.unwrap();
    assert_eq!(spent(&sqlite).await, 1);
}

#[tokio::test]
async fn a_panic_fails_only_its_own_caller() {
    let (_folder, sqlite) = database();
    let read = sqlite.read::<()>(Box::new(|_| panic!("on purpose"))).await;
    assert!(matches!(read, Err(Error::Internal(_))));
    let panicked = write::<()>(&sqlite, |connection| {
        spend(connection, 1)?;
        panic!("on purpose")
    })
    .await;
    assert!(matches!(panicked, Err(Error::Internal(_))));
    write(&sqlite, |connection| spend(connection, 2)).await.unwrap();
    assert_eq!(spent(&sqlite).await, 1);
}

#[tokio::test]
async fn no_write_succeeds_when_the_transaction_was_rolled_back() {
    let (_folder, sqlite) = database();
    // As SQLite does by itself when the disk is full.
    let first = write(&sqlite, |connection| spend(connection, 1));
    let lost = write::<()>(&sqlite, |connection| {
        connection.execute_batch("ROLLBACK")?;
        Err(Error::StorageFull)
    });
    let (first, lost) = tokio::join!(first, lost);
    assert!(lost.is_err());
    let spent_before = spent(&sqlite).await;
    assert_eq!(spent_before, i64::from(first.is_ok()));
    write(&sqlite, |connection| spend(connection, 3)).await.unwrap();
    assert_eq!(spent(&sqlite).await, spent_before + 1);
}

#[test]
fn data_of_a_newer_release_is_rejected_and_left_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("db");
    drop(Sqlite::open(&file, 1, Arc::default()).unwrap());
    let connection = rusqlite::Connection::open(&file).unwrap();
    connection.pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
    drop(connection);
    let error = Sqlite::open(&file, 1, Arc::default()).err().unwrap().to_string();
    assert!(error.contains("written by a newer Dossier"), "{error}");
}

#[test]
fn names_and_labels_of_an_older_release_are_folded_by_the_migration() {
    const MANY: i64 = 2_100;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("db");
    let old = rusqlite::Connection::open(&file).unwrap();
    for (_, migration) in MIGRATIONS.iter().filter(|(number, _)| *number <= 5) {
        old.execute_batch(migration).unwrap();
    }
    old.pragma_update(None, "user_version", 5).unwrap();
    let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)";
    let (site, label, name) = ([7_u8; 16], "ÄRZTIN", "a\u{308}.PDF");
    old.execute(
        &format!(
            "INSERT INTO contacts (site_id, contact_id, attachment_count, total_bytes, revision, \
             last_created_at_ms, label) {rows} SELECT $2, \
             CAST(printf('%016d', i) AS BLOB), 1, 1, 1, 1, CASE i % 3 WHEN 0 THEN $3 WHEN 1 THEN 'Anna' END \
             FROM n"
        ),
        rusqlite::params![MANY, site, label],
    )
    .unwrap();
    old.execute(
        &format!(
            "INSERT INTO attachments (site_id, contact_id, created_at_ms, attachment_id, \
             file_name, mime_type, media_extension, size_bytes, sha256, blob_id, width, height, \
             has_preview) {rows} SELECT $2, $2, i, CAST(printf('%016d', i) AS BLOB), $3, '', '', \
             1, x'', x'', 0, 0, 0 FROM n"
        ),
        rusqlite::params![MANY, site, name],
    )
    .unwrap();
    drop(old);
    drop(Sqlite::open(&file, 1, Arc::default()).unwrap());
    let new = rusqlite::Connection::open(&file).unwrap();
    let count = |sql: &str| -> i64 { new.query_row(sql, [], |row| row.get(0)).unwrap() };
    let folded = "SELECT count(*) FROM contacts WHERE label_folded IS NOT NULL AND label = 'ÄRZTIN' \
                  AND label_folded = 'ärztin'";
    assert_eq!(count(folded), MANY / 3);
    assert_eq!(count("SELECT count(*) FROM contacts WHERE label_folded IS NOT NULL"), MANY / 3);
    assert_eq!(count("SELECT count(*) FROM attachments WHERE name_folded = 'ä.pdf'"), MANY);
}
