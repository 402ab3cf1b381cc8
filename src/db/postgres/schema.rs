//! The schema of a PostgreSQL database: brought up to date by one node while the others wait.

use anyhow::{Context as _, bail};

use crate::db::sql::{self, Connection, OptionalExtension as _, params};
use crate::db::{SCHEMA_VERSION, folds};

/// What the advisory lock of those who migrate is called: "dossier" in ASCII.
const MIGRATION_LOCK: i64 = 0x64_6f73_7369_6572;

/// Each brings the schema to its number. The first PostgreSQL release had schema 5.
const MIGRATIONS: &[(i64, &str)] = &[
    (5, include_str!("../../../migrations/postgres/0005_initial.sql")),
    (6, include_str!("../../../migrations/postgres/0006_sessions.sql")),
    (7, include_str!("../../../migrations/postgres/0007_descriptions.sql")),
    (8, include_str!("../../../migrations/postgres/0008_placing.sql")),
];

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

/// Whether this user may make tables where they would be made.
fn may_make_tables(connection: &Connection) -> sql::Result<bool> {
    connection
        .prepare_cached("SELECT COALESCE(has_schema_privilege(current_schema(), 'CREATE'), false)")?
        .query_row(&[], |row| row.get(0))
}

/// Whether this program may work with the data as they are.
///
/// # Errors
///
/// With what to do, when it may not.
pub(super) fn check(connection: &Connection) -> anyhow::Result<()> {
    let found = found(connection).context("cannot read the database")?;
    let Some((version, _)) = known(found)? else {
        if !may_make_tables(connection)? {
            bail!(
                "the database has no data of Dossier, and the user of database_url may make no \
                 tables there: let it own the database, or run `dossier migrate` as one who does"
            );
        }
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
    match too_new(found) {
        Some(problem) => bail!(problem),
        None => Ok(found),
    }
}

fn too_new(found: Option<(i64, i64)>) -> Option<String> {
    let (version, oldest) = found.filter(|(_, oldest)| *oldest > SCHEMA_VERSION)?;
    Some(format!(
        "the data in the database were written by a newer Dossier (schema {version}, for programs \
         from schema {oldest} on; this one knows {SCHEMA_VERSION}): start the newer release"
    ))
}

/// Why this program may not work with the data any more, if so: a newer one may have changed the schema
/// meanwhile.
pub(super) fn outgrown(connection: &Connection) -> sql::Result<Option<String>> {
    Ok(too_new(found(connection)?))
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
                .and_then(|()| folds::fill_after(connection, *number))
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
    use super::MIGRATIONS;

    /// What only adds leaves programs of the release before working, which name every column.
    const ADDING: [&str; 5] =
        ["CREATE TABLE ", "CREATE INDEX ", "CREATE OR REPLACE VIEW ", "INSERT INTO ", "UPDATE "];

    /// What is wrong with what a migration says of itself, if anything.
    fn misdeclared(number: i64, migration: &str) -> Option<String> {
        let text: Vec<&str> =
            migration.lines().map(|line| line.split("--").next().unwrap_or_default()).collect();
        let text = text.join(" ");
        let statements = text.split(';').map(|one| one.split_whitespace().collect::<Vec<_>>());
        let statements: Vec<String> =
            statements.map(|words| words.join(" ")).filter(|one| !one.is_empty()).collect();
        let is_addition = |statement: &String| {
            let adds_columns = statement.starts_with("ALTER TABLE ")
                && statement.contains(" ADD COLUMN ")
                && (!statement.contains("NOT NULL") || statement.contains("DEFAULT"))
                && !["DROP", "RENAME", " TYPE "].iter().any(|word| statement.contains(word));
            adds_columns || ADDING.iter().any(|begin| statement.starts_with(begin))
        };
        let sets = format!("UPDATE dossier_schema SET version = {number}");
        let Some(declared) = statements.iter().find(|one| one.starts_with(&sets)) else {
            return Some(format!("{number} does not say {sets}"));
        };
        let is_compatible = !declared.contains("oldest_program");
        match statements.iter().find(|statement| !is_addition(statement)) {
            Some(change) if is_compatible => {
                Some(format!("{number} must raise oldest_program, because of: {change}"))
            }
            None if !is_compatible => Some(format!("{number} only adds: oldest_program may stay")),
            _ => None,
        }
    }

    /// R24: the release before goes on beside this one.
    #[test]
    fn a_migration_that_only_adds_lets_the_release_before_go_on_and_no_other_does() {
        for (number, migration) in MIGRATIONS.iter().skip(1) {
            assert_eq!(misdeclared(*number, migration), None);
        }
        let adds =
            "-- One more.\nCREATE TABLE a (b BIGINT);\nALTER TABLE sites ADD COLUMN c BIGINT;\n";
        let says = "UPDATE dossier_schema SET version = 9";
        let refuses = ", oldest_program = 9";
        assert_eq!(misdeclared(9, &format!("{adds}{says};")), None);
        for removes in [
            "DROP TABLE events",
            "ALTER TABLE sites DROP COLUMN name",
            "ALTER TABLE sites ADD COLUMN c BIGINT NOT NULL",
            "CREATE UNIQUE INDEX names ON sites (name)",
        ] {
            let migration = format!("{adds}{removes};{says}");
            assert!(misdeclared(9, &migration).unwrap().contains(removes));
            assert_eq!(misdeclared(9, &format!("{migration}{refuses};")), None);
        }
        assert!(misdeclared(9, &format!("{adds}{says}{refuses};")).unwrap().contains("may stay"));
        assert!(misdeclared(9, adds).unwrap().contains("does not say"));
    }

    /// Each table of the schema with its definition.
    fn tables() -> Vec<(&'static str, &'static str)> {
        let made = MIGRATIONS.iter().flat_map(|(_, sql)| sql.split("CREATE TABLE ").skip(1));
        let made = made.map(|rest| rest.split_once(" (").unwrap());
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
        let indexes =
            MIGRATIONS.iter().flat_map(|(_, sql)| sql.split("CREATE UNIQUE INDEX ").skip(1));
        for index in indexes {
            let keys = index.split(';').next().unwrap();
            assert!(keys.contains("(site_id, "), "{keys}");
        }
    }
}
