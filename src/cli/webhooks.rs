//! `dossier webhook …` and `dossier trigger`. They work beside a running server, which notices
//! within a second; it is the server that sends.

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use uuid::Uuid;

use super::keys::open;
use super::sites::choose_site;
use super::webhooks_log::{self, Deliveries, Replay, Test};
use super::{Settings, runtime, say};
use crate::actions::webhooks::{NewSubscription, pretend, subscribe};
use crate::app::Clock;
use crate::db::{Db, Place, Subscription};
use crate::domain::ids::{AttachmentId, SiteId, SubscriptionId, parse_guid};
use crate::domain::timestamp::timestamp;
use crate::domain::webhook::{EventType, EventTypes, Reach, Target};
use crate::webhook_keys::{KeyRing, PublicKey};

const HOUR_MS: i64 = 60 * 60 * 1_000;

#[derive(Subcommand)]
pub(super) enum WebhookCommand {
    /// Tell a URL of events from now on.
    Add(Add),
    /// List the webhooks of a site.
    List(Of),
    /// Tell a webhook of nothing more.
    Remove(One),
    /// Tell a webhook once of something made up, and show its answer.
    Test(Test),
    /// Show what a webhook was told and what it answered, the newest event first.
    Deliveries(Deliveries),
    /// Tell a webhook again, with the same event ids.
    Replay(Replay),
    /// Show the public key that receivers need.
    PublicKey(ShowKey),
    /// Make a new key that signs from a time on; both are shown until the next rotation.
    RotateKey(RotateKey),
}

#[derive(Args)]
pub(super) struct Of {
    #[command(flatten)]
    pub(super) settings: Settings,
    /// The site; needed when there are several.
    #[arg(long, value_name = "ID")]
    pub(super) site: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

impl Of {
    /// The database and the site that is meant.
    pub(super) async fn open(&self) -> anyhow::Result<(Db, SiteId)> {
        let db = open(&self.settings)?;
        let site = choose_site(db.sites().await?, self.site.as_deref())?;
        Ok((db, site.id))
    }
}

#[derive(Args)]
pub(super) struct One {
    #[command(flatten)]
    pub(super) of: Of,
    /// The webhook's id, as `dossier webhook list` shows it.
    #[arg(value_name = "WEBHOOK")]
    pub(super) id: String,
}

impl One {
    /// The database and the webhook that is meant.
    pub(super) async fn open(&self) -> anyhow::Result<(Db, Subscription)> {
        let id = parse_guid(&self.id).map(SubscriptionId);
        let id = id.with_context(|| format!("the webhook's id is not a GUID: {:?}", self.id))?;
        let (db, site) = self.of.open().await?;
        let found = db.subscription(site, id).await?;
        let found = found
            .with_context(|| format!("there is no webhook {}: see `dossier webhook list`", id.0))?;
        Ok((db, found))
    }
}

#[derive(Args)]
pub(super) struct Add {
    #[command(flatten)]
    of: Of,
    /// Where events are sent: https, at a public address.
    url: String,
    #[command(flatten)]
    wanted: Wanted,
    /// It may lie on this machine, and be plain http there.
    #[arg(long)]
    local: bool,
}

/// What a receiver wants and is known by.
#[derive(Args)]
pub(super) struct Wanted {
    /// Which events: `attachment_created`, `attachment_deleted` [default: both].
    #[arg(long, value_name = "TYPES", value_delimiter = ',', value_parser = event_type)]
    events: Vec<EventType>,
    /// The receiver's app [default: an id that is made up].
    #[arg(long, value_name = "ID", value_parser = guid)]
    app_id: Option<Uuid>,
    /// The app's installation at the site [default: an id that is made up].
    #[arg(long, value_name = "ID", value_parser = guid)]
    instance_id: Option<Uuid>,
}

impl Wanted {
    /// As a subscription of a site.
    pub(super) fn subscription(&self, site: SiteId, target: Target) -> NewSubscription {
        NewSubscription {
            site_id: site,
            target,
            event_types: EventTypes::of(self.events.iter().copied()).unwrap_or(EventTypes::ALL),
            app_id: self.app_id,
            instance_id: self.instance_id,
            is_local: false,
            expires_at_ms: None,
        }
    }
}

fn event_type(text: &str) -> Result<EventType, String> {
    EventType::parse(text).ok_or_else(|| format!("one of {}", EventTypes::ALL.names().join(", ")))
}

fn guid(text: &str) -> Result<Uuid, String> {
    parse_guid(text).ok_or_else(|| "expected a GUID".to_owned())
}

#[derive(Args)]
pub(super) struct ShowKey {
    #[command(flatten)]
    settings: Settings,
    /// In one line: the PEM in base64, which the SDK takes as well.
    #[arg(long, conflicts_with = "json")]
    base64: bool,
    /// Print all live keys as a JSON Web Key Set.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct RotateKey {
    #[command(flatten)]
    settings: Settings,
    /// The new key signs after so many hours: time for receivers to take it.
    #[arg(long, value_name = "HOURS", default_value = "24")]
    after_hours: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Arguments of `dossier trigger`.
#[derive(Args)]
pub(super) struct Trigger {
    #[command(flatten)]
    of: Of,
    /// `attachment_created` or `attachment_deleted`.
    #[arg(value_parser = event_type)]
    event: EventType,
    /// Tell of this attachment [default: the site's newest, or one that is made up].
    #[arg(long, value_name = "ID", value_parser = guid)]
    attachment: Option<Uuid>,
}

/// Runs `dossier webhook …`.
pub(super) fn run_webhook(command: &WebhookCommand) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        match command {
            WebhookCommand::Add(command) => add(command).await,
            WebhookCommand::List(command) => list(command).await,
            WebhookCommand::Remove(command) => remove(command).await,
            WebhookCommand::Test(command) => webhooks_log::test(command).await,
            WebhookCommand::Deliveries(command) => webhooks_log::deliveries(command).await,
            WebhookCommand::Replay(command) => webhooks_log::replay(command).await,
            WebhookCommand::PublicKey(command) => public_key(command),
            WebhookCommand::RotateKey(command) => rotate_key(command),
        }
    })
}

