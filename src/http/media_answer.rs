//! Sends what a media link opens: whole, in parts, or not again, with headers that keep a browser
//! from running anything (S11, S13).

use std::time::{Duration, UNIX_EPOCH};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use headers::{ETag, HeaderMapExt as _, LastModified};

use super::conditional::{self, Send};
use super::file_body::{self, Piece};
use crate::actions::download::{Content, Opened, Wanted};
use crate::blobs::Remote;
use crate::domain::byte_range::{ByteRange, RangeAnswer};
use crate::domain::content_disposition::{Disposition, content_disposition};
use crate::domain::hex;
use crate::domain::media_type::{MediaType, name_as, shows_inline};
use crate::error::{Error, Result};

/// Separates the parts of a multi-range answer; long enough never to stand in a file by
/// chance.
const BOUNDARY: &str = "dossier-part-3f1d0c6a9b7e4852";

/// How it was asked.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    pub(super) headers: &'a HeaderMap,
}

impl Asked<'_> {
    /// Whether the client says that it reads WebP. Only naming it counts: everything else claims to
    /// read everything. A quality of 0 means that it does not.
    pub(super) fn reads_webp(&self) -> bool {
        let values = self.headers.get_all(header::ACCEPT).iter();
        let texts = values.filter_map(|value| value.to_str().ok());
        texts.flat_map(|text| text.split(',')).any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let is_webp = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("image/webp"));
            let refuses = |part: &str| {
                let quality = part.strip_prefix("q=").or(part.strip_prefix("Q="));
                quality.is_some_and(|quality| quality.trim_matches(['0', '.']).is_empty())
            };
            is_webp && !parts.any(refuses)
        })
    }
}

/// Answers with what was opened; `left_s` is how long the link still opens it.
///
/// # Errors
///
/// When a precondition does not hold or a range lies outside.
pub(super) async fn answer(
    opened: Opened,
    wanted: &Wanted,
    left_s: i64,
    asked: Asked<'_>,
) -> Result<Response> {
    let attachment = &opened.attachment;
    let etag = etag(&opened, wanted)?;
    let created = UNIX_EPOCH + Duration::from_millis(attachment.created_at_ms.max(0) as u64);
    let modified = LastModified::from(created);
    let Asked { method, headers } = asked;
    let send = conditional::decide(headers, method, (&etag, modified), opened.size_bytes)?;
    let mut response = Response::new(Body::empty());
    let out = response.headers_mut();
    out.typed_insert(etag);
    out.typed_insert(modified);
    let cache = format!("private, max-age={}, immutable", left_s.max(0));
    set(out, header::CACHE_CONTROL, &cache);
    out.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if matches!(wanted, Wanted::Transform(transform, _) if transform.is_negotiated()) {
        out.insert(header::VARY, HeaderValue::from_static("accept"));
    }
    set(out, header::CONTENT_DISPOSITION, &disposition(&opened, wanted));
    match (send, &opened.content) {
        (Send::NotModified, _) => *response.status_mut() = StatusCode::NOT_MODIFIED,
        // What the bucket is asked for next is a GET, so a HEAD is answered here.
        (_, Content::Elsewhere(remote)) if method == Method::GET => {
            return elsewhere(remote, &opened, wanted, &cache).await;
        }
        (Send::Parts(parts), _) => send_parts(&mut response, opened, parts, method == Method::HEAD),
    }
    Ok(response)
}

/// Sends the client to the bucket, which answers ranges itself. The URL opens for minutes, so the
/// answer is not kept; the file may be.
async fn elsewhere(
    remote: &Remote,
    opened: &Opened,
    wanted: &Wanted,
    cache: &str,
) -> Result<Response> {
    let (media_type, disposition) = (opened.media_type.to_string(), disposition(opened, wanted));
    let headers = [
        ("content-type", &*media_type),
        ("content-disposition", &disposition),
        ("cache-control", cache),
    ];
    let url = remote.presigned(&headers).await?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::FOUND;
    set(response.headers_mut(), header::LOCATION, &url);
    set(response.headers_mut(), header::CACHE_CONTROL, "no-store");
    Ok(response)
}

/// The name that a browser saves under; what was made of a file has the extension of what it is.
fn disposition(opened: &Opened, wanted: &Wanted) -> String {
    let (media_type, name) = (&opened.media_type, &opened.attachment.file_name);
    let kind = if shows_inline(media_type) { Disposition::Inline } else { Disposition::Attachment };
    match wanted {
        Wanted::Original => content_disposition(kind, name),
        Wanted::Preview | Wanted::Transform(..) => {
            content_disposition(kind, &name_as(name, media_type))
        }
    }
}

/// Nothing that a link opens may run, be sniffed, be embedded by strangers, or tell others
/// where it was (S11, S22).
pub(super) fn safe_headers(out: &mut HeaderMap) {
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        out.insert(name, HeaderValue::from_static(value));
    }
    out.insert("cross-origin-resource-policy", HeaderValue::from_static("cross-origin"));
}

pub(super) fn set(out: &mut HeaderMap, name: header::HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        out.insert(name, value);
    }
}

fn send_parts(response: &mut Response, opened: Opened, parts: RangeAnswer, head_only: bool) {
    let Opened { content, size_bytes, media_type, .. } = opened;
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
            let pieces = byteranges(&ranges, &media_type, size_bytes);
            (StatusCode::PARTIAL_CONTENT, content_type, pieces)
        }
    };
    let length: u64 = pieces.iter().map(Piece::length).sum();
    *response.status_mut() = status;
    set(response.headers_mut(), header::CONTENT_TYPE, &content_type);
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    if !head_only {
        *response.body_mut() = file_body::body(content, pieces);
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

/// Strong: the SHA-256 of the original; what was made of it has its name and its maker's version
/// behind it.
fn etag(opened: &Opened, wanted: &Wanted) -> Result<ETag> {
    let hash = hex::encode(&opened.attachment.sha256);
    let tag = match wanted {
        Wanted::Original => format!("\"{hash}\""),
        Wanted::Preview => format!("\"{hash}-preview-1\""),
        Wanted::Transform(transform, webp) => {
            format!("\"{hash}-{}\"", transform.result_id(*webp))
        }
    };
    tag.parse().map_err(|_| Error::Internal(anyhow::anyhow!("a hash made no ETag")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webp_is_for_those_who_name_it() {
        for (accept, reads) in [
            (&["image/avif,image/webp,image/apng,*/*;q=0.8"][..], true),
            (&["IMAGE/WebP ; q=0.5"], true),
            (&["text/html", "image/webp"], true),
            (&["image/webp;q=0"], false),
            (&["image/webp; q=0.000, */*"], false),
            (&["image/*,*/*"], false),
            (&["image/webpx"], false),
            (&[], false),
        ] {
            let mut headers = HeaderMap::new();
            for value in accept {
                headers.append(header::ACCEPT, HeaderValue::from_static(value));
            }
            let asked = Asked { method: &Method::GET, headers: &headers };
            assert_eq!(asked.reads_webp(), reads, "{accept:?}");
        }
    }
}
