//! Signs people in at the page: with an API key, or with a link that does it once.

use std::sync::Arc;

use crate::app::App;
use crate::data_folder::random_bytes;
use crate::db::{Db, NewSession};
use crate::domain::ids::SiteId;
use crate::domain::session::SiteToken;
use crate::error::{Error, Result};
use crate::registry::KnownKey;
use uuid::Uuid;

/// How long somebody stays signed in: a working day.
pub const SESSION_LIFE_MS: i64 = 12 * 60 * 60 * 1_000;
/// How long a sign-in link waits for its use.
pub const LINK_LIFE_MS: i64 = 30 * 60 * 1_000;
/// Tries to sign in that need a look into the database, in a minute, whoever makes them (S28).
pub const TRIES_A_MINUTE: u32 = 60;

/// A session as its owner gets it, once.
#[derive(Debug)]
pub struct SignedIn {
    /// What the cookie holds.
    pub token: SiteToken,
    /// The key that it acts for.
    pub key: Arc<KnownKey>,
    /// When it ends, in Unix milliseconds.
    pub expires_at_ms: i64,
}

/// Signs in with an API key. One that is known in memory is never told to wait for those who guess.
///
/// # Errors
///
/// 401 for an unknown key, 403 for one that may not read, 429 for too many tries.
pub async fn sign_in_with_key(app: &App, secret: &str) -> Result<SignedIn> {
    let mut known = app.registry.key_in_memory(secret);
    if known.is_none() {
        count_try(app)?;
        known = app.registry.key(&app.db, secret).await?;
    }
    let key = known.ok_or(Error::Unauthenticated("the API key is not known"))?;
    if key.scopes.role().is_none() {
        let problem = "this API key lacks the scope that reading needs".to_owned();
        return Err(Error::PermissionDenied { problem });
    }
    let (session, token) = new_session(app, key.site.id)?;
    let expires_at_ms = session.expires_at_ms;
    app.db.begin_session(session, key.id).await?;
    Ok(SignedIn { token, key, expires_at_ms })
}

/// Signs in with a link, which is spent by it.
///
/// # Errors
///
/// 401 for a link that is unknown, spent or over, 429 for too many tries.
pub async fn sign_in_with_link(app: &App, link: &str) -> Result<SignedIn> {
    const REFUSED: Error = Error::Unauthenticated(
        "this sign-in link is not valid any more: `dossier sign-in` prints a new one",
    );
    let link = SiteToken::parse(link).ok_or(REFUSED)?;
    count_try(app)?;
    let (session, token) = new_session(app, link.site)?;
    let expires_at_ms = session.expires_at_ms;
    let key = app.db.begin_session_by_link(session, link.hash()).await?.ok_or(REFUSED)?;
    let key = app.registry.key_by_id(&app.db, key).await?.ok_or(REFUSED)?;
    Ok(SignedIn { token, key, expires_at_ms })
}

fn count_try(app: &App) -> Result<()> {
    let counted = app.sign_in_tries.count(Uuid::nil(), app.clock.now_ms());
    counted.map_err(|retry_after_seconds| Error::RateLimited { retry_after_seconds })
}

fn new_session(app: &App, site_id: SiteId) -> Result<(NewSession, SiteToken)> {
    let token = SiteToken::new(site_id, random_bytes()?);
    let (token_hash, created_at_ms) = (token.hash(), app.clock.now_ms());
    let expires_at_ms = created_at_ms + SESSION_LIFE_MS;
    Ok((NewSession { site_id, token_hash, created_at_ms, expires_at_ms }, token))
}

/// Makes a link that signs in a key, once. What it holds stands behind `#`, which browsers send to
/// nobody (S22).
///
/// # Errors
///
/// When the database fails.
pub async fn sign_in_link(
    db: &Db,
    now_ms: i64,
    (site, key): (SiteId, Uuid),
    public_url: &str,
) -> Result<String> {
    let token = SiteToken::new(site, random_bytes()?);
    db.add_sign_in_link(site, token.hash(), key, now_ms + LINK_LIFE_MS).await?;
    Ok(format!("{public_url}#/sign-in/{token}"))
}
