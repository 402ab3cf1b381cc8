//! Resumable uploads, tus 1.0.0, as contract §9 maps them: an endpoint beside the upload URLs that
//! reads the token from `Upload-Metadata`, the upload URL itself as an endpoint, and the final PUT
//! of the vendor's documented code. The token is the only credential.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::TryStreamExt as _;
use serde_json::json;

use super::attachments::Ids;
use super::request::malformed;
use super::uploads::{connection_lost, descriptor, token_error};
use crate::actions::upload::resumable::{self, PieceRequest, Progress};
use crate::app::App;
use crate::domain::ids::BlobId;
use crate::domain::signing::UploadGrant;
use crate::domain::tus::{self, BadHeader, Checksum};
use crate::error::{Error, Result, UploadError};

/// The protocol version, in every request and response.
pub(super) const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
/// The number of bytes received.
pub(super) const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
const UPLOAD_DEFER_LENGTH: HeaderName = HeaderName::from_static("upload-defer-length");
const UPLOAD_EXPIRES: HeaderName = HeaderName::from_static("upload-expires");

/// Responds to OPTIONS of an upload URL, unless it is a browser's preflight, with what the server
/// supports.
pub(super) fn discovery(max_bytes: u64, request: &Request) -> Option<Response> {
    let is_preflight = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if request.method() != Method::OPTIONS
        || is_preflight
        || !request.uri().path().starts_with("/upload/")
    {
        return None;
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert("tus-version", HeaderValue::from_static(tus::VERSION));
    headers.insert("tus-extension", HeaderValue::from_static(tus::EXTENSIONS));
    headers.insert("tus-max-size", HeaderValue::from(max_bytes));
    headers.insert("tus-checksum-algorithm", HeaderValue::from_static(tus::CHECKSUM_ALGORITHMS));
    Some(with_version(Ok(response)))
}

/// POST `/upload/tus`.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let token = check_version(&headers).and_then(|()| {
        let metadata = text(&headers, "Upload-Metadata")?;
        Ok(metadata.map(tus::metadata_token).transpose()?.flatten().unwrap_or_default())
    });
    with_version(match token {
        Ok(token) => create_upload(&app, &token, &headers, body).await,
        Err(error) => Err(error),
    })
}

/// POST `/upload/{token}` of a resumable client.
pub(super) async fn create_at(
    app: &Arc<App>,
    path: Ids<String>,
    headers: &HeaderMap,
    body: Body,
) -> Response {
    let token = path.map(|Path(token)| token).unwrap_or_default();
    let checked = check_version(headers).and_then(|()| {
        // The metadata is not needed here, but must be valid.
        text(headers, "Upload-Metadata")?.map(tus::metadata_token).transpose()?;
        Ok(())
    });
    with_version(match checked {
        Ok(()) => create_upload(app, &token, headers, body).await,
        Err(error) => Err(error),
    })
}

