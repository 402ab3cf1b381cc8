//! The deliverer's queries: one write that records the outcome of attempts and leases what is due
//! next. A lease ends by itself, so an attempt that was cut off is retried with the same event id
//! (R18).

use std::collections::{BTreeSet, HashMap};

use crate::db::sql::{self, Connection, OptionalExtension as _, params};

use super::Db;
use super::deliveries::{Attempt, DeliveryState};
use super::events::{RecordedEvent, event_columns, recorded};
use super::subscriptions::{NEVER_MS, Subscription, subscription, subscription_columns};
use crate::db::engine::Done;
use crate::domain::ids::{EventId, SiteId, SubscriptionId};
use crate::domain::webhook::Circuit;
use crate::error::Result;

/// The key of a subscription.
pub type SubscriptionKey = (SiteId, SubscriptionId);

/// A delivery to attempt now.
#[derive(Debug, Clone)]
pub struct ClaimedDelivery {
    /// The receiver.
    pub subscription: Subscription,
    /// The event.
    pub recorded: RecordedEvent,
    /// The attempt's number, counted across replays.
    pub attempt: i64,
    /// Its number in this series, from 1.
    pub series_attempt: u32,
}

/// The outcome of an attempt.
#[derive(Debug, Clone)]
pub struct SettledAttempt {
    /// The receiver.
    pub subscription: SubscriptionKey,
    /// The event.
    pub event: EventId,
    /// The attempt.
    pub attempt: Attempt,
    /// The state of the delivery after it.
    pub state: DeliveryState,
    /// When the next attempt is due, in Unix milliseconds, if it is pending.
    pub due_at_ms: i64,
    /// How long the endpoint asked to wait.
    pub retry_after_ms: Option<i64>,
}

/// How much may be leased.
#[derive(Debug, Clone)]
pub struct LeaseCapacity {
    /// Attempts that may be leased in total.
    pub available: usize,
    /// Concurrent attempts per subscription.
    pub per_subscription: usize,
    /// Attempts in flight of each subscription.
    pub in_flight: HashMap<SubscriptionKey, usize>,
    /// When the leases end, in Unix milliseconds.
    pub until_ms: i64,
}

impl Db {
    /// Waits until an event was written, or something else became due.
    pub async fn wait_for_outbox(&self) {
        self.outbox.notified().await;
    }

    /// Makes the deliverer check at once what is due.
    pub fn wake_outbox(&self) {
        self.outbox.notify_one();
    }

    /// Whether any subscription is due.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn has_due_deliveries(&self, now_ms: i64) -> Result<bool> {
        self.engine
            .read(move |connection| {
                connection
                    .prepare_cached(
                        "SELECT 1 FROM subscriptions WHERE next_due_at_ms <= $1 LIMIT 1",
                    )?
                    .exists(params![now_ms])
            })
            .await
    }

    /// Records the outcome of attempts and leases what is due, in one write.
    ///
    /// # Errors
    ///
    /// Only when the database fails; then nothing was recorded and nothing leased.
    pub async fn settle_and_claim(
        &self,
        settled: Vec<SettledAttempt>,
        capacity: LeaseCapacity,
        now_ms: i64,
    ) -> Result<Vec<ClaimedDelivery>> {
        let outbox = self.outbox.clone();
        self.engine
            .write_across(move |connection| {
                settle(connection, &settled, now_ms)?;
                let (claimed, all) = claim(connection, capacity.clone(), now_ms)?;
                if !all {
                    connection.notify(&outbox);
                }
                Ok(Done { value: claimed, changed: None })
            })
            .await
    }

    /// Ends all leases of deliveries, when the data folder's lock proves that no holder is running.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn end_delivery_leases(&self, now_ms: i64) -> Result<usize> {
        self.engine
            .write_across(move |connection| {
                let ended = end_leases(connection, now_ms)?;
                Ok(Done { value: ended, changed: None })
            })
            .await
    }
}

