//! Runs statements on SQLite: reader threads with a connection each, and one writer thread that
//! commits queued writes in groups, one transaction each (`synchronous=FULL`, so that an
//! acknowledged upload survives a power cut).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use rusqlite::config::DbConfig;
use rusqlite::{ErrorCode, OpenFlags};
use tokio::sync::oneshot;

use super::SCHEMA_VERSION;
use super::changes::Changes;
use super::engine::{Done, Read, Write};
use super::folds;
use super::sql::{self, Connection};
use crate::error::{Error, Result};

/// Queue capacity for reads and for writes; when full, callers get [`Error::Busy`].
const QUEUE_LENGTH: usize = 4_096;
/// Maximum writes in one commit.
const GROUP_SIZE: usize = 64;
/// How long a connection waits for another process's lock.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How much of the database a reader may map into memory.
const READER_MMAP_BYTES: i64 = 1 << 30;
/// Prepared statements kept by each connection.
const STATEMENTS: usize = 128;

/// Each migrates the schema to its number.
const MIGRATIONS: &[(i64, &str)] = &[
    (1, include_str!("../../migrations/sqlite/0001_initial.sql")),
    (2, include_str!("../../migrations/sqlite/0002_durability.sql")),
    (3, include_str!("../../migrations/sqlite/0003_keeping.sql")),
    (4, include_str!("../../migrations/sqlite/0004_webhooks.sql")),
    (5, include_str!("../../migrations/sqlite/0005_contacts.sql")),
    (6, include_str!("../../migrations/sqlite/0006_sessions.sql")),
    (7, include_str!("../../migrations/sqlite/0007_descriptions.sql")),
    (8, include_str!("../../migrations/sqlite/0008_placing.sql")),
];

type ReadJob = Box<dyn FnOnce(&Connection) + Send>;

/// A queued write. It can be completed with an error without having run.
trait WriteJob: Send {
    /// Runs inside the group's transaction; false if its own changes must be rolled back.
    fn run(&mut self, connection: &Connection) -> bool;
    /// Sends the caller its result once the outcome of the commit is known.
    fn complete(self: Box<Self>, commit: Result<()>);
}

struct Job<T> {
    work: Option<Write<T>>,
    outcome: Option<Result<Done<T>>>,
    send: oneshot::Sender<Result<T>>,
    changes: Arc<Changes>,
    bump: fn(&T, &Changes),
}

impl<T: Send> WriteJob for Job<T> {
    fn run(&mut self, connection: &Connection) -> bool {
        self.outcome = self.work.take().map(|job| job(connection));
        matches!(self.outcome, Some(Ok(_)))
    }

    fn complete(self: Box<Self>, commit: Result<()>) {
        let result = match (self.outcome, commit) {
            (Some(Err(error)), _) | (_, Err(error)) => Err(error),
            (None, Ok(())) => Err(Error::Internal(anyhow::anyhow!("the write did not run"))),
            (Some(Ok(done)), Ok(())) => {
                if let Some((site, contact)) = done.changed {
                    self.changes.bump(site, contact);
                }
                (self.bump)(&done.value, &self.changes);
                Ok(done.value)
            }
        };
        // The receiver is gone if the caller was cancelled.
        let _ = self.send.send(result);
    }
}

pub(super) struct Sqlite {
    reads: Sender<ReadJob>,
    // Closed first on drop, so that the thread ends after its last commit.
    writes: Option<Sender<Box<dyn WriteJob>>>,
    writer: Option<std::thread::JoinHandle<()>>,
    failed: Arc<OnceLock<String>>,
    changes: Arc<Changes>,
}

impl Sqlite {
    pub(super) fn open(
        file: &Path,
        reading_threads: usize,
        changes: Arc<Changes>,
    ) -> anyhow::Result<Self> {
        let writer = Connection::Sqlite(open_writer(file)?);
        let (writes, queued) = bounded(QUEUE_LENGTH);
        let failed = Arc::new(OnceLock::new());
        let writer_failed = Arc::clone(&failed);
        let writer = std::thread::Builder::new()
            .name("db-writer".to_owned())
            .spawn(move || write_groups(&writer, &queued, &writer_failed))?;
        let (reads, queued) = bounded::<ReadJob>(QUEUE_LENGTH);
        for number in 0..reading_threads.max(1) {
            let (file, queued) = (PathBuf::from(file), queued.clone());
            let connection = Connection::Sqlite(open_reader(&file)?);
            std::thread::Builder::new().name(format!("db-reader-{number}")).spawn(move || {
                for job in queued {
                    // The panic hook has logged it; only this caller is affected.
                    if catch_unwind(AssertUnwindSafe(|| job(&connection))).is_err() {
                        let _ = connection.execute_batch("ROLLBACK");
                    }
                }
            })?;
        }
        Ok(Self { reads, writes: Some(writes), writer: Some(writer), failed, changes })
    }

