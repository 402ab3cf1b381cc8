//! Applies events from the vendor about contacts managed elsewhere.

use std::sync::Arc;

use super::contacts;
use crate::app::App;
use crate::db::{Closing, InboundOutcome};
use crate::domain::ids::SiteId;
use crate::domain::inbound::{ContactChange, Inbound};
use crate::domain::webhook::Cause;
use crate::error::Result;

/// Applies an event once; returns whether it changed anything. A large contact is unreachable when
/// this returns; its attachments are removed afterwards.
///
/// # Errors
///
/// Only when the database fails; then the event can be retried.
pub async fn apply(app: &Arc<App>, site: SiteId, inbound: Inbound) -> Result<bool> {
    let is_erasure = matches!(inbound.change, ContactChange::Anonymized(_));
    // Also for a contact never seen here: one of its upload URLs may be in use.
    let closing = Closing {
        removal: app.removal(),
        cause: Cause::default(),
        erase: None,
        create_unknown: true,
    };
    let erasure = contacts::erasure(app.clock.now_ms(), true);
    let event = (inbound.event, inbound.fresh_until_ms);
    let outcome = app.db.apply_inbound(site, event, inbound.change, (closing, erasure)).await?;
    if is_erasure {
        contacts::clear_caches(app);
    }
    match outcome {
        InboundOutcome::Applied { more } => {
            contacts::continue_if_more(app, more);
            Ok(true)
        }
        InboundOutcome::Unchanged => Ok(false),
    }
}
