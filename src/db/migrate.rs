//! Migrates the schema without starting a server, for operators who want it as a separate step.

use crate::db::postgres::Postgres;
use crate::db::{DatabaseLocation, SCHEMA_VERSION, sqlite};

/// Migrates the schema to this release's version, and does nothing if it is there already. Of
/// several processes one migrates while the others wait.
///
/// # Errors
///
/// When the database cannot be used, or has a newer release's schema.
pub fn migrate(location: &DatabaseLocation) -> anyhow::Result<i64> {
    match location {
        DatabaseLocation::File(file) => drop(sqlite::open_writer(file)?),
        DatabaseLocation::Postgres(location) => drop(Postgres::connect_and_migrate(location)?),
    }
    Ok(SCHEMA_VERSION)
}
