//! Gives every request an id and writes its one log line. The line contains the route, never the
//! URL, which keeps tokens and file names out of the log (S22).

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, header::HeaderName};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::error::InternalCause;
use super::{requests, session, tus};
use crate::app::App;
use crate::error::Error;
use crate::request_log::LoggedRequest;

/// The SDK reports it with every error (contract §6).
const REQUEST_ID: HeaderName = HeaderName::from_static("x-wix-request-id");

/// Generates request ids: a random prefix per process, then a counter.
pub(super) struct RequestIds {
    start: u64,
    count: AtomicU64,
}

impl Default for RequestIds {
    fn default() -> Self {
        Self { start: uuid::Uuid::new_v4().as_u64_pair().0, count: AtomicU64::new(0) }
    }
}

impl RequestIds {
    fn next(&self) -> HeaderValue {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:016x}-{count:08x}", self.start);
        HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("0"))
    }
}

/// The outermost layer.
pub(super) async fn request(
    State((ids, app)): State<(Arc<RequestIds>, Arc<App>)>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = ids.next();
    let (route, start) = (request.extensions().get::<MatchedPath>().cloned(), Instant::now());
    let mut caller = None;
    let method = request.method().clone();
    // Handled here because the CORS layer treats every OPTIONS as a preflight.
    let mut response = if super::is_blocked_on_media_host(&app, &request) {
        super::unknown_route(method.clone(), request.uri().clone()).await.into_response()
    } else if let Some(response) = tus::discovery(app.config.upload_max_bytes, &request) {
        response
    } else {
        session::strip_unverified_cookie(&mut request);
        let (response, recorded) = requests::record_caller(next.run(request)).await;
        caller = recorded;
        response
    };
    if let Some(InternalCause(error)) = response.extensions_mut().remove::<InternalCause>() {
        tracing::error!(request_id = ?id, error = format!("{error:#}"), "request failed");
    }
    let status = response.status().as_u16();
    app.metrics.count_request(method.as_str(), status);
    let ms = start.elapsed().as_millis();
    let route = route.as_ref().map(MatchedPath::as_str).unwrap_or_default();
    tracing::debug!(request_id = ?id, %method, route, status, ms, "request completed");
    if let Some((key, scope)) = caller.filter(|_| route != requests::ROUTE) {
        app.requests.add(LoggedRequest {
            seq: 0,
            at_ms: app.clock.now_ms(),
            method: method.to_string(),
            route: route.to_owned(),
            status,
            duration_ms: u64::try_from(ms).unwrap_or(u64::MAX),
            scope,
            key,
        });
    }
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Turns a handler's panic into an internal error.
#[expect(clippy::needless_pass_by_value, reason = "the layer asks for this signature")]
pub(super) fn panic_response(panic: Box<dyn Any + Send>) -> Response {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    Error::Internal(anyhow::anyhow!("a handler panicked: {}", text.unwrap_or_default()))
        .into_response()
}
