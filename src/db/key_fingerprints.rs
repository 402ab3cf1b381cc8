//! Checks that the nodes of one database sign with the same keys. Each node keeps its keys in
//! files; the database, and so a dump of it, holds only fingerprints (S21).

use super::Db;
use crate::db::engine::Done;
use crate::db::sql::params;
use crate::error::Result;

impl Db {
    /// Registers the fingerprints of a node's keys. False, and nothing is written, if other nodes
    /// have registered some and none of them is among these. Keys rotate one at a time, so one in
    /// common is enough. Only for a database that nodes share.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn register_key_fingerprints(
        &self,
        file: &'static str,
        fingerprints: Vec<Vec<u8>>,
    ) -> Result<bool> {
        self.engine
            .write_across(move |connection| {
                let registered = connection
                    .prepare_cached("SELECT fingerprint FROM key_fingerprints WHERE file = $1")?
                    .query_map(params![file], |row| row.get::<Vec<u8>>(0))?;
                let value = registered.is_empty()
                    || registered.iter().any(|known| fingerprints.contains(known));
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
