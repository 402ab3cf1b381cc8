//! Parses the query parameters that our own lists share: search, sort, limit and cursor.

use serde_json::json;

use super::request::{Query, at_most_chars, without_nul};
use super::upload_urls::Field;
use crate::domain::cursor::{Cursor, SortKey};
use crate::domain::file_name::MAX_FILE_NAME_CHARS;
use crate::error::{Rule, Violation};

/// Longest search text in characters: that of the longest name.
pub(super) const MAX_SEARCH_CHARS: usize = MAX_FILE_NAME_CHARS;

/// Parses `search`; empty by default.
pub(super) fn search(query: &Query<'_>) -> Field<String> {
    let field = "search";
    let Some(text) = query.one(field)? else { return Ok(String::new()) };
    let text = without_nul(field, text)?.trim();
    at_most_chars(field, text, MAX_SEARCH_CHARS).map(ToOwned::to_owned)
}

/// Parses `limit`, a number from 1 to `most`.
pub(super) fn limit(query: &Query<'_>, most: u32, default: u32) -> Field<u32> {
    let Some(text) = query.one("limit")? else { return Ok(default) };
    let number = text.parse().ok().filter(|limit| (1..=most).contains(limit));
    let description = format!("must be a number from 1 to {most}");
    number.ok_or_else(|| Violation::new("limit", Rule::Max(most.into()), description))
}

/// Parses one of several named values; the first by default.
pub(super) fn choice<T: Copy>(
    query: &Query<'_>,
    field: &'static str,
    choices: &[(&'static str, T)],
) -> Field<T> {
    let text = query.one(field)?.unwrap_or(choices[0].0);
    let chosen = choices.iter().find(|(name, _)| *name == text).map(|(_, chosen)| *chosen);
    chosen.ok_or_else(|| not_one_of(field, &choices.iter().map(|one| one.0).collect::<Vec<_>>()))
}

/// The violation for a value that is not one of `names`.
pub(super) fn not_one_of(field: &'static str, names: &[&str]) -> Violation {
    let rule = Rule::Other("INVALID_ENUM_VALUE", json!({ "values": names }));
    Violation::new(field, rule, format!("must be one of: {}", names.join(", ")))
}

/// Parses a cursor: the `next` of a response to the same query, whose order is by text or by
/// number.
pub(super) fn cursor(
    field: &'static str,
    text: &str,
    list_key: &str,
    by_text: bool,
) -> Field<Cursor> {
    let cursor = Cursor::decode(text, list_key);
    let fits = |cursor: &Cursor| matches!(cursor.key, SortKey::Text(_)) == by_text;
    cursor.filter(fits).ok_or_else(|| {
        let rule = Rule::Other("INVALID_CURSOR", json!({}));
        let description = "must be the `next` of a response to the same search, filter and sort";
        Violation::new(field, rule, description)
    })
}
