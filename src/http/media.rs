//! What media links open (design §5): originals and previews, with ranges, conditions and
//! headers that keep a browser from running anything (S11, S13).

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use headers::{ETag, HeaderMapExt as _, LastModified};
use serde_json::json;

use super::attachments::{Ids, ids};
use super::conditional::{self, Send};
use super::file_body::{self, Piece};
use super::request::Query;
use crate::actions::download::{self, Opened};
use crate::app::App;
use crate::blobs::Part;
use crate::domain::attachment::MediaId;
use crate::domain::byte_range::{ByteRange, RangeAnswer};
use crate::domain::content_disposition::{Disposition, content_disposition};
use crate::domain::hex;
use crate::domain::media_type::{MediaType, shows_inline};
use crate::domain::signing::TokenRefused;
use crate::error::{Error, Result};

/// Separates the parts of a multi-range answer; long enough never to stand in a file by
/// chance.
const BOUNDARY: &str = "dossier-part-3f1d0c6a9b7e4852";
/// First bytes of a PNG; previews are PNG or JPEG.
const PNG_MAGIC: &[u8] = b"\x89PNG";

/// GET and HEAD `/media/{mediaId}` and `/ugd/{mediaId}`.
pub(super) async fn original(
    State(app): State<Arc<App>>,
    path: Ids<String>,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
) -> Response {
    finish(serve(&app, path, query.as_deref(), Part::Original, (&method, &headers)).await)
}

/// GET and HEAD `/media/{mediaId}/preview`.
pub(super) async fn preview(
    State(app): State<Arc<App>>,
    path: Ids<String>,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
) -> Response {
    finish(serve(&app, path, query.as_deref(), Part::Preview, (&method, &headers)).await)
}

/// Gives every answer of a link, refusals too, its safe headers. A refusal is not kept: the
/// same link may open later, for example when a preview has been made.
fn finish(answer: Result<Response>) -> Response {
    let mut response = answer.unwrap_or_else(|error| {
        let mut refusal = error.into_response();
        set(refusal.headers_mut(), header::CACHE_CONTROL, "no-store");
        refusal
    });
    safe_headers(response.headers_mut());
    response
}

async fn serve(
    app: &Arc<App>,
    path: Ids<String>,
    query: Option<&str>,
    part: Part,
    (method, headers): (&Method, &HeaderMap),
) -> Result<Response> {
    let not_found = || Error::NotFound { what: "file", data: json!({}) };
    let path = ids(path)?;
    let media_id = MediaId::parse(&path).ok_or_else(not_found)?;
    let site = app.registry.site_by_prefix(media_id.prefix).ok_or_else(not_found)?;
    let query = Query::parse(query);
    let token = query.one("token").ok().flatten().unwrap_or_default();
    let now_ms = app.clock.now_ms();
    let checked = app.keys.check_media(token, site.id, media_id.attachment_id, now_ms);
    let expires_s = checked.map_err(|refused| Error::InvalidLink {
        problem: match refused {
            TokenRefused::Forged => "this link is not valid",
            TokenRefused::Expired => "this link has expired; ask for the attachment again",
        },
    })?;
    let opened = download::open(app, site.id, media_id.attachment_id, part).await?;
    let opened = opened
        .filter(|opened| opened.attachment.media_id(&site.media_prefix) == media_id)
        .ok_or_else(not_found)?;
    let left_s = i64::from(expires_s) - now_ms / 1_000;
    answer(opened, part, left_s, (method, headers)).await
}

async fn answer(
    opened: Opened,
    part: Part,
    left_s: i64,
    (method, headers): (&Method, &HeaderMap),
) -> Result<Response> {
    let attachment = &opened.attachment;
    let media_type = match part {
        Part::Original => MediaType::from_stored(attachment.mime_type.clone()),
        Part::Preview => preview_type(&opened).await?,
    };
    let etag = etag(&opened, part)?;
    let created = UNIX_EPOCH + Duration::from_millis(attachment.created_at_ms.max(0) as u64);
    let modified = LastModified::from(created);
    let send = conditional::decide(headers, method, (&etag, modified), opened.size_bytes)?;
    let mut response = Response::new(Body::empty());
    let out = response.headers_mut();
    out.typed_insert(etag);
    out.typed_insert(modified);
    let cache = format!("private, max-age={}, immutable", left_s.max(0));
    set(out, header::CACHE_CONTROL, &cache);
    out.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let disposition =
        if shows_inline(&media_type) { Disposition::Inline } else { Disposition::Attachment };
    set(out, header::CONTENT_DISPOSITION, &content_disposition(disposition, &attachment.file_name));
    match send {
        Send::NotModified => *response.status_mut() = StatusCode::NOT_MODIFIED,
        Send::Parts(parts) => {
            send_parts(&mut response, opened, &media_type, parts, method == Method::HEAD);
        }
    }
    Ok(response)
}

