//! A contact's attachments as people look for them: searched, filtered, sorted, with what was written
//! beside them. The contract's own lists are in `pages`.

use crate::db::sql::{self, Connection, OptionalExtension as _, Row, params};

use super::Db;
use super::attachments::find_reachable;
use super::engine::Done;
use super::rows::{self, attachment_columns};
use crate::domain::attachment::Attachment;
use crate::domain::cursor::{Cursor, SortKey};
use crate::domain::file_name::MAX_FILE_NAME_CHARS;
use crate::domain::folding::{folded, kept_fold, pattern};
use crate::domain::ids::{AttachmentId, ContactId, SiteId};
use crate::error::{Error, Result};

/// By what files are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FileOrder {
    /// The oldest first, as the contract lists them.
    #[default]
    Oldest,
    /// The newest first.
    Newest,
    /// By name, whatever its case.
    Name,
    /// By name from its end.
    NameDown,
    /// The smallest first.
    Smallest,
    /// The largest first.
    Largest,
}

/// Which files of a contact are wanted.
#[derive(Debug, Clone)]
pub struct FileSearch {
    /// What their names or labels hold; everything when it is empty.
    pub text: String,
    /// MIME types, as [`crate::domain::media_type::types_of`] makes them.
    pub types: String,
    /// In which order.
    pub order: FileOrder,
}

/// An attachment with what people wrote beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotedFile {
    /// The attachment.
    pub attachment: Attachment,
    /// Its label.
    pub label: Option<String>,
    /// Its description.
    pub description: Option<String>,
}

/// Some of the files that were searched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePage {
    /// These.
    pub files: Vec<NotedFile>,
    /// How many there are on all pages.
    pub total: u64,
}

/// What is to be written beside an attachment: `None` leaves it as it is, an empty text takes it away.
#[derive(Debug, Clone, Default)]
pub struct FileChange {
    /// The label.
    pub label: Option<String>,
    /// The description.
    pub description: Option<String>,
}

/// Which rows a search finds.
macro_rules! found {
    () => {
        "attachments WHERE site_id = $1 AND contact_id = $2 \
         AND (COALESCE(name_folded, lower(file_name)) LIKE $3 ESCAPE '\\' \
         OR COALESCE(label_folded, lower(label)) LIKE $3 ESCAPE '\\') \
         AND ($4 LIKE '%,' || mime_type || ',%' OR $4 LIKE '%,*,%' \
         OR ($4 LIKE '%,image/*,%' AND mime_type LIKE 'image/%'))"
    };
}

macro_rules! noted_columns {
    () => {
        concat!(attachment_columns!(), ", label, description")
    };
}

impl FileOrder {
    /// Of a file, for a page that begins behind it.
    pub fn cursor(self, file: &Attachment) -> Cursor {
        let key = match self {
            Self::Oldest | Self::Newest => SortKey::Number(file.created_at_ms),
            Self::Name | Self::NameDown => SortKey::Text(folded(&file.file_name)),
            Self::Smallest | Self::Largest => SortKey::Number(file.size_bytes as i64),
        };
        Cursor { key, id: file.id.0 }
    }

    /// Whether the keys of its cursors are texts.
    pub fn is_by_text(self) -> bool {
        matches!(self, Self::Name | Self::NameDown)
    }

    /// What stands before everything in this order.
    fn begin(self) -> (SortKey, AttachmentId) {
        let (first, last) =
            (AttachmentId::from_bytes([0; 16]), AttachmentId::from_bytes([0xff; 16]));
        match self {
            Self::Oldest | Self::Smallest => (SortKey::Number(i64::MIN), first),
            Self::Newest | Self::Largest => (SortKey::Number(i64::MAX), last),
            Self::Name => (SortKey::Text(String::new()), first),
            // One character longer than any name of nothing but the last character.
            Self::NameDown => (SortKey::Text("\u{10FFFF}".repeat(MAX_FILE_NAME_CHARS + 1)), last),
        }
    }

