//! What the executor promises to reads and writes.

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
    sqlite.write_noting(job, |_, _| ()).await
}

async fn spent(sqlite: &Sqlite) -> i64 {
    let count = "SELECT COUNT(*) FROM spent_uploads";
    let count = sqlite
        .read(|connection| connection.prepare_cached(count)?.query_row(&[], |row| row.get(0)));
    count.await.unwrap()
}

#[tokio::test]
async fn a_failed_write_takes_back_its_own_changes_and_no_other() {
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
async fn a_panic_costs_its_caller_only() {
    let (_folder, sqlite) = database();
    let read = sqlite.read::<()>(|_| panic!("on purpose")).await;
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
async fn when_everything_was_rolled_back_nobody_is_told_otherwise() {
    let (_folder, sqlite) = database();
    // What SQLite does by itself when the disk is full.
    let first = write(&sqlite, |connection| spend(connection, 1));
    let lost = write::<()>(&sqlite, |connection| {
        connection.execute_batch("ROLLBACK")?;
        Err(Error::StorageFull)
    });
    let (first, lost) = tokio::join!(first, lost);
    assert!(lost.is_err());
    let kept = spent(&sqlite).await;
    assert_eq!(kept, i64::from(first.is_ok()));
    write(&sqlite, |connection| spend(connection, 3)).await.unwrap();
    assert_eq!(spent(&sqlite).await, kept + 1);
}

#[test]
fn data_of_a_newer_release_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("db");
    drop(Sqlite::open(&file, 1, Arc::default()).unwrap());
    let connection = rusqlite::Connection::open(&file).unwrap();
    connection.pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
    drop(connection);
    let error = Sqlite::open(&file, 1, Arc::default()).err().unwrap().to_string();
    assert!(error.contains("written by a newer Dossier"), "{error}");
}
