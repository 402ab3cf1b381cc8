//! `dossier contact …`. It works beside a running server, which notices within a second; it is the server,
//! or the next one, that removes the bytes.

use std::fmt::Write as _;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use uuid::Uuid;

use super::webhooks::{Of, key_ring};
use super::{runtime, say};
use crate::actions::contacts::{erasure, receipt, restore};
use crate::app::Clock;
use crate::config::{Config, ContactsPolicy};
use crate::db::{
    Announced, Closing, Contact, ContactOrder, ContactSearch, Db, Removal, UnknownToo,
};
use crate::domain::ids::{AttachmentId, ContactId, SiteId, parse_guid};
use crate::domain::timestamp::timestamp;
use crate::domain::webhook::Cause;
use crate::error::Error;

/// Contacts that are read at once.
const A_PAGE: u32 = 1_000;

#[derive(Subcommand)]
pub(super) enum ContactCommand {
    /// Make a contact known; where `contacts_policy` is `registered`, only such may have files.
    Announce(Announce),
    /// List the contacts of a site.
    List(Of),
    /// Take a contact away, with its attachments; into the trash if there is one.
    Delete(One),
    /// Move everything of 1 to 5 contacts to another one.
    Merge(Merge),
    /// Take everything of a person away, for good and with a receipt.
    Erase(One),
    /// Bring a contact, or one attachment of it, back out of the trash.
    Restore(Restore),
    /// Show the receipt of an erasure as things stand now.
    Receipt(ShowReceipt),
}

#[derive(Args)]
pub(super) struct One {
    #[command(flatten)]
    of: Of,
    /// The contact.
    #[arg(value_name = "CONTACT", value_parser = guid)]
    id: Uuid,
}

#[derive(Args)]
pub(super) struct Announce {
    #[command(flatten)]
    one: One,
    /// A label for people.
    #[arg(long)]
    label: Option<String>,
}

#[derive(Args)]
pub(super) struct Merge {
    #[command(flatten)]
    of: Of,
    /// The contact that is left.
    #[arg(value_name = "TARGET", value_parser = guid)]
    target: Uuid,
    /// The contacts that go into it.
    #[arg(value_name = "SOURCE", value_parser = guid, num_args = 1..=5, required = true)]
    sources: Vec<Uuid>,
}

#[derive(Args)]
pub(super) struct Restore {
    #[command(flatten)]
    one: One,
    /// Only this attachment.
    #[arg(long, value_name = "ID", value_parser = guid)]
    attachment: Option<Uuid>,
}

#[derive(Args)]
pub(super) struct ShowReceipt {
    #[command(flatten)]
    of: Of,
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
            ContactCommand::Restore(command) => bring_back(command).await,
            ContactCommand::Receipt(command) => show_receipt(&command.of, command.id).await,
        }
    })
}

async fn announce(command: &Announce) -> anyhow::Result<()> {
    let (db, site) = command.one.of.open().await?;
    let (id, now_ms) = (ContactId(command.one.id), Clock::System.now_ms());
    match db.announce(site, id, command.label.clone(), now_ms).await? {
        Announced::Known(contact) if command.one.of.json => say(&json_of(&contact).to_string()),
        Announced::Known(_) => say(&format!("contact {id} is announced")),
        Announced::Closing => anyhow::bail!("contact {id} is still being taken away"),
        Announced::Gone(state) => anyhow::bail!("contact {id} is {}", state.as_str()),
    }
}

