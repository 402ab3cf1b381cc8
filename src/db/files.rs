//! A contact's attachments for people: searched, filtered, sorted, with labels and descriptions.
//! The contract's own lists are in `pages`.

use crate::db::sql::{self, Connection, OptionalExtension as _, Row, params};

use super::Db;
use super::attachments::find_reachable;
use super::engine::Done;
use super::rows::{self, attachment_columns};
use crate::domain::attachment::Attachment;
use crate::domain::cursor::{Cursor, SortKey};
use crate::domain::file_name::MAX_FILE_NAME_CHARS;
use crate::domain::folding::{fold, like_pattern, stored_fold};
use crate::domain::ids::{AttachmentId, ContactId, SiteId};
use crate::error::{Error, Result};

/// The sort order of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FileOrder {
    /// Oldest first, as in the contract's lists.
    #[default]
    Oldest,
    /// Newest first.
    Newest,
    /// By name, ignoring case.
    Name,
    /// By name, ignoring case, descending.
    NameDescending,
    /// Smallest first.
    Smallest,
    /// Largest first.
    Largest,
}

/// Which files of a contact to return.
#[derive(Debug, Clone)]
pub struct FileSearch {
    /// Text that names or labels must contain; empty for all files.
    pub text: String,
    /// MIME types, as [`crate::domain::media_type::types_of`] makes them.
    pub types: String,
    /// The sort order.
    pub order: FileOrder,
}

/// An attachment with its label and description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnotatedFile {
    /// The attachment.
    pub attachment: Attachment,
    /// Its label.
    pub label: Option<String>,
    /// Its description.
    pub description: Option<String>,
}

/// A page of the files that a search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePage {
    /// The files of this page.
    pub files: Vec<AnnotatedFile>,
    /// Number of files on all pages.
    pub total: u64,
}

/// Changes to an attachment's label and description: `None` keeps the text, an empty one removes
/// it.
#[derive(Debug, Clone, Default)]
pub struct FileChange {
    /// The label.
    pub label: Option<String>,
    /// The description.
    pub description: Option<String>,
}

/// The rows that a search finds.
macro_rules! found {
    () => {
        "attachments WHERE site_id = $1 AND contact_id = $2 \
         AND (COALESCE(name_folded, lower(file_name)) LIKE $3 ESCAPE '\\' \
         OR COALESCE(label_folded, lower(label)) LIKE $3 ESCAPE '\\') \
         AND ($4 LIKE '%,' || mime_type || ',%' OR $4 LIKE '%,*,%' \
         OR ($4 LIKE '%,image/*,%' AND mime_type LIKE 'image/%'))"
    };
}

macro_rules! annotated_columns {
    () => {
        concat!(attachment_columns!(), ", label, description")
    };
}

impl FileOrder {
    /// The cursor of a page that begins after this file.
    pub fn cursor(self, file: &Attachment) -> Cursor {
        let key = match self {
            Self::Oldest | Self::Newest => SortKey::Number(file.created_at_ms),
            Self::Name | Self::NameDescending => SortKey::Text(fold(&file.file_name)),
            Self::Smallest | Self::Largest => SortKey::Number(file.size_bytes as i64),
        };
        Cursor { key, id: file.id.0 }
    }

    /// Whether the keys of its cursors are text.
    pub fn is_by_text(self) -> bool {
        matches!(self, Self::Name | Self::NameDescending)
    }

    /// The key before every row in this order.
    fn lower_bound(self) -> (SortKey, AttachmentId) {
        let (first, last) =
            (AttachmentId::from_bytes([0; 16]), AttachmentId::from_bytes([0xff; 16]));
        match self {
            Self::Oldest | Self::Smallest => (SortKey::Number(i64::MIN), first),
            Self::Newest | Self::Largest => (SortKey::Number(i64::MAX), last),
            Self::Name => (SortKey::Text(String::new()), first),
            // One character longer than the longest name, which could consist of the last character
            // only.
            Self::NameDescending => {
                (SortKey::Text("\u{10FFFF}".repeat(MAX_FILE_NAME_CHARS + 1)), last)
            }
        }
    }

    fn statement(self) -> &'static str {
        macro_rules! page {
            ($key:literal, $comparison:literal, $direction:literal) => {
                concat!(
                    "SELECT ",
                    annotated_columns!(),
                    " FROM ",
                    found!(),
                    " AND (",
                    $key,
                    ", attachment_id) ",
                    $comparison,
                    " ($5, $6) AND attachment_id IS DISTINCT FROM $7 ORDER BY ",
                    $key,
                    $direction,
                    ", attachment_id",
                    $direction,
                    " LIMIT $8"
                )
            };
        }
        match self {
            Self::Oldest => page!("created_at_ms", ">=", ""),
            Self::Newest => page!("created_at_ms", "<=", " DESC"),
            Self::Name => page!("COALESCE(name_folded, lower(file_name))", ">=", ""),
            Self::NameDescending => page!("COALESCE(name_folded, lower(file_name))", "<=", " DESC"),
            Self::Smallest => page!("size_bytes", ">=", ""),
            Self::Largest => page!("size_bytes", "<=", " DESC"),
        }
    }
}

