//! What `dossier doctor` asks of a PostgreSQL server: whether Dossier's promises can hold on it.

use crate::db::postgres::Postgres;
use crate::db::sql::{Connection, Result, params};
use crate::db::{PostgresPlace, SCHEMA_VERSION};

/// The oldest release of PostgreSQL that knows all that is asked of it (`pg_xact_status` of `xid8`).
const OLDEST_RELEASE: i64 = 130_000;
/// How far its clock may be from ours, in milliseconds.
const SKEW_MAX_MS: i64 = 5_000;

/// Something found on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether it must be put right.
    pub is_problem: bool,
    /// What was found.
    pub detail: String,
    /// What to do; empty when there is nothing.
    pub remedy: &'static str,
}

/// Looks at a server, beside whatever works on it; nothing stays written.
///
/// # Errors
///
/// When it cannot be reached, or holds no data of Dossier.
pub fn check_server(
    place: &PostgresPlace,
    now_ms: impl Fn() -> i64,
) -> anyhow::Result<Vec<Finding>> {
    let connection = Postgres::separate(place)?;
    let mut found = vec![release(&connection)?];
    found.extend(durability(&connection)?);
    found.push(writing(&connection)?);
    found.push(skew(&connection, now_ms)?);
    found.push(room(&connection, place.connections)?);
    Ok(found)
}

fn fine(detail: String) -> Finding {
    Finding { is_problem: false, detail, remedy: "" }
}

fn problem(detail: String, remedy: &'static str) -> Finding {
    Finding { is_problem: true, detail, remedy }
}

fn text(connection: &Connection, question: &'static str) -> Result<String> {
    connection.prepare_cached(question)?.query_row(&[], |row| row.get(0))
}

fn number(connection: &Connection, question: &'static str) -> Result<i64> {
    connection.prepare_cached(question)?.query_row(&[], |row| row.get(0))
}

fn release(connection: &Connection) -> Result<Finding> {
    let release = number(connection, "SELECT current_setting('server_version_num')::bigint")?;
    let shown = text(connection, "SELECT current_setting('server_version')")?;
    if release < OLDEST_RELEASE {
        let remedy = "use PostgreSQL 13 or later";
        return Ok(problem(format!("PostgreSQL {shown} is too old"), remedy));
    }
    let encoding = text(connection, "SELECT current_setting('server_encoding')")?;
    if encoding != "UTF8" {
        let remedy = "make the database with ENCODING 'UTF8'";
        return Ok(problem(format!("its texts are in {encoding}"), remedy));
    }
    Ok(fine(format!("PostgreSQL {shown}, schema {SCHEMA_VERSION}")))
}

/// What makes a commit survive a crash of the server.
fn durability(connection: &Connection) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    if text(connection, "SELECT current_setting('fsync')")? == "off" {
        let detail = "fsync is off: a power cut may lose or spoil everything".to_owned();
        found.push(problem(detail, "set fsync = on in postgresql.conf"));
    }
    if text(connection, "SELECT current_setting('synchronous_commit')")? == "off" {
        let detail = "synchronous_commit is off: a crash may lose acknowledged uploads".to_owned();
        found.push(problem(detail, "set synchronous_commit = on for this role or database"));
    }
    if found.is_empty() {
        found.push(fine("commits are synced".to_owned()));
    }
    Ok(found)
}

/// A row written and taken back.
fn writing(connection: &Connection) -> anyhow::Result<Finding> {
    if number(connection, "SELECT pg_is_in_recovery()::int::bigint")? != 0 {
        let detail = "it is a replica, which cannot be written".to_owned();
        return Ok(problem(detail, "name the primary, or add target_session_attrs=read-write"));
    }
    connection.execute_batch("BEGIN")?;
    let written = connection
        .prepare_cached("INSERT INTO key_fingerprints (file, fingerprint) VALUES ('doctor', $1)")
        .and_then(|mut statement| statement.execute(params![vec![0_u8]]));
    let _ = connection.execute_batch("ROLLBACK");
    if let Err(error) = written {
        let remedy = "let the role own the tables, or grant it SELECT, INSERT, UPDATE and DELETE";
        return Ok(problem(format!("its tables cannot be written: {error}"), remedy));
    }
    Ok(fine("rows can be written".to_owned()))
}

fn skew(connection: &Connection, now_ms: impl Fn() -> i64) -> Result<Finding> {
    let before_ms = now_ms();
    let theirs_ms =
        number(connection, "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")?;
    let after_ms = now_ms();
    let skew_ms = (before_ms - theirs_ms).max(theirs_ms - after_ms).max(0);
    if skew_ms > SKEW_MAX_MS {
        let detail = format!("its clock and this machine's are {} s apart", skew_ms / 1_000);
        return Ok(problem(detail, "let NTP keep both: leases between nodes go by the clock"));
    }
    Ok(fine("its clock agrees with this machine's".to_owned()))
}

fn room(connection: &Connection, wanted: usize) -> Result<Finding> {
    let most = number(
        connection,
        "SELECT current_setting('max_connections')::bigint \
         - current_setting('superuser_reserved_connections')::bigint",
    )?;
    if (most as u64) < wanted as u64 {
        let detail = format!("it takes {most} connections, a node wants {wanted}");
        return Ok(problem(detail, "raise max_connections, or lower database_connections"));
    }
    Ok(fine(format!("a node wants {wanted} of its {most} connections")))
}
