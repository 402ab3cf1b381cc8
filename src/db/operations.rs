//! Pending work and problems of a site, for its administrators.

use crate::db::sql::{Result as SqlResult, params};

use super::Db;
use super::looks::{self, LastBackup, LastCheck};
use crate::domain::ids::SiteId;
use crate::error::Result;

/// Counts stop at this number, so that none takes long.
pub const COUNT_LIMIT: i64 = 10_000;

/// Counts rows, at most `$2`.
macro_rules! count_limited {
    ($rows:literal) => {
        concat!("SELECT count(*) FROM (SELECT 1 FROM ", $rows, " LIMIT $2) AS counted")
    };
}

/// Pending work and problems of a site, each count at most [`COUNT_LIMIT`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Operations {
    /// Unfinished resumable uploads.
    pub uploads: i64,
    /// Webhook deliveries that are pending, now or later.
    pub deliveries: i64,
    /// Blobs whose bytes are to be removed.
    pub removals: i64,
    /// Attachments in the trash.
    pub trashed: i64,
    /// Blobs that the scrub found damaged.
    pub damaged: i64,
    /// The progress of the scrub of all sites, as its holder stored it.
    pub scrub_progress: Option<String>,
    /// The last backup of all sites.
    pub backup: Option<LastBackup>,
    /// The last `dossier fsck`, of all sites.
    pub check: Option<LastCheck>,
}

impl Db {
    /// Counts the pending work and the problems of a site.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn operations(&self, site: SiteId) -> Result<Operations> {
        self.engine
            .read(move |connection| {
                let count = |text| -> SqlResult<i64> {
                    connection
                        .prepare_cached(text)?
                        .query_row(params![site, COUNT_LIMIT], |row| row.get(0))
                };
                Ok(Operations {
                    uploads: count(count_limited!("uploads WHERE site_id = $1"))?,
                    deliveries: count(count_limited!(
                        "deliveries WHERE site_id = $1 AND state = 'pending'"
                    ))?,
                    removals: count(count_limited!("blob_removals WHERE site_id = $1"))?,
                    trashed: count(count_limited!("trashed_attachments WHERE site_id = $1"))?,
                    damaged: count(count_limited!("damaged_blobs WHERE site_id = $1"))?,
                    scrub_progress: looks::progress(connection, "scrub")?,
                    backup: looks::last(connection)?,
                    check: looks::last(connection)?,
                })
            })
            .await
    }
}
