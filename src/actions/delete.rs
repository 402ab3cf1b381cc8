//! Takes an attachment away: row, counters and the order to remove its bytes in one
//! transaction. It is unreachable at once, links included; the bytes go later (design §8).

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
    let grace_ms = i64::from(app.config.removal_grace_seconds) * 1_000;
    let now_ms = app.clock.now_ms();
    app.db.delete(site, contact, attachment, now_ms, grace_ms, Cause::default()).await
}
