//! `dossier webhook …` and `dossier trigger`. They change the database only; a running server
//! notices within a second and does the sending.

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use uuid::Uuid;

use super::keys::open;
use super::sites::choose_site;
use super::webhooks_log::{self, Deliveries, Replay, Test};
use super::{Settings, print_stdout, runtime};
use crate::actions::webhooks::{NewSubscription, send_test_event, subscribe};
use crate::app::Clock;
use crate::db::{DatabaseLocation, Db, Subscription};
use crate::domain::ids::{AttachmentId, SiteId, SubscriptionId, parse_guid};
use crate::domain::timestamp::timestamp;
use crate::domain::webhook::{EventType, EventTypes, Reach, Target};
use crate::webhook_keys::{KeyRing, PublicKey};

const HOUR_MS: i64 = 60 * 60 * 1_000;

#[derive(Subcommand)]
pub(super) enum WebhookCommand {
    /// Add a webhook: events are sent to a URL from now on.
    Add(Add),
    /// List the webhooks of a site.
    List(SiteArgs),
    /// Remove a webhook.
    Remove(WebhookArgs),
    /// Send a test event to a webhook once and show the response.
    Test(Test),
    /// Show a webhook's deliveries and the responses, newest event first.
    Deliveries(Deliveries),
    /// Send events to a webhook again, with the same event ids.
    Replay(Replay),
    /// Show the public key that receivers verify events with.
    PublicKey(ShowKey),
    /// Create a new signing key that takes effect later. Both keys are published until the next
    /// rotation.
    RotateKey(RotateKey),
}

