//! The lifecycle of contacts: what happens to their attachments when they are deleted, merged,
//! erased or restored (contract §12). Work that one transaction does not finish continues under a
//! lease.

use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::App;
use crate::config::ContactsPolicy;
use crate::db::{Closing, CreateUnknown, Db, Erasure, Removal};
use crate::domain::ids::{ContactId, SiteId};
use crate::domain::quota::Quotas;
use crate::domain::timestamp::timestamp;
use crate::domain::webhook::Cause;
use crate::error::{Error, Result};
use crate::webhook_keys::KeyRing;

/// Maximum number of attachments listed in a receipt; its count covers all of them.
const MAX_LISTED_FILES: u32 = 10_000;
/// How long a run may take before another process takes over.
const LEASE_MS: i64 = 60_000;
/// Batches per run.
const BATCHES_PER_RUN: usize = 1_000;

/// A receipt, plain and signed.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// The content.
    pub content: Value,
    /// The content as a JWS, verifiable with the public key of the webhooks.
    pub signed: String,
}

/// Deletes a contact and all its attachments; moves them to the trash if it is enabled.
///
/// # Errors
///
/// [`Error::NotFound`] when there is no such contact.
pub async fn delete(app: &Arc<App>, site: SiteId, contact: ContactId) -> Result<()> {
    let closing = Closing {
        removal: app.removal(),
        cause: Cause::default(),
        erase: None,
        create_unknown: accepts_any_contact(app),
    };
    let (more, _) = app.db.close_contact(site, contact, closing).await?;
    continue_if_more(app, more);
    Ok(())
}

/// Erases a contact and all its data permanently, and returns a receipt. Erasing again returns the
/// same receipt.
///
/// # Errors
///
/// [`Error::NotFound`] when there is no such contact.
pub async fn erase(app: &Arc<App>, site: SiteId, contact: ContactId) -> Result<Receipt> {
    let closing = erasure(app.clock.now_ms(), accepts_any_contact(app));
    let (more, receipt) = app.db.close_contact(site, contact, closing).await?;
    clear_caches(app);
    continue_if_more(app, more);
    let receipt = receipt.ok_or_else(|| anyhow::anyhow!("an erasure has no receipt"))?;
    self::receipt(&app.db, Arc::clone(&app.webhooks.keys), (site, receipt), app.clock.now_ms())
        .await?
        .ok_or_else(|| Error::Internal(anyhow::anyhow!("an erasure's receipt is missing")))
}

/// An erasure that begins now.
pub fn erasure(now_ms: i64, create_unknown: bool) -> Closing {
    Closing {
        removal: Removal::permanent(now_ms),
        cause: Cause { by_anonymize_request: true, ..Cause::default() },
        erase: Some(Uuid::now_v7()),
        create_unknown,
    }
}

/// Clears caches that may hold data of an erased contact. Nothing there could be found again, but
/// it would stay in memory until evicted.
pub fn clear_caches(app: &App) {
    app.pages.clear();
    app.webhooks.tokens.clear();
}

/// Merges contacts; returns how many attachments moved.
///
/// # Errors
///
/// [`Error::NotFound`] when one of them does not exist; then nothing changes.
pub async fn merge(
    app: &App,
    site: SiteId,
    target: ContactId,
    sources: Vec<ContactId>,
) -> Result<usize> {
    let create_unknown = CreateUnknown { target: accepts_any_contact(app), sources: false };
    app.db.merge_contacts(site, target, sources, create_unknown, app.clock.now_ms()).await
}

/// Restores a contact from the trash, with the attachments deleted with it; returns how many
/// attachments that is.
///
/// # Errors
///
/// See [`Db::restore_contact`]. Restored attachments persist, and a repeated call continues.
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

/// The receipt of an erasure, with its current state; `None` when there is none with this id.
///
/// # Errors
///
/// When the database fails, or the signing key is unavailable.
pub async fn receipt(
    db: &Db,
    keys: Arc<KeyRing>,
    (site, receipt): (SiteId, Uuid),
    now_ms: i64,
) -> Result<Option<Receipt>> {
    let Some(found) = db.erasure(site, receipt, MAX_LISTED_FILES).await? else { return Ok(None) };
    let content = content(&found, now_ms);
    let text = content.to_string();
    // Generating the first key would block a shared thread for too long.
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

/// Continues unfinished work: batches of large contacts, then receipts that can be completed.
///
/// # Errors
///
/// Only when the database fails; completed batches persist.
pub async fn continue_unfinished(app: &App) -> Result<()> {
    if !app.db.has_unfinished_closings().await? {
        return Ok(());
    }
    let now_ms = app.clock.now_ms();
    let lease = app.db.acquire_lease("contacts", app.node_id, now_ms, now_ms + LEASE_MS).await?;
    if lease.is_none() {
        return Ok(());
    }
    for _ in 0..BATCHES_PER_RUN {
        if app.tasks.is_stopping() || !app.db.continue_closing(now_ms).await? {
            break;
        }
    }
    let completed = app.db.complete_erasures(app.clock.now_ms()).await?;
    if completed > 0 {
        tracing::info!(completed, "erasures are complete");
    }
    Ok(())
}

/// Starts the work that one transaction did not finish.
pub fn continue_if_more(app: &Arc<App>, more: bool) {
    if !more {
        return;
    }
    let shared = Arc::clone(app);
    app.tasks.spawn(async move {
        if let Err(error) = continue_unfinished(&shared).await {
            tracing::warn!(?error, "unfinished contact work continues on the next tick");
        }
    });
}

/// Whether any contact id is accepted, even one that was never registered.
fn accepts_any_contact(app: &App) -> bool {
    app.config.contacts_policy == ContactsPolicy::Any
}
