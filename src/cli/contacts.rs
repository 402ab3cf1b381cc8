//! `dossier contact …`. It changes the database only; a running server notices within a second.
//! Bytes are removed by the server, or by the next one that starts.

use std::fmt::Write as _;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use uuid::Uuid;

use super::webhooks::{SiteArgs, key_ring};
use super::{print_stdout, runtime};
use crate::actions::contacts::{erasure, receipt, restore};
use crate::app::Clock;
use crate::config::{Config, ContactsPolicy};
use crate::db::{
    Announced, Closing, Contact, ContactOrder, ContactSearch, CreateUnknown, Db, Removal,
};
use crate::domain::ids::{AttachmentId, ContactId, SiteId, parse_guid};
use crate::domain::timestamp::timestamp;
use crate::domain::webhook::Cause;
use crate::error::Error;

/// Contacts in one page of a list query.
const PAGE_SIZE: u32 = 1_000;

#[derive(Subcommand)]
pub(super) enum ContactCommand {
    /// Register a contact. With `contacts_policy = "registered"` only such contacts can have files.
    Announce(Announce),
    /// List the contacts of a site.
    List(SiteArgs),
    /// Delete a contact and its attachments. They go to the trash if there is one.
    Delete(ContactArgs),
    /// Move all attachments of 1 to 5 contacts to another contact.
    Merge(Merge),
    /// Erase everything of a contact permanently, and print a receipt.
    Erase(ContactArgs),
    /// Restore a contact, or one of its attachments, from the trash.
    Restore(Restore),
    /// Show the receipt of an erasure with its current progress.
    Receipt(ShowReceipt),
}

#[derive(Args)]
pub(super) struct ContactArgs {
    #[command(flatten)]
    common: SiteArgs,
    /// The contact.
    #[arg(value_name = "CONTACT", value_parser = guid)]
    id: Uuid,
}

#[derive(Args)]
pub(super) struct Announce {
    #[command(flatten)]
    contact: ContactArgs,
    /// A label to show to people.
    #[arg(long)]
    label: Option<String>,
}

#[derive(Args)]
pub(super) struct Merge {
    #[command(flatten)]
    common: SiteArgs,
    /// The contact that remains.
    #[arg(value_name = "TARGET", value_parser = guid)]
    target: Uuid,
    /// The contacts that are merged into it.
    #[arg(value_name = "SOURCE", value_parser = guid, num_args = 1..=5, required = true)]
    sources: Vec<Uuid>,
}

#[derive(Args)]
pub(super) struct Restore {
    #[command(flatten)]
    contact: ContactArgs,
    /// Only this attachment.
    #[arg(long, value_name = "ID", value_parser = guid)]
    attachment: Option<Uuid>,
}

#[derive(Args)]
pub(super) struct ShowReceipt {
    #[command(flatten)]
    common: SiteArgs,
    /// The receipt's id.
    #[arg(value_name = "RECEIPT", value_parser = guid)]
    id: Uuid,
}

pub(super) fn guid(text: &str) -> Result<Uuid, String> {
    parse_guid(text).ok_or_else(|| "expected a GUID".to_owned())
}

/// Runs `dossier contact …`.
pub(super) fn run_contact(command: &ContactCommand) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        match command {
            ContactCommand::Announce(command) => announce(command).await,
            ContactCommand::List(command) => list(command).await,
            ContactCommand::Delete(command) => delete(command).await,
            ContactCommand::Merge(command) => merge(command).await,
            ContactCommand::Erase(command) => erase(command).await,
            ContactCommand::Restore(command) => restore_command(command).await,
            ContactCommand::Receipt(command) => show_receipt(&command.common, command.id).await,
        }
    })
}

async fn announce(command: &Announce) -> anyhow::Result<()> {
    let (db, site) = command.contact.common.open().await?;
    let (id, now_ms) = (ContactId(command.contact.id), Clock::System.now_ms());
    match db.announce(site, id, command.label.clone(), now_ms).await? {
        Announced::Known(contact) if command.contact.common.json => {
            print_stdout(&json_of(&contact).to_string())
        }
        Announced::Known(_) => print_stdout(&format!("Announced contact {id}")),
        Announced::Closing => anyhow::bail!("contact {id} is still being deleted; try again later"),
        Announced::Gone(state) => anyhow::bail!("contact {id} is {}", state.as_str()),
    }
}

async fn list(command: &SiteArgs) -> anyhow::Result<()> {
    let (db, site) = command.open().await?;
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = db.contacts(site, ContactSearch::default(), after, PAGE_SIZE).await?;
        let Some(last) = page.last() else { break };
        after = Some(ContactOrder::Id.cursor(last));
        found.extend(page);
    }
    if command.json {
        let found: Vec<Value> = found.iter().map(json_of).collect();
        return print_stdout(&json!({ "contacts": found }).to_string());
    }
    let mut text =
        format!("{:36}  {:7}  {:>6}  {:>12}  LABEL", "CONTACT", "STATE", "FILES", "BYTES");
    for contact in found {
        write!(
            text,
            "\n{}  {:7}  {:>6}  {:>12}  {}",
            contact.id,
            contact.state.as_str(),
            contact.attachment_count,
            contact.total_bytes,
            contact.label.as_deref().unwrap_or_default().escape_debug()
        )?;
    }
    print_stdout(&text)
}