async fn list(command: &Of) -> anyhow::Result<()> {
    let (db, site) = command.open().await?;
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = db.contacts(site, ContactSearch::default(), after, A_PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(ContactOrder::Id.cursor(last));
        found.extend(page);
    }
    if command.json {
        let found: Vec<Value> = found.iter().map(json_of).collect();
        return say(&json!({ "contacts": found }).to_string());
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
    say(&text)
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

impl One {
    async fn open(&self) -> anyhow::Result<(Db, SiteId, ContactId, Config)> {
        let (db, site) = self.of.open().await?;
        Ok((db, site, ContactId(self.id), self.of.settings.load(&[])?))
    }
}

async fn close(
    db: &Db,
    (site, contact): (SiteId, ContactId),
    closing: Closing,
) -> anyhow::Result<Option<Uuid>> {
    let now_ms = closing.removal.now_ms;
    let (more, receipt) = db.close_contact(site, contact, closing).await?;
    while more && db.close_on(now_ms).await? {}
    Ok(receipt)
}

async fn delete(command: &One) -> anyhow::Result<()> {
    let (db, site, contact, config) = command.open().await?;
    let closing = Closing {
        removal: Removal::now(&config, Clock::System.now_ms()),
        cause: Cause::default(),
        erase: None,
        unknown_too: config.contacts_policy == ContactsPolicy::Any,
    };
    let purge_at_ms = closing.removal.purge_at_ms;
    close(&db, (site, contact), closing).await?;
    if command.of.json {
        let purge = purge_at_ms.map(timestamp);
        return say(&json!({ "id": contact.to_string(), "purgeDate": purge }).to_string());
    }
    match purge_at_ms {
        Some(until_ms) => {
            say(&format!("contact {contact} can be restored until {}", timestamp(until_ms)))
        }
        None => say(&format!("contact {contact} is deleted")),
    }
}

async fn merge(command: &Merge) -> anyhow::Result<()> {
    let (db, site) = command.of.open().await?;
    let sources: Vec<ContactId> = command.sources.iter().copied().map(ContactId).collect();
    let repeated = (1..sources.len()).any(|at| sources[..at].contains(&sources[at]));
    anyhow::ensure!(!repeated, "a source is named twice");
    anyhow::ensure!(!command.sources.contains(&command.target), "the target is a source as well");
    let config = command.of.settings.load(&[])?;
    let target = config.contacts_policy == ContactsPolicy::Any;
    let unknown_too = UnknownToo { target, sources: false };
    let (into, now_ms) = (ContactId(command.target), Clock::System.now_ms());
    let moved = db.merge_contacts(site, into, sources, unknown_too, now_ms).await?;
    if command.of.json {
        let merged = json!({ "id": into.to_string(), "movedAttachments": moved });
        return say(&merged.to_string());
    }
    say(&format!("{moved} attachments have moved to contact {into}"))
}

async fn erase(command: &One) -> anyhow::Result<()> {
    let (db, site, contact, config) = command.open().await?;
    let unknown_too = config.contacts_policy == ContactsPolicy::Any;
    let closing = erasure(Clock::System.now_ms(), unknown_too);
    let receipt = close(&db, (site, contact), closing).await?;
    show_receipt(&command.of, receipt.context("the erasure has no receipt")?).await
}

async fn show_receipt(of: &Of, id: Uuid) -> anyhow::Result<()> {
    let (db, site) = of.open().await?;
    let keys = key_ring(&of.settings)?;
    let found = receipt(&db, keys, (site, id), Clock::System.now_ms()).await?;
    let found = found.with_context(|| format!("there is no receipt {id}"))?;
    if of.json {
        return say(&json!({ "receipt": found.content, "signed": found.signed }).to_string());
    }
    let content = &found.content;
    let date = |name: &str| content[name].as_str().unwrap_or("not yet").to_owned();
    say(&format!(
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

async fn bring_back(command: &Restore) -> anyhow::Result<()> {
    let (db, site, contact, config) = command.one.open().await?;
    let sites = db.sites().await?;
    let own = sites.iter().find(|one| one.id == site).map(|one| one.quotas).unwrap_or_default();
    let (quotas, now_ms) = (own.over(config.quotas), Clock::System.now_ms());
    if let Some(id) = command.attachment {
        let id = AttachmentId(id);
        db.restore_attachment((site, contact), id, quotas, now_ms).await?;
        if command.one.of.json {
            return say(&json!({ "attachmentId": id.to_string(), "restored": true }).to_string());
        }
        return say(&format!("attachment {id} is back"));
    }
    match restore(&db, (site, contact), quotas, now_ms).await {
        Ok(count) if command.one.of.json => {
            let restored = json!({ "id": contact.to_string(), "restoredAttachments": count });
            say(&restored.to_string())
        }
        Ok(count) => say(&format!("contact {contact} is back, with {count} attachments")),
        Err(Error::NotFound { .. }) => anyhow::bail!("contact {contact} is not in the trash"),
        Err(error) => Err(error.into()),
    }
}