async fn create_upload(
    app: &Arc<App>,
    token: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response> {
    // Authorise before anything else (S40).
    let grant = app.keys.check_upload(token, app.clock.now_ms()).map_err(token_error)?;
    let length = bytes(headers, "Upload-Length")?;
    let deferred = text(headers, "Upload-Defer-Length")?;
    match (length, deferred) {
        (Some(_), None) | (None, Some("1")) => {}
        (None, None) => {
            return Err(bad_header(
                "Upload-Length",
                "is missing; send it, or Upload-Defer-Length: 1",
            ));
        }
        (Some(_), Some(_)) => {
            return Err(bad_header("Upload-Defer-Length", "must not be sent with Upload-Length"));
        }
        (None, Some(_)) => return Err(bad_header("Upload-Defer-Length", "must be 1")),
    }
    let with_chunk = has_chunk(headers);
    let request = if with_chunk { chunk_request(headers, 0)? } else { PieceRequest::default() };
    let (upload, expires_at_ms) = resumable::create(app, &grant, length).await?;
    let mut progress =
        Progress { offset_bytes: 0, length_bytes: length, expires_at_ms: Some(expires_at_ms) };
    if with_chunk {
        let body = body.into_data_stream().map_err(connection_lost);
        progress = resumable::append(app, grant, upload, request, body).await?;
    }
    let location = format!("{}upload/tus/{token}/{}", app.public_url, upload.0.simple());
    let mut response = progress_headers(StatusCode::CREATED, progress);
    let location = HeaderValue::try_from(location).map_err(anyhow::Error::from)?;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// HEAD `/upload/tus/{token}/{upload}`.
pub(super) async fn progress(
    State(app): State<Arc<App>>,
    path: Ids<(String, String)>,
    headers: HeaderMap,
) -> Response {
    with_version(progress_response(&app, path, &headers).await)
}

async fn progress_response(
    app: &Arc<App>,
    path: Ids<(String, String)>,
    headers: &HeaderMap,
) -> Result<Response> {
    check_version(headers)?;
    let (grant, upload) = upload_in_path(app, path)?;
    let progress = resumable::progress(app, &grant, upload).await?;
    let mut response = progress_headers(StatusCode::OK, progress);
    let headers = response.headers_mut();
    match progress.length_bytes {
        Some(length) => headers.insert(UPLOAD_LENGTH, HeaderValue::from(length)),
        None => headers.insert(UPLOAD_DEFER_LENGTH, HeaderValue::from_static("1")),
    };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// PATCH `/upload/tus/{token}/{upload}`.
pub(super) async fn append(
    State(app): State<Arc<App>>,
    path: Ids<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    with_version(append_chunk(&app, path, &headers, body).await)
}

async fn append_chunk(
    app: &Arc<App>,
    path: Ids<(String, String)>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response> {
    check_version(headers)?;
    let (grant, upload) = upload_in_path(app, path)?;
    if !has_chunk(headers) {
        return Err(UploadError::ContentType.into());
    }
    let offset =
        bytes(headers, "Upload-Offset")?.ok_or(bad_header("Upload-Offset", "is missing"))?;
    let mut request = chunk_request(headers, offset)?;
    request.length_bytes = bytes(headers, "Upload-Length")?;
    let body = body.into_data_stream().map_err(connection_lost);
    let progress = resumable::append(app, grant, upload, request, body).await?;
    Ok(progress_headers(StatusCode::NO_CONTENT, progress))
}

/// DELETE `/upload/tus/{token}/{upload}`.
pub(super) async fn terminate(
    State(app): State<Arc<App>>,
    path: Ids<(String, String)>,
    headers: HeaderMap,
) -> Response {
    with_version(terminate_upload(&app, path, &headers).await)
}

async fn terminate_upload(
    app: &Arc<App>,
    path: Ids<(String, String)>,
    headers: &HeaderMap,
) -> Result<Response> {
    check_version(headers)?;
    let (grant, upload) = upload_in_path(app, path)?;
    resumable::terminate(app, &grant, upload).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// POST `/upload/tus/{token}/{upload}` with `X-HTTP-Method-Override`, for clients behind proxies
/// that block other methods.
pub(super) async fn overridden(
    State(app): State<Arc<App>>,
    path: Ids<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let method = headers.get("x-http-method-override").map(HeaderValue::as_bytes);
    with_version(match method {
        Some(b"PATCH") => append_chunk(&app, path, &headers, body).await,
        Some(b"DELETE") => terminate_upload(&app, path, &headers).await,
        Some(b"HEAD") => progress_response(&app, path, &headers).await,
        _ => Err(Error::MethodNotAllowed { method: "POST".to_owned() }),
    })
}

/// PUT `/upload/tus/{token}`: the last step of the vendor's documented code. Its body, `{}`, and
/// its `filename` are ignored: the upload already has them.
pub(super) async fn finish(State(app): State<Arc<App>>, path: Ids<String>) -> Result<Response> {
    let token = path.map(|Path(token)| token).unwrap_or_default();
    let grant = app.keys.check_upload_ignoring_expiry(&token).map_err(token_error)?;
    descriptor(&app, &resumable::finished(&app, &grant).await?)
}

/// PUT `/upload/{token}/{token}`: the same for clients whose endpoint is the upload URL.
pub(super) async fn finish_at_upload_url(
    State(app): State<Arc<App>>,
    path: Ids<(String, String)>,
) -> Result<Response> {
    let (token, again) = path.map(|Path(tokens)| tokens).unwrap_or_default();
    if token != again {
        return Err(Error::InvalidUploadToken { problem: "this upload URL is not valid" });
    }
    finish(State(app), Ok(Path(token))).await
}

/// Adds the protocol version, which every response carries.
fn with_version(result: Result<Response>) -> Response {
    let is_unsupported = matches!(result, Err(Error::Upload(UploadError::Version)));
    let mut response = result.into_response();
    let version = HeaderValue::from_static(tus::VERSION);
    if is_unsupported {
        response.headers_mut().insert("tus-version", version.clone());
    }
    response.headers_mut().insert(TUS_RESUMABLE, version);
    response
}

fn progress_headers(status: StatusCode, progress: Progress) -> Response {
    let mut response = status.into_response();
    let headers = response.headers_mut();
    headers.insert(UPLOAD_OFFSET, HeaderValue::from(progress.offset_bytes));
    if let Some(at_ms) = progress.expires_at_ms {
        let at = UNIX_EPOCH + Duration::from_millis(at_ms.max(0) as u64);
        if let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(at)) {
            headers.insert(UPLOAD_EXPIRES, date);
        }
    }
    response
}

fn upload_in_path(app: &App, path: Ids<(String, String)>) -> Result<(UploadGrant, BlobId)> {
    let (token, upload) = path.map(|Path(parts)| parts).unwrap_or_default();
    let grant = app.keys.check_upload_ignoring_expiry(&token).map_err(token_error)?;
    let upload = uuid::Uuid::try_parse(&upload).map_err(|_| UploadError::Gone)?;
    Ok((grant, BlobId(upload)))
}

fn chunk_request(headers: &HeaderMap, offset_bytes: u64) -> Result<PieceRequest> {
    Ok(PieceRequest {
        offset_bytes,
        length_bytes: None,
        checksum: text(headers, "Upload-Checksum")?.map(Checksum::parse).transpose()?,
        content_length: bytes(headers, "Content-Length")?,
    })
}

fn has_chunk(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value == tus::PATCH_CONTENT_TYPE)
}

fn check_version(headers: &HeaderMap) -> Result<()> {
    match headers.get(TUS_RESUMABLE) {
        Some(version) if version == tus::VERSION => Ok(()),
        _ => Err(UploadError::Version.into()),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>> {
    Ok(tus::single_value(name, headers.get_all(name).iter().map(HeaderValue::as_bytes))?)
}

fn bytes(headers: &HeaderMap, name: &'static str) -> Result<Option<u64>> {
    Ok(text(headers, name)?.map(|value| tus::byte_count(name, value)).transpose()?)
}

fn bad_header(header: &'static str, problem: &'static str) -> Error {
    BadHeader { header, problem }.into()
}

impl From<BadHeader> for Error {
    fn from(error: BadHeader) -> Self {
        malformed(error.to_string(), json!({ "header": error.header }))
    }
}