/// The keys of the data folder.
pub(super) fn key_ring(settings: &Settings) -> anyhow::Result<Arc<KeyRing>> {
    let folder = Place::folder(&settings.load(&[])?)?;
    Ok(Arc::new(KeyRing::new(folder)))
}

async fn add(command: &Add) -> anyhow::Result<()> {
    let settings = &command.of.settings;
    let reach = match settings.load(&[])?.webhook_reach() {
        Reach::Public if command.local => Reach::Local,
        reach => reach,
    };
    let target = Target::parse(&command.url, reach).map_err(|refused| {
        anyhow::anyhow!("the URL {refused} (--local lets it lie on this machine)")
    })?;
    let (db, site) = command.of.open().await?;
    let new = command.wanted.subscription(site, target);
    let new = NewSubscription { is_local: command.local, ..new };
    let made = subscribe(&db, key_ring(settings)?, new, Clock::System.now_ms()).await?;
    if command.of.json {
        return say(&json_of(&made).to_string());
    }
    say(&format!(
        "webhook      {}\nevents       {}\napp id       {}\ninstance id  {}\n\
         The receiver needs the public key: dossier webhook public-key",
        made.id,
        made.event_types.names().join(", "),
        made.app_id,
        made.instance_id
    ))
}

fn json_of(webhook: &Subscription) -> Value {
    json!({
        "id": webhook.id.to_string(), "siteId": webhook.site_id.to_string(),
        "url": webhook.url, "eventTypes": webhook.event_types.names(),
        "appId": webhook.app_id.to_string(), "instanceId": webhook.instance_id.to_string(),
        "enabled": webhook.is_enabled, "failuresInARow": webhook.circuit.failures,
        "createdDate": timestamp(webhook.created_at_ms),
        "expirationDate": webhook.expires_at_ms.map(timestamp),
    })
}

