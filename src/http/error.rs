//! Maps each [`Error`] to its status, code and body (contract §6). Nothing else does.

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::answer;
use super::tus::UPLOAD_OFFSET;
use crate::domain::quota::QuotaExceeded;
use crate::domain::tus;
use crate::error::{Error, Rule, UploadError, Violation};

/// `Retry-After` for a read-only store: an operator has to look at its disk.
const READ_ONLY_SECONDS: u32 = 60;

/// The cause of an internal error. The response's extensions carry it to the layer that logs it
/// with the request id; it is never sent.
#[derive(Clone)]
pub(super) struct InternalCause(pub(super) Arc<anyhow::Error>);

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let message = self.to_string();
        let (status, code, data) = match self {
            Self::Invalid(violations) => {
                let body = validation_error(&message, &violations);
                return answer::json(StatusCode::BAD_REQUEST, &body);
            }
            Self::Internal(error) => {
                let mut response = system_error(StatusCode::INTERNAL_SERVER_ERROR);
                response.extensions_mut().insert(InternalCause(Arc::new(error)));
                return response;
            }
            Self::Busy { retry_after_seconds } => {
                let response = system_error(StatusCode::SERVICE_UNAVAILABLE);
                return retry_after(response, retry_after_seconds);
            }
            Self::RateLimited { retry_after_seconds: seconds } => {
                let data = json!({ "retryAfterSeconds": seconds });
                let body = application_error(&message, "RESOURCE_EXHAUSTED", &data);
                return retry_after(answer::json(StatusCode::TOO_MANY_REQUESTS, &body), seconds);
            }
            Self::ReadOnly => {
                let response = system_error(StatusCode::SERVICE_UNAVAILABLE);
                return retry_after(response, READ_ONLY_SECONDS);
            }
            Self::StorageFull => return system_error(StatusCode::INSUFFICIENT_STORAGE),
            Self::Malformed { data, .. } => (StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", data),
            Self::BadUpload { code, data, .. } => (StatusCode::BAD_REQUEST, code, data),
            Self::Unauthenticated(_) => (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", json!({})),
            Self::PermissionDenied { .. } => {
                (StatusCode::FORBIDDEN, "PERMISSION_DENIED", json!({}))
            }
            Self::InvalidUploadToken { .. } => {
                (StatusCode::FORBIDDEN, "INVALID_UPLOAD_TOKEN", json!({}))
            }
            Self::InvalidLink { .. } => (StatusCode::FORBIDDEN, "INVALID_LINK", json!({})),
            Self::NotFound { data, .. } => (StatusCode::NOT_FOUND, "NOT_FOUND", data),
            Self::MethodNotAllowed { .. } => {
                (StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", json!({}))
            }
            Self::QuotaExceeded(QuotaExceeded { scope, unit, limit, in_use }) => {
                let data = json!({ "scope": scope, "unit": unit, "limit": limit, "use": in_use });
                (StatusCode::FORBIDDEN, "QUOTA_EXCEEDED", data)
            }
            Self::Upload(error) => return upload_error(&message, error),
            Self::Conflict { code, data, .. } => (StatusCode::CONFLICT, code, data),
            Self::AlreadyUploaded => (StatusCode::CONFLICT, "ALREADY_EXISTS", json!({})),
            Self::TooLarge { code, limit_bytes } => {
                (StatusCode::PAYLOAD_TOO_LARGE, code, json!({ "limitBytes": limit_bytes }))
            }
            Self::Interrupted { .. } => {
                (StatusCode::REQUEST_TIMEOUT, "REQUEST_INTERRUPTED", json!({}))
            }
            Self::RangeNotSatisfiable { size_bytes } => return range_outside(&message, size_bytes),
            Self::PreconditionFailed => {
                (StatusCode::PRECONDITION_FAILED, "FAILED_PRECONDITION", json!({}))
            }
        };
        answer::json(status, &application_error(&message, code, &data))
    }
}

fn retry_after(mut response: Response, seconds: u32) -> Response {
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

fn application_error(message: &str, code: &str, data: &Value) -> Value {
    json!({
        "message": message,
        "details": {
            "applicationError": { "code": code, "description": message, "data": data }
        },
    })
}

/// System errors are deliberately empty (contract §6).
fn system_error(status: StatusCode) -> Response {
    answer::json(status, &json!({ "message": "", "details": {} }))
}

fn range_outside(message: &str, size_bytes: u64) -> Response {
    let body = application_error(message, "OUT_OF_RANGE", &json!({ "sizeInBytes": size_bytes }));
    let mut response = answer::json(StatusCode::RANGE_NOT_SATISFIABLE, &body);
    if let Ok(value) = HeaderValue::from_str(&format!("bytes */{size_bytes}")) {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    response
}

/// The statuses are those of tus 1.0.0, the bodies those of the contract.
fn upload_error(message: &str, error: UploadError) -> Response {
    let mut offset = None;
    let (status, code, data) = match error {
        UploadError::Offset { offset_bytes } => {
            offset = Some(offset_bytes);
            (409, "UPLOAD_OFFSET_CONFLICT", json!({ "offset": offset_bytes }))
        }
        UploadError::Unfinished { offset_bytes, length_bytes } => {
            let data = json!({ "offset": offset_bytes, "length": length_bytes });
            (409, "UPLOAD_UNFINISHED", data)
        }
        UploadError::Gone => (410, "UPLOAD_GONE", json!({})),
        UploadError::Complete { .. } => (403, "UPLOAD_COMPLETE", json!({})),
        UploadError::Locked => (423, "UPLOAD_LOCKED", json!({})),
        UploadError::Checksum => (460, "CHECKSUM_MISMATCH", json!({})),
        UploadError::Version => (412, "TUS_VERSION", json!({ "versions": [tus::VERSION] })),
        UploadError::ContentType => {
            (415, "CONTENT_TYPE", json!({ "expected": tus::PATCH_CONTENT_TYPE }))
        }
    };
    // 460 is specific to tus; `from_u16` accepts every number from 100 to 999.
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = answer::json(status, &application_error(message, code, &data));
    if let Some(offset) = offset {
        response.headers_mut().insert(UPLOAD_OFFSET, HeaderValue::from(offset));
    }
    response
}

/// The body for violated fields. `message` is the error's own.
pub(super) fn validation_error(message: &str, violations: &[Violation]) -> Value {
    let violations: Vec<Value> = violations.iter().map(violation).collect();
    json!({
        "message": message,
        "details": { "validationError": { "fieldViolations": violations } },
    })
}

fn violation(violation: &Violation) -> Value {
    let (rule, data) = match &violation.rule {
        Rule::Required => ("REQUIRED_FIELD", None),
        Rule::Format(expected) => ("FORMAT", Some(json!({ "type": expected }))),
        Rule::Max(threshold) => ("MAX", Some(json!({ "threshold": threshold }))),
        Rule::Min(threshold) => ("MIN", Some(json!({ "threshold": threshold }))),
        Rule::MaxLength(threshold) => ("MAX_LENGTH", Some(json!({ "threshold": threshold }))),
        Rule::MinLength(threshold) => ("MIN_LENGTH", Some(json!({ "threshold": threshold }))),
        Rule::Other(_, data) => ("OTHER", Some(data.clone())),
    };
    let mut body = json!({
        "field": violation.field,
        "description": violation.description,
        "violatedRule": rule,
    });
    if let Rule::Other(name, _) = &violation.rule {
        body["ruleName"] = json!(name);
    }
    if let Some(data) = data {
        body["data"] = data;
    }
    body
}
