//! `dossier inbound …`: who may tell of contacts that are kept elsewhere. It works beside a running server,
//! which asks the database about each webhook that it gets.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use uuid::Uuid;

use super::contacts::guid;
use super::webhooks::Of;
use super::{runtime, say};
use crate::app::Clock;
use crate::db::InboundKey;
use crate::domain::inbound::public_key;
use crate::domain::timestamp::timestamp;

#[derive(Subcommand)]
pub(super) enum InboundCommand {
    /// Take the vendor's signed webhooks of contacts for a site.
    Add(Add),
    /// List the installations whose webhooks are taken for a site.
    List(Of),
    /// Take no more webhooks of an installation.
    Remove(Remove),
}

#[derive(Args)]
pub(super) struct Add {
    #[command(flatten)]
    of: Of,
    /// The app that the vendor tells.
    #[arg(long, value_name = "ID", value_parser = guid)]
    app: Uuid,
    /// The app's installation, which the webhooks name: it stands for the site.
    #[arg(long, value_name = "ID", value_parser = guid)]
    instance: Uuid,
    /// The app's public key, as the vendor shows it: PEM, or its base64.
    #[arg(long, value_name = "FILE")]
    public_key: PathBuf,
}

#[derive(Args)]
pub(super) struct Remove {
    #[command(flatten)]
    of: Of,
    /// The installation, as `dossier inbound list` shows it.
    #[arg(value_name = "INSTANCE", value_parser = guid)]
    instance: Uuid,
}

/// Runs `dossier inbound …`.
pub(super) fn run_inbound(command: &InboundCommand) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        match command {
            InboundCommand::Add(command) => add(command).await,
            InboundCommand::List(command) => list(command).await,
            InboundCommand::Remove(command) => remove(command).await,
        }
    })
}

async fn add(command: &Add) -> anyhow::Result<()> {
    let (db, site) = command.of.open().await?;
    let file = &command.public_key;
    let text = crate::config::read_text(file)?;
    let public_key = public_key(&text)
        .with_context(|| format!("{} holds no public key (BEGIN PUBLIC KEY)", file.display()))?;
    let key = InboundKey {
        instance_id: command.instance,
        site_id: site,
        app_id: command.app,
        public_key,
        created_at_ms: Clock::System.now_ms(),
    };
    db.add_inbound_key(key.clone()).await?;
    if command.of.json {
        return say(&json_of(&key).to_string());
    }
    say(&format!(
        "Webhooks of installation {} are taken for site {site} at /dossier/v1/inbound/wix",
        command.instance
    ))
}

fn json_of(key: &InboundKey) -> Value {
    json!({
        "instanceId": key.instance_id.to_string(), "appId": key.app_id.to_string(),
        "siteId": key.site_id.to_string(), "createdDate": timestamp(key.created_at_ms),
    })
}

async fn list(command: &Of) -> anyhow::Result<()> {
    let (db, site) = command.open().await?;
    let found = db.inbound_keys(site).await?;
    if command.json {
        let found: Vec<Value> = found.iter().map(json_of).collect();
        return say(&json!({ "installations": found }).to_string());
    }
    let mut text = format!("{:36}  {:36}  SINCE", "INSTANCE", "APP");
    for key in found {
        let since = timestamp(key.created_at_ms);
        write!(text, "\n{}  {}  {since}", key.instance_id, key.app_id)?;
    }
    say(&text)
}

async fn remove(command: &Remove) -> anyhow::Result<()> {
    let (db, site) = command.of.open().await?;
    let instance = command.instance;
    if !db.remove_inbound_key(site, instance).await? {
        bail!("there is no installation {instance}: see `dossier inbound list`");
    }
    if command.of.json {
        return say(&json!({ "instanceId": instance.to_string(), "removed": true }).to_string());
    }
    say(&format!("webhooks of installation {instance} are taken no more"))
}
