//! Sessions of the page, `/dossier/v1/session`: a cookie for this host alone, and a CSRF token for
//! every request that changes something (S27).

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

/// The cookie. On a secure origin its `__Host-` name can be set by no other origin.
const COOKIE: &str = "dossier_session";
const SECURE_COOKIE: &str = "__Host-dossier_session";
/// The page sends it with every request that changes something.
pub(super) const CSRF_HEADER: HeaderName = HeaderName::from_static("x-csrf-token");
/// Marks a request whose cookie was removed. A client that sends it can only harm itself.
const COOKIE_REJECTED: HeaderName = HeaderName::from_static("x-dossier-cookie-refused");

/// The session token in a request's cookies.
pub(super) fn session_token(headers: &HeaderMap) -> Option<SiteToken> {
    let cookies = headers.typed_get::<Cookie>()?;
    [SECURE_COOKIE, COOKIE].into_iter().find_map(|name| SiteToken::parse(cookies.get(name)?))
}

/// Removes the cookie from a state-changing request without its session's CSRF token, which proves
/// that this host's page sent it. It runs before every handler, so that none can forget it.
pub(super) fn strip_unverified_cookie(request: &mut Request) {
    let is_reading = [Method::GET, Method::HEAD].contains(request.method());
    if is_reading || !request.headers().contains_key(header::COOKIE) {
        return;
    }
    let headers = request.headers_mut();
    let token = session_token(headers);
    let given = headers.get(CSRF_HEADER).map(HeaderValue::as_bytes).unwrap_or_default();
    if !token.as_ref().is_some_and(|token| token.has_csrf_token(given)) {
        headers.remove(header::COOKIE);
        if token.is_some() {
            headers.insert(COOKIE_REJECTED, HeaderValue::from_static("1"));
        }
    }
}

/// Fails if [`strip_unverified_cookie`] removed the cookie.
///
/// # Errors
///
/// 403 when it did.
pub(super) fn check_csrf(headers: &HeaderMap) -> Result<()> {
    if !headers.contains_key(COOKIE_REJECTED) {
        return Ok(());
    }
    let problem = "X-CSRF-Token must contain the csrfToken of this session".to_owned();
    Err(Error::PermissionDenied { problem })
}

/// POST `/dossier/v1/session`: signs in with an `apiKey`, or with the `link` printed by
/// `dossier sign-in`.
pub(super) async fn sign_in(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    check_page(&app)?;
    check_json(&headers)?;
    let body = json_object(body, idle(&app)).await?;
    let mut violations = Violations::default();
    let key = violations.collect(text_field(&body, "apiKey")).flatten();
    let link = violations.collect(text_field(&body, "link")).flatten();
    if key.is_some() == link.is_some() {
        let rule = Rule::Other("ONE_OF", json!({ "fields": ["apiKey", "link"] }));
        violations.push(Violation::new("apiKey", rule, "or link is required, but not both"));
    }
    violations.check()?;
    let signed_in = match (key, link) {
        (Some(key), _) => sign_in_with_key(&app, key.trim()).await?,
        (None, link) => sign_in_with_link(&app, link.unwrap_or_default()).await?,
    };
    let (token, expires_at_ms) = (signed_in.token, signed_in.expires_at_ms);
    let caller = Caller::signed_in(signed_in.key, token.clone(), expires_at_ms);
    let mut response = session_response(&app, &caller)?;
    let cookie = cookie(is_secure(&app, &headers), &token.to_string(), SESSION_LIFE_MS / 1_000)?;
    response.headers_mut().append(header::SET_COOKIE, cookie);
    Ok(response)
}

/// GET `/dossier/v1/session`: the current session.
pub(super) async fn show(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response> {
    session_response(&app, &Caller::with_session(&app, &headers).await?)
}

/// DELETE `/dossier/v1/session`: signs out. It clears the cookie even if the session was over.
pub(super) async fn sign_out(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response> {
    check_csrf(&headers)?;
    if let Some(token) = session_token(&headers) {
        app.db.end_session(token.site, token.hash()).await?;
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    for secure in [false, true] {
        response.headers_mut().append(header::SET_COOKIE, cookie(secure, "", 0)?);
    }
    Ok(response)
}

/// Rejects sign-ins while the page is disabled (S12).
fn check_page(app: &App) -> Result<()> {
    if app.page_is_on {
        return Ok(());
    }
    Err(Error::PermissionDenied { problem: super::page::OFF.to_owned() })
}

/// Requires JSON, which an HTML form cannot send, so that no other site signs people in unawares.
fn check_json(headers: &HeaderMap) -> Result<()> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let given = given.and_then(|given| given.split(';').next()).map(str::trim);
    if given.is_some_and(|given| given.eq_ignore_ascii_case("application/json")) {
        return Ok(());
    }
    let problem = "Content-Type must be application/json".to_owned();
    Err(Error::Malformed { problem, data: json!({}) })
}

fn session_response(app: &App, caller: &Caller) -> Result<Response> {
    let (key, site) = (caller.key(), caller.site());
    let session = caller.session().ok_or(Error::Unauthenticated("not signed in"))?;
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
    Ok(answer::no_store_json(StatusCode::OK, &body))
}

/// Whether the page was loaded over HTTPS. Its origin tells: a proxy may terminate TLS.
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
