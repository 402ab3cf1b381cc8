//! Where a page of a sorted list ended, as a text that clients hand back without looking inside.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// The first byte of every cursor: another form gets another number.
const FORM: u8 = 1;
/// Bytes of the hash of what a cursor belongs to. It keeps mistakes out, not forgers: whoever makes a
/// cursor up only asks for another part of what they may see.
const BOUND_BYTES: usize = 8;
/// Longest cursor: that of the longest name by which a list is sorted.
pub const MAX_CURSOR_CHARS: usize = 8_192;

/// What a list is sorted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SortKey {
    /// A time, a size or a count.
    Number(i64),
    /// A folded name or label.
    Text(String),
}

/// The last item of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// What it is sorted by.
    pub key: SortKey,
    /// Its id, for those that are equal otherwise.
    pub id: Uuid,
}

impl Cursor {
    /// As text, for the list that `belongs_to` says: its contact, sort and filter.
    pub fn encode(&self, belongs_to: &str) -> String {
        let mut bytes = vec![FORM];
        bytes.extend_from_slice(&bound(belongs_to));
        bytes.extend_from_slice(self.id.as_bytes());
        match &self.key {
            SortKey::Number(number) => {
                bytes.push(b'n');
                bytes.extend_from_slice(&number.to_be_bytes());
            }
            SortKey::Text(text) => {
                bytes.push(b't');
                bytes.extend_from_slice(text.as_bytes());
            }
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads one; `None` for a text that is none, or one of another list.
    pub fn decode(text: &str, belongs_to: &str) -> Option<Self> {
        if text.len() > MAX_CURSOR_CHARS {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let rest = bytes.strip_prefix(&[FORM])?.strip_prefix(&bound(belongs_to))?;
        let (id, key) = rest.split_first_chunk::<16>()?;
        let (kind, key) = key.split_first()?;
        let key = match kind {
            b'n' => SortKey::Number(i64::from_be_bytes(key.try_into().ok()?)),
            b't' => SortKey::Text(String::from_utf8(key.to_vec()).ok()?),
            _ => return None,
        };
        Some(Self { key, id: Uuid::from_bytes(*id) })
    }
}

fn bound(belongs_to: &str) -> [u8; BOUND_BYTES] {
    let hash: [u8; 32] = Sha256::digest(belongs_to.as_bytes()).into();
    std::array::from_fn(|at| hash[at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_cursor_of_another_list_is_none() {
        let cursor = Cursor { key: SortKey::Number(7), id: Uuid::nil() };
        let text = cursor.encode("files by name");
        assert_eq!(Cursor::decode(&text, "files by name"), Some(cursor));
        assert_eq!(Cursor::decode(&text, "files by size"), None);
        let longest = Cursor { key: SortKey::Text("😀".repeat(780)), id: Uuid::max() };
        assert!(Cursor::decode(&longest.encode("x"), "x").is_some());
    }

    proptest! {
        #[test]
        fn cursors_read_back(id in any::<[u8; 16]>(), number: i64, text in ".{0,40}", list in ".{0,20}") {
            for key in [SortKey::Number(number), SortKey::Text(text)] {
                let cursor = Cursor { key, id: Uuid::from_bytes(id) };
                prop_assert_eq!(Cursor::decode(&cursor.encode(&list), &list), Some(cursor));
            }
        }

        #[test]
        fn other_texts_are_none(text in ".{0,80}|[A-Za-z0-9_-]{0,80}") {
            prop_assert_eq!(Cursor::decode(&text, "list"), None);
        }
    }
}
