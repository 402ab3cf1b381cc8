//! Pages of a contact's attachments: one range read each.

use crate::db::sql::{self, Connection, OptionalExtension as _, params};
use quick_cache::sync::Cache;

use super::rows::{AttachmentRow, CREATED_AT, listed_columns};
use super::{Change, Db};
use crate::domain::ids::{AttachmentId, ContactId, SiteId};
use crate::domain::paging::Paging;
use crate::error::Result;

/// Remembered ends of pages, each about 100 bytes.
const ANCHORS: usize = 10_000;

/// Where the page before an offset ended, good while its contact has the same revision: walking all
/// pages in order costs one range read each, however deep (design §3).
pub(super) struct Anchors(Cache<(SiteId, ContactId, u32), Anchor>);

/// The end of a page.
#[derive(Clone, Copy)]
struct Anchor {
    /// The contact's, when the page was read.
    revision: i64,
    created_at_ms: i64,
    id: AttachmentId,
}

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
    /// The contact's changes that the page knows of.
    pub change: Change,
    /// The visitor, after it has seen every row.
    pub visited: V,
}

/// Shows each row of a page to the function that it is given.
pub type Rows<'a> = &'a mut dyn FnMut(&mut dyn FnMut(&AttachmentRow<'_>));

impl Db {
    /// Counts the changes of a contact; read it before rows that are to be cached.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn change_of(&self, site: SiteId, contact: ContactId) -> Result<Change> {
        self.engine.change_of(site, contact).await
    }

    /// Reads one page of a contact, oldest first. `visit` is called on the database's thread with a
    /// function that shows it each row; once more when that has shown none. A contact without
    /// attachments is an empty page.
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
        let noted = self.engine.noted_change(site, contact);
        let key = (site, contact);
        let start = Start::of(paging, self.anchors.0.get(&(site, contact, paging.offset)));
        // One statement is a snapshot by itself and brings the totals with its rows; without rows, and
        // when the page before has changed, it takes two, and a transaction around them.
        let first = self.engine.read_alone(move |connection| {
            let page = show_page(connection, key, paging, start, &mut visited, visit)?;
            Ok((page, visited))
        });
        let (page, visited) = first.await?;
        let (totals, end, visited) = if let Some((totals, end)) = page {
            (totals, Some(end), visited)
        } else {
            self.list_in_snapshot(key, paging, visited, visit).await?
        };
        if let Some(end) = end {
            let next = paging.offset.saturating_add(totals.count);
            self.anchors.0.insert((site, contact, next), end);
        }
        let change = noted.unwrap_or(Change::revision(totals.revision));
        Ok(ListedPage { totals, change, visited })
    }

    async fn list_in_snapshot<V: Send + 'static>(
        &self,
        key: (SiteId, ContactId),
        paging: Paging,
        mut visited: V,
        visit: fn(&mut V, Rows<'_>),
    ) -> Result<(PageTotals, Option<Anchor>, V)> {
        self.engine
            .read(move |connection| {
                let totals = totals(connection, key)?;
                if paging.limit == 0 || u64::from(paging.offset) >= totals.total {
                    return Ok((totals, None, visited));
                }
                let start = Start::Skip;
                Ok(match show_page(connection, key, paging, start, &mut visited, visit)? {
                    Some((totals, end)) => (totals, Some(end), visited),
                    None => (totals, None, visited),
                })
            })
            .await
    }
}

/// Where a page begins.
#[derive(Clone, Copy)]
enum Start {
    /// Behind a known row: of any revision, or only of the one at which it was known.
    After(i64, AttachmentId, Option<i64>),
    /// After skipping the rows before it.
    Skip,
}

impl Start {
    fn of(paging: Paging, anchor: Option<Anchor>) -> Self {
        match anchor {
            // Every attachment is behind this one.
            _ if paging.offset == 0 => {
                Self::After(i64::MIN, AttachmentId::from_bytes([0; 16]), None)
            }
            Some(end) => Self::After(end.created_at_ms, end.id, Some(end.revision)),
            None => Self::Skip,
        }
    }
}

/// [`visit_page`] for a visitor.
fn show_page<V>(
    connection: &Connection,
    key: (SiteId, ContactId),
    paging: Paging,
    start: Start,
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

/// What each row of a page brings along: what a list shows, and the totals of its contact, looked up once.
macro_rules! page_columns {
    () => {
        concat!(
            listed_columns!(),
            ", (SELECT attachment_count FROM contacts WHERE site_id = $1 AND contact_id = $2), \
             (SELECT revision FROM contacts WHERE site_id = $1 AND contact_id = $2)"
        )
    };
}
/// Where [`page_columns`] has the totals.
const TOTALS: usize = CREATED_AT + 1;

/// Shows each row of the page; returns its totals and its end. `None` when there is no row, or when
/// the row that it was to begin behind is of another revision: then nothing was shown.
fn visit_page(
    connection: &Connection,
    (site, contact): (SiteId, ContactId),
    Paging { offset, limit }: Paging,
    start: Start,
    show: &mut dyn FnMut(&AttachmentRow<'_>),
) -> sql::Result<Option<(PageTotals, Anchor)>> {
    let mut page: Option<(PageTotals, Anchor)> = None;
    let show = |row: sql::Row<'_>| {
        let shown = AttachmentRow::read(row)?;
        let created_at_ms = row.get(CREATED_AT)?;
        if page.is_none() {
            let (total, revision) = (row.get::<i64>(TOTALS)? as u64, row.get(TOTALS + 1)?);
            if matches!(start, Start::After(_, _, Some(known)) if known != revision) {
                return Ok(false);
            }
            let totals = PageTotals { total, revision, count: 0 };
            page = Some((totals, Anchor { revision, created_at_ms, id: shown.id }));
        }
        let Some((totals, end)) = &mut page else { return Ok(false) };
        totals.count += 1;
        (end.created_at_ms, end.id) = (created_at_ms, shown.id);
        show(&shown);
        Ok(true)
    };
    // Nothing is walked over when all would be skipped, and what goes with its contact is not counted.
    match start {
        Start::After(at, id, _) => connection
            .prepare_cached(concat!(
                "SELECT ",
                page_columns!(),
                " FROM attachments WHERE site_id = $1 AND contact_id = $2 AND $3 < (SELECT \
                 attachment_count FROM contacts WHERE site_id = $1 AND contact_id = $2) \
                 AND (created_at_ms, attachment_id) > ($4, $5) \
                 ORDER BY created_at_ms, attachment_id LIMIT $6"
            ))?
            .each(params![site, contact, offset, at, id, limit], show)?,
        Start::Skip => connection
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