    pub(super) fn failure(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }

    /// Runs a read on one of the reader threads, in one snapshot.
    pub(super) async fn read<T: Send + 'static>(&self, job: Read<T>) -> Result<T> {
        let (send, result) = oneshot::channel();
        let job: ReadJob = Box::new(move |connection| {
            // The receiver is gone if the caller was cancelled.
            let _ = send.send(in_snapshot(connection, &job));
        });
        self.reads.try_send(job).map_err(|full| queue_full(&full))?;
        Ok(result.await.context("the database's reader thread has stopped")??)
    }

    /// The change counters of contacts.
    pub(super) fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Runs a write in the next group. `bump` bumps the counters of what it changed, after the
    /// commit is durable and before it is acknowledged.
    pub(super) async fn write_with_changes<T: Send + 'static>(
        &self,
        job: Write<T>,
        bump: fn(&T, &Changes),
    ) -> Result<T> {
        if self.failed.get().is_some() {
            return Err(Error::ReadOnly);
        }
        let (send, result) = oneshot::channel();
        let changes = Arc::clone(&self.changes);
        let job = Box::new(Job { work: Some(job), outcome: None, send, changes, bump });
        let Some(writes) = &self.writes else { return Err(Error::Busy { retry_after_seconds: 1 }) };
        writes.try_send(job).map_err(|full| queue_full(&full))?;
        result.await.context("the database's writer thread has stopped")?
    }
}

impl Sqlite {
    /// Checkpoints the whole write-ahead log and truncates it; false while a reader needs it.
    pub(super) async fn truncate_log(&self) -> Result<bool> {
        let (send, result) = oneshot::channel();
        let job: ReadJob = Box::new(move |connection| {
            let busy = connection
                .prepare_cached("PRAGMA wal_checkpoint(TRUNCATE)")
                .and_then(|mut checkpoint| checkpoint.query_row(&[], |row| row.get::<i64>(0)));
            let _ = send.send(busy);
        });
        self.reads.try_send(job).map_err(|full| queue_full(&full))?;
        let busy = result.await.context("the database's reader thread has stopped")??;
        Ok(busy == 0)
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.writes.take();
        if let Some(writer) = self.writer.take() {
            // The thread ends early only after a panic, which the hook has logged.
            let _ = writer.join();
        }
    }
}

fn queue_full<T>(error: &TrySendError<T>) -> Error {
    match error {
        TrySendError::Full(_) => Error::Busy { retry_after_seconds: 1 },
        TrySendError::Disconnected(_) => Error::Internal(anyhow::anyhow!("the database is closed")),
    }
}

fn in_snapshot<T>(connection: &Connection, job: &Read<T>) -> sql::Result<T> {
    connection.prepare_cached("BEGIN DEFERRED")?.execute(&[])?;
    let outcome = job(connection);
    connection.prepare_cached("COMMIT")?.execute(&[])?;
    outcome
}

fn write_groups(
    connection: &Connection,
    queued: &Receiver<Box<dyn WriteJob>>,
    failed: &OnceLock<String>,
) {
    while let Ok(first) = queued.recv() {
        if failed.get().is_some() {
            // It was queued before the failure.
            first.complete(Err(Error::ReadOnly));
            continue;
        }
        let group = std::iter::once(first).chain(queued.try_iter().take(GROUP_SIZE - 1));
        if let Err(error) = write_group(connection, group) {
            record_failure(&error, failed);
        }
    }
    // Leaves a single file. A failure is harmless: the next start reads the log.
    if failed.get().is_none() {
        let _ = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
    }
}

/// After an I/O error in a commit it is unknown what reached the disk: no more writes until the
/// next start has recovered the log (R11).
fn record_failure(error: &sql::Error, failed: &OnceLock<String>) {
    if error.sqlite_code() == Some(ErrorCode::SystemIoFailure) {
        tracing::error!(%error, "a commit failed: no more writes until the next start");
        let _ = failed.set(format!("writing to the database failed: {error}"));
    }
}