/// Nothing that a link opens may run, be sniffed, be embedded by strangers, or tell others
/// where it was (S11, S22).
fn safe_headers(out: &mut HeaderMap) {
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        out.insert(name, HeaderValue::from_static(value));
    }
    out.insert("cross-origin-resource-policy", HeaderValue::from_static("cross-origin"));
}

fn set(out: &mut HeaderMap, name: header::HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        out.insert(name, value);
    }
}

fn send_parts(
    response: &mut Response,
    opened: Opened,
    media_type: &MediaType,
    parts: RangeAnswer,
    head_only: bool,
) {
    let size_bytes = opened.size_bytes;
    let (status, content_type, pieces) = match parts {
        // The caller has answered an unsatisfiable range.
        RangeAnswer::Whole | RangeAnswer::Unsatisfiable => {
            let whole = Piece::File { offset: 0, length: size_bytes };
            (StatusCode::OK, media_type.to_string(), vec![whole])
        }
        RangeAnswer::One(range) => {
            set(response.headers_mut(), header::CONTENT_RANGE, &content_range(range, size_bytes));
            (StatusCode::PARTIAL_CONTENT, media_type.to_string(), vec![file_piece(range)])
        }
        RangeAnswer::Many(ranges) => {
            let content_type = format!("multipart/byteranges; boundary={BOUNDARY}");
            let pieces = byteranges(&ranges, media_type, size_bytes);
            (StatusCode::PARTIAL_CONTENT, content_type, pieces)
        }
    };
    let length: u64 = pieces.iter().map(Piece::length).sum();
    *response.status_mut() = status;
    set(response.headers_mut(), header::CONTENT_TYPE, &content_type);
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    if !head_only {
        *response.body_mut() = file_body::body(opened.file, pieces);
    }
}

fn content_range(range: ByteRange, size_bytes: u64) -> String {
    format!("bytes {}-{}/{size_bytes}", range.start, range.end)
}

fn file_piece(range: ByteRange) -> Piece {
    Piece::File { offset: range.start, length: range.len() }
}

/// `multipart/byteranges` (RFC 9110 §14.6).
fn byteranges(ranges: &[ByteRange], media_type: &MediaType, size_bytes: u64) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(ranges.len() * 2 + 1);
    for range in ranges {
        let range_line = content_range(*range, size_bytes);
        let head = format!(
            "\r\n--{BOUNDARY}\r\nContent-Type: {media_type}\r\nContent-Range: {range_line}\r\n\r\n"
        );
        pieces.push(Piece::Bytes(Bytes::from(head)));
        pieces.push(file_piece(*range));
    }
    pieces.push(Piece::Bytes(Bytes::from(format!("\r\n--{BOUNDARY}--\r\n"))));
    pieces
}

/// Strong: the SHA-256 of the original; a preview has its maker's version behind it.
fn etag(opened: &Opened, part: Part) -> Result<ETag> {
    let hash = hex::encode(&opened.attachment.sha256);
    let tag = match part {
        Part::Original => format!("\"{hash}\""),
        Part::Preview => format!("\"{hash}-preview-1\""),
    };
    tag.parse().map_err(|_| Error::Internal(anyhow::anyhow!("a hash made no ETag")))
}

async fn preview_type(opened: &Opened) -> Result<MediaType> {
    use std::os::unix::fs::FileExt as _;

    let file = opened.file.try_clone()?;
    let magic = tokio::task::spawn_blocking(move || {
        let mut magic = [0; PNG_MAGIC.len()];
        file.read_exact_at(&mut magic, 0).map(|()| magic)
    });
    let magic = magic.await.map_err(anyhow::Error::from)??;
    let name = if magic == PNG_MAGIC { "image/png" } else { "image/jpeg" };
    Ok(MediaType::from_stored(name.to_owned()))
}
