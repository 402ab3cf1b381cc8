//! Delivers events to subscriptions (contract §11): leases due deliveries, sends them, records the
//! outcome. Woken when an event is written. A delivery interrupted by a crash is leased again, so
//! nothing is lost; one sent twice has the same event id (R18).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::actions::webhooks::deliver;
use crate::app::App;
use crate::db::{LeaseCapacity, SettledAttempt, SubscriptionKey};

/// Maximum number of concurrent attempts. More would queue for this machine's CPU, and that time
/// would count against the receivers.
const MAX_IN_FLIGHT: usize = 256;
/// Maximum number of concurrent attempts per subscription. After a failure it drops to one, so that
/// dead receivers take little capacity from others (R19).
const MAX_IN_FLIGHT_PER_SUBSCRIPTION: usize = 32;
/// How often to poll for retries and for events written by other processes.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How much longer a lease lasts than the longest attempt.
const LEASE_MARGIN_MS: i64 = 10_000;

/// Starts the delivery of events.
pub(super) fn start(app: &Arc<App>) {
    let shared = Arc::clone(app);
    app.tasks.spawn(async move {
        if !shared.db.is_shared() {
            end_leases(&shared).await;
        }
        Deliverer::new(shared).run().await;
    });
}

/// The folder's lock proves that all holders of leases are gone. If this fails, the leases expire
/// on their own.
async fn end_leases(app: &App) {
    match app.db.end_delivery_leases(app.clock.now_ms()).await {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "interrupted webhook deliveries will be retried"),
        Err(error) => tracing::error!(?error, "webhook leases could not be ended"),
    }
}

struct Deliverer {
    app: Arc<App>,
    per_subscription: HashMap<SubscriptionKey, usize>,
    in_flight: usize,
    /// Outcomes not recorded yet.
    settled: Vec<SettledAttempt>,
    send: mpsc::Sender<SettledAttempt>,
    ended: mpsc::Receiver<SettledAttempt>,
}

impl Deliverer {
    fn new(app: Arc<App>) -> Self {
        let (send, ended) = mpsc::channel(MAX_IN_FLIGHT);
        Self {
            app,
            per_subscription: HashMap::new(),
            in_flight: 0,
            settled: Vec::new(),
            send,
            ended,
        }
    }

    /// Runs until a stop; then attempts in flight finish and are recorded.
    async fn run(mut self) {
        let mut poll = true;
        loop {
            while let Ok(ended) = self.ended.try_recv() {
                self.end(ended);
            }
            if (poll || !self.settled.is_empty()) && !self.step().await {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
            let stopping = self.app.tasks.is_stopping();
            if stopping && self.in_flight == 0 {
                return;
            }
            poll = tokio::select! {
                Some(ended) = self.ended.recv() => {
                    self.end(ended);
                    false
                }
                () = self.app.db.wait_for_outbox(), if !stopping => true,
                () = self.app.tasks.stopping(), if !stopping => false,
                () = tokio::time::sleep(POLL_INTERVAL), if !stopping => self.tick().await,
            };
        }
    }

    fn end(&mut self, ended: SettledAttempt) {
        self.in_flight -= 1;
        if let Some(count) = self.per_subscription.get_mut(&ended.subscription) {
            *count -= 1;
            if *count == 0 {
                self.per_subscription.remove(&ended.subscription);
            }
        }
        self.settled.push(ended);
    }

    /// Records outcomes and starts due deliveries. False when the database fails; the outcomes are
    /// kept for the next step.
    async fn step(&mut self) -> bool {
        let app = &self.app;
        let now_ms = app.clock.now_ms();
        let lease_ms = app.config.webhook_timeout_ms as i64 + LEASE_MARGIN_MS;
        let capacity = LeaseCapacity {
            available: if app.tasks.is_stopping() { 0 } else { MAX_IN_FLIGHT - self.in_flight },
            per_subscription: MAX_IN_FLIGHT_PER_SUBSCRIPTION,
            in_flight: self.per_subscription.clone(),
            until_ms: now_ms + lease_ms,
        };
        let claimed = match app.db.settle_and_claim(self.settled.clone(), capacity, now_ms).await {
            Ok(claimed) => claimed,
            Err(error) => {
                tracing::error!(?error, "webhooks are not delivered: the database fails");
                // At a stop, nothing more can be recorded; the leases expire on their own.
                if app.tasks.is_stopping() {
                    self.settled.clear();
                }
                return false;
            }
        };
        self.settled.clear();
        for delivery in claimed {
            let key = (delivery.subscription.site_id, delivery.subscription.id);
            *self.per_subscription.entry(key).or_default() += 1;
            self.in_flight += 1;
            let (app, send) = (Arc::clone(&self.app), self.send.clone());
            self.app.tasks.spawn(async move {
                let settled = deliver(&app, delivery).await;
                // The channel has room for every attempt in flight, and its receiver outlives them.
                let _ = send.send(settled).await;
            });
        }
        true
    }

    /// Whether any delivery is due.
    async fn tick(&self) -> bool {
        self.app.webhooks.client.close_idle();
        let due = self.app.db.has_due_deliveries(self.app.clock.now_ms()).await;
        due.unwrap_or_else(|error| {
            tracing::error!(?error, "due webhooks could not be determined");
            false
        })
    }
}
