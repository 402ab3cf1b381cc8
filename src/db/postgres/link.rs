//! One connection to PostgreSQL, with its own small runtime, used by one thread. It connects on
//! demand and reconnects after a loss: a statement that opens a transaction is sent again if the
//! connection turns out to be closed, since nothing was done on it yet.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::future::Future;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row, SimpleQueryMessage};

use super::is_conflict;
use super::target::Target;
use crate::db::sql::{self, Error, Result};
use crate::domain::ids::SiteId;

/// The server's limit for a statement, in milliseconds, including waits for locks.
const STATEMENT_MS: u64 = 10_000;
/// The same limit for a statement outside a transaction, enforced by cancelling it.
const STATEMENT: Duration = Duration::from_millis(STATEMENT_MS);
/// How long to wait for the server before the connection is abandoned: the server's own limit
/// applies first, unless the server or the network has failed.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(15);
/// How often to query whether a transaction was committed whose result was lost.
const RESOLVE_TRIES: u32 = 50;
const RESOLVE_EVERY: Duration = Duration::from_millis(100);

/// The state of the transaction.
enum Transaction {
    /// None: each statement stands alone.
    None,
    /// None: a single read, under the server's limit for statements.
    SingleRead,
    /// Not begun: the statements that begin it are sent with its first statement.
    Pending(String),
    /// Open, with its id on the server if it writes.
    Open(Option<String>),
}

/// One connection.
pub(in crate::db) struct Link {
    runtime: Runtime,
    target: Arc<Target>,
    client: Option<Client>,
    /// Whether the last attempt to connect succeeded. The connection is then replaced at once when it is
    /// lost, also while others wait after a failed attempt: once a lost connection.
    was_connected: bool,
    statements: HashMap<&'static str, tokio_postgres::Statement>,
    transaction: Transaction,
    /// A statement failed: the transaction cannot be committed.
    failed: bool,
    /// It failed in a way that a retry may succeed.
    can_retry: bool,
    /// Notified when the transaction is committed.
    outbox: Option<Arc<Notify>>,
}

