//! Queries on contacts themselves: which exist, and in which state. The files next to this one
//! handle their attachments.

mod closing;
mod erasures;
mod graves;
mod merge;
mod search;
mod trash;

pub use closing::Closing;
pub use erasures::{ErasedFile, Erasure};
pub use graves::ContactTombstone;
pub use search::{ContactOrder, ContactSearch};
pub use trash::{Restored, Trashed};

pub(super) use closing::close;
pub(super) use erasures::blob_erased;
pub(super) use graves::apply_contact_tombstone;
pub(super) use merge::merge;
pub(super) use trash::{move_to_trash, record_tombstone, schedule_removal};

pub use merge::CreateUnknown;

use crate::db::sql::{self, Connection, OptionalExtension as _, Row, params};

use super::Db;
use crate::config::Config;
use crate::db::engine::Done;
use crate::domain::folding::stored_fold;
use crate::domain::ids::{ContactId, SiteId};
use crate::error::{Error, Result};

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// The state of a contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContactState {
    /// In use.
    Active,
    /// In the trash: it can be restored for a while.
    Trashed,
    /// Deleted: only its id is left.
    Deleted,
    /// Erased: only its id and a receipt are left.
    Erased,
    /// Merged: its attachments belong to another contact.
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
    /// Its state.
    pub state: ContactState,
    /// A label for people.
    pub label: Option<String>,
    /// When it was announced, in Unix milliseconds.
    pub announced_at_ms: Option<i64>,
    /// When its state last changed, in Unix milliseconds.
    pub state_at_ms: i64,
    /// Until when it can be restored, in Unix milliseconds, if it is trashed.
    pub purge_at_ms: Option<i64>,
    /// Number of its attachments.
    pub attachment_count: u64,
    /// Total size of these.
    pub total_bytes: u64,
    /// When its newest file was created or its state last changed, whichever is later, in Unix
    /// milliseconds.
    pub last_activity_at_ms: i64,
}

/// The outcome of an announcement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Announced {
    /// The contact is active.
    Known(Contact),
    /// It cannot be announced: it was erased or merged, or is in the trash.
    Gone(ContactState),
    /// Its attachments are still being deleted.
    Closing,
}

/// How to delete something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removal {
    /// When, in Unix milliseconds.
    pub now_ms: i64,
    /// How long the bytes are kept for downloads in flight.
    pub grace_ms: i64,
    /// Until when it can be restored, in Unix milliseconds; `None` for a permanent removal.
    pub purge_at_ms: Option<i64>,
}

impl Removal {
    /// According to the settings.
    pub fn now(config: &Config, now_ms: i64) -> Self {
        let trash_ms = i64::from(config.trash_days) * DAY_MS;
        Self {
            now_ms,
            grace_ms: i64::from(config.removal_grace_seconds) * 1_000,
            purge_at_ms: (trash_ms > 0).then_some(now_ms + trash_ms),
        }
    }

    /// Immediate and permanent.
    pub fn permanent(now_ms: i64) -> Self {
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
    /// Finds a contact in any state.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn contact(&self, site: SiteId, id: ContactId) -> Result<Option<Contact>> {
        self.engine.read(move |connection| find(connection, site, id)).await
    }

    /// Announces a contact, with a label if one is given. A deleted one becomes active again.
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

    /// Whether a contact accepts uploads: not when it is not active, nor when only announced
    /// contacts do and it was not announced.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn accepts_uploads(
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

/// Inside the write of an upload: whether its contact is known and no longer active.
pub(super) fn is_inactive(
    connection: &Connection,
    site: SiteId,
    id: ContactId,
) -> sql::Result<bool> {
    connection
        .prepare_cached(
            "SELECT 1 FROM contacts \
             WHERE site_id = $1 AND contact_id = $2 AND state <> 'active'",
        )?
        .exists(params![site, id])
}

/// Whether a contact's attachments are still being deleted.
fn is_closing(connection: &Connection, site: SiteId, id: ContactId) -> sql::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM contact_closings WHERE site_id = $1 AND contact_id = $2")?
        .exists(params![site, id])
}

/// Inside a write: the contact, which must be active. An unknown one is created if `create`.
///
/// # Errors
///
/// [`Error::NotFound`].
fn active(
    connection: &Connection,
    (site, id): (SiteId, ContactId),
    create: bool,
    now_ms: i64,
) -> Result<Contact> {
    match find(connection, site, id)? {
        Some(found) if found.state == ContactState::Active => Ok(found),
        None if create => {
            create_if_unknown(connection, (site, id), now_ms)?;
            let created = find(connection, site, id)?;
            created.ok_or_else(|| Error::no_contact(id))
        }
        Some(_) | None => Err(Error::no_contact(id)),
    }
}

fn create_if_unknown(
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
    create_if_unknown(connection, (site, id), now_ms)?;
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
        .execute(params![label, label.and_then(stored_fold), now_ms, site, id])?;
    let found = find(connection, site, id)?.ok_or(sql::Error::NoRow)?;
    Ok(match found.state {
        ContactState::Active => Announced::Known(found),
        state => Announced::Gone(state),
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
