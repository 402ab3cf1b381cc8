//! Queries of the scrub: which blobs to check next, and what it found.

use crate::db::sql::params;

use super::Db;
use super::inspect::{BlobRow, blob_columns, blob_row};
use super::leases::{Lease, check_fence};
use crate::db::engine::Done;
use crate::domain::ids::{AttachmentId, BlobId, SiteId};
use crate::error::Result;

/// A blob whose bytes differ from those that were uploaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedBlob {
    /// The tenant.
    pub site_id: SiteId,
    /// The blob.
    pub blob_id: BlobId,
    /// The attachment.
    pub attachment_id: AttachmentId,
    /// What is wrong with it.
    pub problem: String,
    /// When it was found, in Unix milliseconds.
    pub found_at_ms: i64,
}

impl Db {
    /// Blobs after an attachment in the order of site and id, at most `limit`.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn blobs_after(
        &self,
        site: SiteId,
        attachment: AttachmentId,
        limit: u32,
    ) -> Result<Vec<BlobRow>> {
        self.engine
            .read(move |connection| {
                connection
                    .prepare_cached(concat!(
                        "SELECT ",
                        blob_columns!(),
                        " FROM stored_attachments WHERE (site_id, attachment_id) > ($1, $2) \
                         ORDER BY site_id, attachment_id LIMIT $3"
                    ))?
                    .query_map(params![site, attachment, limit], blob_row)
            })
            .await
    }

    /// Records the result for a blob: damage, or none. Damage to a blob that was deleted meanwhile
    /// is ignored. True when the record changed.
    ///
    /// # Errors
    ///
    /// When the lease has changed hands, or the database fails.
    pub async fn record_scrub(
        &self,
        lease: &Lease,
        row: BlobRow,
        damage: Option<(String, i64)>,
    ) -> Result<bool> {
        let lease = lease.clone();
        self.engine
            .write_across(move |connection| {
                check_fence(connection, &lease)?;
                let changed = match &damage {
                    None => connection
                        .prepare_cached(
                            "DELETE FROM damaged_blobs WHERE site_id = $1 AND blob_id = $2",
                        )
                        .and_then(|mut statement| {
                            statement.execute(params![row.site_id, row.blob_id])
                        }),
                    Some((problem, now_ms)) => connection
                        .prepare_cached(
                            "INSERT INTO damaged_blobs (site_id, blob_id, attachment_id, problem, \
                             found_at_ms) SELECT site_id, blob_id, attachment_id, $1, $2 \
                             FROM stored_attachments WHERE site_id = $3 AND attachment_id = $4 \
                             AND blob_id = $5 ON CONFLICT (site_id, blob_id) DO NOTHING",
                        )
                        .and_then(|mut statement| {
                            statement.execute(params![
                                problem,
                                now_ms,
                                row.site_id,
                                row.attachment_id,
                                row.blob_id
                            ])
                        }),
                };
                Ok(Done { value: changed? > 0, changed: None })
            })
            .await
    }

    /// Damaged blobs that an attachment still uses, newest finding first, at most `limit`, and
    /// their total number.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn damaged_blobs(&self, limit: u32) -> Result<(Vec<DamagedBlob>, u64)> {
        self.engine
            .read(move |connection| {
                let damaged = connection
                    .prepare_cached(
                        "SELECT d.site_id, d.blob_id, d.attachment_id, d.problem, d.found_at_ms \
                         FROM damaged_blobs d JOIN stored_attachments a ON a.site_id = d.site_id \
                         AND a.attachment_id = d.attachment_id AND a.blob_id = d.blob_id \
                         ORDER BY d.found_at_ms DESC, d.blob_id LIMIT $1",
                    )?
                    .query_map(params![limit], |row| {
                        Ok(DamagedBlob {
                            site_id: row.get(0)?,
                            blob_id: row.get(1)?,
                            attachment_id: row.get(2)?,
                            problem: row.get(3)?,
                            found_at_ms: row.get(4)?,
                        })
                    })?;
                let count: i64 = connection
                    .prepare_cached(
                        "SELECT count(*) FROM damaged_blobs d JOIN stored_attachments a \
                         ON a.site_id = d.site_id AND a.attachment_id = d.attachment_id \
                         AND a.blob_id = d.blob_id",
                    )?
                    .query_row(&[], |row| row.get(0))?;
                Ok((damaged, count as u64))
            })
            .await
    }

    /// Deletes records of damage to deleted blobs; returns how many.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn delete_stale_damage(&self) -> Result<usize> {
        self.engine
            .write_across(move |connection| {
                let deleted = connection
                    .prepare_cached(
                        "DELETE FROM damaged_blobs WHERE NOT EXISTS (SELECT 1 FROM stored_attachments a \
                         WHERE a.site_id = damaged_blobs.site_id \
                         AND a.attachment_id = damaged_blobs.attachment_id \
                         AND a.blob_id = damaged_blobs.blob_id)",
                    )
                    .and_then(|mut statement| statement.execute(&[]))
                    ?;
                Ok(Done { value: deleted, changed: None })
            })
            .await
    }
}
