//! Queries on contacts as such: who is known, in which state; what happens to their attachments when
//! they go is in the files beside this one.

mod closing;
mod erasures;
mod graves;
mod merge;
mod search;
mod trash;

pub use closing::Closing;
pub use erasures::{ErasedFile, Erasure};
pub use graves::Grave;
pub use search::{ContactOrder, ContactSearch};
pub use trash::{Restored, Trashed};

pub(super) use closing::close;
pub(super) use erasures::bytes_are_gone;
pub(super) use graves::bury_contact;
pub(super) use merge::merge;
pub(super) use trash::{bury, remove_bytes, throw};

pub use merge::UnknownToo;

use crate::db::sql::{self, Connection, OptionalExtension as _, Row, params};

use super::Db;
use crate::config::Config;
use crate::db::engine::Done;
use crate::domain::folding::kept_fold;
use crate::domain::ids::{ContactId, SiteId};
use crate::error::{Error, Result};

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// What is left of a contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContactState {
    /// All of it.
    Active,
    /// It can be restored for a while.
    Trashed,
    /// Nothing but its id.
    Deleted,
    /// Nothing but its id and a receipt.
    Erased,
    /// Its attachments belong to another contact.
    Merged,
}

impl ContactState {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Trashed => "trashed",
            Self::Deleted => "deleted",
            Self::Erased => "erased",
            Self::Merged => "merged",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Trashed, Self::Deleted, Self::Erased, Self::Merged]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// A contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// Its id.
    pub id: ContactId,
    /// What is left of it.
    pub state: ContactState,
    /// A label for people.
    pub label: Option<String>,
    /// When it was announced, in Unix milliseconds.
    pub announced_at_ms: Option<i64>,
    /// When it came into its state, in Unix milliseconds.
    pub state_at_ms: i64,
    /// Of a trashed one: when it can no longer be restored, in Unix milliseconds.
    pub purge_at_ms: Option<i64>,
    /// Attachments that it has.
    pub attachment_count: u64,
    /// Bytes of these.
    pub total_bytes: u64,
    /// When its last file came, or it came into its state if that was later, in Unix milliseconds.
    pub last_activity_at_ms: i64,
}

/// How an announcement ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Announced {
    /// The contact is known now.
    Known(Contact),
    /// It cannot come back: it was erased or merged, or lies in the trash.
    Gone(ContactState),
    /// Its attachments are still being taken away.
    Closing,
}

/// How something is to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removal {
    /// When, in Unix milliseconds.
    pub now_ms: i64,
    /// How long bytes stay for downloads that are running.
    pub grace_ms: i64,
    /// Until when it can be restored, in Unix milliseconds; `None` is not at all.
    pub purge_at_ms: Option<i64>,
}

impl Removal {
    /// As the settings say.
    pub fn now(config: &Config, now_ms: i64) -> Self {
        let trash_ms = i64::from(config.trash_days) * DAY_MS;
        Self {
            now_ms,
            grace_ms: i64::from(config.removal_grace_seconds) * 1_000,
            purge_at_ms: (trash_ms > 0).then_some(now_ms + trash_ms),
        }
    }

    /// At once and for good.
    pub fn for_good(now_ms: i64) -> Self {
        Self { now_ms, grace_ms: 0, purge_at_ms: None }
    }
}

/// The columns of a contact, in the order that [`contact`] expects.
macro_rules! contact_columns {
    () => {
        "contact_id, state, label, announced_at_ms, state_at_ms, purge_at_ms, attachment_count, \
         total_bytes, \
         CASE WHEN last_created_at_ms > state_at_ms THEN last_created_at_ms ELSE state_at_ms END"
    };
}
use contact_columns;

impl Db {
    /// Finds a contact, in whatever state.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn contact(&self, site: SiteId, id: ContactId) -> Result<Option<Contact>> {
        self.engine.read(move |connection| find(connection, site, id)).await
    }

    /// Makes a contact known, with a label if one is given. One that was deleted begins anew.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn announce(
        &self,
        site: SiteId,
        id: ContactId,
        label: Option<String>,
        now_ms: i64,
    ) -> Result<Announced> {
        self.engine
            .write(site, move |connection| {
                let value = announce(connection, (site, id), label.as_deref(), now_ms)?;
                Ok(Done { value, changed: None })
            })
            .await
    }

    /// Whether attachments may be uploaded for a contact: not when it is gone, nor when only
    /// announced ones may have any and it is not.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn may_receive(
        &self,
        site: SiteId,
        id: ContactId,
        only_announced: bool,
    ) -> Result<bool> {
        self.engine
            .read(move |connection| {
                let found = find(connection, site, id)?;
                Ok(match found {
                    None => !only_announced,
                    Some(found) => {
                        found.state == ContactState::Active
                            && (!only_announced || found.announced_at_ms.is_some())
                    }
                })
            })
            .await
    }
}