    fn statement(self) -> &'static str {
        macro_rules! page {
            ($key:literal, $behind:literal, $direction:literal) => {
                concat!(
                    "SELECT ",
                    noted_columns!(),
                    " FROM ",
                    found!(),
                    " AND (",
                    $key,
                    ", attachment_id) ",
                    $behind,
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
            Self::NameDown => page!("COALESCE(name_folded, lower(file_name))", "<=", " DESC"),
            Self::Smallest => page!("size_bytes", ">=", ""),
            Self::Largest => page!("size_bytes", "<=", " DESC"),
        }
    }
}

impl Db {
    /// Files of a contact behind a cursor of the same order, at most `limit`, and how many there are. A
    /// contact that is not there has none. By time and without a search it is a range read; otherwise it
    /// looks at every row of the contact, and holds one page of them.
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
                // Zero also while a contact is being closed: then its rows are not to be seen.
                let (_, held) = super::attachments::usage(connection, site, contact)?;
                if held.files == 0 {
                    return Ok(FilePage { files: Vec::new(), total: 0 });
                }
                let like = pattern(&search.text);
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
                let files = page(connection, (site, contact), (&search, &like), after, limit)?;
                Ok(FilePage { files, total })
            })
            .await
    }

    /// Some attachments of a contact, in the order in which they are named. The caller bounds their
    /// number.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when this contact of this site does not have one of them.
    pub async fn files_named(
        &self,
        site: SiteId,
        contact: ContactId,
        ids: Vec<AttachmentId>,
    ) -> Result<Vec<Attachment>> {
        let found = self.engine.read(move |connection| {
            let mut found = Vec::with_capacity(ids.len());
            for id in ids {
                let one = find_reachable(connection, site, id)?;
                let Some(one) = one.filter(|one| one.contact_id == contact) else {
                    return Ok(Err(id));
                };
                found.push(one);
            }
            Ok(Ok(found))
        });
        found.await?.map_err(|id| Error::no_attachment(contact, id))
    }

    /// Writes something beside an attachment. The contract's answers do not show it, so nothing that is
    /// cached changes.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when this contact of this site has no such attachment.
    pub async fn note_file(
        &self,
        (site, contact): (SiteId, ContactId),
        id: AttachmentId,
        change: FileChange,
    ) -> Result<NotedFile> {
        self.engine
            .write(site, move |connection| {
                let found = note(connection, (site, contact, id), &change)?;
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
) -> sql::Result<Vec<NotedFile>> {
    let last = after.as_ref().map(|after| AttachmentId(after.id));
    let (key, id) = match after {
        Some(after) => (after.key, AttachmentId(after.id)),
        None => search.order.begin(),
    };
    let key: &dyn sql::ToCell = match &key {
        SortKey::Number(number) => number,
        SortKey::Text(text) => text,
    };
    connection
        .prepare_cached(search.order.statement())?
        .query_map(params![site, contact, like, search.types, key, id, last, limit], noted)
}

fn note(
    connection: &Connection,
    (site, contact, id): (SiteId, ContactId, AttachmentId),
    change: &FileChange,
) -> sql::Result<Option<NotedFile>> {
    let kept = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let label = kept(&change.label);
    connection
        .prepare_cached(concat!(
            "UPDATE attachments SET label = CASE WHEN $1 = 1 THEN $2 ELSE label END, \
             label_folded = CASE WHEN $1 = 1 THEN $3 ELSE label_folded END, \
             description = CASE WHEN $4 = 1 THEN $5 ELSE description END \
             WHERE site_id = $6 AND attachment_id = $7 AND contact_id = $8 \
             AND NOT EXISTS (SELECT 1 FROM contact_closings c \
             WHERE c.site_id = attachments.site_id AND c.contact_id = attachments.contact_id) \
             RETURNING ",
            noted_columns!()
        ))?
        .query_row(
            params![
                change.label.is_some(),
                label,
                label.as_deref().and_then(kept_fold),
                change.description.is_some(),
                kept(&change.description),
                site,
                id,
                contact,
            ],
            noted,
        )
        .optional()
}

fn noted(row: Row<'_>) -> sql::Result<NotedFile> {
    Ok(NotedFile {
        attachment: rows::attachment(row)?,
        label: row.get(13)?,
        description: row.get(14)?,
    })
}
