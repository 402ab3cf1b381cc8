//! Fills in the folded search texts (`domain::folding`) for rows of older releases.

use super::sql::{self, Connection, params};
use crate::domain::folding::stored_fold;
use crate::domain::ids::{AttachmentId, ContactId, SiteId};

/// The schema that introduced these texts.
const SCHEMA: i64 = 7;
/// Maximum rows in memory.
const BATCH: usize = 1_000;

/// Inside the migration to a schema: fills in the texts if that schema introduced them. Most rows
/// need none, and those are not read.
pub(super) fn fill_after(connection: &Connection, schema: i64) -> sql::Result<()> {
    if schema != SCHEMA {
        return Ok(());
    }
    fill_labels(connection)?;
    fill_names(connection)?;
    fill_trashed_names(connection)
}

fn fill_labels(connection: &Connection) -> sql::Result<()> {
    let mut last = (SiteId::from_bytes([0; 16]), ContactId::from_bytes([0; 16]));
    loop {
        let rows: Vec<(SiteId, ContactId, String)> = connection
            .prepare_cached(
                "SELECT site_id, contact_id, label FROM contacts \
                 WHERE (site_id, contact_id) >= ($1, $2) AND octet_length(label) <> length(label) \
                 ORDER BY site_id, contact_id LIMIT $3",
            )?
            .query_map(params![last.0, last.1, BATCH as i64], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
        for (site, contact, label) in &rows {
            connection
                .prepare_cached(
                    "UPDATE contacts SET label_folded = $1 WHERE site_id = $2 AND contact_id = $3",
                )?
                .execute(params![stored_fold(label), site, contact])?;
        }
        match rows.last() {
            Some((site, contact, _)) if rows.len() == BATCH => last = (*site, *contact),
            _ => return Ok(()),
        }
    }
}

/// Fills in the names of a table that is keyed by site and attachment.
macro_rules! fill {
    ($name:ident, $table:literal) => {
        fn $name(connection: &Connection) -> sql::Result<()> {
            const SELECT: &str = concat!(
                "SELECT site_id, attachment_id, file_name FROM ",
                $table,
                " WHERE (site_id, attachment_id) >= ($1, $2) \
                 AND octet_length(file_name) <> length(file_name) \
                 ORDER BY site_id, attachment_id LIMIT $3"
            );
            const UPDATE: &str = concat!(
                "UPDATE ",
                $table,
                " SET name_folded = $1 WHERE site_id = $2 AND attachment_id = $3"
            );
            let mut last = (SiteId::from_bytes([0; 16]), AttachmentId::from_bytes([0; 16]));
            loop {
                let rows: Vec<(SiteId, AttachmentId, String)> = connection
                    .prepare_cached(SELECT)?
                    .query_map(params![last.0, last.1, BATCH as i64], |row| {
                        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                    })?;
                for (site, id, name) in &rows {
                    connection.prepare_cached(UPDATE)?.execute(params![
                        stored_fold(name),
                        site,
                        id
                    ])?;
                }
                match rows.last() {
                    Some((site, id, _)) if rows.len() == BATCH => last = (*site, *id),
                    _ => return Ok(()),
                }
            }
        }
    };
}

fill!(fill_names, "attachments");
fill!(fill_trashed_names, "trashed_attachments");
