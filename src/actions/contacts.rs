//! The life of contacts: what happens to their attachments when they are deleted, merged, erased or
//! restored (design §8). What one transaction does not finish is gone on with under a lease.

use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::App;
use crate::config::ContactsPolicy;
use crate::db::{Closing, Db, Erasure, Removal, UnknownToo};
use crate::domain::ids::{ContactId, SiteId};
use crate::domain::quota::Quotas;
use crate::domain::timestamp::timestamp;
use crate::domain::webhook::Cause;
use crate::error::{Error, Result};
use crate::webhook_keys::KeyRing;

/// Attachments that a receipt names; it counts all of them.
const MOST_NAMED: u32 = 10_000;
/// How long a run may take before another process takes over.
const LEASE_MS: i64 = 60_000;
/// Batches of one run.
const A_RUN: usize = 1_000;

/// A receipt, as it is and signed.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// What it says.
    pub content: Value,
    /// The same as a JWS that the public key of webhooks checks.
    pub signed: String,
}

/// Takes a contact away, with everything of it; into the trash if there is one.
///
/// # Errors
///
/// [`Error::NotFound`] when there is no such contact.
pub async fn delete(app: &Arc<App>, site: SiteId, contact: ContactId) -> Result<()> {
    let closing = Closing {
        removal: app.removal(),
        cause: Cause::default(),
        erase: None,
        unknown_too: any_contact(app),
    };
    let (more, _) = app.db.close_contact(site, contact, closing).await?;
    go_on_if(app, more);
    Ok(())
}

/// Takes everything of a person away, for good and with a receipt. Erasing again gives the same one.
///
/// # Errors
///
/// [`Error::NotFound`] when there is no such contact.
pub async fn erase(app: &Arc<App>, site: SiteId, contact: ContactId) -> Result<Receipt> {
    let closing = erasure(app.clock.now_ms(), any_contact(app));
    let (more, receipt) = app.db.close_contact(site, contact, closing).await?;
    forget_in_memory(app);
    go_on_if(app, more);
    let receipt = receipt.ok_or_else(|| anyhow::anyhow!("an erasure has no receipt"))?;
    self::receipt(&app.db, Arc::clone(&app.webhooks.keys), (site, receipt), app.clock.now_ms())
        .await?
        .ok_or_else(|| Error::Internal(anyhow::anyhow!("an erasure's receipt is gone")))
}

/// An erasure that begins now.
pub fn erasure(now_ms: i64, unknown_too: bool) -> Closing {
    Closing {
        removal: Removal::for_good(now_ms),
        cause: Cause { by_anonymize_request: true, ..Cause::default() },
        erase: Some(Uuid::now_v7()),
        unknown_too,
    }
}

/// What memory holds of whoever was erased goes as well: nothing there could be found again, but it
/// would lie there until it is pushed out.
pub fn forget_in_memory(app: &App) {
    app.pages.clear();
    app.webhooks.tokens.clear();
}

/// Merges contacts; returns how many attachments have moved.
///
/// # Errors
///
/// [`Error::NotFound`] when one of them is not there; then nothing is changed.
pub async fn merge(
    app: &App,
    site: SiteId,
    target: ContactId,
    sources: Vec<ContactId>,
) -> Result<usize> {
    let unknown_too = UnknownToo { target: any_contact(app), sources: false };
    app.db.merge_contacts(site, target, sources, unknown_too, app.clock.now_ms()).await
}

/// Brings a contact back out of the trash, with what went there with it; returns how many
/// attachments that are.
///
/// # Errors
///
/// As [`Db::restore_contact`]; what has come back stays, and doing it again goes on.
pub async fn restore(
    db: &Db,
    (site, contact): (SiteId, ContactId),
    quotas: Quotas,
    now_ms: i64,
) -> Result<usize> {
    let mut count = 0;
    loop {
        let restored = db.restore_contact(site, contact, quotas, now_ms).await?;
        count += restored.count;
        if !restored.more {
            return Ok(count);
        }
    }
}

/// The receipt of an erasure, as things stand now; `None` when there is none of this id.
///
/// # Errors
///
/// When the database fails, or the key that signs cannot be had.
pub async fn receipt(
    db: &Db,
    keys: Arc<KeyRing>,
    (site, receipt): (SiteId, Uuid),
    now_ms: i64,
) -> Result<Option<Receipt>> {
    let Some(found) = db.erasure(site, receipt, MOST_NAMED).await? else { return Ok(None) };
    let content = content(&found, now_ms);
    let text = content.to_string();
    // Making the first key takes longer than a request may hold a thread that others need.
    let signed =
        tokio::task::spawn_blocking(move || keys.ensure(now_ms)?.sign(&text, now_ms)).await;
    Ok(Some(Receipt { content, signed: signed.map_err(anyhow::Error::from)?? }))
}

fn content(found: &Erasure, now_ms: i64) -> Value {
    let files: Vec<Value> = found
        .files
        .iter()
        .map(|file| {
            json!({
                "attachmentId": file.attachment_id.to_string(),
                "bytesErasedDate": file.erased_at_ms.map(timestamp),
            })
        })
        .collect();
    let merged: Vec<String> = found.merged.iter().map(ToString::to_string).collect();
    json!({
        "iat": now_ms.div_euclid(1_000),
        "receiptId": found.receipt_id.to_string(),
        "siteId": found.site_id.to_string(),
        "contactId": found.contact_id.to_string(),
        "mergedContactIds": merged,
        "requestedDate": timestamp(found.requested_at_ms),
        "rowsErasedDate": found.rows_erased_at_ms.map(timestamp),
        "completedDate": found.completed_at_ms.map(timestamp),
        "attachmentCount": found.file_count,
        "attachments": files,
    })
}

/// Goes on with what is under way: batches of large contacts, then receipts that can be completed.
///
/// # Errors
///
/// Only when the database fails; what was done stays done.
pub async fn go_on(app: &App) -> Result<()> {
    if !app.db.has_contact_work().await? {
        return Ok(());
    }
    let now_ms = app.clock.now_ms();
    let lease = app.db.take_lease("contacts", app.node_id, now_ms, now_ms + LEASE_MS).await?;
    if lease.is_none() {
        return Ok(());
    }
    for _ in 0..A_RUN {
        if app.tasks.is_stopping() || !app.db.close_on(now_ms).await? {
            break;
        }
    }
    let completed = app.db.complete_erasures(app.clock.now_ms()).await?;
    if completed > 0 {
        tracing::info!(completed, "erasures are complete");
    }
    Ok(())
}

/// Does at once what one transaction did not finish.
pub fn go_on_if(app: &Arc<App>, more: bool) {
    if !more {
        return;
    }
    let shared = Arc::clone(app);
    app.tasks.spawn(async move {
        if let Err(error) = go_on(&shared).await {
            tracing::warn!(?error, "a contact is closed on the next tick");
        }
    });
}

/// Whether a contact that was never seen may be one all the same.
fn any_contact(app: &App) -> bool {
    app.config.contacts_policy == ContactsPolicy::Any
}
