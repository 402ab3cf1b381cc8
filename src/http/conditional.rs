//! Evaluates the preconditions and range of a media request, in the order of RFC 9110 §13.2.2.

use axum::http::{HeaderMap, Method, header};
use headers::{
    ETag, HeaderMapExt as _, IfMatch, IfModifiedSince, IfNoneMatch, IfUnmodifiedSince, LastModified,
};

use crate::domain::byte_range::{RangeSelection, parse_range};
use crate::error::{Error, Result};

/// What to send in response.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Evaluated {
    /// 304: the client's copy is current.
    NotModified,
    /// The file, or parts of it.
    Parts(RangeSelection),
}

/// Decides what to send.
///
/// # Errors
///
/// 412 when a precondition fails, 416 when the range is outside the file.
pub(super) fn decide(
    headers: &HeaderMap,
    method: &Method,
    (etag, modified): (&ETag, LastModified),
    size_bytes: u64,
) -> Result<Evaluated> {
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
    let modified_since = match headers.typed_get::<IfNoneMatch>() {
        Some(condition) => condition.precondition_passes(etag),
        None => headers
            .typed_get::<IfModifiedSince>()
            .is_none_or(|condition| condition.is_modified(modified_at)),
    };
    if !modified_since {
        return Ok(Evaluated::NotModified);
    }
    let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    // Range is defined for GET only (RFC 9110 §14.2).
    let range =
        range.filter(|_| method == Method::GET && if_range_matches(headers, etag, modified));
    match range.map(|range| parse_range(range, size_bytes)) {
        None => Ok(Evaluated::Parts(RangeSelection::Whole)),
        Some(RangeSelection::Unsatisfiable) => Err(Error::RangeNotSatisfiable { size_bytes }),
        Some(parts) => Ok(Evaluated::Parts(parts)),
    }
}

/// Whether `If-Range` is absent or equals this tag or date exactly. A weak tag, a later date and an
/// invalid value do not match (RFC 9110 §13.1.5).
fn if_range_matches(headers: &HeaderMap, etag: &ETag, modified: LastModified) -> bool {
    let Some(validator) = headers.get(header::IF_RANGE) else { return true };
    let mut own = HeaderMap::new();
    own.typed_insert(etag.clone());
    own.typed_insert(modified);
    own.values().any(|value| value == validator)
}
