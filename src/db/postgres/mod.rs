//! Runs statements on PostgreSQL: some threads with a connection each, like those of SQLite, so that
//! the same jobs run on both. Reads see one snapshot. Writes are serialized by site with an advisory
//! lock, which gives a site's rows one writer at a time on all nodes: what SQLite gives to all rows.

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
use revisions::Revisions;
use target::Target;

use super::PostgresPlace;
use super::engine::{Done, Read, Write};
use super::sql::{self, Connection};
use crate::domain::ids::{ContactId, SiteId};
use crate::error::{Error, Result};

/// Reads and writes that may wait; beyond it callers are told to come back.
const QUEUE_LENGTH: usize = 4_096;
/// How often a write is tried that lost against another one.
const WRITE_TRIES: u32 = 5;
/// Connections at least: one to read, one to write, one for revisions.
pub(super) const MIN_CONNECTIONS: usize = 3;

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// The threads and their queues.
pub(super) struct Postgres {
    reads: Sender<Job>,
    writes: Option<Sender<Job>>,
    revisions: Revisions,
    writers: Vec<std::thread::JoinHandle<()>>,
    /// Why nothing is written any more: the data are a newer program's.
    outgrown: OnceLock<String>,
}

impl Postgres {
    /// Connects, brings the schema up to date, and starts the threads.
    ///
    /// # Errors
    ///
    /// When the database cannot be reached or used, with the reason in plain words.
    pub(super) fn open(place: &PostgresPlace) -> anyhow::Result<Self> {
        let target = Arc::new(Target::of(place)?);
        // A thread of its own: the caller's may belong to a runtime, in which no other one runs.
        let preparing = Arc::clone(&target);
        let prepared = std::thread::spawn(move || schema::migrate(&connection(preparing)?));
        prepared.join().map_err(|_| anyhow::anyhow!("the database could not be prepared"))??;
        let connections = place.connections.max(MIN_CONNECTIONS);
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
        Ok(Self { reads, writes: Some(writes), revisions, writers, outgrown: OnceLock::new() })
    }

    /// A connection of its own, after the schema was brought up to date.
    pub(super) fn separate_and_migrated(place: &PostgresPlace) -> anyhow::Result<Connection> {
        let connection = connection(Arc::new(Target::of(place)?))?;
        schema::migrate(&connection)?;
        Ok(connection)
    }

    /// A connection of its own, for long looks from beside the server.
    pub(super) fn separate(place: &PostgresPlace) -> anyhow::Result<Connection> {
        let connection = connection(Arc::new(Target::of(place)?))?;
        schema::check(&connection)?;
        Ok(connection)
    }

    pub(super) async fn read<T: Send + 'static>(&self, job: Read<T>) -> Result<T> {
        self.read_after(Link::begin_read, job).await
    }

    /// Runs a read of one statement, without a transaction around it.
    pub(super) async fn read_alone<T: Send + 'static>(&self, job: Read<T>) -> Result<T> {
        self.read_after(Link::begin_alone, job).await
    }

    async fn read_after<T: Send + 'static>(&self, begin: fn(&mut Link), job: Read<T>) -> Result<T> {
        let (send, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let Connection::Postgres(link) = connection else { return };
            begin(&mut link.borrow_mut());
            // The caller may have gone; then nobody needs the answer.
            let _ = send.send(job(connection));
            link.borrow_mut().roll_back();
        });
        self.reads.try_send(job).map_err(|full| queue_full(&full))?;
        Ok(answer.await.context("the database's reader has gone")??)
    }

    /// Runs a write in a transaction of its own, again when it lost against another one.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        site: Option<SiteId>,
        job: Write<T>,
    ) -> Result<T> {
        if self.outgrown.get().is_some() {
            return Err(Error::ReadOnly);
        }
        let (send, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let _ = send.send(write_safely(connection, site, &job));
        });
        let Some(writes) = &self.writes else { return Err(Error::Busy { retry_after_seconds: 1 }) };
        writes.try_send(job).map_err(|full| queue_full(&full))?;
        let done = answer.await.context("the database's writer has gone")??;
        Ok(done.value)
    }

    /// Why nothing is written any more, if so.
    pub(super) fn failure(&self) -> Option<&str> {
        self.outgrown.get().map(String::as_str)
    }

    /// Stops writing once a newer program has brought the data to a schema that this one may not use.
    pub(super) async fn notice_schema(&self) -> Result<()> {
        if let Some(problem) = self.read(Box::new(schema::outgrown)).await?
            && self.outgrown.set(problem.clone()).is_ok()
        {
            tracing::error!(problem, "no more writes");
        }
        Ok(())
    }

    /// The revision of a contact's attachments as it is committed now; 0 of one that was never seen.
    pub(super) async fn revision(&self, site: SiteId, contact: ContactId) -> Result<i64> {
        self.revisions.of(site, contact).await
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.writes.take();
        for writer in self.writers.drain(..) {
            // A thread only ends early by a panic, which was logged where it happened.
            let _ = writer.join();
        }
    }
}

/// A connection that is made when it is first used, and again when it was lost.
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
            // A panic, which the hook has reported, costs its caller's answer only.
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
        return Err(Error::Internal(anyhow::anyhow!("this connection is no PostgreSQL")));
    };
    let mut tries = 0;
    loop {
        tries += 1;
        link.borrow_mut().begin_write(site);
        let outcome = job(connection);
        let lost = link.borrow_mut().lost_race();
        match outcome {
            Ok(_) | Err(_) if lost && tries < WRITE_TRIES => link.borrow_mut().roll_back(),
            Ok(done) => {
                if link.borrow_mut().commit()? {
                    return Ok(done);
                }
                if tries == WRITE_TRIES {
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

/// Whether the same transaction would succeed when it is run again.
fn can_be_repeated(error: &sql::Error) -> bool {
    let sql::Error::Postgres(error) = error else { return false };
    [Some(&SqlState::T_R_SERIALIZATION_FAILURE), Some(&SqlState::T_R_DEADLOCK_DETECTED)]
        .contains(&error.code())
}

/// What each of several callers is told of one failure.
fn away(error: &sql::Error) -> Error {
    if error.is_passing() {
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
