//! Where jobs run: on SQLite's threads or on PostgreSQL's. A job is a function over a connection that
//! is the same for both.

use std::future::Future;

use super::changes::{Change, Changes};
use super::postgres::Postgres;
use super::sql::{self, Connection};
use super::sqlite::Sqlite;
use crate::domain::ids::{ContactId, SiteId};
use crate::error::Result;

/// What a write did, for those who must know before it is acknowledged.
pub(super) struct Done<T> {
    /// The caller's answer.
    pub(super) value: T,
    /// The contact whose pages are no longer true.
    pub(super) changed: Option<(SiteId, ContactId)>,
}

/// A read that waits for its turn. In a box, so that what brings it to its thread is compiled once for
/// each answer and not for each job.
pub(super) type Read<T> = Box<dyn FnOnce(&Connection) -> sql::Result<T> + Send>;

/// A write that waits for its turn; it may be run again.
pub(super) type Write<T> = Box<dyn Fn(&Connection) -> Result<Done<T>> + Send>;

/// The database that is in use.
pub(super) enum Engine {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

impl Engine {
    /// Runs a read in one snapshot.
    pub(super) fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> sql::Result<T> + Send + 'static,
    ) -> impl Future<Output = Result<T>> {
        self.run_read(Box::new(job))
    }

    async fn run_read<T: Send + 'static>(&self, job: Read<T>) -> Result<T> {
        match self {
            Self::Sqlite(sqlite) => sqlite.read(job).await,
            Self::Postgres(postgres) => postgres.read(job).await,
        }
    }

    /// Runs a read of one statement, which is a snapshot by itself: nothing is asked around it.
    pub(super) fn read_alone<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> sql::Result<T> + Send + 'static,
    ) -> impl Future<Output = Result<T>> {
        self.run_read_alone(Box::new(job))
    }

    async fn run_read_alone<T: Send + 'static>(&self, job: Read<T>) -> Result<T> {
        match self {
            Self::Sqlite(sqlite) => sqlite.read(job).await,
            Self::Postgres(postgres) => postgres.read_alone(job).await,
        }
    }

    /// Runs a write that changes rows of one site. The answer comes after the commit is durable and,
    /// when a contact changed, after its change is counted. The job is run again when it lost against
    /// another one, so all that it does must be in the database.
    pub(super) fn write<T: Send + 'static>(
        &self,
        site: SiteId,
        job: impl Fn(&Connection) -> Result<Done<T>> + Send + 'static,
    ) -> impl Future<Output = Result<T>> {
        self.run_write(Some(site), Box::new(job), |_, _| ())
    }

    /// [`Engine::write`] of a job that takes the sites whose rows it changes by itself
    /// ([`Connection::lock_site`]), or changes rows that belong to none.
    pub(super) fn write_across<T: Send + 'static>(
        &self,
        job: impl Fn(&Connection) -> Result<Done<T>> + Send + 'static,
    ) -> impl Future<Output = Result<T>> {
        self.run_write(None, Box::new(job), |_, _| ())
    }

    /// [`Engine::write`] of what changes several contacts: `note` counts their changes, after the
    /// commit and before it is acknowledged.
    pub(super) fn write_noting<T: Send + 'static>(
        &self,
        site: Option<SiteId>,
        job: impl Fn(&Connection) -> Result<Done<T>> + Send + 'static,
        note: fn(&T, &Changes),
    ) -> impl Future<Output = Result<T>> {
        self.run_write(site, Box::new(job), note)
    }

    async fn run_write<T: Send + 'static>(
        &self,
        site: Option<SiteId>,
        job: Write<T>,
        note: fn(&T, &Changes),
    ) -> Result<T> {
        match self {
            Self::Sqlite(sqlite) => sqlite.write_noting(job, note).await,
            // Other nodes change contacts too: whoever must know asks for the revision.
            Self::Postgres(postgres) => postgres.write(site, job).await,
        }
    }

    /// [`Engine::change_of`], where it is in memory: to be asked before the rows are read. Elsewhere rows
    /// bring their contact's revision along.
    pub(super) fn noted_change(&self, site: SiteId, contact: ContactId) -> Option<Change> {
        match self {
            Self::Sqlite(sqlite) => Some(sqlite.changes().of(site, contact)),
            Self::Postgres(_) => None,
        }
    }

    /// What a contact's pages and files are cached under.
    pub(super) async fn change_of(&self, site: SiteId, contact: ContactId) -> Result<Change> {
        match self {
            Self::Sqlite(sqlite) => Ok(sqlite.changes().of(site, contact)),
            Self::Postgres(postgres) => {
                postgres.revision(site, contact).await.map(Change::revision)
            }
        }
    }

    /// Why nothing is written any more, if so.
    pub(super) fn failure(&self) -> Option<&str> {
        match self {
            Self::Sqlite(sqlite) => sqlite.failure(),
            Self::Postgres(postgres) => postgres.failure(),
        }
    }

    /// Empties the log of what was overwritten, where this process keeps one; false while a reader
    /// needs it.
    pub(super) async fn empty_log(&self) -> Result<bool> {
        match self {
            Self::Sqlite(sqlite) => sqlite.empty_log().await,
            Self::Postgres(_) => Ok(true),
        }
    }
}
