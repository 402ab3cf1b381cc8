//! Parses requests as contract §3 requires: ids from path, query and body, which must agree (S17);
//! paging; JSON bodies, with all violations reported at once.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::domain::ids::parse_guid;
use crate::domain::paging::{self, Paging, PagingProblem};
use crate::error::{Error, Result, Rule, Violation};

/// Largest JSON body.
const MAX_JSON_BYTES: usize = 64 * 1024;

pub(super) const CONTACT_ID: &str = "contactId";
pub(super) const ATTACHMENT_ID: &str = "attachmentId";
const LIMIT: &str = "paging.limit";
const OFFSET: &str = "paging.offset";

/// The decoded parameters of a query. It keeps repeated ones, so that none can hide behind another;
/// the size of a request's head bounds their number.
pub(super) struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    pub(super) fn parse(query: Option<&'a str>) -> Self {
        let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        Self(pairs.collect())
    }

    pub(super) fn all<'q>(&'q self, name: &'q str) -> impl Iterator<Item = &'q str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_ref())
    }

    /// The value of a parameter that may be given once.
    ///
    /// # Errors
    ///
    /// A violation when it is given more than once.
    pub(super) fn one<'q>(
        &'q self,
        name: &'static str,
    ) -> std::result::Result<Option<&'q str>, Violation> {
        let mut values = self.all(name);
        let first = values.next();
        if values.next().is_some() {
            let rule = Rule::Other("DUPLICATE_PARAMETER", json!({}));
            return Err(Violation::new(name, rule, "must not be given more than once"));
        }
        Ok(first)
    }
}

/// Collects violations, so that all are reported at once.
#[derive(Default)]
pub(super) struct Violations(Vec<Violation>);

impl Violations {
    pub(super) fn push(&mut self, violation: Violation) {
        self.0.push(violation);
    }

    /// Returns the value, or records the violation.
    pub(super) fn collect<T>(&mut self, outcome: std::result::Result<T, Violation>) -> Option<T> {
        outcome.map_err(|violation| self.push(violation)).ok()
    }

    /// # Errors
    ///
    /// When any violation was recorded.
    pub(super) fn check(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Invalid(self.0)) }
    }
}

/// An id that may be given in several places: all must equal the first.
///
/// # Errors
///
/// A violation when it is missing, not a GUID, or inconsistent.
pub(super) fn same_guid<'a>(
    field: &'static str,
    copies: impl IntoIterator<Item = &'a str>,
) -> std::result::Result<Uuid, Violation> {
    let mut copies = copies.into_iter();
    let first = copies.next().ok_or_else(|| Violation::required(field))?;
    let first = parse_guid(first).ok_or_else(|| Violation::not_a_guid(field))?;
    for copy in copies {
        if parse_guid(copy) != Some(first) {
            let rule = Rule::Other("ID_MISMATCH", json!({}));
            return Err(Violation::new(field, rule, "must be the same wherever it is repeated"));
        }
    }
    Ok(first)
}

/// Paging from the query, or else the body's `paging` object.
pub(super) fn paging(
    query: &Query<'_>,
    body: Option<&Map<String, Value>>,
    violations: &mut Violations,
) -> Paging {
    let from_body = match body.and_then(|body| body.get("paging")) {
        None | Some(Value::Null) => None,
        Some(Value::Object(paging)) => Some(paging),
        Some(_) => {
            violations.push(not_an_object("paging"));
            None
        }
    };
    let mut part = |field: &'static str, name: &str, read: fn(Option<&str>) -> Parsed| {
        let text = violations.collect(query.one(field))?;
        let number = match text {
            Some(text) => read(Some(text)),
            None => match from_body.and_then(|paging| paging.get(name)) {
                None | Some(Value::Null) => read(None),
                Some(Value::Number(number)) => read(Some(&number.to_string())),
                Some(_) => Err(PagingProblem::NotAnInteger),
            },
        };
        violations.collect(number.map_err(|problem| paging_violation(field, problem)))
    };
    let limit = part(LIMIT, "limit", paging::parse_limit);
    let offset = part(OFFSET, "offset", paging::parse_offset);
    Paging { limit: limit.unwrap_or(0), offset: offset.unwrap_or(0) }
}

