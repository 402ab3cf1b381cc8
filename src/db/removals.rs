//! Queries of the sweep: blobs to remove, and used upload URLs to forget.

use crate::db::sql::params;

use super::leases::{Lease, check_fence};
use super::{Db, contacts};
use crate::db::engine::Done;
use crate::domain::ids::{BlobId, SiteId};
use crate::error::Result;

impl Db {
    /// Blobs whose removal is due, at most `limit`; none while a backup is running.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn due_removals(&self, now_ms: i64, limit: u32) -> Result<Vec<(SiteId, BlobId)>> {
        self.engine
            .read(move |connection| {
                connection
                    .prepare_cached(
                        "SELECT site_id, blob_id FROM blob_removals \
                         WHERE remove_after_ms <= $1 \
                         AND NOT EXISTS (SELECT 1 FROM backup_holds WHERE expires_at_ms > $1) \
                         ORDER BY remove_after_ms LIMIT $2",
                    )?
                    .query_map(params![now_ms, limit], |row| Ok((row.get(0)?, row.get(1)?)))
            })
            .await
    }

    /// Deletes completed removals, and records them in the receipts of erasures.
    ///
    /// # Errors
    ///
    /// When the lease has changed hands, or the database fails.
    pub async fn complete_removals(
        &self,
        lease: &Lease,
        removed: Vec<(SiteId, BlobId)>,
        now_ms: i64,
    ) -> Result<()> {
        let lease = lease.clone();
        self.engine
            .write_across(move |connection| {
                check_fence(connection, &lease)?;
                for &(site, blob) in &removed {
                    connection.lock_site(site)?;
                    connection
                        .prepare_cached(
                            "DELETE FROM blob_removals WHERE site_id = $1 AND blob_id = $2",
                        )
                        .and_then(|mut statement| statement.execute(params![site, blob]))?;
                    contacts::blob_erased(connection, (site, blob), now_ms)?;
                }
                Ok(Done { value: (), changed: None })
            })
            .await
    }

    /// Deletes used upload URLs that have expired, at most `limit`; returns how many.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn delete_expired_spent_uploads(&self, now_ms: i64, limit: u32) -> Result<usize> {
        self.engine
            .write_across(move |connection| {
                let deleted = connection
                    .prepare_cached(
                        "DELETE FROM spent_uploads WHERE (site_id, attachment_id) IN \
                         (SELECT site_id, attachment_id FROM spent_uploads \
                         WHERE expires_at_ms <= $1 ORDER BY expires_at_ms LIMIT $2)",
                    )
                    .and_then(|mut statement| statement.execute(params![now_ms, limit]))?;
                Ok(Done { value: deleted, changed: None })
            })
            .await
    }
}
