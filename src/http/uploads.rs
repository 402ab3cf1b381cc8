//! Uploads to a signed URL (contract §8): PUT with the raw bytes, and POST with a multipart form
//! for older clients. The token in the path is the only credential.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use multer::{Constraints, Multipart, SizeLimit};
use serde_json::json;

use super::answer;
use super::attachments::Ids;
use super::request::{Query, malformed};
use super::tus;
use super::upload_urls::checked_name;
use crate::actions::upload::{Upload, upload};
use crate::app::App;
use crate::domain::attachment::Attachment;
use crate::domain::signing::{TokenError, UploadGrant};
use crate::domain::sniff::SentContentType;
use crate::error::{Error, Result};
use crate::page_cache::MediaView;
use crate::wire::AttachmentWriter;

/// `Content-Digest` (RFC 9530).
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
/// Most parts of a form that are read in search of the file.
const MAX_FORM_PARTS: usize = 16;
/// Most bytes of a form beside its file.
const FORM_OVERHEAD_BYTES: u64 = 64 * 1024;

/// PUT `/upload/{token}`.
pub(super) async fn put(
    State(app): State<Arc<App>>,
    path: Ids<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    let mut body = body.into_data_stream();
    let attachment = receive(&app, path, query.as_deref(), &headers, &mut body).await?;
    descriptor(&app, &attachment)
}

/// POST `/upload/{token}`.
pub(super) async fn post(
    State(app): State<Arc<App>>,
    path: Ids<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    if headers.contains_key(tus::TUS_RESUMABLE) {
        return Ok(tus::create_at(&app, path, &headers, body).await);
    }
    let mut body = body.into_data_stream();
    let attachment = receive_form(&app, path, query.as_deref(), &headers, &mut body).await?;
    descriptor(&app, &attachment)
}

async fn receive(
    app: &Arc<App>,
    path: Ids<String>,
    query: Option<&str>,
    headers: &HeaderMap,
    body: &mut BodyDataStream,
) -> Result<Attachment> {
    let grant = grant(app, path)?;
    if headers.contains_key(header::CONTENT_RANGE) {
        // A part must not be stored as the whole file (RFC 9110 §14.5).
        let problem = "a PUT to an upload URL must send the whole file, without Content-Range";
        return Err(malformed(problem.to_owned(), json!({})));
    }
    let mut request = request(grant, query)?;
    request.content_length = number(headers.get(header::CONTENT_LENGTH));
    request.content_type = SentContentType::from_header(text(headers, header::CONTENT_TYPE));
    request.sha256 = content_digest(headers)?;
    upload(app, request, body.map_err(connection_lost)).await
}

async fn receive_form(
    app: &Arc<App>,
    path: Ids<String>,
    query: Option<&str>,
    headers: &HeaderMap,
    body: &mut BodyDataStream,
) -> Result<Attachment> {
    let grant = grant(app, path)?;
    let boundary = text(headers, header::CONTENT_TYPE)
        .and_then(|content_type| multer::parse_boundary(content_type).ok())
        .ok_or_else(|| {
            let problem = "a POST to an upload URL must have the Content-Type multipart/form-data; \
                           to send the raw bytes, use PUT";
            malformed(problem.to_owned(), json!({}))
        })?;
    let mut request = request(grant, query)?;
    let most = request.grant.max_bytes.saturating_add(FORM_OVERHEAD_BYTES);
    if number(headers.get(header::CONTENT_LENGTH)).is_some_and(|length| length > most) {
        let limit_bytes = request.grant.max_bytes;
        return Err(Error::TooLarge { code: "FILE_TOO_LARGE", limit_bytes });
    }
    let idle = Duration::from_secs(app.config.body_idle_seconds);
    let found = Arc::new(AtomicBool::new(false));
    let mut form = form(require_file_early(body, Arc::clone(&found)), boundary, most);
    for _ in 0..MAX_FORM_PARTS {
        let Ok(part) = tokio::time::timeout(idle, form.next_field()).await else {
            return Err(Error::Interrupted { problem: "the body stopped arriving" });
        };
        let max_bytes = request.grant.max_bytes;
        let Some(part) = part.map_err(|error| form_error(error, max_bytes))? else { break };
        if part.file_name().is_some() || part.name() == Some("file") {
            found.store(true, Ordering::Relaxed);
            request.content_type =
                SentContentType::from_header(part.content_type().map(AsRef::as_ref));
            let bytes = part.map_err(|error| form_error(error, max_bytes));
            return upload(app, request, bytes).await;
        }
    }
    Err(malformed("the form contains no file; send it in a part named file".to_owned(), json!({})))
}

