//! Rows as statements return them.

use super::sql;
use crate::domain::attachment::Attachment;
use crate::domain::ids::AttachmentId;

/// The columns that a list returns, in the order that [`AttachmentRow::read`] expects, and the time
/// that orders it. A list reads no others, since each costs as much as a link.
macro_rules! listed_columns {
    () => {
        "attachment_id, file_name, mime_type, media_extension, width, height, has_preview, \
         created_at_ms"
    };
}
pub(super) use listed_columns;

/// All columns of an attachment, in the order that [`attachment`] expects.
macro_rules! attachment_columns {
    () => {
        concat!(
            $crate::db::rows::listed_columns!(),
            ", site_id, contact_id, size_bytes, sha256, blob_id"
        )
    };
}
pub(super) use attachment_columns;

/// The label, the description and the folded search texts of an attachment, copied wherever its row
/// moves.
macro_rules! annotation_columns {
    () => {
        "name_folded, label, label_folded, description"
    };
}
pub(super) use annotation_columns;

/// The index of the creation time in [`listed_columns`].
pub(super) const CREATED_AT: usize = 7;

/// An attachment borrowed from a row, so that a page needs no copies.
#[derive(Debug, Clone, Copy)]
pub struct AttachmentRow<'a> {
    /// Its id.
    pub id: AttachmentId,
    /// The name as the user gave it.
    pub file_name: &'a str,
    /// Canonical MIME type.
    pub mime_type: &'a str,
    /// Extension of the media id.
    pub media_extension: &'a str,
    /// Width of the upright image in pixels, or 0.
    pub width: u32,
    /// Height of the upright image in pixels, or 0.
    pub height: u32,
    /// Whether a preview exists or can be made.
    pub has_preview: bool,
}

impl<'a> AttachmentRow<'a> {
    pub(super) fn read(row: sql::Row<'a>) -> sql::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            file_name: row.get(1)?,
            mime_type: row.get(2)?,
            media_extension: row.get(3)?,
            width: row.get(4)?,
            height: row.get(5)?,
            has_preview: row.get(6)?,
        })
    }
}

impl<'a> From<&'a Attachment> for AttachmentRow<'a> {
    fn from(attachment: &'a Attachment) -> Self {
        Self {
            id: attachment.id,
            file_name: &attachment.file_name,
            mime_type: &attachment.mime_type,
            media_extension: &attachment.media_extension,
            width: attachment.width,
            height: attachment.height,
            has_preview: attachment.has_preview,
        }
    }
}

pub(super) fn attachment(row: sql::Row<'_>) -> sql::Result<Attachment> {
    let listed = AttachmentRow::read(row)?;
    Ok(Attachment {
        site_id: row.get(8)?,
        contact_id: row.get(9)?,
        id: listed.id,
        created_at_ms: row.get(CREATED_AT)?,
        file_name: listed.file_name.to_owned(),
        mime_type: listed.mime_type.to_owned(),
        media_extension: listed.media_extension.to_owned(),
        size_bytes: row.get::<i64>(10)? as u64,
        sha256: row.get(11)?,
        blob_id: row.get(12)?,
        width: listed.width,
        height: listed.height,
        has_preview: listed.has_preview,
    })
}
