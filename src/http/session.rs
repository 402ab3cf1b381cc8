//! Being signed in at the page, `/dossier/v1/session`: a cookie that only this host gets, and a token
//! beside it for everything that changes something (S27).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use headers::{Cookie, HeaderMapExt as _};
use serde_json::json;

use super::answer;
use super::attachments::idle;
use super::auth::Caller;
use super::request::{Violations, json_object, text_field};
use crate::actions::sessions::{SESSION_LIFE_MS, sign_in_with_key, sign_in_with_link};
use crate::app::App;
use crate::domain::scope::Role;
use crate::domain::session::SiteToken;
use crate::domain::timestamp::timestamp;
use crate::error::{Error, Result, Rule, Violation};

/// The cookie. One of a secure origin has a name that only such an origin can set.
const COOKIE: &str = "dossier_session";
const SECURE_COOKIE: &str = "__Host-dossier_session";
/// What a page sends with everything that changes something.
pub(super) const CSRF_HEADER: HeaderName = HeaderName::from_static("x-csrf-token");
/// Stands in place of a cookie that was taken away. Whoever sends it harms nobody but themselves.
const REFUSED: HeaderName = HeaderName::from_static("x-dossier-cookie-refused");

/// The session of a request, if it has one.
pub(super) fn token_of(headers: &HeaderMap) -> Option<SiteToken> {
    let cookies = headers.typed_get::<Cookie>()?;
    [SECURE_COOKIE, COOKIE].into_iter().find_map(|name| SiteToken::parse(cookies.get(name)?))
}

/// Takes the cookie away from a request that would change something and does not show that a page of
/// this host has sent it. Before anything reads the request, so that no handler can forget it.
pub(super) fn guard(request: &mut Request) {
    let is_reading = [Method::GET, Method::HEAD].contains(request.method());
    if is_reading || !request.headers().contains_key(header::COOKIE) {
        return;
    }
    let headers = request.headers_mut();
    let token = token_of(headers);
    let given = headers.get(CSRF_HEADER).map(HeaderValue::as_bytes).unwrap_or_default();
    if !token.as_ref().is_some_and(|token| token.has_csrf_token(given)) {
        headers.remove(header::COOKIE);
        if token.is_some() {
            headers.insert(REFUSED, HeaderValue::from_static("1"));
        }
    }
}

/// Why there is no session although there was a cookie.
///
/// # Errors
///
/// 403 when [`guard`] took it away.
pub(super) fn check_guard(headers: &HeaderMap) -> Result<()> {
    if !headers.contains_key(REFUSED) {
        return Ok(());
    }
    let problem = "with a session, X-CSRF-Token must hold the token of that session".to_owned();
    Err(Error::PermissionDenied { problem })
}

/// POST `/dossier/v1/session`: signs in with an `apiKey`, or with the `link` that `dossier sign-in`
/// prints.
pub(super) async fn begin(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    check_page(&app)?;
    check_json(&headers)?;
    let body = json_object(body, idle(&app)).await?;
    let mut violations = Violations::default();
    let key = violations.take(text_field(&body, "apiKey")).flatten();
    let link = violations.take(text_field(&body, "link")).flatten();
    if key.is_some() == link.is_some() {
        let rule = Rule::Other("ONE_OF", json!({ "fields": ["apiKey", "link"] }));
        violations.push(Violation::new("apiKey", rule, "or link must be given, and not both"));
    }
    violations.check()?;
    let signed_in = match (key, link) {
        (Some(key), _) => sign_in_with_key(&app, key.trim()).await?,
        (None, link) => sign_in_with_link(&app, link.unwrap_or_default()).await?,
    };
    let (token, expires_at_ms) = (signed_in.token, signed_in.expires_at_ms);
    let caller = Caller::signed_in(signed_in.key, token.clone(), expires_at_ms);
    let mut response = described(&app, &caller)?;
    let cookie = cookie(is_secure(&app, &headers), &token.to_string(), SESSION_LIFE_MS / 1_000)?;
    response.headers_mut().append(header::SET_COOKIE, cookie);
    Ok(response)
}

/// GET `/dossier/v1/session`: who is signed in.
pub(super) async fn show(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response> {
    described(&app, &Caller::with_session(&app, &headers).await?)
}

/// DELETE `/dossier/v1/session`: signs out, and takes the cookie away also when it was over already.
pub(super) async fn end(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response> {
    check_guard(&headers)?;
    if let Some(token) = token_of(&headers) {
        app.db.end_session(token.site, token.hash()).await?;
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    for secure in [false, true] {
        response.headers_mut().append(header::SET_COOKIE, cookie(secure, "", 0)?);
    }
    Ok(response)
}

/// Whether people may sign in here at all (S12).
fn check_page(app: &App) -> Result<()> {
    if app.page_is_on {
        return Ok(());
    }
    Err(Error::PermissionDenied { problem: super::page::OFF.to_owned() })
}

/// A form of another page cannot send JSON, so nobody is signed in by one unawares.
fn check_json(headers: &HeaderMap) -> Result<()> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let given = given.and_then(|given| given.split(';').next()).map(str::trim);
    if given.is_some_and(|given| given.eq_ignore_ascii_case("application/json")) {
        return Ok(());
    }
    let problem = "Content-Type must be application/json".to_owned();
    Err(Error::Malformed { problem, data: json!({}) })
}

fn described(app: &App, caller: &Caller) -> Result<Response> {
    let (key, site) = (caller.key(), caller.site());
    let session = caller.session().ok_or(Error::Unauthenticated("nobody is signed in"))?;
    let body = json!({
        "site": { "id": site.id.to_string(), "name": site.name },
        "role": key.scopes.role().map(Role::as_str),
        "key": { "id": key.id.to_string(), "name": key.name },
        "csrfToken": session.token.csrf_token(),
        "expiresAt": timestamp(session.expires_at_ms),
        "server": {
            "version": env!("CARGO_PKG_VERSION"),
            "publicUrl": app.public_url,
            "mediaUrl": app.media_url,
            "uploadMaxBytes": app.config.upload_max_bytes,
            "trashDays": app.config.trash_days,
        },
    });
    Ok(answer::unkept_json(StatusCode::OK, &body))
}

/// Whether the page came over HTTPS, as its own origin says: a proxy may stand before us.
fn is_secure(app: &App, headers: &HeaderMap) -> bool {
    match headers.get(header::ORIGIN) {
        Some(origin) => origin.as_bytes().starts_with(b"https://"),
        None => app.public_url.starts_with("https://"),
    }
}

fn cookie(secure: bool, value: &str, life_seconds: i64) -> Result<HeaderValue> {
    let (name, secure) = if secure { (SECURE_COOKIE, "; Secure") } else { (COOKIE, "") };
    let text = format!(
        "{name}={value}; Path=/; Max-Age={life_seconds}; HttpOnly; SameSite=Strict{secure}"
    );
    HeaderValue::try_from(text).map_err(|error| Error::Internal(error.into()))
}
