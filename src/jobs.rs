//! Work that repeats: each job runs at once, then on its tick, until the server stops. One
//! that fails is logged and tried again on the next tick.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::actions::upload::resumable::ENDED_A_RUN;
use crate::actions::{self, delete::REMOVALS_A_RUN};
use crate::app::App;
use crate::error::Result;
use crate::registry;

/// How often removed blobs and expired upload URLs are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// How often uploads that failed in this process are settled.
const RECOVER_EVERY: Duration = Duration::from_mins(1);

/// Starts all jobs.
pub fn start(app: &Arc<App>) {
    every(app, "recover", RECOVER_EVERY, async |app| {
        let (kept, removed) = actions::recover::recover(&app).await?;
        if kept + removed > 0 {
            tracing::info!(kept, removed, "settled uploads that were left behind");
        }
        Ok(())
    });
    every(app, "sweep", SWEEP_EVERY, async |app| {
        while actions::upload::resumable::end_expired(&app).await? == ENDED_A_RUN as usize {}
        // A full run may have left more behind.
        loop {
            let removed = actions::delete::sweep(&app).await?;
            if removed > 0 {
                tracing::debug!(removed, "removed the bytes of deleted attachments");
            }
            if removed < REMOVALS_A_RUN as usize || app.tasks.is_stopping() {
                return Ok(());
            }
        }
    });
    every(app, "registry", registry::REFRESH_EVERY, async |app| {
        app.registry.refresh(&app.db).await
    });
}

fn every<F, W>(app: &Arc<App>, name: &'static str, tick: Duration, work: W)
where
    W: Fn(Arc<App>) -> F + Send + 'static,
    F: Future<Output = Result<()>> + Send,
{
    let shared = Arc::clone(app);
    app.tasks.spawn(async move {
        loop {
            if let Err(error) = work(Arc::clone(&shared)).await {
                tracing::error!(job = name, ?error, "a job failed and will be tried again");
            }
            tokio::select! {
                () = tokio::time::sleep(tick) => {}
                () = shared.tasks.stopping() => return,
            }
        }
    });
}
