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

impl Db {
    /// Counts the changes of a contact; read it before rows that are to be cached.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn change_of(&self, site: SiteId, contact: ContactId) -> Result<Change> {
        self.engine.change_of(site, contact).await
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
        let change = self.change_of(site, contact).await?;
        let anchor = self.anchors.0.get(&(site, contact, change, paging.offset));
        let (page, end) = self
            .engine
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

fn totals(connection: &Connection, site: SiteId, contact: ContactId) -> sql::Result<PageTotals> {
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

/// Shows each row of the page and returns the key of the last.
fn visit_page(
    connection: &Connection,
    (site, contact): (SiteId, ContactId),
    start: Start,
    limit: u32,
    mut show: impl FnMut(&AttachmentRow<'_>),
) -> sql::Result<Option<(i64, AttachmentId)>> {
    let mut end = None;
    let show = |row: sql::Row<'_>| {
        let shown = AttachmentRow::read(row)?;
        show(&shown);
        end = Some((row.get(CREATED_AT)?, shown.id));
        Ok(true)
    };
    match start {
        Start::Nowhere => {}
        Start::After(at, id) => connection
            .prepare_cached(concat!(
                "SELECT ",
                listed_columns!(),
                " FROM attachments WHERE site_id = $1 AND contact_id = $2 \
                 AND (created_at_ms, attachment_id) > ($3, $4) \
                 ORDER BY created_at_ms, attachment_id LIMIT $5"
            ))?
            .each(params![site, contact, at, id, limit], show)?,
        Start::Skip(offset) => connection
            .prepare_cached(concat!(
                "SELECT ",
                listed_columns!(),
                " FROM attachments WHERE site_id = $1 AND contact_id = $2 \
                 ORDER BY created_at_ms, attachment_id LIMIT $3 OFFSET $4"
            ))?
            .each(params![site, contact, limit, offset], show)?,
    }
    Ok(end)
}
