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