type Parsed = std::result::Result<u32, PagingProblem>;

fn paging_violation(field: &'static str, problem: PagingProblem) -> Violation {
    match problem {
        PagingProblem::NotAnInteger => {
            Violation::new(field, Rule::Format("INT32"), "is not an integer")
        }
        PagingProblem::BelowMin => Violation::new(field, Rule::Min(0), "must be at least 0"),
        PagingProblem::AboveMax => {
            let most = u64::from(paging::MAX_LIMIT);
            Violation::new(field, Rule::Max(most), format!("must be at most {most}"))
        }
    }
}

fn not_an_object(field: &'static str) -> Violation {
    Violation::new(field, Rule::Format("OBJECT"), "is not an object")
}

/// A string field of a JSON body; absent and null are the same (contract §3).
///
/// # Errors
///
/// A violation when it is not a string or contains NUL, which PostgreSQL cannot store.
pub(super) fn text_field<'b>(
    body: &'b Map<String, Value>,
    field: &'static str,
) -> std::result::Result<Option<&'b str>, Violation> {
    match body.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => without_nul(field, text).map(Some),
        Some(_) => Err(Violation::new(field, Rule::Format("STRING"), "is not a string")),
    }
}

/// An array field of a JSON object; absent and null are the same.
///
/// # Errors
///
/// A violation when it is not an array.
pub(super) fn array_field<'b>(
    body: &'b Map<String, Value>,
    field: &'static str,
) -> std::result::Result<Option<&'b [Value]>, Violation> {
    match body.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items)),
        Some(_) => Err(Violation::new(field, Rule::Format("ARRAY"), "is not an array")),
    }
}

/// Checks the length of a text in characters.
///
/// # Errors
///
/// A violation when it has more than `most`.
pub(super) fn at_most_chars<'t>(
    field: &'static str,
    text: &'t str,
    most: usize,
) -> std::result::Result<&'t str, Violation> {
    if text.chars().count() <= most {
        return Ok(text);
    }
    let description = format!("must have at most {most} characters");
    Err(Violation::new(field, Rule::MaxLength(most as u64), description))
}

/// Checks that a text contains no NUL.
///
/// # Errors
///
/// A violation when it does.
pub(super) fn without_nul<'t>(
    field: &'static str,
    text: &'t str,
) -> std::result::Result<&'t str, Violation> {
    if text.contains('\0') {
        let rule = Rule::Other("NUL_CHARACTER", json!({}));
        return Err(Violation::new(field, rule, "must not contain the character U+0000"));
    }
    Ok(text)
}

/// Reads a JSON object, bounded in size and time. An empty body is an empty object.
///
/// # Errors
///
/// `INVALID_ARGUMENT` with line and column, 413, or 408.
pub(super) async fn json_object(body: Body, idle: Duration) -> Result<Map<String, Value>> {
    let bytes = small_body(body, idle).await?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(malformed("Expected an object".to_owned(), json!({}))),
        Err(error) => {
            let (line, column) = (error.line(), error.column());
            Err(malformed(
                format!("the body is not JSON: see line {line}, column {column}"),
                json!({ "line": line, "column": column }),
            ))
        }
    }
}

/// Reads a small body to its end. `time` is the deadline for the whole of it, not an idle timeout.
///
/// # Errors
///
/// 413, or 408.
pub(super) async fn small_body(body: Body, time: Duration) -> Result<Bytes> {
    let whole = tokio::time::timeout(time, async {
        let (mut stream, mut bytes) = (body.into_data_stream(), Vec::new());
        while let Some(chunk) = stream.next().await {
            let Ok(chunk) = chunk else {
                return Err(Error::Interrupted {
                    problem: "the connection closed before the body was complete",
                });
            };
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_JSON_BYTES {
                let limit_bytes = MAX_JSON_BYTES as u64;
                return Err(Error::TooLarge { code: "REQUEST_TOO_LARGE", limit_bytes });
            }
        }
        Ok(bytes.into())
    });
    whole.await.unwrap_or(Err(Error::Interrupted { problem: "the body stopped arriving" }))
}

pub(super) fn malformed(problem: String, data: Value) -> Error {
    Error::Malformed { problem, data }
}
