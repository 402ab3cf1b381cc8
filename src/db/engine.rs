//! Runs jobs on the threads of SQLite or of PostgreSQL. A job is a function of a [`Connection`],
//! which is the same for both.

use std::future::Future;

use super::changes::{Change, Changes};
use super::postgres::Postgres;
use super::sql::{self, Connection};
use super::sqlite::Sqlite;
use crate::domain::ids::{ContactId, SiteId};
use crate::error::Result;

/// The outcome of a write's job.
pub(super) struct Done<T> {
    /// The caller's result.
    pub(super) value: T,
    /// The contact whose cached pages are now stale.
    pub(super) changed: Option<(SiteId, ContactId)>,
}

/// A queued read. It may run more than once. Boxed, so that the dispatch is compiled once per result
/// type instead of once per job.
pub(super) type Read<T> = Box<dyn Fn(&Connection) -> sql::Result<T> + Send>;

/// A queued write. It may run more than once.
pub(super) type Write<T> = Box<dyn Fn(&Connection) -> Result<Done<T>> + Send>;

/// The database in use.
pub(super) enum Engine {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

impl Engine {
    /// Runs a read in one snapshot.
    pub(super) fn read<T: Send + 'static>(
        &self,
        job: impl Fn(&Connection) -> sql::Result<T> + Send + 'static,
    ) -> impl Future<Output = Result<T>> {
        self.run_read(Box::new(job))
    }

    async fn run_read<T: Send + 'static>(&self, job: Read<T>) -> Result<T> {
        match self {
            Self::Sqlite(sqlite) => sqlite.read(job).await,
            Self::Postgres(postgres) => postgres.read(job).await,
        }
    }

    /// Runs a read of one statement, which is a snapshot by itself: no transaction around it.
    pub(super) fn read_single<T: Send + 'static>(
        &self,
        job: impl Fn(&Connection) -> sql::Result<T> + Send + 'static,
    ) -> impl Future<Output = Result<T>> {
        self.run_read_alone(Box::new(job))
    }

    async fn run_read_alone<T: Send + 'static>(&self, job: Read<T>) -> Result<T> {
        match self {
            Self::Sqlite(sqlite) => sqlite.read(job).await,
            Self::Postgres(postgres) => postgres.read_single(job).await,
        }
    }

    /// Runs a write that changes rows of one site. Returns after the commit is durable and, if a
    /// contact changed, after its change counter was bumped. A job that lost a conflict runs again,
    /// so all its effects must be in the database.
    pub(super) fn write<T: Send + 'static>(
        &self,
        site: SiteId,
        job: impl Fn(&Connection) -> Result<Done<T>> + Send + 'static,
    ) -> impl Future<Output = Result<T>> {
        self.run_write(Some(site), Box::new(job), |_, _| ())
    }

    /// [`Engine::write`] for a job that locks the sites whose rows it changes by itself
    /// ([`Connection::lock_site`]), or changes rows that belong to no site.
    pub(super) fn write_across<T: Send + 'static>(
        &self,
        job: impl Fn(&Connection) -> Result<Done<T>> + Send + 'static,
    ) -> impl Future<Output = Result<T>> {
        self.run_write(None, Box::new(job), |_, _| ())
    }

    /// [`Engine::write`] for changes of several contacts: `bump` bumps their change counters, after
    /// the commit and before it is acknowledged.
    pub(super) fn write_with_changes<T: Send + 'static>(
        &self,
        site: Option<SiteId>,
        job: impl Fn(&Connection) -> Result<Done<T>> + Send + 'static,
        bump: fn(&T, &Changes),
    ) -> impl Future<Output = Result<T>> {
        self.run_write(site, Box::new(job), bump)
    }

    async fn run_write<T: Send + 'static>(
        &self,
        site: Option<SiteId>,
        job: Write<T>,
        bump: fn(&T, &Changes),
    ) -> Result<T> {
        match self {
            Self::Sqlite(sqlite) => sqlite.write_with_changes(job, bump).await,
            // Other nodes change contacts too, so caches compare revisions instead of counters.
            Self::Postgres(postgres) => postgres.write(site, job).await,
        }
    }

    /// [`Engine::change_of`], where the counter is in memory; to be read before the rows are. On
    /// PostgreSQL the rows carry their contact's revision.
    pub(super) fn cached_change(&self, site: SiteId, contact: ContactId) -> Option<Change> {
        match self {
            Self::Sqlite(sqlite) => Some(sqlite.changes().get(site, contact)),
            Self::Postgres(_) => None,
        }
    }

    /// The cache key part for a contact's pages and files.
    pub(super) async fn change_of(&self, site: SiteId, contact: ContactId) -> Result<Change> {
        match self {
            Self::Sqlite(sqlite) => Ok(sqlite.changes().get(site, contact)),
            Self::Postgres(postgres) => {
                postgres.revision(site, contact).await.map(Change::revision)
            }
        }
    }

    /// Why writes are disabled, if they are.
    pub(super) fn failure(&self) -> Option<&str> {
        match self {
            Self::Sqlite(sqlite) => sqlite.failure(),
            Self::Postgres(postgres) => postgres.failure(),
        }
    }

    /// Truncates the write-ahead log, which may still hold overwritten rows; false while a reader
    /// needs it. Always true on PostgreSQL, whose log belongs to its server.
    pub(super) async fn truncate_log(&self) -> Result<bool> {
        match self {
            Self::Sqlite(sqlite) => sqlite.truncate_log().await,
            Self::Postgres(_) => Ok(true),
        }
    }
}