/// Runs jobs in one transaction. A job that fails rolls back only its own changes; when SQLite
/// itself rolled everything back (full disk, I/O error), every job so far fails.
///
/// Returns the last error that rolled back the whole transaction; the affected callers have
/// received it.
fn write_group(
    connection: &Connection,
    jobs: impl Iterator<Item = Box<dyn WriteJob>>,
) -> sql::Result<()> {
    let mut failure = Ok(());
    let mut ran = Vec::new();
    for mut job in jobs {
        match run_one(connection, job.as_mut()) {
            Ok(()) => ran.push(job),
            Err(error) => {
                let _ = connection.execute_batch("ROLLBACK");
                ran.push(job);
                fail_all(ran.drain(..), &error);
                failure = Err(error);
            }
        }
    }
    if ran.is_empty() {
        return failure;
    }
    match connection.execute_batch("COMMIT") {
        Ok(()) => ran.into_iter().for_each(|job| job.complete(Ok(()))),
        Err(error) => {
            let _ = connection.execute_batch("ROLLBACK");
            fail_all(ran.into_iter(), &error);
            failure = Err(error);
        }
    }
    failure
}

/// Runs one job in a savepoint; an error means that the whole transaction is lost.
fn run_one(connection: &Connection, job: &mut dyn WriteJob) -> sql::Result<()> {
    if !connection.is_in_transaction() {
        connection.execute_batch("BEGIN IMMEDIATE")?;
    }
    connection.prepare_cached("SAVEPOINT job")?.execute(&[])?;
    let keep = catch_unwind(AssertUnwindSafe(|| job.run(connection)));
    if !keep.unwrap_or(false) {
        connection.execute_batch("ROLLBACK TO job")?;
    }
    connection.prepare_cached("RELEASE job")?.execute(&[])?;
    Ok(())
}

fn fail_all(jobs: impl Iterator<Item = Box<dyn WriteJob>>, error: &sql::Error) {
    tracing::error!(%error, "a group of writes was rolled back");
    let code = error.sqlite_code();
    for job in jobs {
        job.complete(Err(match code {
            Some(ErrorCode::DiskFull) => Error::StorageFull,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Error::Busy { retry_after_seconds: 1 }
            }
            _ => Error::Internal(anyhow::anyhow!("writing to the database failed: {error}")),
        }));
    }
}

pub(super) fn open_writer(file: &Path) -> anyhow::Result<rusqlite::Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = rusqlite::Connection::open_with_flags(file, flags)
        .with_context(|| format!("cannot open the database {}", file.display()))?;
    prepare(&connection)?;
    connection
        .pragma_update(None, "journal_mode", "WAL")
        .and_then(|()| connection.pragma_update(None, "synchronous", "FULL"))
        .and_then(|()| connection.pragma_update(None, "foreign_keys", true))
        // Overwrites deleted content in the file instead of only unlinking it.
        .and_then(|()| connection.pragma_update(None, "secure_delete", true))
        .with_context(|| format!("cannot write to the database {}", file.display()))?;
    migrate(connection, file)
}

fn open_reader(file: &Path) -> anyhow::Result<rusqlite::Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = rusqlite::Connection::open_with_flags(file, flags)?;
    prepare(&connection)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "mmap_size", READER_MMAP_BYTES)?;
    Ok(connection)
}

fn prepare(connection: &rusqlite::Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Plans must not depend on bound values: otherwise SQLite prepares a statement with a bound
    // LIMIT again on every run.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Applies the missing migrations, each with its number in one transaction.
fn migrate(connection: rusqlite::Connection, file: &Path) -> anyhow::Result<rusqlite::Connection> {
    let found: i64 = connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .with_context(|| format!("{} is not a Dossier database", file.display()))?;
    if found > SCHEMA_VERSION {
        anyhow::bail!(
            "the data in {} was written by a newer Dossier (schema {found}, this one supports \
             {SCHEMA_VERSION}); start the newer release",
            file.display()
        );
    }
    let connection = Connection::Sqlite(connection);
    for (number, migration) in MIGRATIONS.iter().filter(|(number, _)| *number > found) {
        let apply = || {
            connection.execute_batch("BEGIN IMMEDIATE")?;
            connection.execute_batch(migration)?;
            folds::fill_after(&connection, *number)?;
            connection.execute_batch(&format!("PRAGMA user_version = {number}; COMMIT"))
        };
        apply().with_context(|| format!("cannot migrate the database to schema {number}"))?;
    }
    match connection {
        Connection::Sqlite(connection) => Ok(connection),
        Connection::Postgres(_) => unreachable!("the connection above is SQLite"),
    }
}

#[cfg(test)]
#[path = "sqlite_tests.rs"]
mod tests;
