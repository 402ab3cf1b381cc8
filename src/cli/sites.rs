//! `dossier site …`. It changes the database only; a running server notices within a second.

use std::fmt::Write as _;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::keys::{List, open};
use super::{Settings, print_stdout, runtime};
use crate::actions::sites::create_site;
use crate::app::Clock;
use crate::db::Site;
use crate::domain::ids::SiteId;
use crate::domain::quota::{Amount, QuotaOverrides};
use crate::domain::timestamp::timestamp;

#[derive(Subcommand)]
pub(super) enum SiteCommand {
    /// Create a site.
    Create(CreateSite),
    /// Change a site's label, link lifetime or quotas.
    Set(SetSite),
    /// List the sites.
    List(List),
}

#[derive(Args)]
pub(super) struct CreateSite {
    #[command(flatten)]
    settings: Settings,
    /// A label to show to people.
    #[arg(long, default_value = "")]
    name: String,
    /// Lifetime of media links [default: the setting `media_link_life_seconds`].
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
    /// The site; required if there are several.
    #[arg(value_name = "SITE")]
    site: Option<String>,
    /// A label to show to people.
    #[arg(long)]
    name: Option<String>,
    /// Lifetime of media links, or "default" for the server's setting.
    #[arg(long, value_name = "SECONDS", value_parser = override_value)]
    link_life_seconds: Option<Override>,
    /// Quota of bytes for the site; 0 is unlimited, "default" is the server's setting.
    #[arg(long, value_name = "BYTES", value_parser = override_value)]
    max_bytes: Option<Override>,
    /// Quota of attachments for the site, in the same form.
    #[arg(long, value_name = "FILES", value_parser = override_value)]
    max_files: Option<Override>,
    /// Quota of bytes for each contact, in the same form.
    #[arg(long, value_name = "BYTES", value_parser = override_value)]
    contact_max_bytes: Option<Override>,
    /// Quota of attachments for each contact, in the same form.
    #[arg(long, value_name = "FILES", value_parser = override_value)]
    contact_max_files: Option<Override>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A value for this site, or `None` for the server's setting.
#[derive(Clone, Copy)]
struct Override(Option<u64>);

fn override_value(text: &str) -> Result<Override, String> {
    if text == "default" {
        return Ok(Override(None));
    }
    // The database stores signed 64-bit integers.
    let number = text.parse::<u64>().ok().filter(|number| i64::try_from(*number).is_ok());
    number
        .map(|number| Override(Some(number)))
        .ok_or_else(|| "expected a number or \"default\"".to_owned())
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

/// Resolves the site: the named one, or the only one.
pub(super) fn choose_site(sites: Vec<Site>, wanted: Option<&str>) -> anyhow::Result<Site> {
    let Some(wanted) = wanted else {
        return match <[Site; 1]>::try_from(sites) {
            Ok([site]) => Ok(site),
            Err(sites) if sites.is_empty() => {
                bail!("there is no site yet; create one with `dossier site create`")
            }
            Err(_) => bail!("there are several sites; choose one of `dossier site list`"),
        };
    };
    let id =
        SiteId::parse(wanted).with_context(|| format!("the site id is not a GUID: {wanted:?}"))?;
    sites
        .into_iter()
        .find(|site| site.id == id)
        .with_context(|| format!("there is no site {id}; see `dossier site list`"))
}

async fn make_site(command: &CreateSite) -> anyhow::Result<()> {
    let (db, now_ms) = (open(&command.settings)?, Clock::System.now_ms());
    let (site, _) =
        create_site(&db, now_ms, &command.name, command.link_life_seconds, None).await?;
    if command.json {
        return print_stdout(&json!({ "siteId": site.id.to_string() }).to_string());
    }
    print_stdout(&format!(
        "site id  {}\nTo create a key for it: dossier key create --site {}",
        site.id, site.id
    ))
}

async fn set_site(command: &SetSite) -> anyhow::Result<()> {
    let db = open(&command.settings)?;
    let mut site = choose_site(db.sites().await?, command.site.as_deref())?;
    if let Some(name) = &command.name {
        site.name.clone_from(name);
    }
    if let Some(Override(seconds)) = command.link_life_seconds {
        let seconds = seconds.map(u32::try_from).transpose().ok().filter(|life| *life != Some(0));
        site.link_life_seconds =
            seconds.context("--link-life-seconds must be between 1 and 4294967295")?;
    }
    let quotas = &mut site.quotas;
    for (wanted, bound) in [
        (command.max_bytes, &mut quotas.max_bytes),
        (command.max_files, &mut quotas.max_files),
        (command.contact_max_bytes, &mut quotas.contact_max_bytes),
        (command.contact_max_files, &mut quotas.contact_max_files),
    ] {
        if let Some(Override(wanted)) = wanted {
            *bound = wanted;
        }
    }
    let (id, quotas) = (site.id, site.quotas);
    if !db.update_site(site.clone()).await? {
        bail!("site {id} no longer exists");
    }
    if command.json {
        let held = db.site_usage().await?.get(&id).copied().unwrap_or_default();
        return print_stdout(&as_json(&site, held).to_string());
    }
    print_stdout(&format!("Updated site {id}. Its own quotas: {}", quotas_text(quotas)))
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

fn quotas_text(quotas: QuotaOverrides) -> String {
    let bounds = [
        ("bytes", quotas.max_bytes),
        ("files", quotas.max_files),
        ("bytes per contact", quotas.contact_max_bytes),
        ("files per contact", quotas.contact_max_files),
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
        return print_stdout(&json!({ "sites": sites }).to_string());
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
    print_stdout(&text)
}