impl Db {
    /// Files of a contact after a cursor of the same order, at most `limit`, and their total
    /// number. An unknown contact has none. By time and without a search this is a range read;
    /// otherwise it reads every row of the contact, and holds one page of them.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn files(
        &self,
        site: SiteId,
        contact: ContactId,
        search: FileSearch,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<FilePage> {
        self.engine
            .read(move |connection| {
                // Also zero while a contact is being closed, when its rows must not be visible.
                let (_, held) = super::attachments::usage(connection, site, contact)?;
                if held.files == 0 {
                    return Ok(FilePage { files: Vec::new(), total: 0 });
                }
                let like = like_pattern(&search.text);
                let is_all = search.text.is_empty() && search.types == ",*,";
                let total = if is_all {
                    held.files
                } else {
                    connection
                        .prepare_cached(concat!("SELECT count(*) FROM ", found!()))?
                        .query_row(params![site, contact, like, search.types], |row| {
                            row.get::<i64>(0).map(|count| count as u64)
                        })?
                };
                let files =
                    page(connection, (site, contact), (&search, &like), after.clone(), limit)?;
                Ok(FilePage { files, total })
            })
            .await
    }

    /// Attachments of a contact by id, in the given order. The caller bounds their number.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when this contact of this site lacks one of them.
    pub async fn files_by_id(
        &self,
        site: SiteId,
        contact: ContactId,
        ids: Vec<AttachmentId>,
    ) -> Result<Vec<Attachment>> {
        let found = self.engine.read(move |connection| {
            let mut found = Vec::with_capacity(ids.len());
            for &id in &ids {
                let attachment = find_reachable(connection, site, id)?;
                let Some(attachment) =
                    attachment.filter(|attachment| attachment.contact_id == contact)
                else {
                    return Ok(Err(id));
                };
                found.push(attachment);
            }
            Ok(Ok(found))
        });
        found.await?.map_err(|id| Error::no_attachment(contact, id))
    }

    /// Sets an attachment's label and description. Responses of the contract do not contain them,
    /// so no cached page becomes stale.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when this contact of this site has no such attachment.
    pub async fn annotate_file(
        &self,
        (site, contact): (SiteId, ContactId),
        id: AttachmentId,
        change: FileChange,
    ) -> Result<AnnotatedFile> {
        self.engine
            .write(site, move |connection| {
                let found = annotate(connection, (site, contact, id), &change)?;
                let value = found.ok_or_else(|| Error::no_attachment(contact, id))?;
                Ok(Done { value, changed: None })
            })
            .await
    }
}

fn page(
    connection: &Connection,
    (site, contact): (SiteId, ContactId),
    (search, like): (&FileSearch, &str),
    after: Option<Cursor>,
    limit: u32,
) -> sql::Result<Vec<AnnotatedFile>> {
    let last = after.as_ref().map(|after| AttachmentId(after.id));
    let (key, id) = match after {
        Some(after) => (after.key, AttachmentId(after.id)),
        None => search.order.lower_bound(),
    };
    let key: &dyn sql::ToCell = match &key {
        SortKey::Number(number) => number,
        SortKey::Text(text) => text,
    };
    connection
        .prepare_cached(search.order.statement())?
        .query_map(params![site, contact, like, search.types, key, id, last, limit], annotated)
}

fn annotate(
    connection: &Connection,
    (site, contact, id): (SiteId, ContactId, AttachmentId),
    change: &FileChange,
) -> sql::Result<Option<AnnotatedFile>> {
    let non_empty = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let label = non_empty(&change.label);
    connection
        .prepare_cached(concat!(
            "UPDATE attachments SET label = CASE WHEN $1 = 1 THEN $2 ELSE label END, \
             label_folded = CASE WHEN $1 = 1 THEN $3 ELSE label_folded END, \
             description = CASE WHEN $4 = 1 THEN $5 ELSE description END \
             WHERE site_id = $6 AND attachment_id = $7 AND contact_id = $8 \
             AND NOT EXISTS (SELECT 1 FROM contact_closings c \
             WHERE c.site_id = attachments.site_id AND c.contact_id = attachments.contact_id) \
             RETURNING ",
            annotated_columns!()
        ))?
        .query_row(
            params![
                change.label.is_some(),
                label,
                label.as_deref().and_then(stored_fold),
                change.description.is_some(),
                non_empty(&change.description),
                site,
                id,
                contact,
            ],
            annotated,
        )
        .optional()
}

fn annotated(row: Row<'_>) -> sql::Result<AnnotatedFile> {
    Ok(AnnotatedFile {
        attachment: rows::attachment(row)?,
        label: row.get(13)?,
        description: row.get(14)?,
    })
}
