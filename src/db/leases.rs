//! Leases for jobs that one process does for all. A lease ends by itself, so another process
//! replaces one that died; the fence detects a holder that was only slow and has been replaced
//! (R27).

use crate::db::sql::{Connection, OptionalExtension as _, params};
use uuid::Uuid;

use super::Db;
use crate::db::engine::Done;
use crate::error::{Error, Result};

/// The lease of a job, held for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The job's name.
    pub job: &'static str,
    /// Increases whenever the job changes hands.
    pub fence: i64,
    /// The job's progress, as its last holder stored it.
    pub progress: String,
}

impl Db {
    /// Acquires or renews the lease of a job; `None` while another process holds it.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn acquire_lease(
        &self,
        job: &'static str,
        holder: Uuid,
        now_ms: i64,
        until_ms: i64,
    ) -> Result<Option<Lease>> {
        self.engine
            .write_across(move |connection| {
                let lease = connection
                    .prepare_cached(
                        "INSERT INTO job_leases (job, holder, fence, leased_until_ms, progress) \
                         VALUES ($1, $2, 1, $3, '') ON CONFLICT (job) DO UPDATE SET \
                         fence = CASE WHEN job_leases.holder = excluded.holder \
                         THEN job_leases.fence ELSE job_leases.fence + 1 END, \
                         holder = excluded.holder, leased_until_ms = excluded.leased_until_ms \
                         WHERE job_leases.holder = excluded.holder \
                         OR job_leases.leased_until_ms <= $4 RETURNING fence, progress",
                    )
                    .and_then(|mut statement| {
                        statement
                            .query_row(params![job, holder.as_bytes(), until_ms, now_ms], |row| {
                                Ok(Lease { job, fence: row.get(0)?, progress: row.get(1)? })
                            })
                            .optional()
                    })?;
                Ok(Done { value: lease, changed: None })
            })
            .await
    }

    /// Stores the progress of a job; false when it has changed hands.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn save_progress(&self, lease: &Lease, progress: String) -> Result<bool> {
        let (job, fence) = (lease.job, lease.fence);
        self.engine
            .write_across(move |connection| {
                let stored = connection
                    .prepare_cached(
                        "UPDATE job_leases SET progress = $1 WHERE job = $2 AND fence = $3",
                    )
                    .and_then(|mut statement| statement.execute(params![progress, job, fence]))?;
                Ok(Done { value: stored > 0, changed: None })
            })
            .await
    }

    /// Ends the leases of a holder that is stopping, or all: then the data folder's lock proves
    /// that no holder is running.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn end_leases(&self, holder: Option<Uuid>) -> Result<()> {
        self.engine
            .write_across(move |connection| {
                connection
                    .prepare_cached(
                        "UPDATE job_leases SET leased_until_ms = 0 \
                         WHERE holder = $1 OR $1 IS NULL",
                    )
                    .and_then(|mut statement| statement.execute(params![holder]))?;
                Ok(Done { value: (), changed: None })
            })
            .await
    }
}

/// Inside a write: fails it when the lease has changed hands.
pub(super) fn check_fence(connection: &Connection, lease: &Lease) -> Result<()> {
    // Changes nothing, but locks the row, so that nobody acquires the lease before this write ends.
    let holds = connection
        .prepare_cached("UPDATE job_leases SET fence = fence WHERE job = $1 AND fence = $2")
        .and_then(|mut statement| statement.execute(params![lease.job, lease.fence]))?;
    if holds > 0 {
        return Ok(());
    }
    Err(Error::Internal(anyhow::anyhow!("the job {} has changed hands", lease.job)))
}
