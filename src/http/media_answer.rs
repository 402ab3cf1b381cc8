//! Responses to media links: whole files, ranges and 304s, with headers that keep a browser from
//! running anything (S11, S13).

use std::time::{Duration, UNIX_EPOCH};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use headers::{ETag, HeaderMapExt as _, LastModified};

use super::conditional::{self, Evaluated};
use super::file_body::{self, Segment};
use crate::actions::download::{Content, MediaVariant, OpenedMedia};
use crate::blobs::Remote;
use crate::domain::byte_range::{ByteRange, RangeSelection};
use crate::domain::content_disposition::{Disposition, content_disposition};
use crate::domain::hex;
use crate::domain::media_type::{MediaType, name_for_type, shows_inline};
use crate::error::{Error, Result};

/// Separates the parts of a multi-range response; long enough not to occur in a file by chance.
const BOUNDARY: &str = "dossier-part-3f1d0c6a9b7e4852";

/// The parts of a request that shape its response.
#[derive(Clone, Copy)]
pub(super) struct MediaRequest<'a> {
    pub(super) method: &'a Method,
    pub(super) headers: &'a HeaderMap,
}

impl MediaRequest<'_> {
    /// Whether `Accept` names WebP. Wildcards do not count: clients without WebP support send them
    /// too. A quality of 0 means no.
    pub(super) fn accepts_webp(&self) -> bool {
        let values = self.headers.get_all(header::ACCEPT).iter();
        let texts = values.filter_map(|value| value.to_str().ok());
        texts.flat_map(|text| text.split(',')).any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let is_webp = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("image/webp"));
            let rejects = |part: &str| {
                let quality = part.strip_prefix("q=").or(part.strip_prefix("Q="));
                quality.is_some_and(|quality| quality.trim_matches(['0', '.']).is_empty())
            };
            is_webp && !parts.any(rejects)
        })
    }
}

/// Responds with the opened content. `remaining_s` is the link's remaining lifetime in seconds.
///
/// # Errors
///
/// When a precondition fails or the range is outside the file.
pub(super) async fn respond(
    opened: OpenedMedia,
    variant: &MediaVariant,
    remaining_s: i64,
    request: MediaRequest<'_>,
) -> Result<Response> {
    let attachment = &opened.attachment;
    let etag = etag(&opened, variant)?;
    let created = UNIX_EPOCH + Duration::from_millis(attachment.created_at_ms.max(0) as u64);
    let modified = LastModified::from(created);
    let MediaRequest { method, headers } = request;
    let send = conditional::decide(headers, method, (&etag, modified), opened.size_bytes)?;
    let mut response = Response::new(Body::empty());
    let out = response.headers_mut();
    out.typed_insert(etag);
    out.typed_insert(modified);
    let cache = format!("private, max-age={}, immutable", remaining_s.max(0));
    set(out, header::CACHE_CONTROL, &cache);
    out.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if matches!(variant, MediaVariant::Transform(transform, _) if transform.is_negotiated()) {
        out.insert(header::VARY, HeaderValue::from_static("accept"));
    }
    set(out, header::CONTENT_DISPOSITION, &disposition(&opened, variant));
    match (send, &opened.content) {
        (Evaluated::NotModified, _) => *response.status_mut() = StatusCode::NOT_MODIFIED,
        // The presigned URL is for GET only, so HEAD is not redirected.
        (_, Content::Redirect(remote)) if method == Method::GET => {
            return redirect_to_bucket(remote, &opened, variant, &cache).await;
        }
        (Evaluated::Parts(parts), _) => {
            send_parts(&mut response, opened, parts, method == Method::HEAD);
        }
    }
    Ok(response)
}

