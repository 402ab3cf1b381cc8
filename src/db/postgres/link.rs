//! One connection to PostgreSQL, with a small runtime of its own, used by one thread. It is made when
//! it is needed, and again after it was lost: a statement that opens a transaction is sent once more
//! when it finds the connection closed, since nothing was done on it yet.

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

use super::can_be_repeated;
use super::target::Target;
use crate::db::sql::{self, Error, Result};
use crate::domain::ids::SiteId;

/// How long the server may work on a statement, in milliseconds, waiting for locks included.
const STATEMENT_MS: u64 = 10_000;
/// The same for a statement outside a transaction, which the server is told by being asked to end it.
const STATEMENT: Duration = Duration::from_millis(STATEMENT_MS);
/// How long an answer may take before the connection is given up: the server's own limit comes first
/// unless it, or the network, is gone.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// How often it is asked whether a transaction was committed whose answer was lost.
const RESOLVE_TRIES: u32 = 50;
const RESOLVE_EVERY: Duration = Duration::from_millis(100);

/// How a transaction stands.
enum Transaction {
    /// There is none: statements stand alone.
    None,
    /// There is none: one read stands alone, under the server's limit for statements.
    Alone,
    /// What opens it is sent with its first statement.
    Announced(String),
    /// Open; its id at the server, if it writes.
    Open(Option<String>),
}

/// One connection.
pub(in crate::db) struct Link {
    runtime: Runtime,
    target: Arc<Target>,
    client: Option<Client>,
    statements: HashMap<&'static str, tokio_postgres::Statement>,
    transaction: Transaction,
    /// A statement failed: the transaction cannot be committed any more.
    failed: bool,
    /// It failed so that the same transaction may succeed when it is run again.
    lost_race: bool,
    /// Told when the transaction is committed.
    wakes: Option<Arc<Notify>>,
}

