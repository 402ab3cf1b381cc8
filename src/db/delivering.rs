//! What the deliverer asks of the database: one write that notes what became of attempts and leases
//! what is due next. A lease ends by itself, so whatever dies in the middle is tried again, with the
//! same event id (R18).

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

/// Names a subscription.
pub type SubscriptionKey = (SiteId, SubscriptionId);

/// A delivery that is to be tried now.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// Whom to tell.
    pub subscription: Subscription,
    /// Of what.
    pub told: RecordedEvent,
    /// The attempt's number, also over replays.
    pub attempt: i64,
    /// Its number in this series, from 1 on.
    pub series_attempt: u32,
}

/// What became of an attempt.
#[derive(Debug, Clone)]
pub struct Settled {
    /// Whom it was to tell.
    pub subscription: SubscriptionKey,
    /// Of what.
    pub event: EventId,
    /// What was tried.
    pub attempt: Attempt,
    /// Where the delivery stands now.
    pub state: DeliveryState,
    /// When it is tried next, in Unix milliseconds, if it is pending.
    pub due_at_ms: i64,
    /// How long the endpoint asked to be left alone.
    pub retry_after_ms: Option<i64>,
}

/// How much may be leased.
#[derive(Debug, Clone)]
pub struct Room {
    /// Attempts in all.
    pub free: usize,
    /// Attempts of one subscription at the same time.
    pub of_one: usize,
    /// Attempts that each subscription has under way.
    pub under_way: HashMap<SubscriptionKey, usize>,
    /// Until when the leases hold, in Unix milliseconds.
    pub until_ms: i64,
}

impl Db {
    /// Waits until an event was written, or something else is due that was not before.
    pub async fn outbox_news(&self) {
        self.outbox.notified().await;
    }

    /// Lets the deliverer look at once what is due.
    pub fn wake_outbox(&self) {
        self.outbox.notify_one();
    }

    /// Whether any subscription has something that is due.
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

    /// Notes what became of attempts, and leases what is due, in one write.
    ///
    /// # Errors
    ///
    /// Only when the database fails; then nothing was noted and nothing leased.
    pub async fn deliver_step(
        &self,
        settled: Vec<Settled>,
        room: Room,
        now_ms: i64,
    ) -> Result<Vec<Claimed>> {
        let outbox = self.outbox.clone();
        self.engine
            .write_across(move |connection| {
                settle(connection, &settled, now_ms)?;
                let (claimed, all) = claim(connection, room.clone(), now_ms)?;
                if !all {
                    connection.wake(&outbox);
                }
                Ok(Done { value: claimed, changed: None })
            })
            .await
    }

    /// Ends all leases of deliveries: the data folder's lock shows that whoever had one is gone.
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

fn settle(connection: &Connection, settled: &[Settled], now_ms: i64) -> sql::Result<()> {
    let mut circuits: HashMap<SubscriptionKey, Circuit> = HashMap::new();
    let sites: BTreeSet<SiteId> = settled.iter().map(|one| one.subscription.0).collect();
    sites.into_iter().try_for_each(|site| connection.lock_site(site))?;
    for one in settled {
        let (site, subscription) = one.subscription;
        // Whoever has leased it meanwhile notes what becomes of it.
        connection
            .prepare_cached(
                "UPDATE deliveries SET state = $1, due_at_ms = $2, leased_until_ms = 0 \
                 WHERE site_id = $3 AND event_id = $4 AND subscription_id = $5 AND attempts = $6",
            )?
            .execute(params![
                one.state.as_str(),
                one.due_at_ms,
                site,
                one.event,
                subscription,
                one.attempt.number
            ])?;
        note_attempt(connection, one)?;
        let circuit = match circuits.entry(one.subscription) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(unknown) => {
                unknown.insert(circuit_of(connection, one.subscription)?)
            }
        };
        *circuit = match one.state {
            DeliveryState::Delivered => Circuit::CLOSED,
            _ => circuit.failed(now_ms, one.retry_after_ms),
        };
    }
    for (key, circuit) in circuits {
        connection
            .prepare_cached(
                "UPDATE subscriptions SET failures = $1, open_until_ms = $2 \
                 WHERE site_id = $3 AND subscription_id = $4",
            )?
            .execute(params![circuit.failures, circuit.open_until_ms, key.0, key.1])?;
        arm(connection, key)?;
    }
    Ok(())
}

fn note_attempt(connection: &Connection, one: &Settled) -> sql::Result<usize> {
    let ((site, subscription), attempt) = (one.subscription, &one.attempt);
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
            one.event,
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

/// Writes down when a subscription is due next: with its first delivery, or when it need no
/// longer be left alone.
fn arm(connection: &Connection, (site, id): SubscriptionKey) -> sql::Result<usize> {
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

/// Subscriptions that are due, longest first, as many as the room may need.
fn due(
    connection: &Connection,
    room: &Room,
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
            let under_way = room.under_way.get(&key).copied().unwrap_or(0);
            let places = subscription.circuit.at_once(room.of_one).saturating_sub(under_way);
            if places > 0 {
                due.push((subscription, places));
            }
            Ok(due.len() < room.free)
        })?;
    Ok(due)
}

/// Leases what is due; whether that was all, as far as there is room. A site whose rows another one
/// changes just now is passed over: waiting for it while holding others could be waiting for each other.
fn claim(
    connection: &Connection,
    mut room: Room,
    now_ms: i64,
) -> sql::Result<(Vec<Claimed>, bool)> {
    let (mut claimed, mut all) = (Vec::new(), true);
    for (subscription, places) in due(connection, &room, now_ms)? {
        let places = places.min(room.free);
        if places == 0 {
            break;
        }
        let key = (subscription.site_id, subscription.id);
        if !connection.try_lock_site(key.0)? {
            all = false;
            continue;
        }
        for (event, attempt, series_attempt) in lease(connection, key, places, &room, now_ms)? {
            let Some(told) = event_of(connection, key.0, event)? else { continue };
            room.free -= 1;
            claimed.push(Claimed {
                subscription: subscription.clone(),
                told,
                attempt,
                series_attempt,
            });
        }
        arm(connection, key)?;
    }
    Ok((claimed, all))
}

/// Leases due deliveries of one subscription: while it is tried, each is due when its lease ends.
fn lease(
    connection: &Connection,
    (site, subscription): SubscriptionKey,
    places: usize,
    room: &Room,
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
        .query_map(params![room.until_ms, site, subscription, now_ms, places as i64], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
}

/// The event of a delivery; not one that shows a file of a contact that is being erased, whose rows go
/// in batches.
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
