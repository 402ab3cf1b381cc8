//! Opaque cursors for paging through sorted lists.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// The first byte of every cursor: the version of its encoding.
const VERSION: u8 = 1;
/// Bytes of the list's hash in a cursor. The hash catches mistakes and is no protection against
/// forgery, which needs none: a forged cursor only selects another part of what the caller may see.
const LIST_HASH_BYTES: usize = 8;
/// Longest cursor, which fits the longest name that a list is sorted by.
pub const MAX_CURSOR_CHARS: usize = 8_192;

/// The value that a list is sorted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SortKey {
    /// A time, a size or a count.
    Number(i64),
    /// A folded name or label.
    Text(String),
}

/// The position of a page's last item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The item's sort key.
    pub key: SortKey,
    /// The item's id, which breaks ties.
    pub id: Uuid,
}

impl Cursor {
    /// Encodes the cursor for the list that `list_key` identifies by contact, sort and filter.
    pub fn encode(&self, list_key: &str) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&list_hash(list_key));
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

    /// Decodes a cursor; `None` if it is malformed or belongs to another list.
    pub fn decode(text: &str, list_key: &str) -> Option<Self> {
        if text.len() > MAX_CURSOR_CHARS {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let rest = bytes.strip_prefix(&[VERSION])?.strip_prefix(&list_hash(list_key))?;
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

fn list_hash(list_key: &str) -> [u8; LIST_HASH_BYTES] {
    let hash: [u8; 32] = Sha256::digest(list_key.as_bytes()).into();
    std::array::from_fn(|at| hash[at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_cursor_of_another_list_is_rejected() {
        let cursor = Cursor { key: SortKey::Number(7), id: Uuid::nil() };
        let text = cursor.encode("files by name");
        assert_eq!(Cursor::decode(&text, "files by name"), Some(cursor));
        assert_eq!(Cursor::decode(&text, "files by size"), None);
        let longest = Cursor { key: SortKey::Text("😀".repeat(780)), id: Uuid::max() };
        assert!(Cursor::decode(&longest.encode("x"), "x").is_some());
    }

    proptest! {
        #[test]
        fn cursors_round_trip(id in any::<[u8; 16]>(), number: i64, text in ".{0,40}", list in ".{0,20}") {
            for key in [SortKey::Number(number), SortKey::Text(text)] {
                let cursor = Cursor { key, id: Uuid::from_bytes(id) };
                prop_assert_eq!(Cursor::decode(&cursor.encode(&list), &list), Some(cursor));
            }
        }

        #[test]
        fn other_texts_are_rejected(text in ".{0,80}|[A-Za-z0-9_-]{0,80}") {
            prop_assert_eq!(Cursor::decode(&text, "list"), None);
        }
    }
}