fn json_of(contact: &Contact) -> Value {
    json!({
        "id": contact.id.to_string(), "state": contact.state.as_str().to_ascii_uppercase(),
        "label": contact.label, "attachmentCount": contact.attachment_count,
        "totalBytes": contact.total_bytes.to_string(),
        "announcedDate": contact.announced_at_ms.map(timestamp),
        "purgeDate": contact.purge_at_ms.map(timestamp),
    })
}

impl ContactArgs {
    async fn open(&self) -> anyhow::Result<(Db, SiteId, ContactId, Config)> {
        let (db, site) = self.common.open().await?;
        Ok((db, site, ContactId(self.id), self.common.settings.load(&[])?))
    }
}

async fn close(
    db: &Db,
    (site, contact): (SiteId, ContactId),
    closing: Closing,
) -> anyhow::Result<Option<Uuid>> {
    let now_ms = closing.removal.now_ms;
    let (more, receipt) = db.close_contact(site, contact, closing).await?;
    while more && db.continue_closing(now_ms).await? {}
    Ok(receipt)
}

async fn delete(command: &ContactArgs) -> anyhow::Result<()> {
    let (db, site, contact, config) = command.open().await?;
    let closing = Closing {
        removal: Removal::now(&config, Clock::System.now_ms()),
        cause: Cause::default(),
        erase: None,
        create_unknown: config.contacts_policy == ContactsPolicy::Any,
    };
    let purge_at_ms = closing.removal.purge_at_ms;
    close(&db, (site, contact), closing).await?;
    if command.common.json {
        let purge = purge_at_ms.map(timestamp);
        return print_stdout(&json!({ "id": contact.to_string(), "purgeDate": purge }).to_string());
    }
    match purge_at_ms {
        Some(until_ms) => print_stdout(&format!(
            "Moved contact {contact} to the trash. It can be restored until {}",
            timestamp(until_ms)
        )),
        None => print_stdout(&format!("Deleted contact {contact}")),
    }
}

async fn merge(command: &Merge) -> anyhow::Result<()> {
    let (db, site) = command.common.open().await?;
    let sources: Vec<ContactId> = command.sources.iter().copied().map(ContactId).collect();
    let repeated = (1..sources.len()).any(|at| sources[..at].contains(&sources[at]));
    anyhow::ensure!(!repeated, "a source contact is given twice");
    anyhow::ensure!(
        !command.sources.contains(&command.target),
        "the target contact is also a source"
    );
    let config = command.common.settings.load(&[])?;
    let target = config.contacts_policy == ContactsPolicy::Any;
    let create_unknown = CreateUnknown { target, sources: false };
    let (into, now_ms) = (ContactId(command.target), Clock::System.now_ms());
    let moved = db.merge_contacts(site, into, sources, create_unknown, now_ms).await?;
    if command.common.json {
        let merged = json!({ "id": into.to_string(), "movedAttachments": moved });
        return print_stdout(&merged.to_string());
    }
    print_stdout(&format!("Moved {moved} attachments to contact {into}"))
}

async fn erase(command: &ContactArgs) -> anyhow::Result<()> {
    let (db, site, contact, config) = command.open().await?;
    let create_unknown = config.contacts_policy == ContactsPolicy::Any;
    let closing = erasure(Clock::System.now_ms(), create_unknown);
    let receipt = close(&db, (site, contact), closing).await?;
    show_receipt(&command.common, receipt.context("the erasure has no receipt")?).await
}

async fn show_receipt(common: &SiteArgs, id: Uuid) -> anyhow::Result<()> {
    let (db, site) = common.open().await?;
    let keys = key_ring(&common.settings)?;
    let found = receipt(&db, keys, (site, id), Clock::System.now_ms()).await?;
    let found = found.with_context(|| format!("there is no receipt {id}"))?;
    if common.json {
        return print_stdout(
            &json!({ "receipt": found.content, "signed": found.signed }).to_string(),
        );
    }
    let content = &found.content;
    let date = |name: &str| content[name].as_str().unwrap_or("not yet").to_owned();
    print_stdout(&format!(
        "receipt      {id}\ncontact      {}\nattachments  {}\nrequested    {}\nrows erased  {}\n\
         complete     {}\nsigned       {}",
        date("contactId"),
        content["attachmentCount"],
        date("requestedDate"),
        date("rowsErasedDate"),
        date("completedDate"),
        found.signed
    ))
}

async fn restore_command(command: &Restore) -> anyhow::Result<()> {
    let (db, site, contact, config) = command.contact.open().await?;
    let sites = db.sites().await?;
    let overrides =
        sites.iter().find(|other| other.id == site).map(|site| site.quotas).unwrap_or_default();
    let (quotas, now_ms) = (overrides.or(config.quotas), Clock::System.now_ms());
    if let Some(id) = command.attachment {
        let id = AttachmentId(id);
        db.restore_attachment((site, contact), id, quotas, now_ms).await?;
        if command.contact.common.json {
            return print_stdout(
                &json!({ "attachmentId": id.to_string(), "restored": true }).to_string(),
            );
        }
        return print_stdout(&format!("Restored attachment {id}"));
    }
    match restore(&db, (site, contact), quotas, now_ms).await {
        Ok(count) if command.contact.common.json => {
            let restored = json!({ "id": contact.to_string(), "restoredAttachments": count });
            print_stdout(&restored.to_string())
        }
        Ok(count) => print_stdout(&format!("Restored contact {contact} with {count} attachments")),
        Err(Error::NotFound { .. }) => anyhow::bail!("contact {contact} is not in the trash"),
        Err(error) => Err(error.into()),
    }
}
