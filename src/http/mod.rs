//! The HTTP server: every route and every layer in one place.

mod answer;
mod attachments;
mod auth;
mod conditional;
mod contacts;
mod error;
mod file_body;
mod files;
mod inbound;
mod keys;
mod listing;
mod media;
mod media_answer;
mod openapi;
mod operations;
mod page;
mod request;
mod requests;
mod routes;
mod session;
mod stable_links;
mod trace;
mod tus;
mod unread;
mod upload_urls;
mod uploads;
mod webhooks;
mod webhooks_request;
mod zip;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderName, Method, StatusCode, Uri, header};
use axum::middleware;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::app::App;
use crate::error::Error;

use routes::Routes;

pub use openapi::openapi;
pub use routes::Route;
pub use uploads::form;

/// The SDK's path prefixes, on the vendor's own host and on any other (contract §2).
const PREFIXES: [&str; 2] = ["/contacts/v4/attachments", "/_api/contacts/v4/attachments"];

/// The load balancer's health check.
const HEALTH: &str = "/dossier/v1/health";
/// Path prefixes of media links.
const MEDIA_PATHS: [&str; 2] = ["/media/", "/ugd/"];

/// How long browsers may cache a preflight.
const PREFLIGHT_AGE: Duration = Duration::from_hours(1);

/// All routes of the service, without the layers around them.
fn routes() -> Routes {
    let mut routes = Routes::default();
    for prefix in PREFIXES {
        let contact = format!("{prefix}/{{contact}}");
        let attachment = format!("{contact}/{{attachment}}");
        routes = routes
            .get(prefix, attachments::list_by_body)
            .get(&format!("{prefix}/"), attachments::list_by_body)
            .get(&contact, attachments::list)
            .post(&format!("{contact}/upload-url"), upload_urls::generate)
            .get(&attachment, attachments::get)
            .delete(&attachment, attachments::delete);
    }
    own_routes(file_routes(routes))
}

/// Routes authorised by a signature in the URL.
fn file_routes(routes: Routes) -> Routes {
    const UPLOAD: &str = "/upload/tus/{token}/{upload}";
    routes
        .put("/upload/{token}", uploads::put)
        .post("/upload/{token}", uploads::post)
        .put("/upload/{token}/", uploads::put)
        .post("/upload/{token}/", uploads::post)
        .post("/upload/tus", tus::create)
        .post("/upload/tus/", tus::create)
        .put("/upload/tus/{token}", tus::finish)
        .put("/upload/{token}/{again}", tus::finish_at_upload_url)
        .head(UPLOAD, tus::progress)
        .patch(UPLOAD, tus::append)
        .delete(UPLOAD, tus::terminate)
        .post(UPLOAD, tus::overridden)
        .get("/media/{media}", media::original)
        .get("/media/{media}/preview", media::preview)
        .get("/media/{media}/v1/{*transform}", media::transform)
        .get("/ugd/{media}", media::original)
        .get("/ugd/{media}/preview", media::preview)
}

/// Routes outside the vendor's contract.
fn own_routes(routes: Routes) -> Routes {
    const CONTACT: &str = "/dossier/v1/contacts/{contact}";
    const SESSION: &str = "/dossier/v1/session";
    const RESTORE: &str = "/dossier/v1/contacts/{contact}/attachments/{attachment}/restore";
    const WEBHOOK: &str = "/dossier/v1/webhooks/{webhook}";
    routes
        .get(HEALTH, health)
        .get("/dossier/v1/openapi.json", openapi::show)
        .get("/", page::index)
        .get("/page/{version}/{*file}", page::asset)
        .get(SESSION, session::show)
        .post(SESSION, session::sign_in)
        .delete(SESSION, session::sign_out)
        .get("/dossier/v1/media/{site}/{attachment}", stable_links::follow)
        .get("/dossier/v1/contacts", contacts::list)
        .get(CONTACT, contacts::get)
        .put(CONTACT, contacts::announce)
        .delete(CONTACT, contacts::delete)
        .post("/dossier/v1/contacts/{contact}/merge", contacts::merge)
        .post("/dossier/v1/contacts/{contact}/erase", contacts::erase)
        .post("/dossier/v1/contacts/{contact}/restore", contacts::restore)
        .get("/dossier/v1/contacts/{contact}/trash", contacts::trash)
        .get("/dossier/v1/contacts/{contact}/attachments", files::list)
        .patch("/dossier/v1/contacts/{contact}/attachments/{attachment}", files::change)
        .post("/dossier/v1/contacts/{contact}/attachments/bulk-delete", files::bulk_delete)
        .post("/dossier/v1/contacts/{contact}/upload-urls", upload_urls::generate_many)
        .get("/dossier/v1/contacts/{contact}/zip", zip::zip)
        .get("/dossier/v1/usage", files::usage)
        .get("/dossier/v1/whoami", keys::whoami)
        .get("/dossier/v1/keys", keys::list)
        .post("/dossier/v1/keys", keys::add)
        .delete("/dossier/v1/keys/{key}", keys::revoke)
        .get(requests::ROUTE, requests::list)
        .get("/dossier/v1/operations", operations::show)
        .post(RESTORE, contacts::restore_attachment)
        .get("/dossier/v1/receipts/{receipt}", contacts::receipt)
        .post("/dossier/v1/inbound/wix", inbound::wix)
        .get("/dossier/v1/webhooks", webhooks::list)
        .post("/dossier/v1/webhooks", webhooks::add)
        .get("/dossier/v1/webhooks/public-key", webhooks::public_key)
        .get(WEBHOOK, webhooks::get)
        .patch(WEBHOOK, webhooks::change)
        .delete(WEBHOOK, webhooks::remove)
        .post("/dossier/v1/webhooks/{webhook}/test", webhooks::test)
        .get("/dossier/v1/webhooks/{webhook}/deliveries", webhooks::deliveries)
        .post("/dossier/v1/webhooks/{webhook}/replay", webhooks::replay)
}

