//! Pages of a site's contacts: searched, sorted, each after the last item of the previous page.

use crate::db::sql::{self, params};

use super::{Contact, contact, contact_columns};
use crate::db::Db;
use crate::domain::cursor::{Cursor, SortKey};
use crate::domain::folding::{fold, like_pattern};
use crate::domain::ids::{ContactId, SiteId};
use crate::error::Result;

/// Sorts after every label, so that contacts without one come last.
macro_rules! last_label {
    () => {
        '\u{10FFFF}'
    };
}

/// The sort order of contacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ContactOrder {
    /// By id.
    #[default]
    Id,
    /// By label, ignoring case; those without one last.
    Label,
    /// Most recently active first.
    LastActivity,
    /// Most files first.
    Count,
    /// Most bytes first.
    Size,
}

/// Which contacts to return.
#[derive(Debug, Clone, Default)]
pub struct ContactSearch {
    /// Text that ids must begin with or labels must contain; empty for all contacts.
    pub text: String,
    /// The sort order.
    pub order: ContactOrder,
}

impl ContactOrder {
    /// The cursor of a page that begins after this contact.
    pub fn cursor(self, contact: &Contact) -> Cursor {
        let key = match self {
            Self::Id => SortKey::Number(0),
            Self::Label => {
                let label = contact.label.as_deref().map(fold);
                SortKey::Text(label.unwrap_or_else(|| last_label!().to_string()))
            }
            Self::LastActivity => SortKey::Number(contact.last_activity_at_ms),
            Self::Count => SortKey::Number(contact.attachment_count as i64),
            Self::Size => SortKey::Number(contact.total_bytes as i64),
        };
        Cursor { key, id: contact.id.0 }
    }

    /// The key before every row in this order.
    fn lower_bound(self) -> (SortKey, ContactId) {
        match self {
            Self::Id => (SortKey::Number(0), ContactId::from_bytes([0; 16])),
            Self::Label => (SortKey::Text(String::new()), ContactId::from_bytes([0; 16])),
            Self::LastActivity | Self::Count | Self::Size => {
                (SortKey::Number(i64::MAX), ContactId::from_bytes([0xff; 16]))
            }
        }
    }

    fn statement(self) -> &'static str {
        macro_rules! page {
            ($key:expr, $comparison:literal, $direction:literal) => {
                concat!(
                    "SELECT ",
                    contact_columns!(),
                    " FROM contacts WHERE site_id = $1 AND state IN ('active', 'trashed') \
                     AND (contact_id BETWEEN $2 AND $3 \
                     OR COALESCE(label_folded, lower(label)) LIKE $4 ESCAPE '\\') AND (",
                    $key,
                    ", contact_id) ",
                    $comparison,
                    " ($5, $6) AND contact_id IS DISTINCT FROM $7 ORDER BY ",
                    $key,
                    $direction,
                    ", contact_id",
                    $direction,
                    " LIMIT $8"
                )
            };
        }
        match self {
            // The key is the same in all rows, so that this is a scan of the primary key.
            Self::Id => concat!(
                "SELECT ",
                contact_columns!(),
                " FROM contacts WHERE site_id = $1 AND state IN ('active', 'trashed') \
                 AND (contact_id BETWEEN $2 AND $3 \
                 OR COALESCE(label_folded, lower(label)) LIKE $4 ESCAPE '\\') \
                 AND CAST($5 AS BIGINT) = 0 AND contact_id >= $6 \
                 AND contact_id IS DISTINCT FROM $7 ORDER BY contact_id LIMIT $8"
            ),
            Self::Label => page!(
                concat!("COALESCE(label_folded, lower(label), '", last_label!(), "')"),
                ">=",
                ""
            ),
            Self::LastActivity => page!(
                "CASE WHEN last_created_at_ms > state_at_ms THEN last_created_at_ms \
                 ELSE state_at_ms END",
                "<=",
                " DESC"
            ),
            Self::Count => page!("attachment_count", "<=", " DESC"),
            Self::Size => page!("total_bytes", "<=", " DESC"),
        }
    }
}

impl Db {
    /// Active and trashed contacts after a cursor of the same order, at most `limit`. Except in the
    /// order of ids, and where a search finds few, it reads every contact of the site.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn contacts(
        &self,
        site: SiteId,
        search: ContactSearch,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Vec<Contact>> {
        self.engine
            .read(move |connection| {
                let order = search.order;
                let (from, to) = ids(&search.text);
                let last = after.as_ref().map(|after| ContactId(after.id));
                let (key, id) = match &after {
                    Some(after) => (after.key.clone(), ContactId(after.id)),
                    None => order.lower_bound(),
                };
                let key: &dyn sql::ToCell = match &key {
                    SortKey::Number(number) => number,
                    SortKey::Text(text) => text,
                };
                let like = like_pattern(&search.text);
                connection
                    .prepare_cached(order.statement())?
                    .query_map(params![site, from, to, like, key, id, last, limit], contact)
            })
            .await
    }
}

/// The range of ids that begin with a text; empty when no id does.
fn ids(text: &str) -> (ContactId, ContactId) {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
    let nibble = |digit: u8| char::from(digit).to_digit(16).map(|nibble| nibble as u8);
    let nibbles: Option<Vec<u8>> = digits.iter().map(|digit| nibble(*digit)).collect();
    let nibbles =
        nibbles.filter(|nibbles| nibbles.len() <= 32 && (text.is_empty() || !nibbles.is_empty()));
    let Some(nibbles) = nibbles else {
        return (ContactId::from_bytes([0xff; 16]), ContactId::from_bytes([0; 16]));
    };
    let filled = |with: u8| {
        let at = |digit: usize| nibbles.get(digit).copied().unwrap_or(with);
        ContactId::from_bytes(std::array::from_fn(|byte| at(2 * byte) << 4 | at(2 * byte + 1)))
    };
    (filled(0), filled(0xf))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_by_prefix() {
        for (text, from, to) in [
            ("", "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
            ("5B0", "5b000000-0000-0000-0000-000000000000", "5b0fffff-ffff-ffff-ffff-ffffffffffff"),
            (
                "5b0c1d2e-00",
                "5b0c1d2e-0000-0000-0000-000000000000",
                "5b0c1d2e-00ff-ffff-ffff-ffffffffffff",
            ),
        ] {
            let (first, last) = ids(text);
            assert_eq!((first.to_string(), last.to_string()), (from.to_owned(), to.to_owned()));
        }
        for text in ["anna", "-", "5b0 ", "é", &"0".repeat(33)] {
            let (first, last) = ids(text);
            assert!(first > last, "{text}");
        }
    }
}