fn settle(connection: &Connection, settled: &[SettledAttempt], now_ms: i64) -> sql::Result<()> {
    let mut circuits: HashMap<SubscriptionKey, Circuit> = HashMap::new();
    let sites: BTreeSet<SiteId> = settled.iter().map(|outcome| outcome.subscription.0).collect();
    sites.into_iter().try_for_each(|site| connection.lock_site(site))?;
    for outcome in settled {
        let (site, subscription) = outcome.subscription;
        // The attempt number differs if the lease has expired and the delivery was leased again.
        connection
            .prepare_cached(
                "UPDATE deliveries SET state = $1, due_at_ms = $2, leased_until_ms = 0 \
                 WHERE site_id = $3 AND event_id = $4 AND subscription_id = $5 AND attempts = $6",
            )?
            .execute(params![
                outcome.state.as_str(),
                outcome.due_at_ms,
                site,
                outcome.event,
                subscription,
                outcome.attempt.number
            ])?;
        record_attempt(connection, outcome)?;
        let circuit = match circuits.entry(outcome.subscription) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(unknown) => {
                unknown.insert(circuit_of(connection, outcome.subscription)?)
            }
        };
        *circuit = match outcome.state {
            DeliveryState::Delivered => Circuit::CLOSED,
            _ => circuit.after_failure(now_ms, outcome.retry_after_ms),
        };
    }
    for (key, circuit) in circuits {
        connection
            .prepare_cached(
                "UPDATE subscriptions SET failures = $1, open_until_ms = $2 \
                 WHERE site_id = $3 AND subscription_id = $4",
            )?
            .execute(params![circuit.failures, circuit.open_until_ms, key.0, key.1])?;
        schedule(connection, key)?;
    }
    Ok(())
}

fn record_attempt(connection: &Connection, outcome: &SettledAttempt) -> sql::Result<usize> {
    let ((site, subscription), attempt) = (outcome.subscription, &outcome.attempt);
    connection
        .prepare_cached(
            "INSERT INTO delivery_attempts (site_id, event_id, subscription_id, attempt, \
             started_at_ms, duration_ms, status, problem, response) \
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9 WHERE EXISTS (SELECT 1 FROM deliveries \
             WHERE site_id = $1 AND event_id = $2 AND subscription_id = $3) \
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            site,
            outcome.event,
            subscription,
            attempt.number,
            attempt.started_at_ms,
            attempt.duration_ms,
            attempt.status,
            attempt.problem,
            attempt.response
        ])
}

fn circuit_of(connection: &Connection, (site, id): SubscriptionKey) -> sql::Result<Circuit> {
    let found = super::subscriptions::find(connection, site, id)?;
    Ok(found.map(|found| found.circuit).unwrap_or_default())
}

/// Schedules a subscription: with its earliest delivery, or when its circuit allows an attempt.
fn schedule(connection: &Connection, (site, id): SubscriptionKey) -> sql::Result<usize> {
    let next_ms: Option<i64> = connection
        .prepare_cached(
            "SELECT min(due_at_ms) FROM deliveries \
             WHERE site_id = $1 AND subscription_id = $2 AND state = 'pending'",
        )?
        .query_row(params![site, id], |row| row.get(0))?;
    let Some(next_ms) = next_ms else {
        return connection
            .prepare_cached(
                "UPDATE subscriptions SET next_due_at_ms = $1 \
                 WHERE site_id = $2 AND subscription_id = $3",
            )?
            .execute(params![NEVER_MS, site, id]);
    };
    connection
        .prepare_cached(
            "UPDATE subscriptions SET next_due_at_ms = CASE WHEN is_enabled = 0 THEN $1 \
             WHEN open_until_ms > $2 THEN open_until_ms ELSE $2 END \
             WHERE site_id = $3 AND subscription_id = $4",
        )?
        .execute(params![NEVER_MS, next_ms, site, id])
}

