//! The form of a backup: a folder, or the same as one tar file. `backup.json` says what it is,
//! `SHA256SUMS` lists every file (in the form of `sha256sum -c`), and the files follow in the
//! order of their names: `blobs/…`, the rows, the secrets. Nothing else may be in it: no other name,
//! no link (S6).

mod read;
mod write;

pub use read::{Outcome, read};
pub use write::{Partial, Writer};

use serde::{Deserialize, Serialize};

use crate::blobs::BlobKey;
use crate::data_folder::{DATABASE, SECRETS};

/// Says what the backup is.
pub const ABOUT: &str = "backup.json";
/// Lists every file but itself and [`ABOUT`].
pub const SUMS: &str = "SHA256SUMS";
/// The form that this release writes and reads.
pub const FORMAT: u32 = 1;

/// What is in `backup.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct About {
    /// The form of the backup.
    pub format: u32,
    /// The release that made it.
    pub version: String,
    /// The moment that it shows, as RFC 3339.
    pub created_at: String,
    /// Attachments in it.
    pub attachments: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// SHA-256 of `SHA256SUMS`, as hexadecimal digits.
    pub sums_sha256: String,
}

/// A file of a backup. Sorted as in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// An original.
    Blob(BlobKey),
    /// The rows.
    Database,
    /// A secret of the data folder, by its place in [`SECRETS`].
    Secret(usize),
}

impl Name {
    /// Its path in the backup.
    pub fn path(self) -> String {
        match self {
            Self::Blob(key) => key.path(),
            Self::Database => DATABASE.to_owned(),
            Self::Secret(place) => SECRETS[place].to_owned(),
        }
    }

    /// Reads a path, which must be exactly what [`Name::path`] makes.
    pub fn parse(path: &str) -> Option<Self> {
        let secret = SECRETS.iter().position(|secret| *secret == path).map(Self::Secret);
        let database = (path == DATABASE).then_some(Self::Database);
        secret.or(database).or_else(|| BlobKey::parse_path(path).map(Self::Blob))
    }
}

/// A SHA-256 as hexadecimal digits.
pub fn hex(sha256: &[u8; 32]) -> String {
    sha256.iter().fold(String::with_capacity(64), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_sorted_as_their_paths() {
        let key = |byte| {
            let id = uuid::Uuid::from_bytes([byte; 16]);
            BlobKey { site: crate::domain::ids::SiteId(id), blob: crate::domain::ids::BlobId(id) }
        };
        let mut names = vec![Name::Blob(key(1)), Name::Blob(key(0xfe)), Name::Database];
        names.extend((0..SECRETS.len()).map(Name::Secret));
        let paths: Vec<String> = names.iter().map(|name| name.path()).collect();
        assert!(names.is_sorted() && paths.is_sorted(), "{paths:?}");
        for (name, path) in names.iter().zip(&paths) {
            assert_eq!(Name::parse(path), Some(*name));
        }
    }

    proptest! {
        #[test]
        fn a_path_is_a_name_only_in_its_one_spelling(path in "(blobs/)?[0-9a-f/.]{0,90}|.{0,40}") {
            if let Some(name) = Name::parse(&path) {
                prop_assert_eq!(name.path(), path);
            }
        }
    }
}
