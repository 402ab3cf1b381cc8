//! Recurring jobs: each runs at once, then on its interval, until the server stops. A failure is
//! logged and retried on the next tick. Event delivery is woken by new events.

mod deliver;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::actions::contacts;
use crate::actions::recover::recover;
use crate::actions::scrub::{self, Step};
use crate::actions::sweep::{Swept, sweep};
use crate::app::App;
use crate::error::Result;
use crate::registry;

/// How often the sweep runs.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);
/// How often contacts being closed and erasures that can be completed are polled.
const CONTACTS_INTERVAL: Duration = Duration::from_secs(1);
/// How often the scrub checks whether a round is due.
const SCRUB_INTERVAL: Duration = Duration::from_mins(1);
/// How often failed uploads of this process are settled.
const RECOVER_INTERVAL: Duration = Duration::from_mins(1);

/// How often this server's transform cache is checked for blobs that another node has removed.
/// Until then nothing opens them: the row is looked up first.
const CACHE_INTERVAL: Duration = Duration::from_hours(6);

/// Starts all jobs.
pub fn start(app: &Arc<App>) {
    every(app, "recover", RECOVER_INTERVAL, async |app| {
        let (kept, removed) = recover(&app).await?;
        if kept + removed > 0 {
            tracing::info!(kept, removed, "settled leftover uploads");
        }
        Ok(())
    });
    every(app, "sweep", SWEEP_INTERVAL, async |app| {
        loop {
            let swept = sweep(&app).await?;
            if swept != Swept::default() {
                tracing::debug!(?swept, "swept expired data");
            }
            if !swept.is_full() || app.tasks.is_stopping() {
                return Ok(());
            }
        }
    });
    every(app, "contacts", CONTACTS_INTERVAL, async |app| {
        contacts::continue_unfinished(&app).await
    });
    every(app, "scrub", SCRUB_INTERVAL, async |app| {
        while scrub::step(&app).await? == Step::More && !app.tasks.is_stopping() {}
        Ok(())
    });
    if app.blobs.is_shared() {
        every(app, "cached transforms", CACHE_INTERVAL, async |app| index_cache(&app).await);
    } else {
        // Once is enough: afterwards, removing a blob also removes its transforms.
        let shared = Arc::clone(app);
        app.tasks.spawn(async move {
            if let Err(error) = index_cache(&shared).await {
                tracing::warn!(?error, "the transform cache could not be indexed");
            }
        });
    }
    deliver::start(app);
    every(app, "registry", registry::REFRESH_EVERY, async |app| {
        app.db.detect_external_changes().await?;
        app.registry.refresh(&app.db).await
    });
}

async fn index_cache(app: &App) -> Result<()> {
    let cache = Arc::clone(&app.transforms.cache);
    Ok(app.tasks.spawn_blocking(move || cache.rebuild()).await.map_err(anyhow::Error::from)??)
}

fn every<F, W>(app: &Arc<App>, name: &'static str, interval: Duration, work: W)
where
    W: Fn(Arc<App>) -> F + Send + 'static,
    F: Future<Output = Result<()>> + Send,
{
    let shared = Arc::clone(app);
    app.tasks.spawn(async move {
        loop {
            if let Err(error) = work(Arc::clone(&shared)).await {
                tracing::error!(job = name, ?error, "a job failed and will be retried");
            }
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                () = shared.tasks.stopping() => return,
            }
        }
    });
}
