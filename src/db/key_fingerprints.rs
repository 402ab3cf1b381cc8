//! Whether the nodes on one database sign with the same keys. Each keeps them in files of its own; a
//! dump of the database shows none (S21).

use super::Db;
use crate::db::engine::Done;
use crate::db::sql::params;
use crate::error::Result;

impl Db {
    /// Makes a node's keys known by their fingerprints. False when other nodes have made some known and
    /// none of them is among these; then nothing was written. Keys are replaced one after another, so
    /// one in common is enough. Only for a database that nodes share.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn agree_on_keys(
        &self,
        file: &'static str,
        fingerprints: Vec<Vec<u8>>,
    ) -> Result<bool> {
        self.engine
            .write_across(move |connection| {
                let known = connection
                    .prepare_cached("SELECT fingerprint FROM key_fingerprints WHERE file = $1")?
                    .query_map(params![file], |row| row.get::<Vec<u8>>(0))?;
                let value = known.is_empty() || known.iter().any(|one| fingerprints.contains(one));
                if value {
                    for fingerprint in &fingerprints {
                        connection
                            .prepare_cached(
                                "INSERT INTO key_fingerprints (file, fingerprint) \
                                 VALUES ($1, $2) ON CONFLICT DO NOTHING",
                            )?
                            .execute(params![file, fingerprint])?;
                    }
                }
                Ok(Done { value, changed: None })
            })
            .await
    }
}
