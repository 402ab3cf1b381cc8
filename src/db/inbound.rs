//! Queries on installations that report changes of contacts kept elsewhere, and on the events
//! received from them.

use crate::db::sql::{self, Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::Db;
use super::contacts::{self, Closing, ContactState, CreateUnknown};
use crate::db::engine::Done;
use crate::domain::ids::{ContactId, EventId, SiteId};
use crate::domain::inbound::ContactChange;
use crate::error::{Error, Result};

/// An installation that may report changes of a site's contacts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundKey {
    /// The app's installation, which its webhooks contain.
    pub instance_id: Uuid,
    /// The site that it belongs to.
    pub site_id: SiteId,
    /// The app.
    pub app_id: Uuid,
    /// The vendor's public key of the app (SPKI, DER).
    pub public_key: Vec<u8>,
    /// When it was added, in Unix milliseconds.
    pub created_at_ms: i64,
}

/// The columns of a key, in the order that [`inbound_key`] expects.
macro_rules! inbound_key_columns {
    () => {
        "instance_id, site_id, app_id, public_key, created_at_ms"
    };
}

/// The outcome of an inbound event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InboundOutcome {
    /// It was applied, or begun if it exceeds one transaction.
    Applied {
        /// Whether a contact is still being closed.
        more: bool,
    },
    /// It is a duplicate, or changes nothing.
    Unchanged,
}

impl Db {
    /// Registers an installation for a site's contacts, replacing its previous key.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn add_inbound_key(&self, key: InboundKey) -> Result<()> {
        self.engine
            .write_across(move |connection| {
                connection
                    .prepare_cached(
                        "INSERT INTO inbound_keys (instance_id, site_id, app_id, public_key, \
                         created_at_ms) VALUES ($1, $2, $3, $4, $5) \
                         ON CONFLICT (instance_id) DO UPDATE SET site_id = excluded.site_id, \
                         app_id = excluded.app_id, public_key = excluded.public_key, \
                         created_at_ms = excluded.created_at_ms",
                    )
                    .and_then(|mut statement| {
                        statement.execute(params![
                            key.instance_id,
                            key.site_id,
                            key.app_id,
                            key.public_key,
                            key.created_at_ms
                        ])
                    })?;
                Ok(Done { value: (), changed: None })
            })
            .await
    }

    /// The key that verifies webhooks of an installation.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn inbound_key(&self, instance: Uuid) -> Result<Option<InboundKey>> {
        self.engine
            .read(move |connection| {
                connection
                    .prepare_cached(concat!(
                        "SELECT ",
                        inbound_key_columns!(),
                        " FROM inbound_keys WHERE instance_id = $1"
                    ))?
                    .query_row(params![instance], inbound_key)
                    .optional()
            })
            .await
    }

    /// All installations that may report changes of a site's contacts, oldest first.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn inbound_keys(&self, site: SiteId) -> Result<Vec<InboundKey>> {
        self.engine
            .read(move |connection| {
                connection
                    .prepare_cached(concat!(
                        "SELECT ",
                        inbound_key_columns!(),
                        " FROM inbound_keys WHERE site_id = $1 ORDER BY created_at_ms, instance_id"
                    ))?
                    .query_map(params![site], inbound_key)
            })
            .await
    }

    /// Removes an installation; false when it was not registered.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn remove_inbound_key(&self, site: SiteId, instance: Uuid) -> Result<bool> {
        self.engine
            .write(site, move |connection| {
                let removed = connection
                    .prepare_cached(
                        "DELETE FROM inbound_keys WHERE site_id = $1 AND instance_id = $2",
                    )
                    .and_then(|mut statement| statement.execute(params![site, instance]))?;
                Ok(Done { value: removed > 0, changed: None })
            })
            .await
    }

    /// Applies an inbound event once: the event id is recorded in the same transaction. `closing`
    /// is how to close a deleted contact, `erasure` how to close an anonymized one.
    ///
    /// # Errors
    ///
    /// Only when the database fails; then the event id was not recorded.
    pub async fn apply_inbound(
        &self,
        site: SiteId,
        (event, fresh_until_ms): (EventId, i64),
        change: ContactChange,
        (closing, erasure): (Closing, Closing),
    ) -> Result<InboundOutcome> {
        let outbox = self.outbox.clone();
        let applied = self.engine.write_with_changes(
            Some(site),
            move |connection| {
                let is_first = insert_event(connection, site, event, fresh_until_ms);
                let mut value = (InboundOutcome::Unchanged, site, Vec::new());
                if is_first? {
                    value.2 = contacts_of(&change);
                    value.0 = apply(connection, site, change.clone(), &closing, &erasure)?;
                    connection.notify(&outbox);
                }
                Ok(Done { value, changed: None })
            },
            |(_, site, changed), changes| {
                for contact in changed {
                    changes.bump(*site, *contact);
                }
            },
        );
        Ok(applied.await?.0)
    }

    /// Deletes ids of events that have expired and would be rejected, at most `limit`; returns how
    /// many.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn delete_expired_inbound_events(&self, now_ms: i64, limit: u32) -> Result<usize> {
        self.engine
            .write_across(move |connection| {
                let deleted = connection
                    .prepare_cached(
                        "DELETE FROM inbound_events WHERE (site_id, event_id) IN \
                         (SELECT site_id, event_id FROM inbound_events \
                         WHERE expires_at_ms <= $1 ORDER BY expires_at_ms LIMIT $2)",
                    )
                    .and_then(|mut statement| statement.execute(params![now_ms, limit]))?;
                Ok(Done { value: deleted, changed: None })
            })
            .await
    }
}

