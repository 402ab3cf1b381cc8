//! Queries on attachments and on the contact rows that count them.

use quick_cache::sync::Cache;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::rows::{self, AttachmentRow, CREATED_AT, attachment_columns, listed_columns};
use super::sqlite::{Done, from_sqlite};
use super::{Change, Db};
use crate::domain::attachment::Attachment;
use crate::domain::ids::{AttachmentId, BlobId, ContactId, SiteId};
use crate::domain::paging::Paging;
use crate::domain::quota::{Amount, Quotas};
use crate::error::{Error, Result};

/// Remembered ends of pages, each about 100 bytes.
const ANCHORS: usize = 10_000;

/// Where the page before an offset ended, valid while its contact has not changed: walking all
/// pages in order costs one range read each, however deep (design §3).
pub(super) struct Anchors(Cache<(SiteId, ContactId, Change, u32), (i64, AttachmentId)>);

impl Anchors {
    pub(super) fn new() -> Self {
        Self(Cache::new(ANCHORS))
    }
}

/// What a list says beside its items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PageTotals {
    /// Items of the contact in all.
    pub total: u64,
    /// Rises with every change of the contact's attachments.
    pub revision: i64,
    /// Items on this page.
    pub count: u32,
}

/// A page that was read: its totals and what the visitor made of its rows.
#[derive(Debug)]
pub struct ListedPage<V> {
    /// Totals, from the same snapshot as the rows.
    pub totals: PageTotals,
    /// The visitor, after it has seen every row.
    pub visited: V,
}

