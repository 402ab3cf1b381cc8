//! Queries on subscriptions: the receivers of events.

use crate::db::sql::{self, Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::Db;
use crate::db::engine::Done;
use crate::domain::ids::{SiteId, SubscriptionId};
use crate::domain::webhook::{Circuit, EventTypes, Recipient};
use crate::error::Result;

/// When a subscription without deliveries is due: never.
pub(super) const NEVER_MS: i64 = i64::MAX;

/// The columns of a subscription, in the order that [`subscription`] expects.
macro_rules! subscription_columns {
    () => {
        "site_id, subscription_id, url, event_types, app_id, instance_id, is_enabled, is_local, \
         failures, open_until_ms, created_at_ms, expires_at_ms"
    };
}
pub(super) use subscription_columns;

/// A receiver of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The tenant.
    pub site_id: SiteId,
    /// Its id.
    pub id: SubscriptionId,
    /// Where events are sent.
    pub url: String,
    /// The event types that are sent.
    pub event_types: EventTypes,
    /// The receiver's app id, for tokens.
    pub app_id: Uuid,
    /// The app's installation at the site, for tokens.
    pub instance_id: Uuid,
    /// Whether events are delivered at present.
    pub is_enabled: bool,
    /// Whether the URL may be on this machine: created by someone with access to the data folder.
    pub is_local: bool,
    /// The health of its endpoint.
    pub circuit: Circuit,
    /// When it was created, in Unix milliseconds.
    pub created_at_ms: i64,
    /// When it ends unless renewed, in Unix milliseconds.
    pub expires_at_ms: Option<i64>,
}

impl Subscription {
    /// The recipient of its tokens.
    pub fn recipient(&self) -> Recipient {
        Recipient { site_id: self.site_id, app_id: self.app_id, instance_id: self.instance_id }
    }
}

/// Changes to a subscription; `None` keeps the value.
#[derive(Debug, Clone, Default)]
pub struct SubscriptionChange {
    /// Where events are sent.
    pub url: Option<String>,
    /// The event types that are sent.
    pub event_types: Option<EventTypes>,
    /// The app of the receiver.
    pub app_id: Option<Uuid>,
    /// The installation of the app.
    pub instance_id: Option<Uuid>,
    /// Whether events are delivered.
    pub is_enabled: Option<bool>,
}

impl Db {
    /// The subscriptions of a site, oldest first.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn subscriptions(&self, site: SiteId, now_ms: i64) -> Result<Vec<Subscription>> {
        self.engine
            .read(move |connection| {
                connection
                    .prepare_cached(concat!(
                        "SELECT ",
                        subscription_columns!(),
                        " FROM subscriptions WHERE site_id = $1 AND removed_at_ms IS NULL \
                         AND (expires_at_ms IS NULL OR expires_at_ms > $2) \
                         ORDER BY created_at_ms, subscription_id"
                    ))?
                    .query_map(params![site, now_ms], subscription)
            })
            .await
    }

    /// Finds a subscription.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn subscription(
        &self,
        site: SiteId,
        id: SubscriptionId,
    ) -> Result<Option<Subscription>> {
        self.engine.read(move |connection| find(connection, site, id)).await
    }

    /// Creates a subscription; false, and nothing is created, when the site has `max` already.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn add_subscription(&self, subscription: Subscription, max: u64) -> Result<bool> {
        self.engine
            .write(subscription.site_id, move |connection| {
                let created = insert(connection, &subscription, max as i64)?;
                Ok(Done { value: created, changed: None })
            })
            .await
    }

    /// Changes a subscription and returns it; `None` when there is none. Enabling it or changing
    /// its URL clears its failures.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn change_subscription(
        &self,
        site: SiteId,
        id: SubscriptionId,
        change: SubscriptionChange,
        now_ms: i64,
    ) -> Result<Option<Subscription>> {
        let outbox = self.outbox.clone();
        self.engine
            .write(site, move |connection| {
                let changed = update(connection, (site, id), change.clone(), now_ms)?;
                connection.notify(&outbox);
                Ok(Done { value: changed, changed: None })
            })
            .await
    }

    /// Extends a subscription; false when it no longer exists.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn renew_subscription(
        &self,
        site: SiteId,
        id: SubscriptionId,
        until_ms: i64,
    ) -> Result<bool> {
        self.engine
            .write(site, move |connection| {
                let renewed = connection
                    .prepare_cached(
                        "UPDATE subscriptions SET expires_at_ms = $1 WHERE site_id = $2 \
                         AND subscription_id = $3 AND removed_at_ms IS NULL",
                    )
                    .and_then(|mut statement| statement.execute(params![until_ms, site, id]))?;
                Ok(Done { value: renewed > 0, changed: None })
            })
            .await
    }

    /// Ends a subscription: nothing more is sent, and later sweeps delete its rows. False when
    /// there is none.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn remove_subscription(
        &self,
        site: SiteId,
        id: SubscriptionId,
        now_ms: i64,
    ) -> Result<bool> {
        self.engine
            .write(site, move |connection| {
                let removed = connection
                    .prepare_cached(
                        "UPDATE subscriptions SET removed_at_ms = $1, is_enabled = 0, \
                         next_due_at_ms = $2 WHERE site_id = $3 AND subscription_id = $4 \
                         AND removed_at_ms IS NULL",
                    )
                    .and_then(|mut statement| {
                        statement.execute(params![now_ms, NEVER_MS, site, id])
                    })?;
                Ok(Done { value: removed > 0, changed: None })
            })
            .await
    }
}

