//! Who is calling (contract §7). Every API handler takes a [`Caller`] and asks it for the
//! scope that it needs, before it does anything else (S40).

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use uuid::Uuid;

use super::{requests, session};
use crate::app::App;
use crate::db::Site;
use crate::domain::ids::SiteId;
use crate::domain::scope::Scope;
use crate::domain::session::SiteToken;
use crate::error::{Error, Result};
use crate::registry::KnownKey;

const SITE_HEADER: &str = "wix-site-id";

/// A known key, calling for its own site.
pub(super) struct Caller {
    key: Arc<KnownKey>,
    session: Option<CallerSession>,
}

/// How somebody who is signed in at the page calls.
pub(super) struct CallerSession {
    /// What the cookie holds.
    pub(super) token: SiteToken,
    /// When it ends, in Unix milliseconds.
    pub(super) expires_at_ms: i64,
}

impl Caller {
    /// Reads who is calling and checks that they may do this.
    ///
    /// # Errors
    ///
    /// 401 for no or an unknown key, 429 for one that calls too often, 403 for a known one
    /// without the site or the scope.
    pub(super) async fn with_scope(app: &App, headers: &HeaderMap, scope: Scope) -> Result<Self> {
        let caller = Self::known(app, headers).await?;
        requests::note(&caller.key, Some(scope));
        caller.check_site(app, headers)?;
        caller.check_scope(scope)?;
        Ok(caller)
    }

    /// Reads who is calling, whatever they may do.
    ///
    /// # Errors
    ///
    /// As [`Caller::with_scope`], but for the scope.
    pub(super) async fn with_any_scope(app: &App, headers: &HeaderMap) -> Result<Self> {
        let caller = Self::known(app, headers).await?;
        caller.check_site(app, headers)?;
        Ok(caller)
    }

    /// Reads who is calling, for addresses that name the site themselves; what they may is still to
    /// be checked. Without a key the session counts.
    ///
    /// # Errors
    ///
    /// 401 for no or an unknown key or session, 429 for one that calls too often, 403 for a session
    /// whose page did not send its token.
    pub(super) async fn known(app: &App, headers: &HeaderMap) -> Result<Self> {
        let secret = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let secret = secret.map(without_bearer).filter(|secret| !secret.is_empty());
        let caller = match secret {
            Some(secret) => {
                let key = app.registry.key(&app.db, secret).await?;
                let unknown = "the Authorization header holds no known API key";
                Self { key: key.ok_or(Error::Unauthenticated(unknown))?, session: None }
            }
            None => Self::with_session(app, headers).await?,
        };
        app.rate_limit
            .count(caller.key.id, app.clock.now_ms())
            .map_err(|retry_after_seconds| Error::RateLimited { retry_after_seconds })?;
        requests::note(&caller.key, None);
        Ok(caller)
    }

    /// Reads who is signed in. A session ends with its key.
    ///
    /// # Errors
    ///
    /// 401 for none, 403 for one whose page did not send its token.
    pub(super) async fn with_session(app: &App, headers: &HeaderMap) -> Result<Self> {
        session::check_guard(headers)?;
        let token = session::token_of(headers).filter(|_| app.page_is_on);
        let Some(token) = token else {
            return Err(Error::Unauthenticated("the Authorization header is missing"));
        };
        let over = Error::Unauthenticated("the session is over: sign in again");
        let found = app.db.session(token.site, token.hash(), app.clock.now_ms()).await?;
        let Some(found) = found else { return Err(over) };
        let key = app.registry.key_by_id(&app.db, found.key_id).await?.ok_or(over)?;
        Ok(Self::signed_in(key, token, found.expires_at_ms))
    }

    /// Somebody who is signed in.
    pub(super) fn signed_in(key: Arc<KnownKey>, token: SiteToken, expires_at_ms: i64) -> Self {
        Self { key, session: Some(CallerSession { token, expires_at_ms }) }
    }

    /// Checks that they may do this.
    ///
    /// # Errors
    ///
    /// 403 without the scope.
    pub(super) fn check_scope(&self, scope: Scope) -> Result<()> {
        if self.key.scopes.contains(scope) {
            return Ok(());
        }
        Err(denied(format!("this API key lacks the scope {}", scope.as_str())))
    }

    /// The key.
    pub(super) fn key(&self) -> &KnownKey {
        &self.key
    }

    /// The key's id.
    pub(super) fn key_id(&self) -> Uuid {
        self.key.id
    }

    /// The session, of those who have no key with them.
    pub(super) fn session(&self) -> Option<&CallerSession> {
        self.session.as_ref()
    }

    /// The site that everything the caller asks for belongs to (S16).
    pub(super) fn site(&self) -> &Arc<Site> {
        &self.key.site
    }

    /// A session is of one site, and need not name it.
    fn check_site(&self, app: &App, headers: &HeaderMap) -> Result<()> {
        match headers.get(SITE_HEADER) {
            None if self.session.is_some() || app.registry.has_one_site() => Ok(()),
            None => Err(denied(format!("the {SITE_HEADER} header is missing"))),
            Some(value) => {
                let named = value.to_str().ok().and_then(|text| SiteId::parse(text.trim()));
                if named == Some(self.site().id) {
                    return Ok(());
                }
                Err(denied(format!("this API key does not belong to the site in {SITE_HEADER}")))
            }
        }
    }
}

/// The SDK sends the key as it is; access tokens are documented as Bearer.
fn without_bearer(value: &str) -> &str {
    match value.split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer ") => token.trim(),
        _ => value.trim(),
    }
}

fn denied(problem: String) -> Error {
    Error::PermissionDenied { problem }
}
