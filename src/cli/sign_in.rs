//! `dossier sign-in`: works beside a running server.

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;
use url::Url;

use super::keys::open;
use super::sites::choose_site;
use super::{Settings, runtime, say};
use crate::actions::sessions::sign_in_link;
use crate::app::Clock;
use crate::config::Config;
use crate::db::ApiKey;
use crate::domain::ids::{SiteId, parse_guid};

/// Arguments of `dossier sign-in`.
#[derive(Args)]
pub(super) struct SignIn {
    #[command(flatten)]
    settings: Settings,
    /// The site to sign in at; needed when there are several.
    #[arg(long, value_name = "ID")]
    site: Option<String>,
    /// The key to act for [default: the oldest with ADMIN].
    #[arg(long, value_name = "ID")]
    key: Option<String>,
    /// Where the page is [default: that of the settings, or of plain HTTP].
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Prints a link.
pub(super) fn run(command: &SignIn) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let config = command.settings.load(&[("public_url", &command.public_url)])?;
        let db = open(&command.settings)?;
        let site = choose_site(db.sites().await?, command.site.as_deref())?.id;
        let key = choose_key(db.api_keys(false).await?, site, command.key.as_deref())?;
        let url = page_url(&config)?;
        let link = sign_in_link(&db, Clock::System.now_ms(), (site, key.id), &url).await?;
        if command.json {
            let made = json!({
                "link": link, "siteId": site.to_string(), "keyId": key.id.to_string(),
                "scopes": key.scopes.to_string(),
            });
            return say(&made.to_string());
        }
        say(&format!("Open this; it works once, for 30 minutes:\n  {link}"))
    })
}

fn choose_key(keys: Vec<ApiKey>, site: SiteId, named: Option<&str>) -> anyhow::Result<ApiKey> {
    let mut keys = keys.into_iter().filter(|key| key.site_id == site);
    let Some(named) = named else {
        return keys.find(|key| key.scopes.is_admin()).context(
            "no key of this site has the scope ADMIN: `dossier key create --scope ADMIN` makes one, \
             --key names another key",
        );
    };
    let id = parse_guid(named).with_context(|| format!("the key id is not a GUID: {named:?}"))?;
    let key = keys.find(|key| key.id == id);
    let key = key.with_context(|| format!("there is no key {id}: see `dossier key list`"))?;
    if key.scopes.role().is_none() {
        bail!("the key {id} may not read, so there is nothing to see: it lacks the scope VIEW");
    }
    Ok(key)
}

/// The server's own guess, which knows the port that it got.
fn page_url(config: &Config) -> anyhow::Result<String> {
    if let Some(url) = &config.public_url {
        return Ok(Url::to_string(url));
    }
    let address = config.listen;
    if address.port() == 0 {
        bail!("the port is not known before the server has it: give --public-url");
    }
    let host = if address.ip().is_unspecified() {
        format!("127.0.0.1:{}", address.port())
    } else {
        address.to_string()
    };
    Ok(format!("http://{host}/"))
}
