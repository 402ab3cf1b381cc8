//! Queries on those who tell of contacts kept elsewhere, and what they told.

use crate::db::sql::{self, Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::Db;
use super::contacts::{self, Closing, ContactState, UnknownToo};
use crate::db::engine::Done;
use crate::domain::ids::{ContactId, EventId, SiteId};
use crate::domain::inbound::ContactNews;
use crate::error::{Error, Result};

/// An installation that may tell of a site's contacts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundKey {
    /// The app's installation, which its webhooks name.
    pub instance_id: Uuid,
    /// The site that it stands for.
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

/// What became of news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It is done, or begun if there is more to be done than one transaction may.
    Applied {
        /// Whether a contact is still being closed.
        more: bool,
    },
    /// It was told before, or changes nothing.
    Nothing,
}

impl Db {
    /// Lets an installation tell of a site's contacts, in place of what was known of it.
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

    /// The key that webhooks of an installation are checked with.
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

    /// All installations that may tell of a site's contacts, the oldest first.
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

    /// Lets an installation tell nothing more; false when it could not before.
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

    /// Applies news once: that it was heard is written in the same transaction. `closing` is how a
    /// contact goes that is deleted, `erasure` how one does that is anonymized.
    ///
    /// # Errors
    ///
    /// Only when the database fails; then it was not heard.
    pub async fn hear(
        &self,
        site: SiteId,
        (event, fresh_until_ms): (EventId, i64),
        news: ContactNews,
        (closing, erasure): (Closing, Closing),
    ) -> Result<Heard> {
        let outbox = self.outbox.clone();
        let heard = self.engine.write_noting(
            Some(site),
            move |connection| {
                let first = remember(connection, site, event, fresh_until_ms);
                let mut value = (Heard::Nothing, site, Vec::new());
                if first? {
                    value.2 = contacts_of(&news);
                    value.0 = apply(connection, site, news.clone(), &closing, &erasure)?;
                    connection.wake(&outbox);
                }
                Ok(Done { value, changed: None })
            },
            |(_, site, changed), changes| {
                for contact in changed {
                    changes.note(*site, *contact);
                }
            },
        );
        Ok(heard.await?.0)
    }

    /// Forgets news that could not be told again, at most `limit`; returns how many.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn forget_inbound(&self, now_ms: i64, limit: u32) -> Result<usize> {
        self.engine
            .write_across(move |connection| {
                let forgotten = connection
                    .prepare_cached(
                        "DELETE FROM inbound_events WHERE (site_id, event_id) IN \
                         (SELECT site_id, event_id FROM inbound_events \
                         WHERE expires_at_ms <= $1 ORDER BY expires_at_ms LIMIT $2)",
                    )
                    .and_then(|mut statement| statement.execute(params![now_ms, limit]))?;
                Ok(Done { value: forgotten, changed: None })
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

/// False when it was heard before.
fn remember(
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

fn contacts_of(news: &ContactNews) -> Vec<ContactId> {
    match news {
        ContactNews::Deleted(contact) | ContactNews::Anonymized(contact) => vec![*contact],
        ContactNews::Merged { target, sources } => [sources.as_slice(), &[*target]].concat(),
        ContactNews::Nothing => Vec::new(),
    }
}

/// A contact that is gone already is no error: the vendor tells what is true elsewhere.
fn apply(
    connection: &Connection,
    site: SiteId,
    news: ContactNews,
    closing: &Closing,
    erasure: &Closing,
) -> Result<Heard> {
    let closed = match news {
        ContactNews::Nothing => return Ok(Heard::Nothing),
        ContactNews::Deleted(contact) => contacts::close(connection, (site, contact), closing),
        ContactNews::Anonymized(contact) => contacts::close(connection, (site, contact), erasure),
        ContactNews::Merged { target, mut sources } => {
            // Those that are gone have nothing to move; what is left of the news is still true.
            let is_there = |contact: &ContactId| -> Result<bool> {
                let found = contacts::find(connection, site, *contact)?;
                Ok(found.is_none_or(|found| found.state == ContactState::Active))
            };
            let mut there = Vec::with_capacity(sources.len());
            for source in sources.drain(..) {
                if is_there(&source)? {
                    there.push(source);
                }
            }
            let unknown_too = UnknownToo { target: true, sources: true };
            let now_ms = closing.removal.now_ms;
            contacts::merge(connection, (site, target), &there, unknown_too, now_ms)
                .map(|_| (false, None))
        }
    };
    match closed {
        Ok((more, _)) => Ok(Heard::Applied { more }),
        Err(Error::NotFound { .. }) => Ok(Heard::Nothing),
        Err(error) => Err(error),
    }
}
