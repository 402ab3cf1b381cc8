//! Runs statements on PostgreSQL: threads with a connection each, like those of SQLite, so that the
//! same jobs run on both. Each read sees one snapshot. Writes are serialized by site with an
//! advisory lock, so that across all nodes a site's rows have a single writer, as all rows have on
//! SQLite.

mod link;
mod revisions;
mod schema;
mod target;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use tokio::sync::oneshot;
use tokio_postgres::error::SqlState;

pub(super) use link::Link;
use link::is_disconnected;
use revisions::Revisions;
use target::Target;

use super::PostgresLocation;
use super::engine::{Done, Read, Write};
use super::sql::{self, Connection};
use crate::domain::ids::{ContactId, SiteId};
use crate::error::{Error, Result};

/// Queue capacity for reads and for writes; when full, callers get [`Error::Busy`].
const QUEUE_LENGTH: usize = 4_096;
/// Maximum attempts at a write that loses a conflict or its connection.
const MAX_WRITE_ATTEMPTS: u32 = 5;
/// Minimum connections: one to read, one to write, one for revisions.
pub(super) const MIN_CONNECTIONS: usize = 3;

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// The threads and their queues.
pub(super) struct Postgres {
    reads: Sender<Job>,
    writes: Option<Sender<Job>>,
    revisions: Revisions,
    writers: Vec<std::thread::JoinHandle<()>>,
    /// Why writes are disabled, if they are: a newer release owns the schema.
    schema_too_new: OnceLock<String>,
}

impl Postgres {
    /// Connects, migrates the schema, and starts the threads.
    ///
    /// # Errors
    ///
    /// When the database cannot be reached or used; the message is written for operators.
    pub(super) fn open(location: &PostgresLocation) -> anyhow::Result<Self> {
        let target = Arc::new(Target::from_location(location)?);
        // A separate thread, because the caller may be inside a runtime, where another one cannot
        // block.
        let migration_target = Arc::clone(&target);
        let migration = std::thread::spawn(move || schema::migrate(&connection(migration_target)?));
        migration
            .join()
            .map_err(|_| anyhow::anyhow!("the thread that migrates the database panicked"))??;
        let connections = location.connections.max(MIN_CONNECTIONS);
        let writing = (connections - 1) / 2;
        let (reads, queued) = bounded::<Job>(QUEUE_LENGTH);
        for number in 0..connections - 1 - writing {
            start(format!("db-reader-{number}"), &target, &queued)?;
        }
        let (writes, queued) = bounded::<Job>(QUEUE_LENGTH);
        let writers =
            (0..writing).map(|number| start(format!("db-writer-{number}"), &target, &queued));
        let writers = writers.collect::<anyhow::Result<_>>()?;
        let revisions = Revisions::start(&target)?;
        Ok(Self {
            reads,
            writes: Some(writes),
            revisions,
            writers,
            schema_too_new: OnceLock::new(),
        })
    }

    /// A separate connection, after migrating the schema.
    pub(super) fn connect_and_migrate(location: &PostgresLocation) -> anyhow::Result<Connection> {
        let connection = connection(Arc::new(Target::from_location(location)?))?;
        schema::migrate(&connection)?;
        Ok(connection)
    }

    /// A separate connection, for long reads next to the server.
    pub(super) fn connect(location: &PostgresLocation) -> anyhow::Result<Connection> {
        let connection = connection(Arc::new(Target::from_location(location)?))?;
        schema::check(&connection)?;
        Ok(connection)
    }

