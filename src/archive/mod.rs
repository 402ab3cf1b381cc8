//! The format of a backup: a folder, or the same content as one tar file. `backup.json` is its
//! manifest. `SHA256SUMS` lists every file (in the format of `sha256sum -c`). The files follow in
//! the order of their names: `blobs/…`, the rows, the secrets. A backup contains nothing else: no
//! other name, no link (S6).

mod read;
mod write;

pub use read::{Outcome, read};
pub use write::{Partial, Writer};

use serde::{Deserialize, Serialize};

use crate::blobs::BlobKey;
use crate::data_folder::{DATABASE, SECRETS};

/// The file with the [`Manifest`].
pub const MANIFEST: &str = "backup.json";
/// The list of every file except itself and [`MANIFEST`].
pub const CHECKSUMS: &str = "SHA256SUMS";
/// The format that this release writes and reads.
pub const FORMAT: u32 = 1;

/// The content of `backup.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// The format of the backup.
    pub format: u32,
    /// The release that created it.
    pub version: String,
    /// The time of its snapshot, as RFC 3339.
    pub created_at: String,
    /// The number of attachments.
    pub attachments: u64,
    /// Their total size.
    pub bytes: u64,
    /// SHA-256 of `SHA256SUMS`, as hexadecimal digits.
    pub sums_sha256: String,
}

/// A file in a backup. Sorts in the order of the backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryName {
    /// An original.
    Blob(BlobKey),
    /// The rows.
    Database,
    /// A secret of the data folder, by its index in [`SECRETS`].
    Secret(usize),
}

impl EntryName {
    /// Its path in the backup.
    pub fn path(self) -> String {
        match self {
            Self::Blob(key) => key.path(),
            Self::Database => DATABASE.to_owned(),
            Self::Secret(index) => SECRETS[index].to_owned(),
        }
    }

    /// Parses exactly what [`EntryName::path`] returns, and nothing else.
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
    fn names_sort_like_their_paths() {
        let key = |byte| {
            let id = uuid::Uuid::from_bytes([byte; 16]);
            BlobKey { site: crate::domain::ids::SiteId(id), blob: crate::domain::ids::BlobId(id) }
        };
        let mut names =
            vec![EntryName::Blob(key(1)), EntryName::Blob(key(0xfe)), EntryName::Database];
        names.extend((0..SECRETS.len()).map(EntryName::Secret));
        let paths: Vec<String> = names.iter().map(|name| name.path()).collect();
        assert!(names.is_sorted() && paths.is_sorted(), "{paths:?}");
        for (name, path) in names.iter().zip(&paths) {
            assert_eq!(EntryName::parse(path), Some(*name));
        }
    }

    proptest! {
        #[test]
        fn only_the_canonical_path_parses(path in "(blobs/)?[0-9a-f/.]{0,90}|.{0,40}") {
            if let Some(name) = EntryName::parse(&path) {
                prop_assert_eq!(name.path(), path);
            }
        }
    }
}
