//! Pages of a site's contacts: searched, sorted, each beginning behind the last item of the one before.

use crate::db::sql::{self, params};

use super::{Contact, contact, contact_columns};
use crate::db::Db;
use crate::domain::cursor::{Cursor, SortKey};
use crate::domain::folding::{folded, pattern};
use crate::domain::ids::{ContactId, SiteId};
use crate::error::Result;

/// Stands behind every label, so that contacts without one come last.
macro_rules! last_label {
    () => {
        '\u{10FFFF}'
    };
}

/// By what contacts are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ContactOrder {
    /// By id.
    #[default]
    Id,
    /// By label, whatever its case; those without one last.
    Label,
    /// The one with the newest activity first.
    LastActivity,
    /// The one with the most files first.
    Count,
    /// The one with the most bytes first.
    Size,
}

/// Which contacts are wanted.
#[derive(Debug, Clone, Default)]
pub struct ContactSearch {
    /// What their ids begin with, or their labels hold; everything when it is empty.
    pub text: String,
    /// In which order.
    pub order: ContactOrder,
}

impl ContactOrder {
    /// Of a contact, for a page that begins behind it.
    pub fn cursor(self, contact: &Contact) -> Cursor {
        let key = match self {
            Self::Id => SortKey::Number(0),
            Self::Label => {
                let label = contact.label.as_deref().map(folded);
                SortKey::Text(label.unwrap_or_else(|| last_label!().to_string()))
            }
            Self::LastActivity => SortKey::Number(contact.last_activity_at_ms),
            Self::Count => SortKey::Number(contact.attachment_count as i64),
            Self::Size => SortKey::Number(contact.total_bytes as i64),
        };
        Cursor { key, id: contact.id.0 }
    }

    /// What stands before everything in this order.
    fn begin(self) -> (SortKey, ContactId) {
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
            ($key:expr, $behind:literal, $direction:literal) => {
                concat!(
                    "SELECT ",
                    contact_columns!(),
                    " FROM contacts WHERE site_id = $1 AND state IN ('active', 'trashed') \
                     AND (contact_id BETWEEN $2 AND $3 \
                     OR COALESCE(label_folded, lower(label)) LIKE $4 ESCAPE '\\') AND (",
                    $key,
                    ", contact_id) ",
                    $behind,
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
            // The column is of the key and the same in all rows, so that this is a walk along it.
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
    /// Contacts that are there or can be restored, behind a cursor of the same order, at most `limit`.
    /// Except by id, and where a search finds few, it looks at every contact of the site.
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
                let (key, id) = match after {
                    Some(after) => (after.key, ContactId(after.id)),
                    None => order.begin(),
                };
                let key: &dyn sql::ToCell = match &key {
                    SortKey::Number(number) => number,
                    SortKey::Text(text) => text,
                };
                let like = pattern(&search.text);
                connection
                    .prepare_cached(order.statement())?
                    .query_map(params![site, from, to, like, key, id, last, limit], contact)
            })
            .await
    }
}

/// The first and the last id that begin with a text; none when no id does.
fn ids(text: &str) -> (ContactId, ContactId) {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
    let nibble = |digit: u8| char::from(digit).to_digit(16).map(|nibble| nibble as u8);
    let begin: Option<Vec<u8>> = digits.iter().map(|digit| nibble(*digit)).collect();
    let begin = begin.filter(|begin| begin.len() <= 32 && (text.is_empty() || !begin.is_empty()));
    let Some(begin) = begin else {
        return (ContactId::from_bytes([0xff; 16]), ContactId::from_bytes([0; 16]));
    };
    let filled = |with: u8| {
        let at = |place: usize| begin.get(place).copied().unwrap_or(with);
        ContactId::from_bytes(std::array::from_fn(|byte| at(2 * byte) << 4 | at(2 * byte + 1)))
    };
    (filled(0), filled(0xf))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_by_what_they_begin_with() {
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