pub(super) fn find(
    connection: &Connection,
    site: SiteId,
    id: ContactId,
) -> sql::Result<Option<Contact>> {
    connection
        .prepare_cached(concat!(
            "SELECT ",
            contact_columns!(),
            " FROM contacts WHERE site_id = $1 AND contact_id = $2"
        ))?
        .query_row(params![site, id], contact)
        .optional()
}

/// Inside the write of an upload: whether its contact has gone meanwhile.
pub(super) fn is_gone(connection: &Connection, site: SiteId, id: ContactId) -> sql::Result<bool> {
    connection
        .prepare_cached(
            "SELECT 1 FROM contacts \
             WHERE site_id = $1 AND contact_id = $2 AND state <> 'active'",
        )?
        .exists(params![site, id])
}

/// Whether a contact's attachments are still being taken away.
fn is_closing(connection: &Connection, site: SiteId, id: ContactId) -> sql::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM contact_closings WHERE site_id = $1 AND contact_id = $2")?
        .exists(params![site, id])
}

/// Inside a write that needs a contact which is there; one that is not known is made if `make`.
///
/// # Errors
///
/// [`Error::NotFound`].
fn active(
    connection: &Connection,
    (site, id): (SiteId, ContactId),
    make: bool,
    now_ms: i64,
) -> Result<Contact> {
    match find(connection, site, id)? {
        Some(found) if found.state == ContactState::Active => Ok(found),
        None if make => {
            make_known(connection, (site, id), now_ms)?;
            let made = find(connection, site, id)?;
            made.ok_or_else(|| Error::no_contact(id))
        }
        Some(_) | None => Err(Error::no_contact(id)),
    }
}

fn make_known(
    connection: &Connection,
    (site, id): (SiteId, ContactId),
    now_ms: i64,
) -> sql::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO contacts (site_id, contact_id, attachment_count, total_bytes, revision, \
             last_created_at_ms, state_at_ms) VALUES ($1, $2, 0, 0, 1, 0, $3) \
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![site, id, now_ms])?;
    Ok(())
}

fn announce(
    connection: &Connection,
    (site, id): (SiteId, ContactId),
    label: Option<&str>,
    now_ms: i64,
) -> sql::Result<Announced> {
    make_known(connection, (site, id), now_ms)?;
    if is_closing(connection, site, id)? {
        return Ok(Announced::Closing);
    }
    connection
        .prepare_cached(
            "UPDATE contacts SET label = COALESCE($1, label), \
             label_folded = CASE WHEN $1 IS NULL THEN label_folded ELSE $2 END, \
             announced_at_ms = CASE WHEN state = 'deleted' THEN $3 \
             ELSE COALESCE(announced_at_ms, $3) END, \
             state_at_ms = CASE WHEN state = 'deleted' THEN $3 ELSE state_at_ms END, \
             state = 'active' WHERE site_id = $4 AND contact_id = $5 \
             AND state IN ('active', 'deleted')",
        )?
        .execute(params![label, label.and_then(kept_fold), now_ms, site, id])?;
    let found = find(connection, site, id)?.ok_or(sql::Error::NoRow)?;
    Ok(match found.state {
        ContactState::Active => Announced::Known(found),
        gone => Announced::Gone(gone),
    })
}

fn contact(row: Row<'_>) -> sql::Result<Contact> {
    let state: &str = row.get(1)?;
    Ok(Contact {
        id: row.get(0)?,
        state: ContactState::parse(state).ok_or(sql::Error::Unexpected(1))?,
        label: row.get(2)?,
        announced_at_ms: row.get(3)?,
        state_at_ms: row.get(4)?,
        purge_at_ms: row.get(5)?,
        attachment_count: row.get::<i64>(6)? as u64,
        total_bytes: row.get::<i64>(7)? as u64,
        last_activity_at_ms: row.get(8)?,
    })
}