/// Shows each row of a page to the function that it is given.
pub type Rows<'a> = &'a mut dyn FnMut(&mut dyn FnMut(&AttachmentRow<'_>));

/// How a commit of an upload ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Commit {
    /// The attachment exists now, also instead of what a resumable upload of the same URL, whose
    /// blob this is, was to become.
    Created(Attachment, Option<BlobId>),
    /// The upload URL had made this attachment before; nothing was changed.
    Existing(Attachment),
    /// The upload URL was used before and its attachment is gone.
    Spent,
}

impl Db {
    /// Counts the changes of a contact; read it before rows that are to be cached.
    pub fn change_of(&self, site: SiteId, contact: ContactId) -> Change {
        self.changes.of(site, contact)
    }

    /// Reads one page of a contact, oldest first. `visit` is called once, on the database's
    /// thread, with a function that shows it each row. A contact without attachments is an
    /// empty page.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn list<V: Send + 'static>(
        &self,
        site: SiteId,
        contact: ContactId,
        paging: Paging,
        mut visited: V,
        visit: fn(&mut V, Rows<'_>),
    ) -> Result<ListedPage<V>> {
        let change = self.changes.of(site, contact);
        let anchor = self.anchors.0.get(&(site, contact, change, paging.offset));
        let (page, end) = self
            .sqlite
            .read(move |connection| {
                let mut totals = totals(connection, site, contact)?;
                let start = Start::of(paging, anchor, totals.total);
                let mut end = Ok(None);
                visit(&mut visited, &mut |show| {
                    end = visit_page(connection, (site, contact), start, paging.limit, |row| {
                        totals.count += 1;
                        show(row);
                    });
                });
                Ok((ListedPage { totals, visited }, end?))
            })
            .await?;
        if let Some(end) = end {
            let next = paging.offset.saturating_add(page.totals.count);
            self.anchors.0.insert((site, contact, change, next), end);
        }
        Ok(page)
    }

    /// Finds an attachment by its id.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn attachment(&self, site: SiteId, id: AttachmentId) -> Result<Option<Attachment>> {
        self.sqlite.read(move |connection| find(connection, site, id)).await
    }

    /// Whether an upload URL was used, and what it made if that is still there.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn spent_upload(
        &self,
        site: SiteId,
        id: AttachmentId,
    ) -> Result<Option<Option<Attachment>>> {
        self.sqlite
            .read(move |connection| {
                let spent = connection
                    .prepare_cached(
                        "SELECT 1 FROM spent_uploads WHERE site_id = $1 AND attachment_id = $2",
                    )?
                    .exists(params![site, id])?;
                if spent { find(connection, site, id).map(Some) } else { Ok(None) }
            })
            .await
    }

    /// Makes an attachment whose bytes are durable, in one transaction with the contact's
    /// counters and the spent upload URL (design §4). Its `created_at_ms` is moved behind the
    /// contact's newest, whatever the clock says.
    ///
    /// # Errors
    ///
    /// [`Error::OverQuota`] when the site or the contact may not hold it; otherwise only when the
    /// database fails, and then it is not known whether the commit went through.
    pub async fn commit_upload(
        &self,
        attachment: Attachment,
        spent_until_ms: i64,
        quotas: Quotas,
    ) -> Result<Commit> {
        self.sqlite
            .write(move |connection| {
                let (site, contact) = (attachment.site_id, attachment.contact_id);
                let commit =
                    commit_upload(connection, attachment, spent_until_ms).map_err(from_sqlite)?;
                if let Commit::Created(created, _) = &commit
                    && quotas.any()
                {
                    // With this one counted already: an error takes it back.
                    let (held, held_by) = usage(connection, site, contact).map_err(from_sqlite)?;
                    let before = |held: Amount| Amount {
                        files: held.files.saturating_sub(1),
                        bytes: held.bytes.saturating_sub(created.size_bytes),
                    };
                    quotas.allow(before(held), before(held_by), created.size_bytes)?;
                }
                let changed = matches!(commit, Commit::Created(..)).then_some((site, contact));
                Ok(Done { value: commit, changed })
            })
            .await
    }

    /// What a site and one of its contacts hold.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn usage(&self, site: SiteId, contact: ContactId) -> Result<(Amount, Amount)> {
        self.sqlite.read(move |connection| usage(connection, site, contact)).await
    }

    /// Takes an attachment away, in one transaction with the counters and the order to remove
    /// its bytes after `grace_ms` (design §8).
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when this contact of this site has no such attachment.
    pub async fn delete(
        &self,
        site: SiteId,
        contact: ContactId,
        id: AttachmentId,
        now_ms: i64,
        grace_ms: i64,
    ) -> Result<()> {
        self.sqlite
            .write(move |connection| {
                let found = delete(connection, (site, contact, id), now_ms, grace_ms);
                if !found.map_err(from_sqlite)? {
                    return Err(Error::no_attachment(contact, id));
                }
                Ok(Done { value: (), changed: Some((site, contact)) })
            })
            .await
    }

    /// Notes that no preview can be made, so that lists stop offering one.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn preview_failed(&self, site: SiteId, id: AttachmentId) -> Result<()> {
        self.sqlite
            .write(move |connection| {
                let contact = connection
                    .prepare_cached(
                        "UPDATE attachments SET has_preview = 0 \
                         WHERE site_id = $1 AND attachment_id = $2 RETURNING contact_id",
                    )
                    .and_then(|mut statement| {
                        statement.query_row(params![site, id], |row| row.get(0)).optional()
                    })
                    .map_err(from_sqlite)?;
                let Some(contact) = contact else { return Ok(Done { value: (), changed: None }) };
                bump_revision(connection, site, contact).map_err(from_sqlite)?;
                Ok(Done { value: (), changed: Some((site, contact)) })
            })
            .await
    }
}

/// Where a page begins.
#[derive(Clone, Copy)]
enum Start {
    /// Behind a known row.
    After(i64, AttachmentId),
    /// After skipping so many rows.
    Skip(u32),
    /// Past the end: nothing to read.
    Nowhere,
}

impl Start {
    fn of(paging: Paging, anchor: Option<(i64, AttachmentId)>, total: u64) -> Self {
        if paging.limit == 0 || u64::from(paging.offset) >= total {
            return Self::Nowhere;
        }
        anchor.map_or(Self::Skip(paging.offset), |(at, id)| Self::After(at, id))
    }
}

