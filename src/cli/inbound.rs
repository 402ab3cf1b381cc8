//! `dossier inbound …`: which installations may send webhooks about contacts. It changes the
//! database only; a running server looks the key up for each webhook that it receives.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use uuid::Uuid;

use super::contacts::guid;
use super::webhooks::SiteArgs;
use super::{print_stdout, runtime};
use crate::app::Clock;
use crate::db::InboundKey;
use crate::domain::inbound::public_key;
use crate::domain::timestamp::timestamp;

#[derive(Subcommand)]
pub(super) enum InboundCommand {
    /// Accept the vendor's signed contact webhooks for a site.
    Add(Add),
    /// List the installations whose webhooks are accepted for a site.
    List(SiteArgs),
    /// Stop accepting webhooks of an installation.
    Remove(Remove),
}

#[derive(Args)]
pub(super) struct Add {
    #[command(flatten)]
    common: SiteArgs,
    /// The app that the vendor sends webhooks to.
    #[arg(long, value_name = "ID", value_parser = guid)]
    app: Uuid,
    /// The app's installation. Webhooks name it, and it identifies the site.
    #[arg(long, value_name = "ID", value_parser = guid)]
    instance: Uuid,
    /// The app's public key from the vendor: PEM, or base64 of the PEM.
    #[arg(long, value_name = "FILE")]
    public_key: PathBuf,
}

#[derive(Args)]
pub(super) struct Remove {
    #[command(flatten)]
    common: SiteArgs,
    /// The installation, as shown by `dossier inbound list`.
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
    let (db, site) = command.common.open().await?;
    let file = &command.public_key;
    let text = crate::config::read_text(file)?;
    let public_key = public_key(&text)
        .with_context(|| format!("{} contains no public key (BEGIN PUBLIC KEY)", file.display()))?;
    let key = InboundKey {
        instance_id: command.instance,
        site_id: site,
        app_id: command.app,
        public_key,
        created_at_ms: Clock::System.now_ms(),
    };
    db.add_inbound_key(key.clone()).await?;
    if command.common.json {
        return print_stdout(&json_of(&key).to_string());
    }
    print_stdout(&format!(
        "Webhooks of installation {} are accepted for site {site} at /dossier/v1/inbound/wix",
        command.instance
    ))
}

fn json_of(key: &InboundKey) -> Value {
    json!({
        "instanceId": key.instance_id.to_string(), "appId": key.app_id.to_string(),
        "siteId": key.site_id.to_string(), "createdDate": timestamp(key.created_at_ms),
    })
}

async fn list(command: &SiteArgs) -> anyhow::Result<()> {
    let (db, site) = command.open().await?;
    let found = db.inbound_keys(site).await?;
    if command.json {
        let found: Vec<Value> = found.iter().map(json_of).collect();
        return print_stdout(&json!({ "installations": found }).to_string());
    }
    let mut text = format!("{:36}  {:36}  SINCE", "INSTANCE", "APP");
    for key in found {
        let since = timestamp(key.created_at_ms);
        write!(text, "\n{}  {}  {since}", key.instance_id, key.app_id)?;
    }
    print_stdout(&text)
}

async fn remove(command: &Remove) -> anyhow::Result<()> {
    let (db, site) = command.common.open().await?;
    let instance = command.instance;
    if !db.remove_inbound_key(site, instance).await? {
        bail!("there is no installation {instance}; see `dossier inbound list`");
    }
    if command.common.json {
        return print_stdout(
            &json!({ "instanceId": instance.to_string(), "removed": true }).to_string(),
        );
    }
    print_stdout(&format!("Webhooks of installation {instance} are no longer accepted"))
}
