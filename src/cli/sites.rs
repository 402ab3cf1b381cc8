//! `dossier site …`. It works beside a running server, which notices a change within a second.

use std::fmt::Write as _;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::keys::{List, open};
use super::{Settings, runtime, say};
use crate::actions::sites::create_site;
use crate::app::Clock;
use crate::db::Site;
use crate::domain::ids::SiteId;
use crate::domain::quota::{Amount, OwnQuotas};
use crate::domain::timestamp::timestamp;

#[derive(Subcommand)]
pub(super) enum SiteCommand {
    /// Make a site.
    Create(CreateSite),
    /// Change a site: its label, the life of its links, its quotas.
    Set(SetSite),
    /// List the sites.
    List(List),
}

#[derive(Args)]
pub(super) struct CreateSite {
    #[command(flatten)]
    settings: Settings,
    /// A label for people.
    #[arg(long, default_value = "")]
    name: String,
    /// Life of the site's media links [default: the setting `media_link_life_seconds`].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    link_life_seconds: Option<u32>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct SetSite {
    #[command(flatten)]
    settings: Settings,
    /// The site; needed when there are several.
    #[arg(value_name = "SITE")]
    site: Option<String>,
    /// A label for people.
    #[arg(long)]
    name: Option<String>,
    /// Life of its media links, or "default".
    #[arg(long, value_name = "SECONDS", value_parser = own)]
    link_life_seconds: Option<Own>,
    /// Most bytes that it may hold; 0: any number, "default": as the setting `site_max_bytes` says.
    #[arg(long, value_name = "BYTES", value_parser = own)]
    max_bytes: Option<Own>,
    /// Most attachments that it may hold, likewise.
    #[arg(long, value_name = "FILES", value_parser = own)]
    max_files: Option<Own>,
    /// Most bytes that each of its contacts may hold, likewise.
    #[arg(long, value_name = "BYTES", value_parser = own)]
    contact_max_bytes: Option<Own>,
    /// Most attachments that each of its contacts may hold, likewise.
    #[arg(long, value_name = "FILES", value_parser = own)]
    contact_max_files: Option<Own>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A number of the site's own, or the setting's.
#[derive(Clone, Copy)]
struct Own(Option<u64>);

fn own(text: &str) -> Result<Own, String> {
    if text == "default" {
        return Ok(Own(None));
    }
    // What the database can count.
    let number = text.parse::<u64>().ok().filter(|number| i64::try_from(*number).is_ok());
    number.map(|number| Own(Some(number))).ok_or_else(|| "expected a number or default".to_owned())
}

/// Runs `dossier site …`.
pub(super) fn run_site(command: &SiteCommand) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        match command {
            SiteCommand::Create(command) => make_site(command).await,
            SiteCommand::Set(command) => set_site(command).await,
            SiteCommand::List(command) => list_sites(command).await,
        }
    })
}

/// The site that is meant: the one there is, or the one that is named.
pub(super) fn choose_site(sites: Vec<Site>, wanted: Option<&str>) -> anyhow::Result<Site> {
    let Some(wanted) = wanted else {
        return match <[Site; 1]>::try_from(sites) {
            Ok([site]) => Ok(site),
            Err(sites) if sites.is_empty() => {
                bail!("there is no site yet: make one with `dossier site create`")
            }
            Err(_) => bail!("there are several sites: name one of `dossier site list`"),
        };
    };
    let id =
        SiteId::parse(wanted).with_context(|| format!("the site is not a GUID: {wanted:?}"))?;
    sites
        .into_iter()
        .find(|site| site.id == id)
        .with_context(|| format!("there is no site {id}: see `dossier site list`"))
}

async fn make_site(command: &CreateSite) -> anyhow::Result<()> {
    let (db, now_ms) = (open(&command.settings)?, Clock::System.now_ms());
    let (site, _) =
        create_site(&db, now_ms, &command.name, command.link_life_seconds, None).await?;
    if command.json {
        return say(&json!({ "siteId": site.id.to_string() }).to_string());
    }
    say(&format!("site id  {}\nMake a key for it: dossier key create --site {}", site.id, site.id))
}

async fn set_site(command: &SetSite) -> anyhow::Result<()> {
    let db = open(&command.settings)?;
    let mut site = choose_site(db.sites().await?, command.site.as_deref())?;
    if let Some(name) = &command.name {
        site.name.clone_from(name);
    }
    if let Some(Own(seconds)) = command.link_life_seconds {
        let seconds = seconds.map(u32::try_from).transpose().ok().filter(|life| *life != Some(0));
        site.link_life_seconds = seconds.context("--link-life-seconds is not a life of a link")?;
    }
    let quotas = &mut site.quotas;
    for (wanted, bound) in [
        (command.max_bytes, &mut quotas.max_bytes),
        (command.max_files, &mut quotas.max_files),
        (command.contact_max_bytes, &mut quotas.contact_max_bytes),
        (command.contact_max_files, &mut quotas.contact_max_files),
    ] {
        if let Some(Own(wanted)) = wanted {
            *bound = wanted;
        }
    }
    let (id, quotas) = (site.id, site.quotas);
    if !db.change_site(site.clone()).await? {
        bail!("site {id} is gone");
    }
    if command.json {
        let held = db.site_usage().await?.get(&id).copied().unwrap_or_default();
        return say(&as_json(&site, held).to_string());
    }
    say(&format!("site {id} is changed; its own quotas: {}", quotas_text(quotas)))
}

fn as_json(site: &Site, held: Amount) -> Value {
    json!({
        "siteId": site.id.to_string(), "name": site.name,
        "linkLifeSeconds": site.link_life_seconds,
        "createdDate": timestamp(site.created_at_ms),
        "files": held.files, "bytes": held.bytes,
        "maxBytes": site.quotas.max_bytes, "maxFiles": site.quotas.max_files,
        "contactMaxBytes": site.quotas.contact_max_bytes,
        "contactMaxFiles": site.quotas.contact_max_files,
    })
}

fn quotas_text(quotas: OwnQuotas) -> String {
    let bounds = [
        ("bytes", quotas.max_bytes),
        ("files", quotas.max_files),
        ("bytes a contact", quotas.contact_max_bytes),
        ("files a contact", quotas.contact_max_files),
    ];
    let own: Vec<String> = bounds
        .iter()
        .filter_map(|(unit, bound)| bound.map(|bound| format!("{bound} {unit}")))
        .collect();
    if own.is_empty() { "none".to_owned() } else { own.join(", ") }
}

async fn list_sites(command: &List) -> anyhow::Result<()> {
    let db = open(&command.settings)?;
    let (sites, usage) = (db.sites().await?, db.site_usage().await?);
    let held = |site: &Site| usage.get(&site.id).copied().unwrap_or_default();
    if command.json {
        let sites: Vec<_> = sites.iter().map(|site| as_json(site, held(site))).collect();
        return say(&json!({ "sites": sites }).to_string());
    }
    let mut text = format!(
        "{:36}  {:24}  {:>10}  {:>16}  {:20}  NAME",
        "SITE ID", "CREATED", "FILES", "BYTES", "OWN QUOTAS"
    );
    for site in sites {
        let (held, quotas) = (held(&site), quotas_text(site.quotas));
        write!(
            text,
            "\n{}  {}  {:>10}  {:>16}  {quotas:20}  {}",
            site.id,
            timestamp(site.created_at_ms),
            held.files,
            held.bytes,
            site.name
        )?;
    }
    say(&text)
}