/// Redirects the client to the bucket, which serves ranges itself. The URL is valid for minutes,
/// so the redirect must not be cached; the file may be.
async fn redirect_to_bucket(
    remote: &Remote,
    opened: &OpenedMedia,
    variant: &MediaVariant,
    cache: &str,
) -> Result<Response> {
    let (media_type, disposition) = (opened.media_type.to_string(), disposition(opened, variant));
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

/// The name that a browser saves under. Previews and transforms get the extension of their own
/// type.
fn disposition(opened: &OpenedMedia, variant: &MediaVariant) -> String {
    let (media_type, name) = (&opened.media_type, &opened.attachment.file_name);
    let kind = if shows_inline(media_type) { Disposition::Inline } else { Disposition::Attachment };
    match variant {
        MediaVariant::Original => content_disposition(kind, name),
        MediaVariant::Preview | MediaVariant::Transform(..) => {
            content_disposition(kind, &name_for_type(name, media_type))
        }
    }
}

/// Keeps content from running scripts and being sniffed, and its URL out of `Referer` (S11, S22).
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

fn send_parts(
    response: &mut Response,
    opened: OpenedMedia,
    parts: RangeSelection,
    head_only: bool,
) {
    let OpenedMedia { content, size_bytes, media_type, .. } = opened;
    let (status, content_type, segments) = match parts {
        // `decide` has already rejected unsatisfiable ranges.
        RangeSelection::Whole | RangeSelection::Unsatisfiable => {
            let whole = Segment::File { offset: 0, length: size_bytes };
            (StatusCode::OK, media_type.to_string(), vec![whole])
        }
        RangeSelection::One(range) => {
            set(response.headers_mut(), header::CONTENT_RANGE, &content_range(range, size_bytes));
            (StatusCode::PARTIAL_CONTENT, media_type.to_string(), vec![file_segment(range)])
        }
        RangeSelection::Many(ranges) => {
            let content_type = format!("multipart/byteranges; boundary={BOUNDARY}");
            let segments = byteranges(&ranges, &media_type, size_bytes);
            (StatusCode::PARTIAL_CONTENT, content_type, segments)
        }
    };
    let length: u64 = segments.iter().map(Segment::length).sum();
    *response.status_mut() = status;
    set(response.headers_mut(), header::CONTENT_TYPE, &content_type);
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    if !head_only {
        *response.body_mut() = file_body::body(content, segments);
    }
}

fn content_range(range: ByteRange, size_bytes: u64) -> String {
    format!("bytes {}-{}/{size_bytes}", range.start, range.end)
}

fn file_segment(range: ByteRange) -> Segment {
    Segment::File { offset: range.start, length: range.len() }
}

/// `multipart/byteranges` (RFC 9110 §14.6).
fn byteranges(ranges: &[ByteRange], media_type: &MediaType, size_bytes: u64) -> Vec<Segment> {
    let mut segments = Vec::with_capacity(ranges.len() * 2 + 1);
    for range in ranges {
        let range_line = content_range(*range, size_bytes);
        let head = format!(
            "\r\n--{BOUNDARY}\r\nContent-Type: {media_type}\r\nContent-Range: {range_line}\r\n\r\n"
        );
        segments.push(Segment::Bytes(Bytes::from(head)));
        segments.push(file_segment(*range));
    }
    segments.push(Segment::Bytes(Bytes::from(format!("\r\n--{BOUNDARY}--\r\n"))));
    segments
}

/// A strong tag: the SHA-256 of the original. Derived content appends its name and the version of
/// the code that renders it.
fn etag(opened: &OpenedMedia, variant: &MediaVariant) -> Result<ETag> {
    let hash = hex::encode(&opened.attachment.sha256);
    let tag = match variant {
        MediaVariant::Original => format!("\"{hash}\""),
        MediaVariant::Preview => format!("\"{hash}-preview-1\""),
        MediaVariant::Transform(transform, webp) => {
            format!("\"{hash}-{}\"", transform.result_id(*webp))
        }
    };
    tag.parse().map_err(|_| Error::Internal(anyhow::anyhow!("a hash is not a valid ETag")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_must_name_webp() {
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
            let request = MediaRequest { method: &Method::GET, headers: &headers };
            assert_eq!(request.accepts_webp(), reads, "{accept:?}");
        }
    }
}
