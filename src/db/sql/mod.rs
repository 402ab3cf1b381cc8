//! Statements and rows, the same for SQLite and PostgreSQL: each statement is written once, and
//! runs on whichever database the connection leads to. Blocking; only the engines' own threads use
//! it.

mod values;

pub(super) use values::{Cell, FromCell, ToCell};

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

use rusqlite::ErrorCode;
use tokio::sync::Notify;
use tokio_postgres::error::SqlState;

use super::postgres::Link;
use crate::domain::certificates;
use crate::domain::ids::SiteId;

/// The result of a statement.
pub(super) type Result<T> = std::result::Result<T, Error>;

/// Why a statement failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// Shown with its source.
    #[error("{}", describe(.0))]
    Postgres(tokio_postgres::Error),
    /// The database cannot be reached, or the connection failed.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// It did not respond in time.
    #[error("the database is unavailable: it does not respond")]
    Timeout,
    /// A query that must return a row returned none.
    #[error("the query returned no row")]
    NoRow,
    /// A column holds a value that it never should.
    #[error("column {0} holds an unexpected value")]
    Unexpected(usize),
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

impl Error {
    /// SQLite's error code, if the error is SQLite's.
    pub(super) fn sqlite_code(&self) -> Option<ErrorCode> {
        if let Self::Sqlite(error) = self { error.sqlite_error_code() } else { None }
    }

    /// Whether a retry may succeed.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Sqlite(error) => matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
            ),
            Self::Postgres(error) => {
                error.code().map_or_else(|| is_connection_error(error), is_transient_state)
            }
            Self::Unavailable(_) | Self::Timeout => true,
            Self::NoRow | Self::Unexpected(_) => false,
        }
    }
}

/// A PostgreSQL error with the server's message: the error's own `Display` is only "db error".
fn describe(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(server) => {
            let text = format!("{} ({})", server.message(), server.code().code());
            match remedy(server.code()) {
                Some(remedy) => format!("{text}: {remedy}"),
                None => text,
            }
        }
        None => match std::error::Error::source(error) {
            Some(source) => {
                let text = format!("{error}: {source}");
                match certificates::explain(&text) {
                    Some(words) => format!("{words} ({source})"),
                    None if text.contains("server does not support TLS") => NO_TLS.to_owned(),
                    None => text,
                }
            }
            None => error.to_string(),
        },
    }
}

const NO_TLS: &str =
    "the server does not support TLS: set ssl = on there, or remove sslmode from database_url";

/// What the operator can do about an error whose message does not say.
fn remedy(state: &SqlState) -> Option<&'static str> {
    let known = [
        (
            SqlState::INVALID_PASSWORD,
            "correct the user in database_url, and the password there or in the file that \
             database_password_file names",
        ),
        (
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
            "correct the user in database_url, or allow it from this host in the server's pg_hba.conf; \
             a server that requires TLS needs sslmode=verify-full",
        ),
        (
            SqlState::INVALID_CATALOG_NAME,
            "create the database, or correct its name in database_url",
        ),
        (
            SqlState::INSUFFICIENT_PRIVILEGE,
            "make the user of database_url the owner of the database, or grant it what \
             docs/postgres.md lists",
        ),
        (
            SqlState::READ_ONLY_SQL_TRANSACTION,
            "name the primary in database_url, or make the database writable again",
        ),
        (SqlState::DISK_FULL, "free space on the disk of the database"),
    ];
    known.iter().find(|(code, _)| code == state).map(|(_, remedy)| *remedy)
}

impl From<Error> for crate::error::Error {
    fn from(error: Error) -> Self {
        let is_full = match &error {
            Error::Sqlite(from) => from.sqlite_error_code() == Some(ErrorCode::DiskFull),
            Error::Postgres(from) => from.code() == Some(&SqlState::DISK_FULL),
            _ => false,
        };
        match error {
            _ if is_full => Self::StorageFull,
            error if error.is_transient() => Self::Busy { retry_after_seconds: 1 },
            error => Self::Internal(error.into()),
        }
    }
}

/// Whether a connection to PostgreSQL was lost, or could not be made.
fn is_connection_error(error: &tokio_postgres::Error) -> bool {
    let io = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    // A value that cannot be encoded is an invalid input; retrying does not help.
    error.is_closed() || io.is_some_and(|io| io.kind() != io::ErrorKind::InvalidInput)
}

/// Whether PostgreSQL may accept a retry.
fn is_transient_state(state: &SqlState) -> bool {
    [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::QUERY_CANCELED,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::TOO_MANY_CONNECTIONS,
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::READ_ONLY_SQL_TRANSACTION,
    ]
    .contains(state)
}

/// `None` instead of [`Error::NoRow`].
pub(super) trait OptionalExtension<T> {
    fn optional(self) -> Result<Option<T>>;
}

impl<T> OptionalExtension<T> for Result<T> {
    fn optional(self) -> Result<Option<T>> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(Error::NoRow | Error::Sqlite(rusqlite::Error::QueryReturnedNoRows)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The parameters of a statement.
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$($crate::db::sql::ToCell::to_cell(&$value)),*] as &[$crate::db::sql::Cell<'_>]
    };
}
pub(super) use params;

/// An open connection.
pub(super) enum Connection {
    Sqlite(rusqlite::Connection),
    Postgres(Box<RefCell<Link>>),
}

