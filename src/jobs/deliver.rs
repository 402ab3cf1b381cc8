//! Tells receivers of events (design §7): leases what is due, sends it, notes what came of it. Woken
//! by the write of an event. What dies in the middle is leased again, so nothing is lost, and what
//! was told twice has the same event id (R18).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::actions::webhooks::deliver;
use crate::app::App;
use crate::db::{Room, Settled, SubscriptionKey};

/// Attempts under way at the same time. More of them would wait for this machine's own processor,
/// and that time counts against the receivers.
const AT_ONCE: usize = 256;
/// Attempts under way at the same time to one receiver; to one that has just failed it is one, so
/// that dead ones take few places from the others (R19).
const AT_ONCE_TO_ONE: usize = 32;
/// How often it is looked for what another process has written, and for retries.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How much longer than an attempt may take a lease holds.
const LEASE_MARGIN_MS: i64 = 10_000;

/// Starts the telling.
pub(super) fn start(app: &Arc<App>) {
    let shared = Arc::clone(app);
    app.tasks.spawn(async move {
        if !shared.db.is_shared() {
            end_leases(&shared).await;
        }
        Deliverer::new(shared).run().await;
    });
}

/// The folder's lock shows that whoever had leases is gone; should this fail, they end by themselves.
async fn end_leases(app: &App) {
    match app.db.end_delivery_leases(app.clock.now_ms()).await {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "webhooks that were under way are tried again"),
        Err(error) => tracing::error!(?error, "leases of webhooks were not ended"),
    }
}

struct Deliverer {
    app: Arc<App>,
    under_way: HashMap<SubscriptionKey, usize>,
    count: usize,
    /// What came of attempts and is not noted yet.
    settled: Vec<Settled>,
    send: mpsc::Sender<Settled>,
    ended: mpsc::Receiver<Settled>,
}

impl Deliverer {
    fn new(app: Arc<App>) -> Self {
        let (send, ended) = mpsc::channel(AT_ONCE);
        Self { app, under_way: HashMap::new(), count: 0, settled: Vec::new(), send, ended }
    }

    /// Until a stop: then what is under way ends and is noted.
    async fn run(mut self) {
        let mut look = true;
        loop {
            while let Ok(ended) = self.ended.try_recv() {
                self.end(ended);
            }
            if (look || !self.settled.is_empty()) && !self.step().await {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            let stopping = self.app.tasks.is_stopping();
            if stopping && self.count == 0 {
                return;
            }
            look = tokio::select! {
                Some(ended) = self.ended.recv() => {
                    self.end(ended);
                    false
                }
                () = self.app.db.outbox_news(), if !stopping => true,
                () = self.app.tasks.stopping(), if !stopping => false,
                () = tokio::time::sleep(LOOK_EVERY), if !stopping => self.tick().await,
            };
        }
    }

    fn end(&mut self, ended: Settled) {
        self.count -= 1;
        if let Some(count) = self.under_way.get_mut(&ended.subscription) {
            *count -= 1;
            if *count == 0 {
                self.under_way.remove(&ended.subscription);
            }
        }
        self.settled.push(ended);
    }

    /// Notes what has ended and begins what is due; false when the database fails, which keeps
    /// what is to be noted.
    async fn step(&mut self) -> bool {
        let app = &self.app;
        let now_ms = app.clock.now_ms();
        let lease_ms = app.config.webhook_timeout_ms as i64 + LEASE_MARGIN_MS;
        let room = Room {
            free: if app.tasks.is_stopping() { 0 } else { AT_ONCE - self.count },
            of_one: AT_ONCE_TO_ONE,
            under_way: self.under_way.clone(),
            until_ms: now_ms + lease_ms,
        };
        let claimed = match app.db.deliver_step(self.settled.clone(), room, now_ms).await {
            Ok(claimed) => claimed,
            Err(error) => {
                tracing::error!(?error, "webhooks are not told of: the database fails");
                // At a stop nothing more can be noted; leases end by themselves.
                if app.tasks.is_stopping() {
                    self.settled.clear();
                }
                return false;
            }
        };
        self.settled.clear();
        for one in claimed {
            let key = (one.subscription.site_id, one.subscription.id);
            *self.under_way.entry(key).or_default() += 1;
            self.count += 1;
            let (app, send) = (Arc::clone(&self.app), self.send.clone());
            self.app.tasks.spawn(async move {
                let settled = deliver(&app, one).await;
                // There is room for every attempt under way, and the receiver waits for all.
                let _ = send.send(settled).await;
            });
        }
        true
    }

    /// Whether anything is due.
    async fn tick(&self) -> bool {
        self.app.webhooks.client.close_idle();
        let due = self.app.db.has_due_deliveries(self.app.clock.now_ms()).await;
        due.unwrap_or_else(|error| {
            tracing::error!(?error, "it is not known which webhooks are due");
            false
        })
    }
}