fn totals(
    connection: &Connection,
    site: SiteId,
    contact: ContactId,
) -> rusqlite::Result<PageTotals> {
    let found = connection
        .prepare_cached(
            "SELECT attachment_count, revision FROM contacts \
             WHERE site_id = $1 AND contact_id = $2",
        )?
        .query_row(params![site, contact], |row| {
            let total = row.get::<_, i64>(0)? as u64;
            Ok(PageTotals { total, revision: row.get(1)?, count: 0 })
        })
        .optional()?;
    Ok(found.unwrap_or_default())
}

/// Shows each row of the page and returns the key of the last.
fn visit_page(
    connection: &Connection,
    (site, contact): (SiteId, ContactId),
    start: Start,
    limit: u32,
    mut show: impl FnMut(&AttachmentRow<'_>),
) -> rusqlite::Result<Option<(i64, AttachmentId)>> {
    let mut statement;
    let mut found = match start {
        Start::Nowhere => return Ok(None),
        Start::After(at, id) => {
            statement = connection.prepare_cached(concat!(
                "SELECT ",
                listed_columns!(),
                " FROM attachments WHERE site_id = $1 AND contact_id = $2 \
                 AND (created_at_ms, attachment_id) > ($3, $4) \
                 ORDER BY created_at_ms, attachment_id LIMIT $5"
            ))?;
            statement.query(params![site, contact, at, id, limit])?
        }
        Start::Skip(offset) => {
            statement = connection.prepare_cached(concat!(
                "SELECT ",
                listed_columns!(),
                " FROM attachments WHERE site_id = $1 AND contact_id = $2 \
                 ORDER BY created_at_ms, attachment_id LIMIT $3 OFFSET $4"
            ))?;
            statement.query(params![site, contact, limit, offset])?
        }
    };
    let mut end = None;
    while let Some(row) = found.next()? {
        let shown = AttachmentRow::read(row)?;
        show(&shown);
        end = Some((row.get(CREATED_AT)?, shown.id));
    }
    Ok(end)
}

pub(super) fn find(
    connection: &Connection,
    site: SiteId,
    id: AttachmentId,
) -> rusqlite::Result<Option<Attachment>> {
    connection
        .prepare_cached(concat!(
            "SELECT ",
            attachment_columns!(),
            " FROM attachments WHERE site_id = $1 AND attachment_id = $2"
        ))?
        .query_row(params![site, id], rows::attachment)
        .optional()
}

fn commit_upload(
    connection: &Connection,
    mut attachment: Attachment,
    spent_until_ms: i64,
) -> rusqlite::Result<Commit> {
    let (site, contact) = (attachment.site_id, attachment.contact_id);
    let first = connection
        .prepare_cached(
            "INSERT INTO spent_uploads (site_id, attachment_id, expires_at_ms) \
             VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        )?
        .execute(params![site, attachment.id, spent_until_ms])?;
    if first == 0 {
        let existing = find(connection, site, attachment.id)?;
        return Ok(existing.map_or(Commit::Spent, Commit::Existing));
    }
    attachment.created_at_ms = connection
        .prepare_cached(
            "INSERT INTO contacts (site_id, contact_id, attachment_count, total_bytes, \
             revision, last_created_at_ms) VALUES ($1, $2, 1, $3, 1, $4) \
             ON CONFLICT (site_id, contact_id) DO UPDATE SET \
             attachment_count = contacts.attachment_count + 1, \
             total_bytes = contacts.total_bytes + excluded.total_bytes, \
             revision = contacts.revision + 1, \
             last_created_at_ms = CASE \
             WHEN excluded.last_created_at_ms > contacts.last_created_at_ms \
             THEN excluded.last_created_at_ms ELSE contacts.last_created_at_ms + 1 END \
             RETURNING last_created_at_ms",
        )?
        .query_row(
            params![site, contact, attachment.size_bytes as i64, attachment.created_at_ms],
            |row| row.get(0),
        )?;
    insert(connection, &attachment)?;
    count_site(connection, site, 1, attachment.size_bytes as i64)?;
    let forgotten = super::uploads::forget(connection, &attachment)?;
    let superseded = forgotten.filter(|blob| *blob != attachment.blob_id);
    Ok(Commit::Created(attachment, superseded))
}

/// What a site and a contact hold.
fn usage(
    connection: &Connection,
    site: SiteId,
    contact: ContactId,
) -> rusqlite::Result<(Amount, Amount)> {
    let amount = |row: &rusqlite::Row<'_>| {
        Ok(Amount { files: row.get::<_, i64>(0)? as u64, bytes: row.get::<_, i64>(1)? as u64 })
    };
    let of_site = connection
        .prepare_cached("SELECT attachment_count, total_bytes FROM site_usage WHERE site_id = $1")?
        .query_row(params![site], amount)
        .optional()?;
    let of_contact = connection
        .prepare_cached(
            "SELECT attachment_count, total_bytes FROM contacts \
             WHERE site_id = $1 AND contact_id = $2",
        )?
        .query_row(params![site, contact], amount)
        .optional()?;
    Ok((of_site.unwrap_or_default(), of_contact.unwrap_or_default()))
}

/// Keeps what a site holds in all, beside the counters of its contacts.
fn count_site(
    connection: &Connection,
    site: SiteId,
    attachments: i64,
    bytes: i64,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO site_usage (site_id, attachment_count, total_bytes) VALUES ($1, $2, $3) \
             ON CONFLICT (site_id) DO UPDATE SET \
             attachment_count = site_usage.attachment_count + excluded.attachment_count, \
             total_bytes = site_usage.total_bytes + excluded.total_bytes",
        )?
        .execute(params![site, attachments, bytes])?;
    Ok(())
}

