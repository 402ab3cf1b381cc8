//! Queries of the sweep: blobs that are to go, and upload URLs that need no longer be known.

use rusqlite::params;

use super::Db;
use super::sqlite::{Done, from_sqlite};
use crate::domain::ids::{BlobId, SiteId};
use crate::error::Result;

impl Db {
    /// Blobs whose time to go has come, at most `limit`.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn due_removals(&self, now_ms: i64, limit: u32) -> Result<Vec<(SiteId, BlobId)>> {
        self.sqlite
            .read(move |connection| {
                connection
                    .prepare_cached(
                        "SELECT site_id, blob_id FROM blob_removals \
                         WHERE remove_after_ms <= $1 ORDER BY remove_after_ms LIMIT $2",
                    )?
                    .query_map(params![now_ms, limit], |row| Ok((row.get(0)?, row.get(1)?)))?
                    .collect()
            })
            .await
    }

    /// Forgets removals that were carried out.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn forget_removals(&self, removed: Vec<(SiteId, BlobId)>) -> Result<()> {
        self.sqlite
            .write(move |connection| {
                for (site, blob) in removed {
                    connection
                        .prepare_cached(
                            "DELETE FROM blob_removals WHERE site_id = $1 AND blob_id = $2",
                        )
                        .and_then(|mut statement| statement.execute(params![site, blob]))
                        .map_err(from_sqlite)?;
                }
                Ok(Done { value: (), changed: None })
            })
            .await
    }

    /// Forgets used upload URLs that have expired; returns how many.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn forget_spent_uploads(&self, now_ms: i64) -> Result<usize> {
        self.sqlite
            .write(move |connection| {
                let forgotten = connection
                    .prepare_cached("DELETE FROM spent_uploads WHERE expires_at_ms <= $1")
                    .and_then(|mut statement| statement.execute(params![now_ms]))
                    .map_err(from_sqlite)?;
                Ok(Done { value: forgotten, changed: None })
            })
            .await
    }
}
