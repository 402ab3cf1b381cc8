//! Pages of a contact's attachments, each a single range read.

use crate::db::sql::{self, Connection, OptionalExtension as _, params};
use quick_cache::sync::Cache;

use super::rows::{AttachmentRow, CREATED_AT, listed_columns};
use super::{Change, Db};
use crate::domain::ids::{AttachmentId, ContactId, SiteId};
use crate::domain::paging::Paging;
use crate::error::Result;

/// Capacity of the cache of page ends, each about 100 bytes.
const ANCHORS: usize = 10_000;

/// Where the page before an offset ended, valid while its contact has the same revision: reading
/// all pages in order costs one range read each, however deep (contract §14).
pub(super) struct Anchors(Cache<(SiteId, ContactId, u32), Anchor>);

/// The end of a page.
#[derive(Clone, Copy)]
struct Anchor {
    /// The contact's revision when the page was read.
    revision: i64,
    created_at_ms: i64,
    id: AttachmentId,
}

impl Anchors {
    pub(super) fn new() -> Self {
        Self(Cache::new(ANCHORS))
    }
}

/// A list's totals, beside its items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PageTotals {
    /// Total number of the contact's items.
    pub total: u64,
    /// Increases with every change of the contact's attachments.
    pub revision: i64,
    /// Number of items on this page.
    pub count: u32,
}

/// A page that was read: its totals and the visitor with what it collected from the rows.
#[derive(Debug)]
pub struct ListedPage<V> {
    /// Totals, from the same snapshot as the rows.
    pub totals: PageTotals,
    /// The contact's change counter or revision that the page reflects.
    pub change: Change,
    /// The visitor, after it has seen every row.
    pub visited: V,
}

