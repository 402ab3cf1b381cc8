//! Preconditions and ranges of a media request, in the order of RFC 9110 §13.2.2.

use axum::http::{HeaderMap, Method, header};
use headers::{
    ETag, HeaderMapExt as _, IfMatch, IfModifiedSince, IfNoneMatch, IfUnmodifiedSince, LastModified,
};

use crate::domain::byte_range::{RangeAnswer, parse_range};
use crate::error::{Error, Result};

/// What to send of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Send {
    /// 304: the client has it.
    NotModified,
    /// The file or parts of it.
    Parts(RangeAnswer),
}

/// Decides what to send.
///
/// # Errors
///
/// 412 when a precondition does not hold, 416 when the range lies outside.
pub(super) fn decide(
    headers: &HeaderMap,
    method: &Method,
    (etag, modified): (&ETag, LastModified),
    size_bytes: u64,
) -> Result<Send> {
    let modified_at = std::time::SystemTime::from(modified);
    let unchanged = match headers.typed_get::<IfMatch>() {
        Some(condition) => condition.precondition_passes(etag),
        None => headers
            .typed_get::<IfUnmodifiedSince>()
            .is_none_or(|condition| condition.precondition_passes(modified_at)),
    };
    if !unchanged {
        return Err(Error::PreconditionFailed);
    }
    let wanted = match headers.typed_get::<IfNoneMatch>() {
        Some(condition) => condition.precondition_passes(etag),
        None => headers
            .typed_get::<IfModifiedSince>()
            .is_none_or(|condition| condition.is_modified(modified_at)),
    };
    if !wanted {
        return Ok(Send::NotModified);
    }
    let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    // A range is defined for GET alone (RFC 9110 §14.2).
    let range = range.filter(|_| method == Method::GET && is_same_file(headers, etag, modified));
    match range.map(|range| parse_range(range, size_bytes)) {
        None => Ok(Send::Parts(RangeAnswer::Whole)),
        Some(RangeAnswer::Unsatisfiable) => Err(Error::RangeNotSatisfiable { size_bytes }),
        Some(parts) => Ok(Send::Parts(parts)),
    }
}

/// Whether `If-Range`, if there is one, names exactly this tag or date: a weak tag, a later date
/// and what cannot be read do not (RFC 9110 §13.1.5).
fn is_same_file(headers: &HeaderMap, etag: &ETag, modified: LastModified) -> bool {
    let Some(validator) = headers.get(header::IF_RANGE) else { return true };
    let mut own = HeaderMap::new();
    own.typed_insert(etag.clone());
    own.typed_insert(modified);
    own.values().any(|value| value == validator)
}