/// Subscriptions that are due, longest overdue first, as many as the capacity may need.
fn due(
    connection: &Connection,
    capacity: &LeaseCapacity,
    now_ms: i64,
) -> sql::Result<Vec<(Subscription, usize)>> {
    let mut due = Vec::new();
    connection
        .prepare_cached(concat!(
            "SELECT ",
            subscription_columns!(),
            " FROM subscriptions WHERE next_due_at_ms <= $1 ORDER BY next_due_at_ms"
        ))?
        .each(params![now_ms], |row| {
            let subscription = subscription(row)?;
            let key = (subscription.site_id, subscription.id);
            let in_flight = capacity.in_flight.get(&key).copied().unwrap_or(0);
            let permits = subscription
                .circuit
                .max_concurrent(capacity.per_subscription)
                .saturating_sub(in_flight);
            if permits > 0 {
                due.push((subscription, permits));
            }
            Ok(due.len() < capacity.available)
        })?;
    Ok(due)
}

/// Leases what is due; the flag is false if something was skipped. A site locked by another writer
/// is skipped: waiting for it while holding other locks could deadlock.
fn claim(
    connection: &Connection,
    mut capacity: LeaseCapacity,
    now_ms: i64,
) -> sql::Result<(Vec<ClaimedDelivery>, bool)> {
    let (mut claimed, mut all) = (Vec::new(), true);
    for (subscription, permits) in due(connection, &capacity, now_ms)? {
        let permits = permits.min(capacity.available);
        if permits == 0 {
            break;
        }
        let key = (subscription.site_id, subscription.id);
        if !connection.try_lock_site(key.0)? {
            all = false;
            continue;
        }
        for (event, attempt, series_attempt) in lease(connection, key, permits, &capacity, now_ms)?
        {
            let Some(recorded) = event_of(connection, key.0, event)? else { continue };
            capacity.available -= 1;
            claimed.push(ClaimedDelivery {
                subscription: subscription.clone(),
                recorded,
                attempt,
                series_attempt,
            });
        }
        schedule(connection, key)?;
    }
    Ok((claimed, all))
}

/// Leases due deliveries of one subscription. While one is attempted, it is due when its lease
/// ends.
fn lease(
    connection: &Connection,
    (site, subscription): SubscriptionKey,
    permits: usize,
    capacity: &LeaseCapacity,
    now_ms: i64,
) -> sql::Result<Vec<(EventId, i64, u32)>> {
    connection
        .prepare_cached(
            "UPDATE deliveries SET attempts = attempts + 1, \
             series_attempts = series_attempts + 1, leased_until_ms = $1, due_at_ms = $1 \
             WHERE site_id = $2 AND subscription_id = $3 AND event_id IN \
             (SELECT event_id FROM deliveries WHERE site_id = $2 AND subscription_id = $3 \
             AND state = 'pending' AND due_at_ms <= $4 ORDER BY due_at_ms LIMIT $5) \
             RETURNING event_id, attempts, series_attempts",
        )?
        .query_map(params![capacity.until_ms, site, subscription, now_ms, permits as i64], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
}

/// The event of a delivery, except if it contains an attachment of a contact that is being erased,
/// whose events are deleted in batches.
fn event_of(
    connection: &Connection,
    site: SiteId,
    event: EventId,
) -> sql::Result<Option<RecordedEvent>> {
    connection
        .prepare_cached(concat!(
            "SELECT ",
            event_columns!(),
            " FROM events WHERE site_id = $1 AND event_id = $2 AND (file_name IS NULL \
             OR NOT EXISTS (SELECT 1 FROM contacts c WHERE c.site_id = events.site_id \
             AND c.contact_id = events.contact_id AND c.state = 'erased'))"
        ))?
        .query_row(params![site, event], recorded)
        .optional()
}

fn end_leases(connection: &Connection, now_ms: i64) -> sql::Result<usize> {
    let ended = connection
        .prepare_cached(
            "UPDATE deliveries SET leased_until_ms = 0, due_at_ms = $1 \
             WHERE state = 'pending' AND leased_until_ms > 0",
        )?
        .execute(params![now_ms])?;
    if ended > 0 {
        connection
            .prepare_cached(
                "UPDATE subscriptions SET next_due_at_ms = $1 WHERE is_enabled = 1 \
                 AND next_due_at_ms > $1 AND open_until_ms <= $1",
            )?
            .execute(params![now_ms])?;
    }
    Ok(ended)
}
