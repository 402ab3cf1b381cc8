//! Signs people in at the page, with an API key or with a one-time link.

use std::sync::Arc;

use crate::app::App;
use crate::data_folder::random_bytes;
use crate::db::{Db, NewSession};
use crate::domain::ids::SiteId;
use crate::domain::session::SiteToken;
use crate::error::{Error, Result};
use crate::registry::KnownKey;
use uuid::Uuid;

/// How long a session lasts: a working day.
pub const SESSION_LIFE_MS: i64 = 12 * 60 * 60 * 1_000;
/// How long an unused sign-in link is valid.
pub const LINK_LIFE_MS: i64 = 30 * 60 * 1_000;
/// Sign-in attempts that query the database, per minute and in total (S28).
pub const SIGN_IN_ATTEMPTS_PER_MINUTE: u32 = 60;

/// A new session; its token is returned only here.
#[derive(Debug)]
pub struct SignedIn {
    /// The token, for the cookie.
    pub token: SiteToken,
    /// The key it acts for.
    pub key: Arc<KnownKey>,
    /// When it ends, in Unix milliseconds.
    pub expires_at_ms: i64,
}

/// Signs in with an API key. Guesses by others never rate-limit a key that is in memory.
///
/// # Errors
///
/// 401 for an unknown key, 403 for one without read access, 429 for too many attempts.
pub async fn sign_in_with_key(app: &App, secret: &str) -> Result<SignedIn> {
    let mut known = app.registry.key_in_memory(secret);
    if known.is_none() {
        count_attempt(app)?;
        known = app.registry.key(&app.db, secret).await?;
    }
    let key = known.ok_or(Error::Unauthenticated("unknown API key"))?;
    if key.scopes.role().is_none() {
        let problem = "this API key lacks a scope for reading".to_owned();
        return Err(Error::PermissionDenied { problem });
    }
    let (session, token) = new_session(app, key.site.id)?;
    let expires_at_ms = session.expires_at_ms;
    app.db.begin_session(session, key.id).await?;
    Ok(SignedIn { token, key, expires_at_ms })
}

/// Signs in with a link and spends it.
///
/// # Errors
///
/// 401 for a link that is unknown, spent or expired, 429 for too many attempts.
pub async fn sign_in_with_link(app: &App, link: &str) -> Result<SignedIn> {
    const INVALID_LINK: Error = Error::Unauthenticated(
        "this sign-in link is no longer valid: `dossier sign-in` prints a new one",
    );
    let link = SiteToken::parse(link).ok_or(INVALID_LINK)?;
    count_attempt(app)?;
    let (session, token) = new_session(app, link.site)?;
    let expires_at_ms = session.expires_at_ms;
    let key = app.db.begin_session_by_link(session, link.hash()).await?.ok_or(INVALID_LINK)?;
    let key = app.registry.key_by_id(&app.db, key).await?.ok_or(INVALID_LINK)?;
    Ok(SignedIn { token, key, expires_at_ms })
}

fn count_attempt(app: &App) -> Result<()> {
    let counted = app.sign_in_attempts.count(Uuid::nil(), app.clock.now_ms());
    counted.map_err(|retry_after_seconds| Error::RateLimited { retry_after_seconds })
}

fn new_session(app: &App, site_id: SiteId) -> Result<(NewSession, SiteToken)> {
    let token = SiteToken::new(site_id, random_bytes()?);
    let (token_hash, created_at_ms) = (token.hash(), app.clock.now_ms());
    let expires_at_ms = created_at_ms + SESSION_LIFE_MS;
    Ok((NewSession { site_id, token_hash, created_at_ms, expires_at_ms }, token))
}

/// Creates a one-time link that signs in with a key. Its token is in the fragment, which browsers
/// never send (S22).
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