impl Link {
    pub(super) fn new(target: Arc<Target>) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self {
            runtime,
            target,
            client: None,
            was_connected: false,
            statements: HashMap::new(),
            transaction: Transaction::None,
            failed: false,
            can_retry: false,
            outbox: None,
        })
    }

    /// Prepares a transaction that reads one snapshot.
    pub(super) fn begin_read(&mut self) {
        self.begin_later(format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
             SET LOCAL statement_timeout = {STATEMENT_MS}"
        ));
    }

    /// Prepares a transaction that writes, with the site locked if it names one.
    pub(super) fn begin_write(&mut self, site: Option<SiteId>) {
        let mut begin = format!("BEGIN; SET LOCAL statement_timeout = {STATEMENT_MS}; ");
        if let Some(site) = site {
            let _ = write!(begin, "SELECT pg_advisory_xact_lock({}); ", lock_key(site));
        }
        begin.push_str("SELECT pg_current_xact_id()");
        self.begin_later(begin);
    }

    /// Prepares a single read without a transaction.
    pub(super) fn begin_single(&mut self) {
        self.begin(Transaction::SingleRead);
    }

    fn begin_later(&mut self, begin: String) {
        self.begin(Transaction::Pending(begin));
    }

    fn begin(&mut self, transaction: Transaction) {
        self.transaction = transaction;
        (self.failed, self.can_retry, self.outbox) = (false, false, None);
    }

    /// Whether the transaction may succeed if run again: it lost a conflict, or its connection
    /// before the commit.
    pub(super) fn can_retry(&self) -> bool {
        self.can_retry
    }

    pub(in crate::db) fn is_in_transaction(&self) -> bool {
        !matches!(self.transaction, Transaction::None | Transaction::SingleRead)
    }

    fn record_failure<T>(&mut self, outcome: Result<T>) -> Result<T> {
        if let Err(error) = &outcome {
            self.failed = true;
            self.can_retry |= is_lost(error) || is_conflict(error);
        }
        outcome
    }

    /// Ends the transaction without its changes.
    pub(super) fn roll_back(&mut self) {
        let transaction = std::mem::replace(&mut self.transaction, Transaction::None);
        if matches!(transaction, Transaction::Open(_)) && self.batch("ROLLBACK").is_err() {
            self.client = None;
        }
    }

    pub(in crate::db) fn notify_after_commit(&mut self, outbox: &Arc<Notify>) {
        self.outbox = Some(Arc::clone(outbox));
    }

    /// Commits, and notifies the outbox. False when the connection was lost and nothing was
    /// committed: then the write may run again.
    pub(super) fn commit(&mut self) -> Result<bool> {
        let committed = self.end();
        if let Some(outbox) = self.outbox.take()
            && matches!(committed, Ok(true))
        {
            outbox.notify_one();
        }
        committed
    }

    /// Commits; if the connection is lost meanwhile, queries the server for the outcome.
    fn end(&mut self) -> Result<bool> {
        if self.failed {
            self.roll_back();
            return Err(Error::Unavailable("a statement of the transaction failed".to_owned()));
        }
        match std::mem::replace(&mut self.transaction, Transaction::None) {
            Transaction::None | Transaction::SingleRead | Transaction::Pending(_) => Ok(true),
            Transaction::Open(id) => match (self.batch("COMMIT"), id) {
                (Err(error), Some(id)) if is_lost(&error) => self.resolve(&id, error),
                (committed, _) => committed.map(|()| true),
            },
        }
    }

    /// Whether a transaction was committed, by its id on the server.
    fn resolve(&mut self, id: &str, lost: Error) -> Result<bool> {
        // The id comes from the server and is a number.
        let query = format!("SELECT pg_xact_status('{id}'::xid8)");
        for _ in 0..RESOLVE_TRIES {
            self.client = None;
            let status = self.ensure_connected().and_then(|()| self.query_text(&query));
            match status.as_ref().map(Option::as_deref) {
                Ok(Some("committed")) => return Ok(true),
                Ok(Some("aborted")) => return Ok(false),
                _ => std::thread::sleep(RESOLVE_EVERY),
            }
        }
        tracing::error!(error = %lost, "it is unknown whether a transaction was committed");
        Err(lost)
    }

    /// The first column of the last row, as text.
    fn query_text(&mut self, query: &str) -> Result<Option<String>> {
        let client = self.client.as_ref().ok_or_else(closed)?;
        Ok(last_text(&self.runtime.block_on(with_timeout(client.simple_query(query)))?))
    }

    /// Connects if there is no connection.
    pub(super) fn ensure_connected(&mut self) -> Result<()> {
        if self.client.as_ref().is_some_and(|client| !client.is_closed()) {
            return Ok(());
        }
        self.statements.clear();
        let skip_pause = std::mem::take(&mut self.was_connected);
        self.client = Some(self.target.connect(&self.runtime, skip_pause)?);
        self.was_connected = true;
        Ok(())
    }

    /// Runs statements without parameters.
    pub(in crate::db) fn batch(&mut self, statements: &str) -> Result<()> {
        self.ensure_connected()?;
        if let Transaction::Pending(begin) = &self.transaction {
            let begin = begin.clone();
            self.transaction = Transaction::Open(self.query_text(&begin)?);
        }
        let client = self.client.as_ref().ok_or_else(closed)?;
        let outcome = self.runtime.block_on(with_timeout(client.batch_execute(statements)));
        self.record_failure(outcome)
    }

    pub(in crate::db) fn execute(
        &mut self,
        sql: &'static str,
        cells: &[sql::Cell<'_>],
    ) -> Result<usize> {
        self.each(sql, cells, |_| Ok(true))
    }

    /// Calls `visit` for each row as it arrives, until it returns false. Returns the number of rows
    /// changed or read.
    pub(in crate::db) fn each(
        &mut self,
        sql: &'static str,
        cells: &[sql::Cell<'_>],
        mut visit: impl FnMut(&Row) -> Result<bool>,
    ) -> Result<usize> {
        let visited = Cell::new(false);
        let mut visit = |row: &Row| {
            visited.set(true);
            visit(row)
        };
        let opens = !matches!(self.transaction, Transaction::Open(_));
        let outcome = self.run(sql, cells, &mut visit);
        let outcome = match outcome {
            Err(Error::Timeout) if !self.is_in_transaction() => {
                self.abandon();
                Err(Error::Timeout)
            }
            Err(error) if opens && !visited.get() && is_lost(&error) => {
                if let Transaction::Open(_) = self.transaction {
                    return Err(error);
                }
                self.client = None;
                self.run(sql, cells, &mut visit)
            }
            outcome => outcome,
        };
        self.record_failure(outcome)
    }

    /// Drops a connection that does not respond, and cancels its statement on the server.
    fn abandon(&mut self) {
        if let Some(client) = self.client.take() {
            self.target.cancel(&self.runtime, &client);
        }
    }

    fn run(
        &mut self,
        sql: &'static str,
        cells: &[sql::Cell<'_>],
        visit: &mut dyn FnMut(&Row) -> Result<bool>,
    ) -> Result<usize> {
        self.ensure_connected()?;
        let client = self.client.as_ref().ok_or_else(closed)?;
        let statement = match self.statements.get(sql) {
            _ if !self.target.is_prepared => None,
            Some(statement) => Some(statement.clone()),
            None => {
                let prepared = self.runtime.block_on(with_timeout(client.prepare(sql)))?;
                self.statements.insert(sql, prepared.clone());
                Some(prepared)
            }
        };
        let begin = match &self.transaction {
            Transaction::Pending(begin) => Some(begin.as_str()),
            Transaction::None | Transaction::SingleRead | Transaction::Open(_) => None,
        };
        let limit = match self.transaction {
            Transaction::SingleRead => STATEMENT,
            _ => RESPONSE_TIMEOUT,
        };
        // Both are sent together; the server runs them in order, and rejects the second if the
        // first has failed.
        let (begin_outcome, outcome) = self.runtime.block_on(async {
            let begin_outcome = async {
                match begin {
                    Some(begin) => with_timeout(client.simple_query(begin)).await.map(Some),
                    None => Ok(None),
                }
            };
            tokio::join!(biased; begin_outcome, rows(client, statement, (sql, cells), limit, visit))
        });
        match begin_outcome {
            Ok(None) => {}
            Ok(Some(messages)) => self.transaction = Transaction::Open(last_text(&messages)),
            Err(error) => {
                self.client = None;
                return Err(error);
            }
        }
        outcome
    }

    pub(in crate::db) fn lock_site(&mut self, site: SiteId) -> Result<()> {
        let number = lock_key(site);
        self.execute("SELECT pg_advisory_xact_lock($1)", &[sql::Cell::Integer(number)]).map(drop)
    }

    pub(in crate::db) fn try_lock_site(&mut self, site: SiteId) -> Result<bool> {
        let (number, mut locked) = (lock_key(site), false);
        self.each("SELECT pg_try_advisory_xact_lock($1)", &[sql::Cell::Integer(number)], |row| {
            locked = row.try_get(0)?;
            Ok(false)
        })?;
        Ok(locked)
    }
}

/// Sends a statement and visits its rows.
async fn rows(
    client: &Client,
    statement: Option<tokio_postgres::Statement>,
    (sql, cells): (&str, &[sql::Cell<'_>]),
    limit: Duration,
    visit: &mut dyn FnMut(&Row) -> Result<bool>,
) -> Result<usize> {
    let rows = if let Some(statement) = statement {
        let cells = cells.iter().copied();
        with_limit(limit, async { client.query_raw(&statement, cells).await }).await?
    } else {
        let cells = cells.iter().map(|cell| (*cell, kind(*cell)));
        with_limit(limit, async { client.query_typed_raw(sql, cells).await }).await?
    };
    let mut rows = std::pin::pin!(rows);
    while let Some(row) = with_limit(limit, rows.try_next()).await? {
        if !visit(&row)? {
            return Ok(0);
        }
    }
    Ok(rows.rows_affected().unwrap_or(0) as usize)
}

/// A parameter's type, for statements that are not prepared.
fn kind(cell: sql::Cell<'_>) -> Type {
    match cell {
        sql::Cell::Integer(_) => Type::INT8,
        sql::Cell::Text(_) => Type::TEXT,
        // An id or other bytes: the server knows which, and both have the same encoding.
        sql::Cell::Null | sql::Cell::Bytes(_) => Type::UNKNOWN,
        sql::Cell::Ids(_) => Type::UUID_ARRAY,
    }
}

async fn with_timeout<T>(
    query: impl Future<Output = std::result::Result<T, tokio_postgres::Error>>,
) -> Result<T> {
    with_limit(RESPONSE_TIMEOUT, query).await
}

async fn with_limit<T>(
    limit: Duration,
    query: impl Future<Output = std::result::Result<T, tokio_postgres::Error>>,
) -> Result<T> {
    let mut query = std::pin::pin!(query);
    // Most rows of a page have arrived already: what is ready needs no timer.
    if let Poll::Ready(result) = futures_util::poll!(query.as_mut()) {
        return Ok(result?);
    }
    match tokio::time::timeout(limit, query).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Error::Timeout),
    }
}

/// The first column of the last row.
fn last_text(messages: &[SimpleQueryMessage]) -> Option<String> {
    let row = messages.iter().rev().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    })?;
    row.get(0).map(ToOwned::to_owned)
}

/// Whether the connection was lost, so that the outcome on the server is unknown.
fn is_lost(error: &Error) -> bool {
    matches!(error, Error::Timeout) || is_disconnected(error)
}

/// Whether there is no connection any more, so that a fresh one may do better.
pub(super) fn is_disconnected(error: &Error) -> bool {
    match error {
        Error::Unavailable(_) => true,
        Error::Postgres(error) => match error.code() {
            None => true,
            // Class 57P: the server is shutting down and closes its connections.
            Some(state) => state.code().starts_with("57P"),
        },
        Error::Sqlite(_) | Error::NoRow | Error::Timeout | Error::Unexpected(_) => false,
    }
}

fn closed() -> Error {
    Error::Unavailable("there is no connection".to_owned())
}

/// A site's key among the server's advisory locks.
fn lock_key(site: SiteId) -> i64 {
    let (high, low) = site.0.as_u64_pair();
    (high ^ low) as i64
}