fn insert(connection: &Connection, attachment: &Attachment) -> rusqlite::Result<()> {
    connection
        .prepare_cached(concat!(
            "INSERT INTO attachments (",
            attachment_columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
        ))?
        .execute(params![
            attachment.id,
            attachment.file_name,
            attachment.mime_type,
            attachment.media_extension,
            attachment.width,
            attachment.height,
            attachment.has_preview,
            attachment.created_at_ms,
            attachment.site_id,
            attachment.contact_id,
            attachment.size_bytes as i64,
            attachment.sha256,
            attachment.blob_id,
        ])?;
    Ok(())
}

fn delete(
    connection: &Connection,
    (site, contact, id): (SiteId, ContactId, AttachmentId),
    now_ms: i64,
    grace_ms: i64,
) -> rusqlite::Result<bool> {
    let gone = connection
        .prepare_cached(
            "DELETE FROM attachments \
             WHERE site_id = $1 AND attachment_id = $2 AND contact_id = $3 \
             RETURNING blob_id, size_bytes",
        )?
        .query_row(params![site, id, contact], |row| {
            Ok((row.get::<_, BlobId>(0)?, row.get::<_, i64>(1)?))
        })
        .optional()?;
    let Some((blob_id, size_bytes)) = gone else { return Ok(false) };
    connection
        .prepare_cached(
            "UPDATE contacts SET attachment_count = attachment_count - 1, \
             total_bytes = total_bytes - $1, revision = revision + 1 \
             WHERE site_id = $2 AND contact_id = $3",
        )?
        .execute(params![size_bytes, site, contact])?;
    count_site(connection, site, -1, -size_bytes)?;
    connection
        .prepare_cached(
            "INSERT INTO blob_removals (site_id, blob_id, remove_after_ms) VALUES ($1, $2, $3)",
        )?
        .execute(params![site, blob_id, now_ms + grace_ms])?;
    connection
        .prepare_cached(
            "INSERT INTO tombstones (site_id, attachment_id, deleted_at_ms) VALUES ($1, $2, $3) \
             ON CONFLICT (site_id, attachment_id) DO UPDATE SET \
             deleted_at_ms = excluded.deleted_at_ms",
        )?
        .execute(params![site, id, now_ms])?;
    Ok(true)
}

fn bump_revision(
    connection: &Connection,
    site: SiteId,
    contact: ContactId,
) -> rusqlite::Result<usize> {
    connection
        .prepare_cached(
            "UPDATE contacts SET revision = revision + 1 WHERE site_id = $1 AND contact_id = $2",
        )?
        .execute(params![site, contact])
}