/// All routes of [`router`].
pub fn known_routes() -> Vec<Route> {
    routes().known()
}

/// The service's router, with all its layers.
pub fn router(app: &Arc<App>) -> Router {
    routes()
        .router()
        .fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
        // One tuple, outermost first: separate layers would each cost a box per request.
        .layer((
            middleware::from_fn_with_state(
                (Arc::<trace::RequestIds>::default(), Arc::clone(app)),
                trace::request,
            ),
            CatchPanicLayer::custom(trace::panic_response),
            middleware::from_fn(unread::drain),
            cors(&app.config.cors_origins),
            // Every handler limits the bytes that it reads.
            DefaultBodyLimit::disable(),
        ))
        .with_state(Arc::clone(app))
}

/// The router for monitoring. It has its own listener, so that it is never public by accident.
pub fn metrics_router(app: &Arc<App>) -> Router {
    monitor().router().with_state(Arc::clone(app))
}

fn monitor() -> Routes {
    Routes::default().get("/metrics", metrics)
}

/// All routes of [`metrics_router`].
pub fn monitor_routes() -> Vec<Route> {
    monitor().known()
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    app.metrics.writable.set(app.problems().is_empty().into());
    let form = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, form)], app.metrics.text()).into_response()
}

/// What other origins may do (contract §15). The session cookie is for this host's own page alone,
/// so neither credentials nor the CSRF header are allowed (S26, S27).
fn cors(origins: &[String]) -> CorsLayer {
    let names = |names: &'static [&'static str]| -> Vec<HeaderName> {
        names.iter().map(|name| HeaderName::from_static(name)).collect()
    };
    let origin = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().filter_map(|origin| origin.parse().ok()))
    };
    CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::HEAD,
            Method::DELETE,
            Method::OPTIONS,
        ])
        .allow_headers(names(ALLOWED_HEADERS))
        .expose_headers(names(EXPOSED_HEADERS))
        .max_age(PREFLIGHT_AGE)
}

const ALLOWED_HEADERS: &[&str] = &[
    "authorization",
    "content-type",
    "content-digest",
    "wix-site-id",
    "wix-account-id",
    "x-wix-bi-gateway",
    "x-wix-consistent",
    "tus-resumable",
    "upload-length",
    "upload-offset",
    "upload-metadata",
    "upload-defer-length",
    "upload-checksum",
    "x-http-method-override",
    "range",
    "if-none-match",
];

const EXPOSED_HEADERS: &[&str] = &[
    "x-wix-request-id",
    "x-wix-consistent",
    "location",
    "upload-offset",
    "upload-length",
    "tus-resumable",
    "tus-version",
    "tus-extension",
    "tus-max-size",
    "tus-checksum-algorithm",
    "upload-defer-length",
    "upload-expires",
    "etag",
    "content-disposition",
    "content-range",
    "retry-after",
];

/// GET `/dossier/v1/health`: whether the database is available and everything is writable.
async fn health(State(app): State<Arc<App>>) -> Result<Response, Error> {
    app.db.ping().await?;
    let version = env!("CARGO_PKG_VERSION");
    if app.tasks.is_stop_announced() {
        let body = json!({ "status": "stopping", "version": version });
        return Ok(answer::json(StatusCode::SERVICE_UNAVAILABLE, &body));
    }
    let problems = app.problems();
    if problems.is_empty() {
        let body = json!({ "status": "ok", "version": version });
        return Ok(answer::json(StatusCode::OK, &body));
    }
    let body = json!({
        "status": "read-only",
        "version": version,
        "problems": problems,
        "remedy": "fix the listed problems, then restart the server",
    });
    Ok(answer::json(StatusCode::SERVICE_UNAVAILABLE, &body))
}

/// Whether a request to the media host is for anything but media or the health check (S12).
fn is_blocked_on_media_host(app: &App, request: &Request) -> bool {
    let Some(host) = &app.media_host else { return false };
    let header = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let named = request.uri().authority().map(Authority::as_str).or(header);
    let path = request.uri().path();
    named.is_some_and(|named| host.matches_authority(named))
        && path != HEALTH
        && !MEDIA_PATHS.iter().any(|begin| path.starts_with(begin))
}

async fn unknown_route(method: Method, uri: Uri) -> Error {
    let data = json!({ "method": method.as_str(), "path": uri.path() });
    Error::NotFound { what: "this URL", data }
}

async fn method_not_allowed(method: Method) -> Error {
    Error::MethodNotAllowed { method: method.to_string() }
}
