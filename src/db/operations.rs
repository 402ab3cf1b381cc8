//! What waits and what is wrong at a site, for those who administer it.

use crate::db::sql::{Result as SqlResult, params};

use super::Db;
use super::looks::{self, LastBackup, LastCheck};
use crate::domain::ids::SiteId;
use crate::error::Result;

/// Most of each kind that are counted; more count as many, so that no count takes long.
pub const MOST_COUNTED: i64 = 10_000;

/// Counts rows, at most `$2`.
macro_rules! counted {
    ($rows:literal) => {
        concat!("SELECT count(*) FROM (SELECT 1 FROM ", $rows, " LIMIT $2) AS counted")
    };
}

/// What waits and what is wrong at a site, each at most [`MOST_COUNTED`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Operations {
    /// Resumable uploads that are not whole.
    pub uploads: i64,
    /// Deliveries of webhooks that are to be tried, now or later.
    pub deliveries: i64,
    /// Blobs whose bytes are to go.
    pub removals: i64,
    /// Attachments in the trash.
    pub trashed: i64,
    /// Blobs that are not what was uploaded, as the scrub found them.
    pub damaged: i64,
    /// How far the scrub of all sites has come, as its holder wrote it down.
    pub scrub_progress: Option<String>,
    /// The last backup of all sites.
    pub backup: Option<LastBackup>,
    /// The last `dossier fsck`, of all sites.
    pub check: Option<LastCheck>,
}

impl Db {
    /// Counts what waits and what is wrong at a site.
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
                        .query_row(params![site, MOST_COUNTED], |row| row.get(0))
                };
                Ok(Operations {
                    uploads: count(counted!("uploads WHERE site_id = $1"))?,
                    deliveries: count(counted!(
                        "deliveries WHERE site_id = $1 AND state = 'pending'"
                    ))?,
                    removals: count(counted!("blob_removals WHERE site_id = $1"))?,
                    trashed: count(counted!("trashed_attachments WHERE site_id = $1"))?,
                    damaged: count(counted!("damaged_blobs WHERE site_id = $1"))?,
                    scrub_progress: looks::progress(connection, "scrub")?,
                    backup: looks::last(connection)?,
                    check: looks::last(connection)?,
                })
            })
            .await
    }
}
