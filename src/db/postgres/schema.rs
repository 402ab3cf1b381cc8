//! The schema of a PostgreSQL database: brought up to date by one node while the others wait.

use anyhow::{Context as _, bail};

use crate::db::SCHEMA_VERSION;
use crate::db::sql::{self, Connection, OptionalExtension as _, params};

/// What the advisory lock of those who migrate is called: "dossier" in ASCII.
const MIGRATION_LOCK: i64 = 0x64_6f73_7369_6572;

/// Each brings the schema to its number. The first PostgreSQL release had schema 5.
const MIGRATIONS: &[(i64, &str)] =
    &[(5, include_str!("../../../migrations/postgres/0005_initial.sql"))];

/// The schema of the data, and the oldest program that may use it.
fn found(connection: &Connection) -> sql::Result<Option<(i64, i64)>> {
    let there: bool = connection
        .prepare_cached("SELECT to_regclass('dossier_schema') IS NOT NULL")?
        .query_row(&[], |row| row.get(0))?;
    if !there {
        return Ok(None);
    }
    connection
        .prepare_cached("SELECT version, oldest_program FROM dossier_schema")?
        .query_row(&[], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

/// Whether this program may work with the data as they are.
///
/// # Errors
///
/// With what to do, when it may not.
pub(super) fn check(connection: &Connection) -> anyhow::Result<()> {
    let found = found(connection).context("cannot read the database")?;
    let Some((version, _)) = known(found)? else {
        bail!(
            "the database has no data of Dossier: run `dossier migrate` or `dossier serve` first"
        );
    };
    if version < SCHEMA_VERSION {
        bail!(
            "the database has schema {version}, this release needs {SCHEMA_VERSION}: run \
             `dossier migrate` or `dossier serve` of this release first"
        );
    }
    Ok(())
}

/// A newer schema is used as long as it says that this program still may (R24).
fn known(found: Option<(i64, i64)>) -> anyhow::Result<Option<(i64, i64)>> {
    if let Some((version, oldest)) = found
        && oldest > SCHEMA_VERSION
    {
        bail!(
            "the data in the database were written by a newer Dossier (schema {version}, for \
             programs from schema {oldest} on; this one knows {SCHEMA_VERSION}): start the newer \
             release"
        );
    }
    Ok(found)
}

/// Applies what is missing, each migration and its number in one transaction. One node does it under
/// a lock that the transaction frees; whoever waited for it finds nothing to do.
///
/// # Errors
///
/// When the database cannot be reached, is of a newer release, or does not allow it.
pub(super) fn migrate(connection: &Connection) -> anyhow::Result<()> {
    let at_least = |found: Option<(i64, i64)>| found.map_or(0, |(version, _)| version);
    let before = found(connection).context("cannot use the database")?;
    if at_least(known(before)?) >= SCHEMA_VERSION {
        return Ok(());
    }
    let migrate = || -> anyhow::Result<()> {
        connection
            .prepare_cached("SELECT pg_advisory_xact_lock($1)")?
            .execute(params![MIGRATION_LOCK])?;
        let version = at_least(known(found(connection)?)?);
        for (number, migration) in MIGRATIONS.iter().filter(|(number, _)| *number > version) {
            connection
                .execute_batch(migration)
                .with_context(|| format!("cannot migrate the database to schema {number}"))?;
            tracing::info!(schema = number, "migrated the database");
        }
        Ok(())
    };
    connection.execute_batch("BEGIN")?;
    match migrate() {
        Ok(()) => Ok(connection.execute_batch("COMMIT")?),
        Err(error) => {
            let _ = connection.execute_batch("ROLLBACK");
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    /// Each table of the schema with its definition.
    fn tables() -> Vec<(&'static str, &'static str)> {
        let sql = include_str!("../../../migrations/postgres/0005_initial.sql");
        let made = sql.split("CREATE TABLE ").skip(1).map(|rest| rest.split_once(" (").unwrap());
        made.map(|(name, rest)| (name, rest.split("\n);").next().unwrap())).collect()
    }

    /// Citus wants the column that shards in every primary key and unique index.
    #[test]
    fn every_table_of_a_site_can_be_sharded_by_it_and_the_docs_name_it() {
        let docs = include_str!("../../../docs/postgres.md");
        let mut sharded = 0;
        for (name, columns) in tables() {
            let distributed =
                docs.contains(&format!("create_distributed_table('{name}', 'site_id'"));
            let whole = docs.contains(&format!("create_reference_table('{name}')"));
            let belongs_to_a_site = columns.contains("site_id ") && !whole;
            assert_eq!(distributed, belongs_to_a_site, "{name}");
            if belongs_to_a_site {
                assert!(columns.contains("PRIMARY KEY (site_id"), "{name}: {columns}");
                sharded += 1;
            }
        }
        assert!(sharded > 15, "{sharded}");
        let sql = include_str!("../../../migrations/postgres/0005_initial.sql");
        for index in sql.split("CREATE UNIQUE INDEX ").skip(1) {
            let keys = index.split(';').next().unwrap();
            assert!(keys.contains("(site_id, "), "{keys}");
        }
    }
}