/// A multipart parser that reads at most `max_bytes`.
pub fn form<'a, S, E>(body: S, boundary: String, max_bytes: u64) -> Multipart<'a>
where
    S: Stream<Item = std::result::Result<Bytes, E>> + Send + 'a,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + 'a,
{
    let limit = SizeLimit::new().whole_stream(max_bytes);
    Multipart::with_constraints(body, boundary, Constraints::new().size_limit(limit))
}

/// Fails a form whose file does not begin within [`FORM_OVERHEAD_BYTES`]: until then the parser
/// buffers what it reads.
fn require_file_early(
    body: &mut BodyDataStream,
    found: Arc<AtomicBool>,
) -> impl Stream<Item = Result<Bytes>> + Send {
    let mut read_bytes = 0;
    body.map_err(connection_lost).map(move |chunk| {
        let chunk = chunk?;
        if read_bytes > FORM_OVERHEAD_BYTES && !found.load(Ordering::Relaxed) {
            let problem =
                format!("the form's file must begin within the first {FORM_OVERHEAD_BYTES} bytes");
            return Err(malformed(problem, json!({})));
        }
        read_bytes += chunk.len() as u64;
        Ok(chunk)
    })
}

pub(super) fn connection_lost(_: axum::Error) -> Error {
    Error::Interrupted { problem: "the connection closed before the body was complete" }
}

fn form_error(error: multer::Error, limit_bytes: u64) -> Error {
    match error {
        // One of our own errors, passed through the parser.
        multer::Error::StreamReadFailed(inner) => match inner.downcast::<Error>() {
            Ok(error) => *error,
            Err(_) => {
                Error::Interrupted { problem: "the connection closed before the body was complete" }
            }
        },
        multer::Error::StreamSizeExceeded { .. } => {
            Error::TooLarge { code: "FILE_TOO_LARGE", limit_bytes }
        }
        other => {
            malformed(format!("the form is not valid multipart/form-data: {other}"), json!({}))
        }
    }
}

fn grant(app: &App, path: Ids<String>) -> Result<UploadGrant> {
    let token = path.map(|Path(token)| token).unwrap_or_default();
    app.keys.check_upload(&token, app.clock.now_ms()).map_err(token_error)
}

/// The error for a rejected token.
pub(super) fn token_error(error: TokenError) -> Error {
    Error::InvalidUploadToken {
        problem: match error {
            TokenError::Forged => "this upload URL is not valid",
            TokenError::Expired => "this upload URL has expired; request a new one",
        },
    }
}

fn request(grant: UploadGrant, query: Option<&str>) -> Result<Upload> {
    let query = Query::parse(query);
    let file_name = query
        .one("filename")
        .and_then(|name| name.map(|name| checked_name("filename", name)).transpose())
        .map_err(|violation| Error::Invalid(vec![violation]))?;
    Ok(Upload {
        grant,
        file_name,
        content_type: SentContentType::Unspecified,
        content_length: None,
        sha256: None,
    })
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn number(value: Option<&axum::http::HeaderValue>) -> Option<u64> {
    value?.to_str().ok()?.parse().ok()
}

/// The SHA-256 in `Content-Digest: sha-256=:…:`. Other algorithms are ignored.
fn content_digest(headers: &HeaderMap) -> Result<Option<[u8; 32]>> {
    let lines = headers.get_all(CONTENT_DIGEST).iter().filter_map(|line| line.to_str().ok());
    let sha256 = lines.flat_map(|line| line.split(',')).find_map(|digest| {
        let (algorithm, value) = digest.trim().split_once('=')?;
        algorithm.eq_ignore_ascii_case("sha-256").then_some(value)
    });
    let Some(sha256) = sha256 else { return Ok(None) };
    let bytes = sha256.strip_prefix(':').and_then(|rest| rest.strip_suffix(':'));
    let bytes = bytes.and_then(|text| STANDARD.decode(text).ok());
    bytes.and_then(|bytes| bytes.try_into().ok()).map(Some).ok_or_else(|| {
        let problem = "the sha-256 in Content-Digest must have the form sha-256=:<base64>:";
        malformed(problem.to_owned(), json!({}))
    })
}

pub(super) fn descriptor(app: &App, attachment: &Attachment) -> Result<Response> {
    let site = app.registry.site(attachment.site_id).ok_or(Error::InvalidUploadToken {
        problem: "the site of this upload URL no longer exists",
    })?;
    let signer = app.keys.media_signer(app.links_expire_s(&site));
    let writer = AttachmentWriter::new(&site, &app.media_url, signer, MediaView::Both);
    Ok(answer::json(StatusCode::OK, &writer.file_descriptor(attachment)))
}
