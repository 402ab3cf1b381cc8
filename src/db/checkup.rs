//! Checks of `dossier doctor` on a PostgreSQL server: whether Dossier's guarantees can hold on it.

use crate::db::postgres::Postgres;
use crate::db::sql::{Connection, Result, params};
use crate::db::{PostgresLocation, SCHEMA_VERSION};

/// The oldest PostgreSQL release with all features in use (`pg_xact_status` of `xid8`).
const OLDEST_RELEASE: i64 = 130_000;
/// Maximum difference between its clock and ours, in milliseconds.
const MAX_SKEW_MS: i64 = 5_000;

/// A result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether it must be fixed.
    pub is_problem: bool,
    /// What was found.
    pub detail: String,
    /// What to do; empty when there is nothing to do.
    pub remedy: &'static str,
}

/// Checks a server, next to whatever uses it; all writes are rolled back.
///
/// # Errors
///
/// When it cannot be reached, or holds no Dossier data.
pub fn check_server(
    location: &PostgresLocation,
    now_ms: impl Fn() -> i64,
) -> anyhow::Result<Vec<Finding>> {
    let connection = Postgres::connect(location)?;
    let mut found = vec![release(&connection)?];
    found.extend(durability(&connection)?);
    found.push(check_writes(&connection)?);
    found.push(skew(&connection, now_ms)?);
    found.push(connection_limit(&connection, location.connections)?);
    Ok(found)
}

fn fine(detail: String) -> Finding {
    Finding { is_problem: false, detail, remedy: "" }
}

fn problem(detail: String, remedy: &'static str) -> Finding {
    Finding { is_problem: true, detail, remedy }
}

fn text(connection: &Connection, query: &'static str) -> Result<String> {
    connection.prepare_cached(query)?.query_row(&[], |row| row.get(0))
}

fn number(connection: &Connection, query: &'static str) -> Result<i64> {
    connection.prepare_cached(query)?.query_row(&[], |row| row.get(0))
}

fn release(connection: &Connection) -> Result<Finding> {
    let release = number(connection, "SELECT current_setting('server_version_num')::bigint")?;
    let version = text(connection, "SELECT current_setting('server_version')")?;
    if release < OLDEST_RELEASE {
        let remedy = "use PostgreSQL 13 or later";
        return Ok(problem(format!("PostgreSQL {version} is too old"), remedy));
    }
    let encoding = text(connection, "SELECT current_setting('server_encoding')")?;
    if encoding != "UTF8" {
        let remedy = "create the database with ENCODING 'UTF8'";
        return Ok(problem(format!("its encoding is {encoding}"), remedy));
    }
    Ok(fine(format!("PostgreSQL {version}, schema {SCHEMA_VERSION}")))
}

/// The settings that make a commit survive a crash of the server.
fn durability(connection: &Connection) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    if text(connection, "SELECT current_setting('fsync')")? == "off" {
        let detail = "fsync is off: a power cut may lose or corrupt everything".to_owned();
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

/// Writes a row and rolls it back.
fn check_writes(connection: &Connection) -> anyhow::Result<Finding> {
    if number(connection, "SELECT pg_is_in_recovery()::int::bigint")? != 0 {
        let detail = "it is a replica, which is read-only".to_owned();
        return Ok(problem(detail, "name the primary, or add target_session_attrs=read-write"));
    }
    connection.execute_batch("BEGIN")?;
    let written = connection
        .prepare_cached("INSERT INTO key_fingerprints (file, fingerprint) VALUES ('doctor', $1)")
        .and_then(|mut statement| statement.execute(params![vec![0_u8]]));
    let _ = connection.execute_batch("ROLLBACK");
    if let Err(error) = written {
        let remedy = "make the role the owner of the tables, or grant it SELECT, INSERT, UPDATE \
                      and DELETE";
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
    if skew_ms > MAX_SKEW_MS {
        let detail = format!("its clock and this machine's are {} s apart", skew_ms / 1_000);
        return Ok(problem(detail, "synchronize both clocks with NTP: leases depend on them"));
    }
    Ok(fine("its clock agrees with this machine's".to_owned()))
}

fn connection_limit(connection: &Connection, needed: usize) -> Result<Finding> {
    let limit = number(
        connection,
        "SELECT current_setting('max_connections')::bigint \
         - current_setting('superuser_reserved_connections')::bigint",
    )?;
    if (limit as u64) < needed as u64 {
        let detail = format!("it accepts {limit} connections, a node needs {needed}");
        return Ok(problem(detail, "raise max_connections, or lower database_connections"));
    }
    Ok(fine(format!("a node needs {needed} of its {limit} connections")))
}
