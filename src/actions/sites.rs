//! Makes sites and API keys. A secret is returned once and stored only as a hash.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::data_folder::random_bytes;
use crate::db::{ApiKey, Db, Site};
use crate::domain::ids::SiteId;
use crate::domain::quota::OwnQuotas;
use crate::domain::scope::Scopes;
use crate::error::Result;
use crate::registry::secret_hash;

/// Tries to find a free media prefix out of 16 million.
const PREFIX_TRIES: usize = 32;

/// A key as its owner sees it, once.
#[derive(Debug)]
pub struct MadeKey {
    /// What it is named by.
    pub id: Uuid,
    /// The secret: what `Authorization` holds.
    pub secret: String,
}

/// Makes a site, and with it a first key that may do everything if one is wanted.
///
/// # Errors
///
/// When the database fails.
pub async fn create_site(
    db: &Db,
    now_ms: i64,
    name: &str,
    link_life_seconds: Option<u32>,
    with_key: Option<&str>,
) -> Result<(Site, Option<MadeKey>)> {
    for _ in 0..PREFIX_TRIES {
        let [a, b, c] = random_bytes::<3>()?;
        let site = Site {
            id: SiteId(Uuid::new_v4()),
            media_prefix: format!("{a:02x}{b:02x}{c:02x}"),
            name: name.to_owned(),
            link_life_seconds,
            quotas: OwnQuotas::default(),
            created_at_ms: now_ms,
        };
        let key = with_key.map(|name| new_key(site.id, name, Scopes::ALL, now_ms)).transpose()?;
        let (row, made) = key.map_or((None, None), |(row, made)| (Some(row), Some(made)));
        if db.create_site(site.clone(), row).await? {
            return Ok((site, made));
        }
    }
    Err(anyhow::anyhow!("no free media prefix was found in {PREFIX_TRIES} tries").into())
}

/// Makes a key for a site.
///
/// # Errors
///
/// When the database fails.
pub async fn create_key(
    db: &Db,
    now_ms: i64,
    site: SiteId,
    name: &str,
    scopes: Scopes,
) -> Result<MadeKey> {
    let (row, made) = new_key(site, name, scopes, now_ms)?;
    db.create_key(row).await?;
    Ok(made)
}

fn new_key(
    site_id: SiteId,
    name: &str,
    scopes: Scopes,
    created_at_ms: i64,
) -> Result<(ApiKey, MadeKey)> {
    let secret = format!("dossier_{}", URL_SAFE_NO_PAD.encode(random_bytes::<32>()?));
    let id = Uuid::new_v4();
    let row = ApiKey {
        site_id,
        id,
        name: name.to_owned(),
        secret_hash: secret_hash(&secret),
        scopes,
        created_at_ms,
        revoked_at_ms: None,
    };
    Ok((row, MadeKey { id, secret }))
}