fn inbound_key(row: Row<'_>) -> sql::Result<InboundKey> {
    Ok(InboundKey {
        instance_id: Uuid::from_bytes(row.get(0)?),
        site_id: row.get(1)?,
        app_id: Uuid::from_bytes(row.get(2)?),
        public_key: row.get(3)?,
        created_at_ms: row.get(4)?,
    })
}

/// Records an event id; false when it is a duplicate.
fn insert_event(
    connection: &Connection,
    site: SiteId,
    event: EventId,
    until_ms: i64,
) -> sql::Result<bool> {
    let new = connection
        .prepare_cached(
            "INSERT INTO inbound_events (site_id, event_id, expires_at_ms) VALUES ($1, $2, $3) \
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![site, event, until_ms])?;
    Ok(new > 0)
}

fn contacts_of(change: &ContactChange) -> Vec<ContactId> {
    match change {
        ContactChange::Deleted(contact) | ContactChange::Anonymized(contact) => vec![*contact],
        ContactChange::Merged { target, sources } => [sources.as_slice(), &[*target]].concat(),
        ContactChange::Ignored => Vec::new(),
    }
}

/// A contact that no longer exists is not an error: the vendor reports its own state.
fn apply(
    connection: &Connection,
    site: SiteId,
    change: ContactChange,
    closing: &Closing,
    erasure: &Closing,
) -> Result<InboundOutcome> {
    let closed = match change {
        ContactChange::Ignored => return Ok(InboundOutcome::Unchanged),
        ContactChange::Deleted(contact) => contacts::close(connection, (site, contact), closing),
        ContactChange::Anonymized(contact) => contacts::close(connection, (site, contact), erasure),
        ContactChange::Merged { target, mut sources } => {
            // Sources that no longer exist have nothing to move; the rest of the merge still
            // applies.
            let is_active = |contact: &ContactId| -> Result<bool> {
                let found = contacts::find(connection, site, *contact)?;
                Ok(found.is_none_or(|found| found.state == ContactState::Active))
            };
            let mut active = Vec::with_capacity(sources.len());
            for source in sources.drain(..) {
                if is_active(&source)? {
                    active.push(source);
                }
            }
            let create_unknown = CreateUnknown { target: true, sources: true };
            let now_ms = closing.removal.now_ms;
            contacts::merge(connection, (site, target), &active, create_unknown, now_ms)
                .map(|_| (false, None))
        }
    };
    match closed {
        Ok((more, _)) => Ok(InboundOutcome::Applied { more }),
        Err(Error::NotFound { .. }) => Ok(InboundOutcome::Unchanged),
        Err(error) => Err(error),
    }
}