async fn list(command: &Of) -> anyhow::Result<()> {
    let (db, site) = command.open().await?;
    let now_ms = Clock::System.now_ms();
    let found = db.subscriptions(site, now_ms).await?;
    if command.json {
        let found: Vec<Value> = found.iter().map(json_of).collect();
        return say(&json!({ "webhooks": found }).to_string());
    }
    let mut text = format!("{:36}  {:9}  {:17}  URL", "WEBHOOK ID", "STATE", "EVENTS");
    for webhook in found {
        let state = if !webhook.is_enabled {
            "disabled"
        } else if webhook.circuit.is_open() {
            "failing"
        } else if webhook.expires_at_ms.is_some() {
            "listening"
        } else {
            "live"
        };
        let slugs = EventType::ALL.into_iter();
        let slugs = slugs.filter(|event| webhook.event_types.contains(*event));
        let slugs: Vec<&str> = slugs.map(EventType::slug).collect();
        write!(text, "\n{}  {state:9}  {:17}  {}", webhook.id, slugs.join(","), webhook.url)?;
    }
    say(&text)
}

async fn remove(command: &One) -> anyhow::Result<()> {
    let (db, found) = command.open().await?;
    if !db.remove_subscription(found.site_id, found.id, Clock::System.now_ms()).await? {
        bail!("there is no webhook {}", found.id);
    }
    if command.of.json {
        return say(&json!({ "id": found.id.to_string(), "removed": true }).to_string());
    }
    say(&format!("webhook {} is told nothing more", found.id))
}

fn public_key(command: &ShowKey) -> anyhow::Result<()> {
    let now_ms = Clock::System.now_ms();
    let keys = key_ring(&command.settings)?.ensure(now_ms)?.public(now_ms)?;
    if command.json {
        let keys: Vec<Value> = keys.iter().map(PublicKey::jwk).collect();
        return say(&json!({ "keys": keys }).to_string());
    }
    let signing = keys.first().context("there is no key")?;
    say(if command.base64 { signing.base64() } else { signing.pem.trim_end().to_owned() }.as_str())
}

fn rotate_key(command: &RotateKey) -> anyhow::Result<()> {
    let now_ms = Clock::System.now_ms();
    let from_ms = now_ms + i64::from(command.after_hours) * HOUR_MS;
    let keys = key_ring(&command.settings)?.rotate(now_ms, from_ms)?.public(now_ms)?;
    let new = keys.iter().find(|key| key.signs_from_ms == from_ms);
    let new = new.context("the new key is gone")?;
    if command.json {
        return say(&json!({
            "kid": new.id, "publicKey": new.pem, "signsFrom": timestamp(new.signs_from_ms),
        })
        .to_string());
    }
    say(&format!(
        "{}The new key {} signs from {} on. Give it to the receivers by then; what one refuses with \
         the old key is told again later.",
        new.pem,
        new.id,
        timestamp(new.signs_from_ms)
    ))
}

/// Runs `dossier trigger`.
pub(super) fn run_trigger(command: &Trigger) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let (db, site) = command.of.open().await?;
        let like = match command.attachment {
            None => db.newest_attachment(site).await?,
            Some(id) => {
                let found = db.attachment(site, AttachmentId(id)).await?;
                Some(found.with_context(|| format!("the site has no attachment {id}"))?)
            }
        };
        let made_up = like.is_none();
        let now_ms = Clock::System.now_ms();
        let (told, count) = pretend(&db, (site, None), command.event, like, now_ms).await?;
        let event = &told.event;
        if command.of.json {
            return say(&json!({
                "eventId": event.id.to_string(), "eventType": event.event_type.as_str(),
                "attachmentId": event.attachment_id.to_string(),
                "contactId": event.contact_id.to_string(), "webhooks": count,
            })
            .to_string());
        }
        if count == 0 {
            bail!(
                "no webhook of the site wants {}: see `dossier webhook list`",
                command.event.as_str()
            );
        }
        let about = if made_up { " (made up: its link opens nothing)" } else { "" };
        say(&format!(
            "{} {} about attachment {}{about}, to {count} webhooks",
            event.event_type.as_str(),
            event.id,
            event.attachment_id
        ))
    })
}