/// A statement ready to run.
pub(super) enum Statement<'c> {
    Sqlite(rusqlite::CachedStatement<'c>),
    Postgres(&'c RefCell<Link>, &'static str),
}

/// A row while it is being read.
#[derive(Clone, Copy)]
pub(super) enum Row<'r> {
    Sqlite(&'r rusqlite::Row<'r>),
    Postgres(&'r tokio_postgres::Row),
}

impl Connection {
    pub(super) fn prepare_cached(&self, sql: &'static str) -> Result<Statement<'_>> {
        Ok(match self {
            Self::Sqlite(connection) => Statement::Sqlite(connection.prepare_cached(sql)?),
            Self::Postgres(link) => Statement::Postgres(link, sql),
        })
    }

    /// Runs statements without parameters.
    pub(super) fn execute_batch(&self, sql: &str) -> Result<()> {
        match self {
            Self::Sqlite(connection) => Ok(connection.execute_batch(sql)?),
            Self::Postgres(link) => link.borrow_mut().batch(sql),
        }
    }

    /// Runs work in one transaction: all of it or nothing.
    pub(super) fn atomically<T>(
        &self,
        work: impl FnOnce(&Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        self.execute_batch("BEGIN")?;
        match work(self) {
            Ok(value) => {
                self.execute_batch("COMMIT")?;
                Ok(value)
            }
            Err(error) => {
                let _ = self.execute_batch("ROLLBACK");
                Err(error)
            }
        }
    }

    pub(super) fn is_in_transaction(&self) -> bool {
        match self {
            Self::Sqlite(connection) => !connection.is_autocommit(),
            Self::Postgres(link) => link.borrow().is_in_transaction(),
        }
    }

    /// Inside a write: wakes the deliverer as soon as others can see the write. On SQLite
    /// immediately, because its single writer runs the deliverer's write after this one.
    pub(super) fn notify(&self, outbox: &Arc<Notify>) {
        match self {
            Self::Sqlite(_) => outbox.notify_one(),
            Self::Postgres(link) => link.borrow_mut().notify_after_commit(outbox),
        }
    }

    /// Inside a write that did not name the site whose rows it changes: locks the site until the
    /// write ends. Lock several sites in order, so that no two writes deadlock. SQLite has a single
    /// writer.
    pub(super) fn lock_site(&self, site: SiteId) -> Result<()> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(link) => link.borrow_mut().lock_site(site),
        }
    }

    /// [`Connection::lock_site`] without waiting: false if another writer holds the site.
    pub(super) fn try_lock_site(&self, site: SiteId) -> Result<bool> {
        match self {
            Self::Sqlite(_) => Ok(true),
            Self::Postgres(link) => link.borrow_mut().try_lock_site(site),
        }
    }
}

impl Statement<'_> {
    /// Runs it; returns the number of changed rows.
    pub(super) fn execute(&mut self, cells: &[Cell<'_>]) -> Result<usize> {
        match self {
            Self::Sqlite(statement) => Ok(statement.execute(rusqlite::params_from_iter(cells))?),
            Self::Postgres(link, sql) => link.borrow_mut().execute(sql, cells),
        }
    }

    /// Calls `visit` for each row until it returns false.
    pub(super) fn each(
        &mut self,
        cells: &[Cell<'_>],
        mut visit: impl FnMut(Row<'_>) -> Result<bool>,
    ) -> Result<()> {
        match self {
            Self::Sqlite(statement) => {
                let mut rows = statement.query(rusqlite::params_from_iter(cells))?;
                while let Some(row) = rows.next()? {
                    if !visit(Row::Sqlite(row))? {
                        break;
                    }
                }
                Ok(())
            }
            Self::Postgres(link, sql) => {
                link.borrow_mut().each(sql, cells, |row| visit(Row::Postgres(row))).map(drop)
            }
        }
    }

    /// Reads the first row.
    pub(super) fn query_row<T>(
        &mut self,
        cells: &[Cell<'_>],
        read: impl FnOnce(Row<'_>) -> Result<T>,
    ) -> Result<T> {
        let (mut read, mut found) = (Some(read), None);
        self.each(cells, |row| {
            found = read.take().map(|read| read(row)).transpose()?;
            Ok(false)
        })?;
        found.ok_or(Error::NoRow)
    }

    /// Reads all rows.
    pub(super) fn query_map<T>(
        &mut self,
        cells: &[Cell<'_>],
        mut read: impl FnMut(Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut all = Vec::new();
        self.each(cells, |row| {
            all.push(read(row)?);
            Ok(true)
        })?;
        Ok(all)
    }

    /// Whether there is a row.
    pub(super) fn exists(&mut self, cells: &[Cell<'_>]) -> Result<bool> {
        Ok(self.query_row(cells, |_| Ok(())).optional()?.is_some())
    }
}

impl<'r> Row<'r> {
    /// Reads a column.
    pub(super) fn get<T: FromCell<'r>>(self, column: usize) -> Result<T> {
        T::from_cell(self.cell(column)?).ok_or(Error::Unexpected(column))
    }

    pub(super) fn cell(self, column: usize) -> Result<Cell<'r>> {
        match self {
            Self::Sqlite(row) => {
                Cell::from_sqlite(row.get_ref(column)?).ok_or(Error::Unexpected(column))
            }
            Self::Postgres(row) => Ok(row.try_get(column)?),
        }
    }
}
