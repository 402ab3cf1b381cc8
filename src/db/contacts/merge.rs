//! Merging contacts: the attachments move, with their ids, in one transaction.

use crate::db::sql::{self, Connection, params};

use super::{active, closing};
use crate::db::Db;
use crate::db::engine::Done;
use crate::domain::ids::{ContactId, SiteId};
use crate::error::Result;

impl Db {
    /// Moves all attachments of the sources to the target and closes the sources. `create_unknown`
    /// decides whether an unknown target or unknown sources are created first. Links stay valid, and
    /// no events are sent, because the vendor's entity does not contain its contact.
    ///
    /// Returns the number of moved attachments.
    ///
    /// # Errors
    ///
    /// [`crate::error::Error::NotFound`] when one of them does not exist or is not active; then
    /// nothing is changed.
    pub async fn merge_contacts(
        &self,
        site: SiteId,
        target: ContactId,
        sources: Vec<ContactId>,
        create_unknown: CreateUnknown,
        now_ms: i64,
    ) -> Result<usize> {
        let moved = self.engine.write_with_changes(
            Some(site),
            move |connection| {
                let moved = merge(connection, (site, target), &sources, create_unknown, now_ms)?;
                let mut changed = sources.clone();
                changed.push(target);
                Ok(Done { value: (moved, site, changed), changed: None })
            },
            |(_, site, changed), changes| {
                for contact in changed {
                    changes.bump(*site, *contact);
                }
            },
        );
        Ok(moved.await?.0)
    }
}

/// Which unknown contacts of a merge are created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreateUnknown {
    /// The target.
    pub target: bool,
    /// The sources, which are closed immediately.
    pub sources: bool,
}

/// Inside a write: [`Db::merge_contacts`].
pub(in crate::db) fn merge(
    connection: &Connection,
    (site, target): (SiteId, ContactId),
    sources: &[ContactId],
    create_unknown: CreateUnknown,
    now_ms: i64,
) -> Result<usize> {
    active(connection, (site, target), create_unknown.target, now_ms)?;
    for source in sources {
        active(connection, (site, *source), create_unknown.sources, now_ms)?;
    }
    let mut moved = 0;
    for source in sources {
        moved += move_all(connection, site, (*source, target), now_ms)?;
    }
    Ok(moved)
}

fn move_all(
    connection: &Connection,
    site: SiteId,
    (source, target): (ContactId, ContactId),
    now_ms: i64,
) -> sql::Result<usize> {
    let moved = connection
        .prepare_cached(
            "UPDATE attachments SET contact_id = $1 WHERE site_id = $2 AND contact_id = $3",
        )?
        .execute(params![target, site, source])?;
    connection
        .prepare_cached(
            "UPDATE trashed_attachments SET contact_id = $1 \
             WHERE site_id = $2 AND contact_id = $3",
        )?
        .execute(params![target, site, source])?;
    connection
        .prepare_cached(
            "UPDATE contacts SET revision = revision + 1, \
             attachment_count = attachment_count + (SELECT attachment_count FROM contacts s \
             WHERE s.site_id = contacts.site_id AND s.contact_id = $1), \
             total_bytes = total_bytes + (SELECT total_bytes FROM contacts s \
             WHERE s.site_id = contacts.site_id AND s.contact_id = $1), \
             last_created_at_ms = (SELECT CASE \
             WHEN s.last_created_at_ms > contacts.last_created_at_ms \
             THEN s.last_created_at_ms ELSE contacts.last_created_at_ms END FROM contacts s \
             WHERE s.site_id = contacts.site_id AND s.contact_id = $1) \
             WHERE site_id = $2 AND contact_id = $3",
        )?
        .execute(params![source, site, target])?;
    // One level is enough to find every contact that was ever merged into another.
    connection
        .prepare_cached(
            "UPDATE contacts SET merged_into = $1 WHERE site_id = $2 AND merged_into = $3",
        )?
        .execute(params![target, site, source])?;
    connection
        .prepare_cached(
            "UPDATE contacts SET state = 'merged', state_at_ms = $1, merged_into = $2, \
             label = NULL, label_folded = NULL, attachment_count = 0, total_bytes = 0, revision = revision + 1 \
             WHERE site_id = $3 AND contact_id = $4",
        )?
        .execute(params![now_ms, target, site, source])?;
    closing::end_uploads(connection, site, source)?;
    Ok(moved)
}