    pub(super) async fn read<T: Send + 'static>(&self, job: Read<T>) -> Result<T> {
        self.read_after(Link::begin_read, job).await
    }

    /// Runs a read of one statement, without a transaction.
    pub(super) async fn read_single<T: Send + 'static>(&self, job: Read<T>) -> Result<T> {
        self.read_after(Link::begin_single, job).await
    }

    async fn read_after<T: Send + 'static>(&self, begin: fn(&mut Link), job: Read<T>) -> Result<T> {
        let (send, result) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let Connection::Postgres(link) = connection else { return };
            begin(&mut link.borrow_mut());
            let mut outcome = job(connection);
            if outcome.as_ref().is_err_and(is_disconnected) {
                // The pooled connection was lost: a read can run again on a fresh one.
                link.borrow_mut().roll_back();
                begin(&mut link.borrow_mut());
                outcome = job(connection);
            }
            // The receiver is gone if the caller was cancelled.
            let _ = send.send(outcome);
            link.borrow_mut().roll_back();
        });
        self.reads.try_send(job).map_err(|full| queue_full(&full))?;
        Ok(result.await.context("the database's reader thread has stopped")??)
    }

    /// Runs a write in its own transaction; retries it when it lost a conflict.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        site: Option<SiteId>,
        job: Write<T>,
    ) -> Result<T> {
        if self.schema_too_new.get().is_some() {
            return Err(Error::ReadOnly);
        }
        let (send, result) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let _ = send.send(write_safely(connection, site, &job));
        });
        let Some(writes) = &self.writes else { return Err(Error::Busy { retry_after_seconds: 1 }) };
        writes.try_send(job).map_err(|full| queue_full(&full))?;
        let done = result.await.context("the database's writer thread has stopped")??;
        Ok(done.value)
    }

    /// Why writes are disabled, if they are.
    pub(super) fn failure(&self) -> Option<&str> {
        self.schema_too_new.get().map(String::as_str)
    }

    /// Disables writes once a newer release has migrated to a schema that this one must not use.
    pub(super) async fn check_schema(&self) -> Result<()> {
        if let Some(problem) = self.read(Box::new(schema::schema_too_new)).await?
            && self.schema_too_new.set(problem.clone()).is_ok()
        {
            tracing::error!(problem, "writes are disabled");
        }
        Ok(())
    }

    /// The committed revision of a contact's attachments; 0 for an unknown contact.
    pub(super) async fn revision(&self, site: SiteId, contact: ContactId) -> Result<i64> {
        self.revisions.get(site, contact).await
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.writes.take();
        for writer in self.writers.drain(..) {
            // A thread ends early only after a panic, which the hook has logged.
            let _ = writer.join();
        }
    }
}

/// A connection that connects on first use and reconnects when lost.
fn connection(target: Arc<Target>) -> anyhow::Result<Connection> {
    Ok(Connection::Postgres(Box::new(RefCell::new(Link::new(target)?))))
}

fn start(
    name: String,
    target: &Arc<Target>,
    queued: &Receiver<Job>,
) -> anyhow::Result<std::thread::JoinHandle<()>> {
    let (connection, queued) = (connection(Arc::clone(target))?, queued.clone());
    Ok(std::thread::Builder::new().name(name).spawn(move || {
        for job in queued {
            // The panic hook has logged it; only this caller is affected.
            if catch_unwind(AssertUnwindSafe(|| job(&connection))).is_err()
                && let Connection::Postgres(link) = &connection
            {
                link.borrow_mut().roll_back();
            }
        }
    })?)
}

fn write_safely<T>(
    connection: &Connection,
    site: Option<SiteId>,
    job: &Write<T>,
) -> Result<Done<T>> {
    let Connection::Postgres(link) = connection else {
        return Err(Error::Internal(anyhow::anyhow!("the connection is not PostgreSQL's")));
    };
    let mut attempts = 0;
    loop {
        attempts += 1;
        link.borrow_mut().begin_write(site);
        let outcome = job(connection);
        let can_retry = link.borrow_mut().can_retry();
        match outcome {
            Ok(_) | Err(_) if can_retry && attempts < MAX_WRITE_ATTEMPTS => {
                link.borrow_mut().roll_back();
            }
            Ok(done) => {
                if link.borrow_mut().commit()? {
                    return Ok(done);
                }
                if attempts == MAX_WRITE_ATTEMPTS {
                    return Err(Error::Busy { retry_after_seconds: 1 });
                }
            }
            Err(error) => {
                link.borrow_mut().roll_back();
                return Err(error);
            }
        }
    }
}

/// Whether the transaction lost a conflict with another one and may succeed when run again.
fn is_conflict(error: &sql::Error) -> bool {
    let sql::Error::Postgres(error) = error else { return false };
    [Some(&SqlState::T_R_SERIALIZATION_FAILURE), Some(&SqlState::T_R_DEADLOCK_DETECTED)]
        .contains(&error.code())
}

/// The error of a failed batch, once for each of its callers.
fn shared_error(error: &sql::Error) -> Error {
    if error.is_transient() {
        Error::Busy { retry_after_seconds: 1 }
    } else {
        Error::Internal(anyhow::anyhow!("{error}"))
    }
}

fn queue_full<T>(error: &TrySendError<T>) -> Error {
    match error {
        TrySendError::Full(_) => Error::Busy { retry_after_seconds: 1 },
        TrySendError::Disconnected(_) => Error::Internal(anyhow::anyhow!("the database is closed")),
    }
}
