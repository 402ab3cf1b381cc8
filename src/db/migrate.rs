//! Brings the schema up to date apart from a start, for those who want to see it done first.

use crate::db::postgres::Postgres;
use crate::db::{Place, SCHEMA_VERSION, sqlite};

/// Brings the schema up to date; nothing happens when it is. Of several processes one does it while the
/// others wait.
///
/// # Errors
///
/// When the database cannot be used, or was written by a newer release.
pub fn migrate(place: &Place) -> anyhow::Result<i64> {
    match place {
        Place::File(file) => drop(sqlite::open_writer(file)?),
        Place::Postgres(place) => drop(Postgres::separate_and_migrated(place)?),
    }
    Ok(SCHEMA_VERSION)
}
