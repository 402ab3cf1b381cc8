//! Queries on deliveries: one for each event and each subscription that receives it.

use crate::db::sql::{self, Connection, params};

use super::Db;
use super::subscriptions::{NEVER_MS, find};
use crate::db::engine::Done;
use crate::domain::ids::{AttachmentId, ContactId, EventId, SiteId, SubscriptionId};
use crate::domain::webhook::EventType;
use crate::error::Result;

/// A number of attempts in a series after which any schedule ends: the next attempt is the last.
const NO_RETRY: i64 = 1_000_000;

/// The state of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// To be tried, or being tried.
    Pending,
    /// The receiver has confirmed it.
    Delivered,
    /// Every attempt failed; a replay starts a new series.
    Dead,
}

impl DeliveryState {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Delivered, Self::Dead];

    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }

    /// Parses what [`DeliveryState::as_str`] returns.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// A delivery in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The event.
    pub event_id: EventId,
    /// Its type.
    pub event_type: EventType,
    /// The contact of the attachment.
    pub contact_id: ContactId,
    /// The attachment.
    pub attachment_id: AttachmentId,
    /// When it happened, in Unix milliseconds.
    pub occurred_at_ms: i64,
    /// Its state.
    pub state: DeliveryState,
    /// When the next attempt is due, in Unix milliseconds, while it is pending.
    pub due_at_ms: i64,
    /// The attempts, oldest first.
    pub attempts: Vec<Attempt>,
}

/// One attempt to deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Its number, from 1, counted across replays.
    pub number: i64,
    /// When it began, in Unix milliseconds.
    pub started_at_ms: i64,
    /// How long it took.
    pub duration_ms: i64,
    /// The status of the response, if there was one.
    pub status: Option<u16>,
    /// What went wrong, in a few words.
    pub problem: Option<String>,
    /// The beginning of the response's body.
    pub response: String,
}

impl Db {
    /// Deliveries of a subscription, newest event first, those before an event, at most `limit`.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn deliveries(
        &self,
        (site, subscription): (SiteId, SubscriptionId),
        state: Option<DeliveryState>,
        before: Option<EventId>,
        limit: u32,
    ) -> Result<Vec<Delivery>> {
        self.engine
            .read(move |connection| {
                let mut found = list(connection, (site, subscription), (state, before), limit)?;
                for delivery in &mut found {
                    delivery.attempts =
                        attempts(connection, (site, delivery.event_id, subscription))?;
                }
                Ok(found)
            })
            .await
    }

    /// Restarts deliveries of these events to a subscription, with the same event ids; returns how
    /// many. A delivery that is being tried continues; events that were deleted or that the
    /// subscription does not include are skipped.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn replay(
        &self,
        (site, subscription): (SiteId, SubscriptionId),
        events: Vec<EventId>,
        now_ms: i64,
    ) -> Result<usize> {
        let outbox = self.outbox.clone();
        self.engine
            .write(site, move |connection| {
                let mut count = 0;
                for event in &events {
                    count += replay(connection, (site, subscription), *event, now_ms)?;
                }
                if count > 0 {
                    make_due(connection, (site, subscription), now_ms)?;
                    connection.notify(&outbox);
                }
                Ok(Done { value: count, changed: None })
            })
            .await
    }

    /// Abandons deliveries whose series began before a time, at most `limit`: the circuits of their
    /// endpoints were open for that long. Returns how many.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn abandon_deliveries(&self, begun_before_ms: i64, limit: u32) -> Result<usize> {
        let old: Vec<(SiteId, EventId, SubscriptionId)> = self
            .engine
            .read(move |connection| {
                connection
                    .prepare_cached(
                        "SELECT site_id, event_id, subscription_id FROM deliveries \
                         WHERE state = 'pending' AND begun_at_ms < $1 \
                         AND leased_until_ms = 0 LIMIT $2",
                    )?
                    .query_map(params![begun_before_ms, limit], |row| {
                        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                    })
            })
            .await?;
        if old.is_empty() {
            return Ok(0);
        }
        self.engine
            .write_across(move |connection| {
                let mut count = 0;
                for (site, event, subscription) in &old {
                    connection.lock_site(*site)?;
                    count += connection
                        .prepare_cached(
                            "UPDATE deliveries SET state = 'dead' WHERE site_id = $1 \
                             AND event_id = $2 AND subscription_id = $3 AND state = 'pending' \
                             AND begun_at_ms < $4 AND leased_until_ms = 0",
                        )
                        .and_then(|mut statement| {
                            statement.execute(params![site, event, subscription, begun_before_ms])
                        })?;
                }
                Ok(Done { value: count, changed: None })
            })
            .await
    }

    /// Marks expired subscriptions as removed, and deletes up to `limit` deliveries of removed
    /// ones; returns how many. A subscription's row is deleted with its last delivery.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn delete_removed_subscriptions(&self, now_ms: i64, limit: u32) -> Result<usize> {
        let removed: i64 = self
            .engine
            .read(move |connection| {
                connection
                    .prepare_cached(
                        "SELECT count(*) FROM subscriptions \
                         WHERE removed_at_ms IS NOT NULL OR expires_at_ms <= $1",
                    )?
                    .query_row(params![now_ms], |row| row.get(0))
            })
            .await?;
        if removed == 0 {
            return Ok(0);
        }
        self.engine
            .write_across(move |connection| {
                let deleted = delete_removed(connection, now_ms, limit)?;
                Ok(Done { value: deleted, changed: None })
            })
            .await
    }
}

