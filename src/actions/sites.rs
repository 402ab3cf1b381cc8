//! Creates sites and API keys. A secret is returned once and stored only as a hash.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::data_folder::random_bytes;
use crate::db::{ApiKey, Db, Site};
use crate::domain::ids::SiteId;
use crate::domain::quota::QuotaOverrides;
use crate::domain::scope::Scopes;
use crate::error::Result;
use crate::registry::secret_hash;

/// Attempts to find a free media prefix among 16 million.
const PREFIX_ATTEMPTS: usize = 32;

/// A new key; its secret is returned only here.
#[derive(Debug)]
pub struct CreatedKey {
    /// The public id.
    pub id: Uuid,
    /// The secret, for the `Authorization` header.
    pub secret: String,
}

/// Creates a site and, if `with_key` names one, a first key with all scopes.
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
) -> Result<(Site, Option<CreatedKey>)> {
    for _ in 0..PREFIX_ATTEMPTS {
        let [a, b, c] = random_bytes::<3>()?;
        let site = Site {
            id: SiteId(Uuid::new_v4()),
            media_prefix: format!("{a:02x}{b:02x}{c:02x}"),
            name: name.to_owned(),
            link_life_seconds,
            quotas: QuotaOverrides::default(),
            created_at_ms: now_ms,
        };
        let key = with_key.map(|name| new_key(site.id, name, Scopes::ALL, now_ms)).transpose()?;
        let (row, created) = key.map_or((None, None), |(row, created)| (Some(row), Some(created)));
        if db.create_site(site.clone(), row).await? {
            return Ok((site, created));
        }
    }
    Err(anyhow::anyhow!("no free media prefix was found in {PREFIX_ATTEMPTS} attempts").into())
}

/// Creates a key for a site.
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
) -> Result<CreatedKey> {
    let (row, created) = new_key(site, name, scopes, now_ms)?;
    db.create_key(row).await?;
    Ok(created)
}

fn new_key(
    site_id: SiteId,
    name: &str,
    scopes: Scopes,
    created_at_ms: i64,
) -> Result<(ApiKey, CreatedKey)> {
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
    Ok((row, CreatedKey { id, secret }))
}
