//! Takes an attachment away: row, counters and the order to remove its bytes in one
//! transaction. It is unreachable at once, links included; the bytes go later, or with what
//! is in the trash (design §8).

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

/// Deletes several at once, each as [`delete`] does; returns those that went and those that this contact
/// of this site does not have. The caller bounds their number.
///
/// # Errors
///
/// Only when the database fails; then all are as they were.
pub async fn delete_some(
    app: &App,
    (site, contact): (SiteId, ContactId),
    ids: Vec<AttachmentId>,
) -> Result<(Vec<AttachmentId>, Vec<AttachmentId>)> {
    app.db.delete_some(site, contact, ids, app.removal(), Cause::default()).await
}