/// Calls the given function with each row of a page.
pub type Rows<'a> = &'a mut dyn FnMut(&mut dyn FnMut(&AttachmentRow<'_>));

impl Db {
    /// A contact's change counter or revision; read it before rows that are to be cached.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn change_of(&self, site: SiteId, contact: ContactId) -> Result<Change> {
        self.engine.change_of(site, contact).await
    }

    /// Reads one page of a contact, oldest first. `visit` runs on the database's thread with a new
    /// visitor and a function that passes it each row. A read that is repeated begins with another
    /// visitor. A contact without attachments has an empty page.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn list<V: Send + 'static>(
        &self,
        site: SiteId,
        contact: ContactId,
        paging: Paging,
        visitor: impl Fn() -> V + Clone + Send + 'static,
        visit: fn(&mut V, Rows<'_>),
    ) -> Result<ListedPage<V>> {
        let change_before = self.engine.cached_change(site, contact);
        let key = (site, contact);
        let start = PageStart::new(paging, self.anchors.0.get(&(site, contact, paging.offset)));
        // One statement is a snapshot by itself and returns the totals with its rows. Without rows,
        // and when the previous page has changed, two statements in a transaction are needed.
        let new_visitor = visitor.clone();
        let first = self.engine.read_single(move |connection| {
            let mut visited = new_visitor();
            let page = visit_rows(connection, key, paging, start, &mut visited, visit)?;
            Ok((page, visited))
        });
        let (page, visited) = first.await?;
        let (totals, end, visited) = if let Some((totals, end)) = page {
            (totals, Some(end), visited)
        } else {
            self.list_in_snapshot(key, paging, visitor, visit).await?
        };
        if let Some(end) = end {
            let next = paging.offset.saturating_add(totals.count);
            self.anchors.0.insert((site, contact, next), end);
        }
        let change = change_before.unwrap_or(Change::revision(totals.revision));
        Ok(ListedPage { totals, change, visited })
    }

    async fn list_in_snapshot<V: Send + 'static>(
        &self,
        key: (SiteId, ContactId),
        paging: Paging,
        visitor: impl Fn() -> V + Send + 'static,
        visit: fn(&mut V, Rows<'_>),
    ) -> Result<(PageTotals, Option<Anchor>, V)> {
        self.engine
            .read(move |connection| {
                let mut visited = visitor();
                let totals = totals(connection, key)?;
                if paging.limit == 0 || u64::from(paging.offset) >= totals.total {
                    return Ok((totals, None, visited));
                }
                let start = PageStart::Skip;
                Ok(match visit_rows(connection, key, paging, start, &mut visited, visit)? {
                    Some((totals, end)) => (totals, Some(end), visited),
                    None => (totals, None, visited),
                })
            })
            .await
    }
}

/// Where a page begins.
#[derive(Clone, Copy)]
enum PageStart {
    /// After a known row: if the contact still has the given revision, or always without one.
    After(i64, AttachmentId, Option<i64>),
    /// After skipping the rows of the offset.
    Skip,
}

impl PageStart {
    fn new(paging: Paging, anchor: Option<Anchor>) -> Self {
        match anchor {
            // Every attachment sorts after this key.
            _ if paging.offset == 0 => {
                Self::After(i64::MIN, AttachmentId::from_bytes([0; 16]), None)
            }
            Some(end) => Self::After(end.created_at_ms, end.id, Some(end.revision)),
            None => Self::Skip,
        }
    }
}

/// [`visit_page`] for a visitor.
fn visit_rows<V>(
    connection: &Connection,
    key: (SiteId, ContactId),
    paging: Paging,
    start: PageStart,
    visited: &mut V,
    visit: fn(&mut V, Rows<'_>),
) -> sql::Result<Option<(PageTotals, Anchor)>> {
    let mut page = Ok(None);
    visit(visited, &mut |show| page = visit_page(connection, key, paging, start, show));
    page
}

fn totals(
    connection: &Connection,
    (site, contact): (SiteId, ContactId),
) -> sql::Result<PageTotals> {
    let found = connection
        .prepare_cached(
            "SELECT attachment_count, revision FROM contacts \
             WHERE site_id = $1 AND contact_id = $2",
        )?
        .query_row(params![site, contact], |row| {
            let total = row.get::<i64>(0)? as u64;
            Ok(PageTotals { total, revision: row.get(1)?, count: 0 })
        })
        .optional()?;
    Ok(found.unwrap_or_default())
}

/// The columns of a page's rows: those of a list, and the totals of the contact, read once per
/// statement.
macro_rules! page_columns {
    () => {
        concat!(
            listed_columns!(),
            ", (SELECT attachment_count FROM contacts WHERE site_id = $1 AND contact_id = $2), \
             (SELECT revision FROM contacts WHERE site_id = $1 AND contact_id = $2)"
        )
    };
}
/// The index of the totals in [`page_columns`].
const TOTALS: usize = CREATED_AT + 1;

/// Passes each row of the page to `show`; returns the page's totals and its end. `None` when there
/// is no row, or the start row's revision is outdated; then nothing was passed.
fn visit_page(
    connection: &Connection,
    (site, contact): (SiteId, ContactId),
    Paging { offset, limit }: Paging,
    start: PageStart,
    show: &mut dyn FnMut(&AttachmentRow<'_>),
) -> sql::Result<Option<(PageTotals, Anchor)>> {
    let mut page: Option<(PageTotals, Anchor)> = None;
    let show = |row: sql::Row<'_>| {
        let item = AttachmentRow::read(row)?;
        let created_at_ms = row.get(CREATED_AT)?;
        if page.is_none() {
            let (total, revision) = (row.get::<i64>(TOTALS)? as u64, row.get(TOTALS + 1)?);
            if matches!(start, PageStart::After(_, _, Some(known)) if known != revision) {
                return Ok(false);
            }
            let totals = PageTotals { total, revision, count: 0 };
            page = Some((totals, Anchor { revision, created_at_ms, id: item.id }));
        }
        let Some((totals, end)) = &mut page else { return Ok(false) };
        totals.count += 1;
        (end.created_at_ms, end.id) = (created_at_ms, item.id);
        show(&item);
        Ok(true)
    };
    // No rows are read when the offset would skip all of them. Attachments of a contact that is
    // being closed are not in its count.
    match start {
        PageStart::After(at, id, _) => connection
            .prepare_cached(concat!(
                "SELECT ",
                page_columns!(),
                " FROM attachments WHERE site_id = $1 AND contact_id = $2 AND $3 < (SELECT \
                 attachment_count FROM contacts WHERE site_id = $1 AND contact_id = $2) \
                 AND (created_at_ms, attachment_id) > ($4, $5) \
                 ORDER BY created_at_ms, attachment_id LIMIT $6"
            ))?
            .each(params![site, contact, offset, at, id, limit], show)?,
        PageStart::Skip => connection
            .prepare_cached(concat!(
                "SELECT ",
                page_columns!(),
                " FROM attachments WHERE site_id = $1 AND contact_id = $2 AND $3 < (SELECT \
                 attachment_count FROM contacts WHERE site_id = $1 AND contact_id = $2) \
                 ORDER BY created_at_ms, attachment_id LIMIT $4 OFFSET $3"
            ))?
            .each(params![site, contact, offset, limit], show)?,
    }
    Ok(page)
}
