//! Authentication (contract §7). Every API handler authenticates its [`Caller`] and checks the
//! scope that it needs before it does anything else (S40).

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

/// A caller with a known key, acting for the key's site.
pub(super) struct Caller {
    key: Arc<KnownKey>,
    session: Option<CallerSession>,
}

/// The session of a caller that is signed in at the page.
pub(super) struct CallerSession {
    /// The token in the cookie.
    pub(super) token: SiteToken,
    /// When it expires, in Unix milliseconds.
    pub(super) expires_at_ms: i64,
}

impl Caller {
    /// Authenticates the caller and checks its site and scope.
    ///
    /// # Errors
    ///
    /// 401 for a missing or unknown key, 429 for one over its rate limit, 403 for a known one
    /// without the site or the scope.
    pub(super) async fn with_scope(app: &App, headers: &HeaderMap, scope: Scope) -> Result<Self> {
        let caller = Self::authenticate(app, headers).await?;
        requests::set_caller(&caller.key, Some(scope));
        caller.check_site(app, headers)?;
        caller.check_scope(scope)?;
        Ok(caller)
    }

    /// Authenticates the caller and checks its site, whatever its scopes.
    ///
    /// # Errors
    ///
    /// As [`Caller::with_scope`], except for the scope.
    pub(super) async fn with_any_scope(app: &App, headers: &HeaderMap) -> Result<Self> {
        let caller = Self::authenticate(app, headers).await?;
        caller.check_site(app, headers)?;
        Ok(caller)
    }

    /// Authenticates the caller by its key, or else by its session. Site and scope remain to be
    /// checked; this is for URLs that name the site themselves.
    ///
    /// # Errors
    ///
    /// 401 for a missing or unknown key or session, 429 for one over its rate limit, 403 for a
    /// session without its CSRF token.
    pub(super) async fn authenticate(app: &App, headers: &HeaderMap) -> Result<Self> {
        let secret = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let secret = secret.map(without_bearer).filter(|secret| !secret.is_empty());
        let caller = match secret {
            Some(secret) => {
                let key = app.registry.key(&app.db, secret).await?;
                let unknown = "the API key in the Authorization header is unknown or revoked";
                Self { key: key.ok_or(Error::Unauthenticated(unknown))?, session: None }
            }
            None => Self::with_session(app, headers).await?,
        };
        app.rate_limit
            .count(caller.key.id, app.clock.now_ms())
            .map_err(|retry_after_seconds| Error::RateLimited { retry_after_seconds })?;
        requests::set_caller(&caller.key, None);
        Ok(caller)
    }

    /// Authenticates the caller by its session, which ends with its key.
    ///
    /// # Errors
    ///
    /// 401 without a session, 403 without its CSRF token.
    pub(super) async fn with_session(app: &App, headers: &HeaderMap) -> Result<Self> {
        session::check_csrf(headers)?;
        let token = session::session_token(headers).filter(|_| app.page_is_on);
        let Some(token) = token else {
            return Err(Error::Unauthenticated("the Authorization header is missing"));
        };
        let over = Error::Unauthenticated("the session has ended; sign in again");
        let found = app.db.session(token.site, token.hash(), app.clock.now_ms()).await?;
        let Some(found) = found else { return Err(over) };
        let key = app.registry.key_by_id(&app.db, found.key_id).await?.ok_or(over)?;
        Ok(Self::signed_in(key, token, found.expires_at_ms))
    }

    /// The caller of a session.
    pub(super) fn signed_in(key: Arc<KnownKey>, token: SiteToken, expires_at_ms: i64) -> Self {
        Self { key, session: Some(CallerSession { token, expires_at_ms }) }
    }

    /// Checks that the key has a scope.
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

    pub(super) fn key(&self) -> &KnownKey {
        &self.key
    }

    pub(super) fn key_id(&self) -> Uuid {
        self.key.id
    }

    /// The session, if the caller sent no key.
    pub(super) fn session(&self) -> Option<&CallerSession> {
        self.session.as_ref()
    }

    /// The caller's site. Everything that it requests is looked up there (S16).
    pub(super) fn site(&self) -> &Arc<Site> {
        &self.key.site
    }

    /// Checks the site header. A session belongs to one site and need not name it.
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

/// Strips an optional `Bearer`: the SDK sends the bare key, access tokens are documented with it.
fn without_bearer(value: &str) -> &str {
    match value.split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer ") => token.trim(),
        _ => value.trim(),
    }
}

fn denied(problem: String) -> Error {
    Error::PermissionDenied { problem }
}