/// Inside the write of an event: creates a delivery for each subscription that includes it; returns
/// how many.
pub(super) fn enqueue(
    connection: &Connection,
    (site, event): (SiteId, EventId),
    event_type: EventType,
    now_ms: i64,
) -> sql::Result<usize> {
    let enqueued = connection
        .prepare_cached(
            "INSERT INTO deliveries (site_id, event_id, subscription_id, state, attempts, \
             series_attempts, begun_at_ms, due_at_ms, leased_until_ms) \
             SELECT site_id, $1, subscription_id, 'pending', 0, 0, $2, $2, 0 FROM subscriptions \
             WHERE site_id = $3 AND is_enabled = 1 AND (event_types & $4) <> 0 \
             AND removed_at_ms IS NULL AND (expires_at_ms IS NULL OR expires_at_ms > $2)",
        )?
        .execute(params![event, now_ms, site, event_type.bit()])?;
    if enqueued > 0 {
        // While its circuit is open, a subscription is due when the circuit allows an attempt.
        connection
            .prepare_cached(
                "UPDATE subscriptions SET next_due_at_ms = CASE WHEN open_until_ms > $1 \
                 THEN open_until_ms ELSE $1 END WHERE site_id = $2 AND is_enabled = 1 \
                 AND (event_types & $3) <> 0 AND removed_at_ms IS NULL \
                 AND next_due_at_ms > $1 AND next_due_at_ms > open_until_ms",
            )?
            .execute(params![now_ms, site, event_type.bit()])?;
    }
    Ok(enqueued)
}

/// Creates a delivery to one subscription, whether it includes such events or not, with a single
/// attempt.
pub(super) fn enqueue_once(
    connection: &Connection,
    (site, subscription): (SiteId, SubscriptionId),
    event: EventId,
    now_ms: i64,
) -> sql::Result<usize> {
    let enqueued = connection
        .prepare_cached(
            "INSERT INTO deliveries (site_id, event_id, subscription_id, state, attempts, \
             series_attempts, begun_at_ms, due_at_ms, leased_until_ms) \
             SELECT site_id, $1, subscription_id, 'pending', 0, $2, $3, $3, 0 FROM subscriptions \
             WHERE site_id = $4 AND subscription_id = $5 AND is_enabled = 1 \
             AND removed_at_ms IS NULL",
        )?
        .execute(params![event, NO_RETRY, now_ms, site, subscription])?;
    if enqueued > 0 {
        make_due(connection, (site, subscription), now_ms)?;
    }
    Ok(enqueued)
}

/// Makes a subscription due, unless it is disabled or its circuit is open.
fn make_due(
    connection: &Connection,
    (site, subscription): (SiteId, SubscriptionId),
    now_ms: i64,
) -> sql::Result<usize> {
    connection
        .prepare_cached(
            "UPDATE subscriptions SET next_due_at_ms = CASE WHEN open_until_ms > $1 \
             THEN open_until_ms ELSE $1 END WHERE site_id = $2 AND subscription_id = $3 \
             AND is_enabled = 1 AND removed_at_ms IS NULL",
        )?
        .execute(params![now_ms, site, subscription])
}