impl Link {
    pub(super) fn new(target: Arc<Target>) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (client, statements) = (None, HashMap::new());
        let transaction = Transaction::None;
        let (failed, lost_race, wakes) = (false, false, None);
        Ok(Self { runtime, target, client, statements, transaction, failed, lost_race, wakes })
    }

    /// Announces a transaction that reads one snapshot.
    pub(super) fn begin_read(&mut self) {
        self.announce(format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
             SET LOCAL statement_timeout = {STATEMENT_MS}"
        ));
    }

    /// Announces a transaction that writes, alone with the rows of a site if it names one.
    pub(super) fn begin_write(&mut self, site: Option<SiteId>) {
        let mut begin = format!("BEGIN; SET LOCAL statement_timeout = {STATEMENT_MS}; ");
        if let Some(site) = site {
            let _ = write!(begin, "SELECT pg_advisory_xact_lock({}); ", lock_number(site));
        }
        begin.push_str("SELECT pg_current_xact_id()");
        self.announce(begin);
    }

    /// Announces a read of one statement.
    pub(super) fn begin_alone(&mut self) {
        self.begin(Transaction::Alone);
    }

    fn announce(&mut self, begin: String) {
        self.begin(Transaction::Announced(begin));
    }

    fn begin(&mut self, transaction: Transaction) {
        self.transaction = transaction;
        (self.failed, self.lost_race, self.wakes) = (false, false, None);
    }

    /// Whether the transaction failed only because of another one, or with its connection before it
    /// was to be committed.
    pub(super) fn lost_race(&self) -> bool {
        self.lost_race
    }

    pub(in crate::db) fn is_in_transaction(&self) -> bool {
        !matches!(self.transaction, Transaction::None | Transaction::Alone)
    }

    fn note<T>(&mut self, ran: Result<T>) -> Result<T> {
        if let Err(error) = &ran {
            self.failed = true;
            self.lost_race |= is_lost(error) || can_be_repeated(error);
        }
        ran
    }

    /// Ends the transaction without its changes.
    pub(super) fn roll_back(&mut self) {
        let transaction = std::mem::replace(&mut self.transaction, Transaction::None);
        if matches!(transaction, Transaction::Open(_)) && self.batch("ROLLBACK").is_err() {
            self.client = None;
        }
    }

    pub(in crate::db) fn wake_when_committed(&mut self, outbox: &Arc<Notify>) {
        self.wakes = Some(Arc::clone(outbox));
    }

    /// Commits, and wakes who is to be told. False when the connection was lost and nothing was
    /// committed: then it may be done again.
    pub(super) fn commit(&mut self) -> Result<bool> {
        let committed = self.end();
        if let Some(outbox) = self.wakes.take()
            && matches!(committed, Ok(true))
        {
            outbox.notify_one();
        }
        committed
    }

    /// Commits; when the answer is lost, asks the server what became of it.
    fn end(&mut self) -> Result<bool> {
        if self.failed {
            self.roll_back();
            return Err(Error::Away("a statement of the transaction has failed".to_owned()));
        }
        match std::mem::replace(&mut self.transaction, Transaction::None) {
            Transaction::None | Transaction::Alone | Transaction::Announced(_) => Ok(true),
            Transaction::Open(id) => match (self.batch("COMMIT"), id) {
                (Err(error), Some(id)) if is_lost(&error) => self.resolve(&id, error),
                (committed, _) => committed.map(|()| true),
            },
        }
    }

    /// Whether a transaction was committed, as the server knows by its id.
    fn resolve(&mut self, id: &str, lost: Error) -> Result<bool> {
        // The id comes from the server and is a number.
        let question = format!("SELECT pg_xact_status('{id}'::xid8)");
        for _ in 0..RESOLVE_TRIES {
            self.client = None;
            let status = self.connected().and_then(|()| self.ask(&question));
            match status.as_ref().map(Option::as_deref) {
                Ok(Some("committed")) => return Ok(true),
                Ok(Some("aborted")) => return Ok(false),
                _ => std::thread::sleep(RESOLVE_EVERY),
            }
        }
        tracing::error!(error = %lost, "it is not known whether a transaction was committed");
        Err(lost)
    }

    /// The first column of the last row, as text.
    fn ask(&mut self, question: &str) -> Result<Option<String>> {
        let client = self.client.as_ref().ok_or_else(closed)?;
        Ok(last_text(&self.runtime.block_on(answered(client.simple_query(question)))?))
    }

    /// Makes the connection if there is none.
    pub(super) fn connected(&mut self) -> Result<()> {
        if self.client.as_ref().is_some_and(|client| !client.is_closed()) {
            return Ok(());
        }
        self.statements.clear();
        self.client = Some(self.target.connect(&self.runtime)?);
        Ok(())
    }

    /// Runs statements without parameters.
    pub(in crate::db) fn batch(&mut self, statements: &str) -> Result<()> {
        self.connected()?;
        if let Transaction::Announced(begin) = &self.transaction {
            let begin = begin.clone();
            self.transaction = Transaction::Open(self.ask(&begin)?);
        }
        let client = self.client.as_ref().ok_or_else(closed)?;
        let ran = self.runtime.block_on(answered(client.batch_execute(statements)));
        self.note(ran)
    }

    pub(in crate::db) fn execute(
        &mut self,
        sql: &'static str,
        cells: &[sql::Cell<'_>],
    ) -> Result<usize> {
        self.each(sql, cells, |_| Ok(true))
    }

    /// Shows every row as it comes, until told that it is enough. Returns how many rows were changed,
    /// or read.
    pub(in crate::db) fn each(
        &mut self,
        sql: &'static str,
        cells: &[sql::Cell<'_>],
        mut show: impl FnMut(&Row) -> Result<bool>,
    ) -> Result<usize> {
        let shown = Cell::new(false);
        let mut show = |row: &Row| {
            shown.set(true);
            show(row)
        };
        let opens = !matches!(self.transaction, Transaction::Open(_));
        let ran = self.run(sql, cells, &mut show);
        let ran = match ran {
            Err(Error::Silent) if !self.is_in_transaction() => {
                self.give_up();
                Err(Error::Silent)
            }
            Err(error) if opens && !shown.get() && is_lost(&error) => {
                if let Transaction::Open(_) = self.transaction {
                    return Err(error);
                }
                self.client = None;
                self.run(sql, cells, &mut show)
            }
            ran => ran,
        };
        self.note(ran)
    }

    /// Leaves a connection that does not answer, and lets the server end what it was asked for.
    fn give_up(&mut self) {
        if let Some(client) = self.client.take() {
            self.target.cancel(&self.runtime, &client);
        }
    }

    fn run(
        &mut self,
        sql: &'static str,
        cells: &[sql::Cell<'_>],
        show: &mut dyn FnMut(&Row) -> Result<bool>,
    ) -> Result<usize> {
        self.connected()?;
        let client = self.client.as_ref().ok_or_else(closed)?;
        let statement = match self.statements.get(sql) {
            _ if !self.target.is_prepared => None,
            Some(statement) => Some(statement.clone()),
            None => {
                let prepared = self.runtime.block_on(answered(client.prepare(sql)))?;
                self.statements.insert(sql, prepared.clone());
                Some(prepared)
            }
        };
        let begin = match &self.transaction {
            Transaction::Announced(begin) => Some(begin.as_str()),
            Transaction::None | Transaction::Alone | Transaction::Open(_) => None,
        };
        let limit = match self.transaction {
            Transaction::Alone => STATEMENT,
            _ => ANSWER_TIMEOUT,
        };
        // Both go out together; the server runs them in this order, and refuses the second when the
        // first has failed.
        let (begun, ran) = self.runtime.block_on(async {
            let begun = async {
                match begin {
                    Some(begin) => answered(client.simple_query(begin)).await.map(Some),
                    None => Ok(None),
                }
            };
            tokio::join!(biased; begun, rows(client, statement, (sql, cells), limit, show))
        });
        match begun {
            Ok(None) => {}
            Ok(Some(answer)) => self.transaction = Transaction::Open(last_text(&answer)),
            Err(error) => {
                self.client = None;
                return Err(error);
            }
        }
        ran
    }

    pub(in crate::db) fn lock_site(&mut self, site: SiteId) -> Result<()> {
        let number = lock_number(site);
        self.execute("SELECT pg_advisory_xact_lock($1)", &[sql::Cell::Integer(number)]).map(drop)
    }

    pub(in crate::db) fn try_lock_site(&mut self, site: SiteId) -> Result<bool> {
        let (number, mut taken) = (lock_number(site), false);
        self.each("SELECT pg_try_advisory_xact_lock($1)", &[sql::Cell::Integer(number)], |row| {
            taken = row.try_get(0)?;
            Ok(false)
        })?;
        Ok(taken)
    }
}

/// Sends a statement and shows its rows.
async fn rows(
    client: &Client,
    statement: Option<tokio_postgres::Statement>,
    (sql, cells): (&str, &[sql::Cell<'_>]),
    limit: Duration,
    show: &mut dyn FnMut(&Row) -> Result<bool>,
) -> Result<usize> {
    let rows = if let Some(statement) = statement {
        let cells = cells.iter().copied();
        within(limit, async { client.query_raw(&statement, cells).await }).await?
    } else {
        let cells = cells.iter().map(|cell| (*cell, kind(*cell)));
        within(limit, async { client.query_typed_raw(sql, cells).await }).await?
    };
    let mut rows = std::pin::pin!(rows);
    while let Some(row) = within(limit, rows.try_next()).await? {
        if !show(&row)? {
            return Ok(0);
        }
    }
    Ok(rows.rows_affected().unwrap_or(0) as usize)
}

/// What a parameter is, where the server does not say what it must be.
fn kind(cell: sql::Cell<'_>) -> Type {
    match cell {
        sql::Cell::Integer(_) => Type::INT8,
        sql::Cell::Text(_) => Type::TEXT,
        // An id or other bytes: the server knows which, and both are sent alike.
        sql::Cell::Null | sql::Cell::Bytes(_) => Type::UNKNOWN,
        sql::Cell::Ids(_) => Type::UUID_ARRAY,
    }
}

async fn answered<T>(
    asked: impl Future<Output = std::result::Result<T, tokio_postgres::Error>>,
) -> Result<T> {
    within(ANSWER_TIMEOUT, asked).await
}

async fn within<T>(
    limit: Duration,
    asked: impl Future<Output = std::result::Result<T, tokio_postgres::Error>>,
) -> Result<T> {
    let mut asked = std::pin::pin!(asked);
    // Most rows of a page are there already: what is needs no clock.
    if let Poll::Ready(answer) = futures_util::poll!(asked.as_mut()) {
        return Ok(answer?);
    }
    match tokio::time::timeout(limit, asked).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Error::Silent),
    }
}

/// The first column of the last row.
fn last_text(answer: &[SimpleQueryMessage]) -> Option<String> {
    let row = answer.iter().rev().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    })?;
    row.get(0).map(ToOwned::to_owned)
}

/// Whether the connection is gone, so that nobody knows what the server did.
fn is_lost(error: &Error) -> bool {
    match error {
        Error::Away(_) | Error::Silent => true,
        Error::Postgres(error) => match error.code() {
            None => true,
            // Class 57P: the server is being stopped and cuts connections off.
            Some(state) => state.code().starts_with("57P"),
        },
        Error::Sqlite(_) | Error::NoRow | Error::Unexpected(_) => false,
    }
}

fn closed() -> Error {
    Error::Away("there is no connection".to_owned())
}

/// What stands for a site among the server's advisory locks.
fn lock_number(site: SiteId) -> i64 {
    let (high, low) = site.0.as_u64_pair();
    (high ^ low) as i64
}
