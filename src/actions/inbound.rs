//! Does what the vendor tells of contacts that are kept elsewhere.

use std::sync::Arc;

use super::contacts;
use crate::app::App;
use crate::db::{Closing, Heard};
use crate::domain::ids::SiteId;
use crate::domain::inbound::{ContactNews, Inbound};
use crate::domain::webhook::Cause;
use crate::error::Result;

/// Applies what was told, once; whether it changed anything. A large contact is unreachable when
/// this returns, and its attachments follow.
///
/// # Errors
///
/// Only when the database fails; then it can be told again.
pub async fn hear(app: &Arc<App>, site: SiteId, inbound: Inbound) -> Result<bool> {
    let is_erasure = matches!(inbound.news, ContactNews::Anonymized(_));
    // Also of a contact that was never seen here: an upload URL of it may be out.
    let closing =
        Closing { removal: app.removal(), cause: Cause::default(), erase: None, unknown_too: true };
    let erasure = contacts::erasure(app.clock.now_ms(), true);
    let event = (inbound.event, inbound.fresh_until_ms);
    let heard = app.db.hear(site, event, inbound.news, (closing, erasure)).await?;
    if is_erasure {
        contacts::forget_in_memory(app);
    }
    match heard {
        Heard::Applied { more } => {
            contacts::go_on_if(app, more);
            Ok(true)
        }
        Heard::Nothing => Ok(false),
    }
}
