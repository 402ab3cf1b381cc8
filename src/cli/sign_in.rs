//! `dossier sign-in`: writes a one-time link to the database, which a running server accepts.

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;
use url::Url;

use super::keys::open;
use super::sites::choose_site;
use super::{Settings, print_stdout, runtime};
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
    /// The site to sign in to; required if there are several.
    #[arg(long, value_name = "ID")]
    site: Option<String>,
    /// The id of the API key to sign in with [default: the oldest key with ADMIN].
    #[arg(long, value_name = "ID")]
    key: Option<String>,
    /// The page's URL [default: the setting `public_url`, or the plain HTTP address].
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
            return print_stdout(&made.to_string());
        }
        print_stdout(&format!(
            "Open this link to sign in. It works once and expires in 30 minutes:\n  {link}"
        ))
    })
}

fn choose_key(keys: Vec<ApiKey>, site: SiteId, named: Option<&str>) -> anyhow::Result<ApiKey> {
    let mut keys = keys.into_iter().filter(|key| key.site_id == site);
    let Some(named) = named else {
        return keys.find(|key| key.scopes.is_admin()).context(
            "no key of this site has the scope ADMIN. Create one with `dossier key create --scope \
             ADMIN`, or choose another key with --key",
        );
    };
    let id = parse_guid(named).with_context(|| format!("the key id is not a GUID: {named:?}"))?;
    let key = keys.find(|key| key.id == id);
    let key = key.with_context(|| format!("there is no key {id}; see `dossier key list`"))?;
    if key.scopes.role().is_none() {
        bail!("the key {id} lacks the scope VIEW, which the page needs");
    }
    Ok(key)
}

/// The page's URL: `public_url`, else the plain HTTP address.
fn page_url(config: &Config) -> anyhow::Result<String> {
    if let Some(url) = &config.public_url {
        return Ok(Url::to_string(url));
    }
    let address = config.listen;
    if address.port() == 0 {
        bail!(
            "the setting listen has port 0, so the server's port is not known here: \
             use --public-url"
        );
    }
    let host = if address.ip().is_unspecified() {
        format!("127.0.0.1:{}", address.port())
    } else {
        address.to_string()
    };
    Ok(format!("http://{host}/"))
}