fn replay(
    connection: &Connection,
    (site, subscription): (SiteId, SubscriptionId),
    event: EventId,
    now_ms: i64,
) -> sql::Result<usize> {
    let Some(found) = find(connection, site, subscription)? else { return Ok(0) };
    connection
        .prepare_cached(
            "INSERT INTO deliveries (site_id, event_id, subscription_id, state, attempts, \
             series_attempts, begun_at_ms, due_at_ms, leased_until_ms) \
             SELECT site_id, event_id, $1, 'pending', 0, 0, $2, $2, 0 FROM events \
             WHERE site_id = $3 AND event_id = $4 AND (event_type & $5) <> 0 \
             ON CONFLICT (site_id, event_id, subscription_id) DO UPDATE SET \
             state = 'pending', series_attempts = 0, begun_at_ms = excluded.begun_at_ms, \
             due_at_ms = excluded.due_at_ms WHERE deliveries.leased_until_ms = 0",
        )?
        .execute(params![subscription, now_ms, site, event, found.event_types.bits()])
}

fn list(
    connection: &Connection,
    (site, subscription): (SiteId, SubscriptionId),
    (state, before): (Option<DeliveryState>, Option<EventId>),
    limit: u32,
) -> sql::Result<Vec<Delivery>> {
    let before = before.unwrap_or(EventId::from_bytes([0xff; 16]));
    connection
        .prepare_cached(
            "SELECT d.event_id, e.event_type, e.contact_id, e.attachment_id, e.occurred_at_ms, \
             d.state, d.due_at_ms FROM deliveries d JOIN events e \
             ON e.site_id = d.site_id AND e.event_id = d.event_id \
             WHERE d.site_id = $1 AND d.subscription_id = $2 AND d.event_id < $3 \
             AND (d.state = $4 OR $4 IS NULL) ORDER BY d.event_id DESC LIMIT $5",
        )?
        .query_map(
            params![site, subscription, before, state.map(DeliveryState::as_str), limit],
            |row| {
                Ok(Delivery {
                    event_id: row.get(0)?,
                    event_type: EventType::from_bit(row.get(1)?).unwrap_or(EventType::Created),
                    contact_id: row.get(2)?,
                    attachment_id: row.get(3)?,
                    occurred_at_ms: row.get(4)?,
                    state: DeliveryState::parse(row.get(5)?).unwrap_or(DeliveryState::Dead),
                    due_at_ms: row.get(6)?,
                    attempts: Vec::new(),
                })
            },
        )
}

fn attempts(
    connection: &Connection,
    (site, event, subscription): (SiteId, EventId, SubscriptionId),
) -> sql::Result<Vec<Attempt>> {
    connection
        .prepare_cached(
            "SELECT attempt, started_at_ms, duration_ms, status, problem, response \
             FROM delivery_attempts WHERE site_id = $1 AND event_id = $2 \
             AND subscription_id = $3 ORDER BY attempt",
        )?
        .query_map(params![site, event, subscription], |row| {
            Ok(Attempt {
                number: row.get(0)?,
                started_at_ms: row.get(1)?,
                duration_ms: row.get(2)?,
                status: row.get(3)?,
                problem: row.get(4)?,
                response: row.get(5)?,
            })
        })
}

fn delete_removed(connection: &Connection, now_ms: i64, limit: u32) -> sql::Result<usize> {
    connection
        .prepare_cached(
            "UPDATE subscriptions SET removed_at_ms = $1, is_enabled = 0, next_due_at_ms = $2 \
             WHERE removed_at_ms IS NULL AND expires_at_ms <= $1",
        )?
        .execute(params![now_ms, NEVER_MS])?;
    let removed: Vec<(SiteId, SubscriptionId)> = connection
        .prepare_cached(
            "SELECT site_id, subscription_id FROM subscriptions \
             WHERE removed_at_ms IS NOT NULL LIMIT $1",
        )?
        .query_map(params![limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut deleted = 0;
    for (site, subscription) in removed {
        connection.lock_site(site)?;
        let room = (limit as usize).saturating_sub(deleted);
        let events: Vec<EventId> = connection
            .prepare_cached(
                "SELECT event_id FROM deliveries WHERE site_id = $1 AND subscription_id = $2 \
                 LIMIT $3",
            )?
            .query_map(params![site, subscription, room as i64], |row| row.get(0))?;
        for event in &events {
            for table in [
                "DELETE FROM delivery_attempts \
                 WHERE site_id = $1 AND event_id = $2 AND subscription_id = $3",
                "DELETE FROM deliveries \
                 WHERE site_id = $1 AND event_id = $2 AND subscription_id = $3",
            ] {
                connection.prepare_cached(table)?.execute(params![site, event, subscription])?;
            }
        }
        deleted += events.len();
        if events.len() < room {
            connection
                .prepare_cached(
                    "DELETE FROM subscriptions WHERE site_id = $1 AND subscription_id = $2",
                )?
                .execute(params![site, subscription])?;
        }
    }
    Ok(deleted)
}
