//! Resumable uploads, tus 1.0.0, as contract §9 maps them: an endpoint beside the upload URLs
//! that takes the token in its metadata, the upload URL itself as an endpoint, and the final PUT
//! of the vendor's documented code. The token is all the authority there is.

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
use super::uploads::{cut_short, descriptor, token_refused};
use crate::actions::upload::resumable::{self, PieceRequest, Progress};
use crate::app::App;
use crate::domain::ids::BlobId;
use crate::domain::signing::UploadGrant;
use crate::domain::tus::{self, BadHeader, Checksum};
use crate::error::{Error, Result, UploadRefused};

/// Says the version; in every request and answer of the protocol.
pub(super) const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
/// Where an upload stands.
pub(super) const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
const UPLOAD_DEFER_LENGTH: HeaderName = HeaderName::from_static("upload-defer-length");
const UPLOAD_EXPIRES: HeaderName = HeaderName::from_static("upload-expires");

/// OPTIONS of an upload address that is no preflight of a browser: what is offered.
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
    Some(spoken(Ok(response)))
}

/// POST `/upload/tus`.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let token = versioned(&headers).and_then(|()| {
        let metadata = text(&headers, "Upload-Metadata")?;
        Ok(metadata.map(tus::token).transpose()?.flatten().unwrap_or_default())
    });
    spoken(match token {
        Ok(token) => begin(&app, &token, &headers, body).await,
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
    let checked = versioned(headers).and_then(|()| {
        // Of no use here, but an error all the same when it cannot be read.
        text(headers, "Upload-Metadata")?.map(tus::token).transpose()?;
        Ok(())
    });
    spoken(match checked {
        Ok(()) => begin(app, &token, headers, body).await,
        Err(error) => Err(error),
    })
}

async fn begin(app: &Arc<App>, token: &str, headers: &HeaderMap, body: Body) -> Result<Response> {
    // Authority before anything else (S40).
    let grant = app.keys.check_upload(token, app.clock.now_ms()).map_err(token_refused)?;
    let length = bytes(headers, "Upload-Length")?;
    let deferred = text(headers, "Upload-Defer-Length")?;
    match (length, deferred) {
        (Some(_), None) | (None, Some("1")) => {}
        (None, None) => return Err(bad("Upload-Length", "is missing")),
        (Some(_), Some(_)) => return Err(bad("Upload-Defer-Length", "excludes Upload-Length")),
        (None, Some(_)) => return Err(bad("Upload-Defer-Length", "must be 1")),
    }
    let with_piece = is_piece(headers);
    let request = if with_piece { piece(headers, 0)? } else { PieceRequest::default() };
    let (upload, expires_at_ms) = resumable::create(app, &grant, length).await?;
    let mut progress =
        Progress { offset_bytes: 0, length_bytes: length, expires_at_ms: Some(expires_at_ms) };
    if with_piece {
        let body = body.into_data_stream().map_err(cut_short);
        progress = resumable::append(app, grant, upload, request, body).await?;
    }
    let location = format!("{}upload/tus/{token}/{}", app.public_url, upload.0.simple());
    let mut response = answer(StatusCode::CREATED, progress);
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
    spoken(show_progress(&app, path, &headers).await)
}

async fn show_progress(
    app: &Arc<App>,
    path: Ids<(String, String)>,
    headers: &HeaderMap,
) -> Result<Response> {
    versioned(headers)?;
    let (grant, upload) = named(app, path)?;
    let progress = resumable::progress(app, &grant, upload).await?;
    let mut response = answer(StatusCode::OK, progress);
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
    spoken(take_piece(&app, path, &headers, body).await)
}

async fn take_piece(
    app: &Arc<App>,
    path: Ids<(String, String)>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response> {
    versioned(headers)?;
    let (grant, upload) = named(app, path)?;
    if !is_piece(headers) {
        return Err(UploadRefused::ContentType.into());
    }
    let offset = bytes(headers, "Upload-Offset")?.ok_or(bad("Upload-Offset", "is missing"))?;
    let mut request = piece(headers, offset)?;
    request.length_bytes = bytes(headers, "Upload-Length")?;
    let body = body.into_data_stream().map_err(cut_short);
    let progress = resumable::append(app, grant, upload, request, body).await?;
    Ok(answer(StatusCode::NO_CONTENT, progress))
}

/// DELETE `/upload/tus/{token}/{upload}`.
pub(super) async fn terminate(
    State(app): State<Arc<App>>,
    path: Ids<(String, String)>,
    headers: HeaderMap,
) -> Response {
    spoken(end(&app, path, &headers).await)
}

async fn end(app: &Arc<App>, path: Ids<(String, String)>, headers: &HeaderMap) -> Result<Response> {
    versioned(headers)?;
    let (grant, upload) = named(app, path)?;
    resumable::terminate(app, &grant, upload).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// POST `/upload/tus/{token}/{upload}` with `X-HTTP-Method-Override`, for clients behind proxies
/// that let no other method pass.
pub(super) async fn overridden(
    State(app): State<Arc<App>>,
    path: Ids<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let method = headers.get("x-http-method-override").map(HeaderValue::as_bytes);
    spoken(match method {
        Some(b"PATCH") => take_piece(&app, path, &headers, body).await,
        Some(b"DELETE") => end(&app, path, &headers).await,
        Some(b"HEAD") => show_progress(&app, path, &headers).await,
        _ => Err(Error::MethodNotAllowed { method: "POST".to_owned() }),
    })
}

/// PUT `/upload/tus/{token}`: the last step of the vendor's documented code. Its body, `{}`, and
/// its `filename` say nothing new.
pub(super) async fn finish(State(app): State<Arc<App>>, path: Ids<String>) -> Result<Response> {
    let token = path.map(|Path(token)| token).unwrap_or_default();
    let grant = app.keys.check_upload_ever(&token).map_err(token_refused)?;
    descriptor(&app, &resumable::finished(&app, &grant).await?)
}

/// PUT `/upload/{token}/{token}`: the same step of clients whose endpoint is the upload URL.
pub(super) async fn finish_again(
    State(app): State<Arc<App>>,
    path: Ids<(String, String)>,
) -> Result<Response> {
    let (token, again) = path.map(|Path(tokens)| tokens).unwrap_or_default();
    if token != again {
        return Err(Error::InvalidUploadToken { problem: "this upload URL is not valid" });
    }
    finish(State(app), Ok(Path(token))).await
}

/// Every answer of the protocol says its version.
fn spoken(answer: Result<Response>) -> Response {
    let is_other_version = matches!(answer, Err(Error::Upload(UploadRefused::Version)));
    let mut response = answer.into_response();
    let version = HeaderValue::from_static(tus::VERSION);
    if is_other_version {
        response.headers_mut().insert("tus-version", version.clone());
    }
    response.headers_mut().insert(TUS_RESUMABLE, version);
    response
}

fn answer(status: StatusCode, progress: Progress) -> Response {
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

fn named(app: &App, path: Ids<(String, String)>) -> Result<(UploadGrant, BlobId)> {
    let (token, upload) = path.map(|Path(parts)| parts).unwrap_or_default();
    let grant = app.keys.check_upload_ever(&token).map_err(token_refused)?;
    let upload = uuid::Uuid::try_parse(&upload).map_err(|_| UploadRefused::Gone)?;
    Ok((grant, BlobId(upload)))
}

fn piece(headers: &HeaderMap, offset_bytes: u64) -> Result<PieceRequest> {
    Ok(PieceRequest {
        offset_bytes,
        length_bytes: None,
        checksum: text(headers, "Upload-Checksum")?.map(Checksum::parse).transpose()?,
        content_length: bytes(headers, "Content-Length")?,
    })
}

fn is_piece(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value == tus::PIECE_TYPE)
}

fn versioned(headers: &HeaderMap) -> Result<()> {
    match headers.get(TUS_RESUMABLE) {
        Some(version) if version == tus::VERSION => Ok(()),
        _ => Err(UploadRefused::Version.into()),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>> {
    Ok(tus::one(name, headers.get_all(name).iter().map(HeaderValue::as_bytes))?)
}

fn bytes(headers: &HeaderMap, name: &'static str) -> Result<Option<u64>> {
    Ok(text(headers, name)?.map(|value| tus::bytes(name, value)).transpose()?)
}

fn bad(header: &'static str, problem: &'static str) -> Error {
    BadHeader { header, problem }.into()
}

impl From<BadHeader> for Error {
    fn from(bad: BadHeader) -> Self {
        malformed(bad.to_string(), json!({ "header": bad.header }))
    }
}