pub(super) fn find(
    connection: &Connection,
    site: SiteId,
    id: SubscriptionId,
) -> sql::Result<Option<Subscription>> {
    connection
        .prepare_cached(concat!(
            "SELECT ",
            subscription_columns!(),
            " FROM subscriptions WHERE site_id = $1 AND subscription_id = $2 \
             AND removed_at_ms IS NULL"
        ))?
        .query_row(params![site, id], subscription)
        .optional()
}

fn insert(connection: &Connection, new: &Subscription, max: i64) -> sql::Result<bool> {
    let count: i64 = connection
        .prepare_cached(
            "SELECT count(*) FROM subscriptions WHERE site_id = $1 AND removed_at_ms IS NULL",
        )?
        .query_row(params![new.site_id], |row| row.get(0))?;
    if count >= max {
        return Ok(false);
    }
    connection
        .prepare_cached(concat!(
            "INSERT INTO subscriptions (",
            subscription_columns!(),
            ", next_due_at_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
        ))?
        .execute(params![
            new.site_id,
            new.id,
            new.url,
            new.event_types.bits(),
            new.app_id.as_bytes(),
            new.instance_id.as_bytes(),
            new.is_enabled,
            new.is_local,
            new.circuit.failures,
            new.circuit.open_until_ms,
            new.created_at_ms,
            new.expires_at_ms,
            NEVER_MS,
        ])?;
    Ok(true)
}

fn update(
    connection: &Connection,
    (site, id): (SiteId, SubscriptionId),
    change: SubscriptionChange,
    now_ms: i64,
) -> sql::Result<Option<Subscription>> {
    let Some(mut found) = find(connection, site, id)? else { return Ok(None) };
    let resets_circuit = change.url.is_some() || change.is_enabled == Some(true);
    found.url = change.url.unwrap_or(found.url);
    found.event_types = change.event_types.unwrap_or(found.event_types);
    found.app_id = change.app_id.unwrap_or(found.app_id);
    found.instance_id = change.instance_id.unwrap_or(found.instance_id);
    found.is_enabled = change.is_enabled.unwrap_or(found.is_enabled);
    if resets_circuit {
        found.circuit = Circuit::CLOSED;
    }
    connection
        .prepare_cached(
            "UPDATE subscriptions SET url = $1, event_types = $2, app_id = $3, instance_id = $4, \
             is_enabled = $5, failures = $6, open_until_ms = $7, next_due_at_ms = $8 \
             WHERE site_id = $9 AND subscription_id = $10",
        )?
        .execute(params![
            found.url,
            found.event_types.bits(),
            found.app_id.as_bytes(),
            found.instance_id.as_bytes(),
            found.is_enabled,
            found.circuit.failures,
            found.circuit.open_until_ms,
            if found.is_enabled { found.circuit.open_until_ms.max(now_ms) } else { NEVER_MS },
            site,
            id,
        ])?;
    Ok(Some(found))
}

pub(super) fn subscription(row: Row<'_>) -> sql::Result<Subscription> {
    Ok(Subscription {
        site_id: row.get(0)?,
        id: row.get(1)?,
        url: row.get(2)?,
        event_types: EventTypes::from_bits(row.get(3)?),
        app_id: Uuid::from_bytes(row.get(4)?),
        instance_id: Uuid::from_bytes(row.get(5)?),
        is_enabled: row.get(6)?,
        is_local: row.get(7)?,
        circuit: Circuit { failures: row.get(8)?, open_until_ms: row.get(9)? },
        created_at_ms: row.get(10)?,
        expires_at_ms: row.get(11)?,
    })
}
