//! The schema of a PostgreSQL database. One node migrates it while the others wait.

use anyhow::{Context as _, bail};

use crate::db::sql::{self, Connection, OptionalExtension as _, params};
use crate::db::{SCHEMA_VERSION, folds};

/// The key of the migration's advisory lock: "dossier" in ASCII.
const MIGRATION_LOCK: i64 = 0x64_6f73_7369_6572;

/// Each migrates the schema to its number. The first PostgreSQL release had schema 5.
const MIGRATIONS: &[(i64, &str)] = &[
    (5, include_str!("../../../migrations/postgres/0005_initial.sql")),
    (6, include_str!("../../../migrations/postgres/0006_sessions.sql")),
    (7, include_str!("../../../migrations/postgres/0007_descriptions.sql")),
    (8, include_str!("../../../migrations/postgres/0008_placing.sql")),
];

/// The schema version of the data, and the oldest release's schema that may still use it.
fn stored_version(connection: &Connection) -> sql::Result<Option<(i64, i64)>> {
    let exists: bool = connection
        .prepare_cached("SELECT to_regclass('dossier_schema') IS NOT NULL")?
        .query_row(&[], |row| row.get(0))?;
    if !exists {
        return Ok(None);
    }
    connection
        .prepare_cached("SELECT version, oldest_program FROM dossier_schema")?
        .query_row(&[], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

/// Whether this user may create tables in the current schema.
fn may_create_tables(connection: &Connection) -> sql::Result<bool> {
    connection
        .prepare_cached("SELECT COALESCE(has_schema_privilege(current_schema(), 'CREATE'), false)")?
        .query_row(&[], |row| row.get(0))
}

/// Whether this release can use the data without migrating it.
///
/// # Errors
///
/// States what to do when it cannot.
pub(super) fn check(connection: &Connection) -> anyhow::Result<()> {
    let stored_version = stored_version(connection).context("cannot read the database")?;
    let Some((version, _)) = check_supported(stored_version)? else {
        if !may_create_tables(connection)? {
            bail!(
                "the database holds no Dossier data, and the user of database_url may not create \
                 tables there: make it the owner of the database, or run `dossier migrate` as the \
                 owner"
            );
        }
        bail!("the database holds no Dossier data: run `dossier migrate` or `dossier serve` first");
    };
    if version < SCHEMA_VERSION {
        bail!(
            "the database has schema {version}, this release needs {SCHEMA_VERSION}: run \
             `dossier migrate` or `dossier serve` of this release first"
        );
    }
    Ok(())
}

/// Accepts a newer schema as long as it allows this release (R24).
fn check_supported(stored_version: Option<(i64, i64)>) -> anyhow::Result<Option<(i64, i64)>> {
    match too_new(stored_version) {
        Some(problem) => bail!(problem),
        None => Ok(stored_version),
    }
}

fn too_new(stored_version: Option<(i64, i64)>) -> Option<String> {
    let (version, oldest) = stored_version.filter(|(_, oldest)| *oldest > SCHEMA_VERSION)?;
    Some(format!(
        "the data in the database were written by a newer Dossier (schema {version}, usable from \
         schema {oldest} on; this one supports {SCHEMA_VERSION}): start the newer release"
    ))
}

/// Why this release must no longer use the data, if so: a newer one may have migrated the schema
/// meanwhile.
pub(super) fn schema_too_new(connection: &Connection) -> sql::Result<Option<String>> {
    Ok(too_new(stored_version(connection)?))
}

/// Applies the missing migrations in one transaction, under an advisory lock that the transaction
/// releases. Nodes that waited for it find nothing left to do.
///
/// # Errors
///
/// When the database cannot be reached, has a newer release's schema, or denies the changes.
pub(super) fn migrate(connection: &Connection) -> anyhow::Result<()> {
    let version_or_0 = |stored: Option<(i64, i64)>| stored.map_or(0, |(version, _)| version);
    let before = stored_version(connection).context("cannot use the database")?;
    if version_or_0(check_supported(before)?) >= SCHEMA_VERSION {
        return Ok(());
    }
    let migrate = || -> anyhow::Result<()> {
        connection
            .prepare_cached("SELECT pg_advisory_xact_lock($1)")?
            .execute(params![MIGRATION_LOCK])?;
        let version = version_or_0(check_supported(stored_version(connection)?)?);
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

    /// Statements that only add keep the previous release working, since it names every column.
    const ADDITIVE: [&str; 5] =
        ["CREATE TABLE ", "CREATE INDEX ", "CREATE OR REPLACE VIEW ", "INSERT INTO ", "UPDATE "];

    /// The error in a migration's declared compatibility, if any.
    fn misdeclared(number: i64, migration: &str) -> Option<String> {
        let text: Vec<&str> =
            migration.lines().map(|line| line.split("--").next().unwrap_or_default()).collect();
        let text = text.join(" ");
        let statements =
            text.split(';').map(|statement| statement.split_whitespace().collect::<Vec<_>>());
        let statements: Vec<String> = statements
            .map(|words| words.join(" "))
            .filter(|statement| !statement.is_empty())
            .collect();
        let is_addition = |statement: &String| {
            let adds_columns = statement.starts_with("ALTER TABLE ")
                && statement.contains(" ADD COLUMN ")
                && (!statement.contains("NOT NULL") || statement.contains("DEFAULT"))
                && !["DROP", "RENAME", " TYPE "].iter().any(|word| statement.contains(word));
            adds_columns || ADDITIVE.iter().any(|begin| statement.starts_with(begin))
        };
        let sets = format!("UPDATE dossier_schema SET version = {number}");
        let Some(declared) = statements.iter().find(|statement| statement.starts_with(&sets))
        else {
            return Some(format!("{number} does not contain {sets}"));
        };
        let is_compatible = !declared.contains("oldest_program");
        match statements.iter().find(|statement| !is_addition(statement)) {
            Some(change) if is_compatible => {
                Some(format!("{number} must raise oldest_program because of: {change}"))
            }
            None if !is_compatible => Some(format!("{number} only adds: oldest_program may stay")),
            _ => None,
        }
    }

    /// The previous release keeps working next to this one (R24).
    #[test]
    fn only_additive_migrations_keep_the_previous_release_working() {
        for (number, migration) in MIGRATIONS.iter().skip(1) {
            assert_eq!(misdeclared(*number, migration), None);
        }
        let adds =
            "-- One more.\nCREATE TABLE a (b BIGINT);\nALTER TABLE sites ADD COLUMN c BIGINT;\n";
        let declares = "UPDATE dossier_schema SET version = 9";
        let raises = ", oldest_program = 9";
        assert_eq!(misdeclared(9, &format!("{adds}{declares};")), None);
        for removes in [
            "DROP TABLE events",
            "ALTER TABLE sites DROP COLUMN name",
            "ALTER TABLE sites ADD COLUMN c BIGINT NOT NULL",
            "CREATE UNIQUE INDEX names ON sites (name)",
        ] {
            let migration = format!("{adds}{removes};{declares}");
            assert!(misdeclared(9, &migration).unwrap().contains(removes));
            assert_eq!(misdeclared(9, &format!("{migration}{raises};")), None);
        }
        assert!(
            misdeclared(9, &format!("{adds}{declares}{raises};")).unwrap().contains("may stay")
        );
        assert!(misdeclared(9, adds).unwrap().contains("does not contain"));
    }

    /// Each table of the schema with its definition.
    fn tables() -> Vec<(&'static str, &'static str)> {
        let definitions = MIGRATIONS.iter().flat_map(|(_, sql)| sql.split("CREATE TABLE ").skip(1));
        let definitions = definitions.map(|rest| rest.split_once(" (").unwrap());
        definitions.map(|(name, rest)| (name, rest.split("\n);").next().unwrap())).collect()
    }

    /// Citus requires the shard column in every primary key and unique index.
    #[test]
    fn every_site_table_can_be_sharded_by_site_and_is_documented() {
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
