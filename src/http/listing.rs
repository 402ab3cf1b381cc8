//! Reads what the queries of our own lists share: search, sort, limit, and where the page before ended.

use serde_json::json;

use super::request::{Query, at_most_chars, without_nul};
use super::upload_urls::Field;
use crate::domain::cursor::{Cursor, SortKey};
use crate::domain::file_name::MAX_FILE_NAME_CHARS;
use crate::error::{Rule, Violation};

/// Longest text that is searched for: as long as the longest name.
pub(super) const MAX_SEARCH_CHARS: usize = MAX_FILE_NAME_CHARS;

/// The text of `search`; empty when there is none.
pub(super) fn search(query: &Query<'_>) -> Field<String> {
    let field = "search";
    let Some(text) = query.one(field)? else { return Ok(String::new()) };
    let text = without_nul(field, text)?.trim();
    at_most_chars(field, text, MAX_SEARCH_CHARS).map(ToOwned::to_owned)
}

/// A number from 1 to `most` in `limit`.
pub(super) fn limit(query: &Query<'_>, most: u32, default: u32) -> Field<u32> {
    let Some(text) = query.one("limit")? else { return Ok(default) };
    let number = text.parse().ok().filter(|limit| (1..=most).contains(limit));
    let description = format!("must be a number from 1 to {most}");
    number.ok_or_else(|| Violation::new("limit", Rule::Max(most.into()), description))
}

/// One of some values with names; the first without a wish.
pub(super) fn choice<T: Copy>(
    query: &Query<'_>,
    field: &'static str,
    choices: &[(&'static str, T)],
) -> Field<T> {
    let text = query.one(field)?.unwrap_or(choices[0].0);
    let chosen = choices.iter().find(|(name, _)| *name == text).map(|(_, chosen)| *chosen);
    chosen.ok_or_else(|| not_one_of(field, &choices.iter().map(|one| one.0).collect::<Vec<_>>()))
}

/// A value is not one of those that there are.
pub(super) fn not_one_of(field: &'static str, names: &[&str]) -> Violation {
    let rule = Rule::Other("INVALID_ENUM_VALUE", json!({ "values": names }));
    Violation::new(field, rule, format!("must be one of: {}", names.join(", ")))
}

/// The cursor that an answer of the same list gave as `next`; of one that is sorted by texts or by numbers.
pub(super) fn cursor(
    field: &'static str,
    text: &str,
    belongs_to: &str,
    by_text: bool,
) -> Field<Cursor> {
    let cursor = Cursor::decode(text, belongs_to);
    let fits = |cursor: &Cursor| matches!(cursor.key, SortKey::Text(_)) == by_text;
    cursor.filter(fits).ok_or_else(|| {
        let rule = Rule::Other("INVALID_CURSOR", json!({}));
        let description = "must be the `next` of an answer to the same search, filter and sort";
        Violation::new(field, rule, description)
    })
}
