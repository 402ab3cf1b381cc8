//! `dossier key …`. It changes the database only; a running server notices within a second.

use std::fmt::Write as _;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::json;

use super::sites::choose_site;
use super::{Settings, print_stdout, runtime};
use crate::actions::sites::create_key;
use crate::app::Clock;
use crate::db::{DatabaseLocation, Db};
use crate::domain::ids::parse_guid;
use crate::domain::scope::Scopes;
use crate::domain::timestamp::timestamp;

#[derive(Subcommand)]
pub(super) enum KeyCommand {
    /// Create an API key. The key is shown only once.
    Create(CreateKey),
    /// List the API keys.
    List(List),
    /// Revoke an API key. Requests with it are rejected within a second.
    Revoke(RevokeKey),
}

#[derive(Args)]
pub(super) struct CreateKey {
    #[command(flatten)]
    settings: Settings,
    /// The site that the key is for; required if there are several.
    #[arg(long, value_name = "ID")]
    site: Option<String>,
    /// The key's scopes: VIEW (list, get), MODIFY (upload, delete), or both. ADMIN includes both,
    /// and manages keys and shows the server's state.
    #[arg(long, value_name = "SCOPES", default_value = "VIEW,MODIFY")]
    scope: String,
    /// A label to show to people.
    #[arg(long, default_value = "")]
    name: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct RevokeKey {
    #[command(flatten)]
    settings: Settings,
    /// The key's id, as shown by `dossier key list`.
    id: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct List {
    #[command(flatten)]
    pub(super) settings: Settings,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// Runs `dossier key …`.
pub(super) fn run_key(command: &KeyCommand) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        match command {
            KeyCommand::Create(command) => create(command).await,
            KeyCommand::List(command) => list_keys(command).await,
            KeyCommand::Revoke(command) => revoke(command).await,
        }
    })
}

pub(super) fn open(settings: &Settings) -> anyhow::Result<Db> {
    let config = settings.load(&[])?;
    Db::open(&DatabaseLocation::existing(&config)?, 1)
}

async fn create(command: &CreateKey) -> anyhow::Result<()> {
    let scopes = Scopes::parse(&command.scope).map_err(|unknown| {
        anyhow::anyhow!("there is no scope {unknown:?}; use VIEW, MODIFY or ADMIN")
    })?;
    if scopes.is_empty() {
        bail!("a key needs at least one scope: use --scope VIEW, MODIFY, both, or ADMIN");
    }
    let db = open(&command.settings)?;
    let site = choose_site(db.sites().await?, command.site.as_deref())?;
    let now_ms = Clock::System.now_ms();
    let key = create_key(&db, now_ms, site.id, &command.name, scopes).await?;
    if command.json {
        let made = json!({
            "id": key.id.to_string(), "apiKey": key.secret,
            "siteId": site.id.to_string(), "scopes": scopes.to_string(),
        });
        return print_stdout(&made.to_string());
    }
    print_stdout(&format!(
        "API key  {}\n  (shown only once)\nkey id   {}\nsite id  {}\nscopes   {scopes}",
        key.secret, key.id, site.id
    ))
}

async fn list_keys(command: &List) -> anyhow::Result<()> {
    let keys = open(&command.settings)?.api_keys(true).await?;
    if command.json {
        let keys: Vec<_> = keys
            .iter()
            .map(|key| {
                json!({
                    "id": key.id.to_string(), "siteId": key.site_id.to_string(),
                    "name": key.name, "scopes": key.scopes.to_string(),
                    "createdDate": timestamp(key.created_at_ms),
                    "revokedDate": key.revoked_at_ms.map(timestamp),
                })
            })
            .collect();
        return print_stdout(&json!({ "keys": keys }).to_string());
    }
    let mut text =
        format!("{:36}  {:36}  {:8}  {:17}  NAME", "KEY ID", "SITE ID", "STATE", "SCOPES");
    for key in keys {
        let state = if key.revoked_at_ms.is_some() { "revoked" } else { "live" };
        let scopes = key.scopes.short();
        write!(text, "\n{}  {}  {state:8}  {scopes:17}  {}", key.id, key.site_id, key.name)?;
    }
    print_stdout(&text)
}

async fn revoke(command: &RevokeKey) -> anyhow::Result<()> {
    let id = parse_guid(&command.id)
        .with_context(|| format!("the key id is not a GUID: {:?}", command.id))?;
    let revoked = open(&command.settings)?.revoke_key(id, Clock::System.now_ms()).await?;
    let at_ms = revoked.with_context(|| format!("there is no key {id}; see `dossier key list`"))?;
    let revoked_at = timestamp(at_ms);
    if command.json {
        return print_stdout(
            &json!({ "id": id.to_string(), "revokedDate": revoked_at }).to_string(),
        );
    }
    print_stdout(&format!("key {id} was revoked at {revoked_at}"))
}
