//! Deletes attachments: one transaction removes the row, updates the counters and schedules the
//! removal of the bytes. The attachment and its links are unreachable at once; the bytes are
//! removed later, or with the trash (contract §12).

use crate::app::App;
use crate::domain::ids::{AttachmentId, ContactId, SiteId};
use crate::domain::webhook::Cause;
use crate::error::Result;

/// Deletes an attachment.
///
/// # Errors
///
/// [`crate::error::Error::NotFound`] when this contact of this site has no such attachment.
pub async fn delete(
    app: &App,
    site: SiteId,
    contact: ContactId,
    attachment: AttachmentId,
) -> Result<()> {
    app.db.delete(site, contact, attachment, app.removal(), Cause::default()).await
}

/// Deletes several attachments in one transaction, each like [`delete`]; returns the deleted ones
/// and those that this contact does not have. The caller bounds their number.
///
/// # Errors
///
/// Only when the database fails; then nothing changes.
pub async fn delete_many(
    app: &App,
    (site, contact): (SiteId, ContactId),
    ids: Vec<AttachmentId>,
) -> Result<(Vec<AttachmentId>, Vec<AttachmentId>)> {
    app.db.delete_many(site, contact, ids, app.removal(), Cause::default()).await
}