#[derive(Args)]
pub(super) struct SiteArgs {
    #[command(flatten)]
    pub(super) settings: Settings,
    /// The site; required if there are several.
    #[arg(long, value_name = "ID")]
    pub(super) site: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

impl SiteArgs {
    /// Opens the database and resolves the site.
    pub(super) async fn open(&self) -> anyhow::Result<(Db, SiteId)> {
        let db = open(&self.settings)?;
        let site = choose_site(db.sites().await?, self.site.as_deref())?;
        Ok((db, site.id))
    }
}

#[derive(Args)]
pub(super) struct WebhookArgs {
    #[command(flatten)]
    pub(super) common: SiteArgs,
    /// The webhook's id, as shown by `dossier webhook list`.
    #[arg(value_name = "WEBHOOK")]
    pub(super) id: String,
}

impl WebhookArgs {
    /// Opens the database and finds the webhook.
    pub(super) async fn open(&self) -> anyhow::Result<(Db, Subscription)> {
        let id = parse_guid(&self.id).map(SubscriptionId);
        let id = id.with_context(|| format!("the webhook id is not a GUID: {:?}", self.id))?;
        let (db, site) = self.common.open().await?;
        let found = db.subscription(site, id).await?;
        let found = found
            .with_context(|| format!("there is no webhook {}; see `dossier webhook list`", id.0))?;
        Ok((db, found))
    }
}

#[derive(Args)]
pub(super) struct Add {
    #[command(flatten)]
    common: SiteArgs,
    /// The URL that events are sent to: https, at a public address.
    url: String,
    #[command(flatten)]
    events: EventArgs,
    /// Allow a URL on this machine, with plain http too.
    #[arg(long)]
    local: bool,
}

/// The events and the identity of a receiver.
#[derive(Args)]
pub(super) struct EventArgs {
    /// Events to send: `attachment_created`, `attachment_deleted` [default: both].
    #[arg(long, value_name = "TYPES", value_delimiter = ',', value_parser = event_type)]
    events: Vec<EventType>,
    /// The receiver's app [default: a generated id].
    #[arg(long, value_name = "ID", value_parser = guid)]
    app_id: Option<Uuid>,
    /// The app's installation on the site [default: a generated id].
    #[arg(long, value_name = "ID", value_parser = guid)]
    instance_id: Option<Uuid>,
}

impl EventArgs {
    /// Builds the subscription for a site.
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
    EventType::parse(text)
        .ok_or_else(|| format!("expected one of {}", EventTypes::ALL.names().join(", ")))
}

fn guid(text: &str) -> Result<Uuid, String> {
    parse_guid(text).ok_or_else(|| "expected a GUID".to_owned())
}

#[derive(Args)]
pub(super) struct ShowKey {
    #[command(flatten)]
    settings: Settings,
    /// Print one line: the PEM in base64, which the SDK accepts too.
    #[arg(long, conflicts_with = "json")]
    base64: bool,
    /// Print all published keys as a JSON Web Key Set.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct RotateKey {
    #[command(flatten)]
    settings: Settings,
    /// Hours until the new key signs, so that receivers have time to install it.
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
    common: SiteArgs,
    /// `attachment_created` or `attachment_deleted`.
    #[arg(value_parser = event_type)]
    event: EventType,
    /// The attachment the event is about [default: the site's newest, or a generated id].
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

/// The webhook keys of the data folder.
pub(super) fn key_ring(settings: &Settings) -> anyhow::Result<Arc<KeyRing>> {
    let folder = DatabaseLocation::folder(&settings.load(&[])?)?;
    Ok(Arc::new(KeyRing::new(folder)))
}

async fn add(command: &Add) -> anyhow::Result<()> {
    let settings = &command.common.settings;
    let reach = match settings.load(&[])?.webhook_reach() {
        Reach::Public if command.local => Reach::Local,
        reach => reach,
    };
    let target = Target::parse(&command.url, reach).map_err(|error| {
        anyhow::anyhow!("the URL {error} (--local allows a URL on this machine)")
    })?;
    let (db, site) = command.common.open().await?;
    let new = command.events.subscription(site, target);
    let new = NewSubscription { is_local: command.local, ..new };
    let made = subscribe(&db, key_ring(settings)?, new, Clock::System.now_ms()).await?;
    if command.common.json {
        return print_stdout(&json_of(&made).to_string());
    }
    print_stdout(&format!(
        "webhook      {}\nevents       {}\napp id       {}\ninstance id  {}\n\
         For the public key, which the receiver needs: dossier webhook public-key",
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

async fn list(command: &SiteArgs) -> anyhow::Result<()> {
    let (db, site) = command.open().await?;
    let now_ms = Clock::System.now_ms();
    let found = db.subscriptions(site, now_ms).await?;
    if command.json {
        let found: Vec<Value> = found.iter().map(json_of).collect();
        return print_stdout(&json!({ "webhooks": found }).to_string());
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
    print_stdout(&text)
}

async fn remove(command: &WebhookArgs) -> anyhow::Result<()> {
    let (db, found) = command.open().await?;
    if !db.remove_subscription(found.site_id, found.id, Clock::System.now_ms()).await? {
        bail!("there is no webhook {}; see `dossier webhook list`", found.id);
    }
    if command.common.json {
        return print_stdout(&json!({ "id": found.id.to_string(), "removed": true }).to_string());
    }
    print_stdout(&format!("Removed webhook {}", found.id))
}

fn public_key(command: &ShowKey) -> anyhow::Result<()> {
    let now_ms = Clock::System.now_ms();
    let keys = key_ring(&command.settings)?.ensure(now_ms)?.public(now_ms)?;
    if command.json {
        let keys: Vec<Value> = keys.iter().map(PublicKey::jwk).collect();
        return print_stdout(&json!({ "keys": keys }).to_string());
    }
    let signing = keys.first().context("webhook.keys holds no key")?;
    print_stdout(
        if command.base64 { signing.base64() } else { signing.pem.trim_end().to_owned() }.as_str(),
    )
}

fn rotate_key(command: &RotateKey) -> anyhow::Result<()> {
    let now_ms = Clock::System.now_ms();
    let from_ms = now_ms + i64::from(command.after_hours) * HOUR_MS;
    let keys = key_ring(&command.settings)?.rotate(now_ms, from_ms)?.public(now_ms)?;
    let new = keys.iter().find(|key| key.signs_from_ms == from_ms);
    let new = new.context("the new key is missing from webhook.keys")?;
    if command.json {
        return print_stdout(
            &json!({
                "kid": new.id, "publicKey": new.pem, "signsFrom": timestamp(new.signs_from_ms),
            })
            .to_string(),
        );
    }
    print_stdout(&format!(
        "{}Key {} signs from {}. Install it at every receiver before then. Events that a \
         receiver rejects because it has only the old key are retried.",
        new.pem,
        new.id,
        timestamp(new.signs_from_ms)
    ))
}

/// Runs `dossier trigger`.
pub(super) fn run_trigger(command: &Trigger) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let (db, site) = command.common.open().await?;
        let like = match command.attachment {
            None => db.newest_attachment(site).await?,
            Some(id) => {
                let found = db.attachment(site, AttachmentId(id)).await?;
                Some(found.with_context(|| format!("the site has no attachment {id}"))?)
            }
        };
        let is_generated = like.is_none();
        let now_ms = Clock::System.now_ms();
        let (delivery, count) =
            send_test_event(&db, (site, None), command.event, like, now_ms).await?;
        let event = &delivery.event;
        if command.common.json {
            return print_stdout(
                &json!({
                    "eventId": event.id.to_string(), "eventType": event.event_type.as_str(),
                    "attachmentId": event.attachment_id.to_string(),
                    "contactId": event.contact_id.to_string(), "webhooks": count,
                })
                .to_string(),
            );
        }
        if count == 0 {
            bail!(
                "no webhook of the site is subscribed to {}; see `dossier webhook list`",
                command.event.as_str()
            );
        }
        let about = if is_generated { " (generated id: its link opens nothing)" } else { "" };
        print_stdout(&format!(
            "Sent {} {} for attachment {}{about} to {count} webhooks",
            event.event_type.as_str(),
            event.id,
            event.attachment_id
        ))
    })
}
