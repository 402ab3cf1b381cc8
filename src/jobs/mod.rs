//! Work that repeats: each job runs at once, then on its tick, until the server stops. One
//! that fails is logged and tried again on the next tick. The telling of events waits for news.

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

/// How often it is looked for what is over.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// How often it is looked for contacts that are being closed and receipts that can be completed.
const CONTACTS_EVERY: Duration = Duration::from_secs(1);
/// How often it is asked whether the scrub is to begin again.
const SCRUB_EVERY: Duration = Duration::from_mins(1);
/// How often uploads that failed in this process are settled.
const RECOVER_EVERY: Duration = Duration::from_mins(1);

/// How often the cache of this server is looked through for what belongs to blobs that another one
/// has removed. Until then nothing opens it: the row is looked up first.
const CACHE_EVERY: Duration = Duration::from_hours(6);

/// Starts all jobs.
pub fn start(app: &Arc<App>) {
    every(app, "recover", RECOVER_EVERY, async |app| {
        let (kept, removed) = recover(&app).await?;
        if kept + removed > 0 {
            tracing::info!(kept, removed, "settled uploads that were left behind");
        }
        Ok(())
    });
    every(app, "sweep", SWEEP_EVERY, async |app| {
        loop {
            let swept = sweep(&app).await?;
            if swept != Swept::default() {
                tracing::debug!(?swept, "took away what was over");
            }
            if !swept.is_full() || app.tasks.is_stopping() {
                return Ok(());
            }
        }
    });
    every(app, "contacts", CONTACTS_EVERY, async |app| contacts::go_on(&app).await);
    every(app, "scrub", SCRUB_EVERY, async |app| {
        while scrub::step(&app).await? == Step::More && !app.tasks.is_stopping() {}
        Ok(())
    });
    if app.blobs.is_shared() {
        every(app, "cached transforms", CACHE_EVERY, async |app| look_through_cache(&app).await);
    } else {
        // From then on whoever removes a blob removes what was made of it.
        let shared = Arc::clone(app);
        app.tasks.spawn(async move {
            if let Err(error) = look_through_cache(&shared).await {
                tracing::warn!(?error, "cached transforms could not be looked through");
            }
        });
    }
    deliver::start(app);
    every(app, "registry", registry::REFRESH_EVERY, async |app| {
        app.db.notice_others().await?;
        app.registry.refresh(&app.db).await
    });
}

async fn look_through_cache(app: &App) -> Result<()> {
    let cache = Arc::clone(&app.transforms.cache);
    Ok(app.tasks.spawn_blocking(move || cache.rebuild()).await.map_err(anyhow::Error::from)??)
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
