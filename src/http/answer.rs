//! JSON responses.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use serde_json::Value;

/// A response with serialised JSON.
pub(super) fn raw_json(status: StatusCode, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A response that must not be cached, because it contains permissions or a secret.
pub(super) fn no_store_json(status: StatusCode, body: &Value) -> Response {
    let mut response = json(status, body);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A response with a JSON value.
pub(super) fn json(status: StatusCode, body: &Value) -> Response {
    raw_json(status, body.to_string())
}
