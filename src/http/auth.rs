//! Who is calling (contract §7). Every API handler takes a [`Caller`] and asks it for the
//! scope that it needs, before it does anything else (S40).

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use uuid::Uuid;

use crate::app::App;
use crate::db::Site;
use crate::domain::ids::SiteId;
use crate::domain::scope::Scope;
use crate::error::{Error, Result};
use crate::registry::KnownKey;

const SITE_HEADER: &str = "wix-site-id";

/// A known key, calling for its own site.
pub(super) struct Caller {
    key: Arc<KnownKey>,
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
        check_site(app, headers, caller.site())?;
        caller.check_scope(scope)?;
        Ok(caller)
    }

    /// Reads who is calling, for addresses that name the site themselves; what they may is still to
    /// be checked.
    ///
    /// # Errors
    ///
    /// 401 for no or an unknown key, 429 for one that calls too often.
    pub(super) async fn known(app: &App, headers: &HeaderMap) -> Result<Self> {
        let secret = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let secret = secret.map(without_bearer).filter(|secret| !secret.is_empty());
        let Some(secret) = secret else {
            return Err(Error::Unauthenticated("the Authorization header is missing"));
        };
        let Some(key) = app.registry.key(&app.db, secret).await? else {
            return Err(Error::Unauthenticated("the Authorization header holds no known API key"));
        };
        app.rate_limit
            .count(key.id, app.clock.now_ms())
            .map_err(|retry_after_seconds| Error::RateLimited { retry_after_seconds })?;
        Ok(Self { key })
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

    /// The key's id.
    pub(super) fn key_id(&self) -> Uuid {
        self.key.id
    }

    /// The site that everything the caller asks for belongs to (S16).
    pub(super) fn site(&self) -> &Arc<Site> {
        &self.key.site
    }
}

/// The SDK sends the key as it is; access tokens are documented as Bearer.
fn without_bearer(value: &str) -> &str {
    match value.split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer ") => token.trim(),
        _ => value.trim(),
    }
}

fn check_site(app: &App, headers: &HeaderMap, site: &Site) -> Result<()> {
    match headers.get(SITE_HEADER) {
        None if app.registry.has_one_site() => Ok(()),
        None => Err(denied(format!("the {SITE_HEADER} header is missing"))),
        Some(value) => {
            let named = value.to_str().ok().and_then(|text| SiteId::parse(text.trim()));
            if named == Some(site.id) {
                return Ok(());
            }
            Err(denied(format!("this API key does not belong to the site in {SITE_HEADER}")))
        }
    }
}

fn denied(problem: String) -> Error {
    Error::PermissionDenied { problem }
}
