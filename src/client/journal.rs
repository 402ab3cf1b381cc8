//! The journal of a large upload: one small file, so that the same command can resume after a kill.
//! The file is private, because the upload's URL alone gives access to the upload.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::profiles::{create_private_folder, folder};
use super::{Failure, Result};
use crate::domain::hex;

/// Largest entry that is read; an upload URL has a few hundred bytes.
const MAX_ENTRY_BYTES: u64 = 64 * 1024;
/// An entry this old is removed: its upload has expired on the server.
const MAX_AGE: Duration = Duration::from_hours(8 * 24);
/// Most entries that are checked for their age by each upload.
const MAX_AGE_CHECKS: usize = 1_000;

/// Identifies an upload that the server has created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct UploadRef {
    /// The upload URL's token.
    pub(super) token: String,
    /// The upload's id.
    #[serde(rename = "upload")]
    pub(super) id: String,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    /// Size, modification time and inode identify the file; if any differs, the upload starts over.
    size_bytes: u64,
    modified: (i64, i64),
    inode: u64,
    #[serde(rename = "begun")]
    upload: UploadRef,
}

/// The locked entry of one file for one contact.
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    metadata: std::fs::Metadata,
}

impl Journal {
    /// Opens and locks the entry of a file; `identity` names the server, key, contact, name and
    /// type.
    ///
    /// # Errors
    ///
    /// If another command is sending the same file, or the entry cannot be written.
    pub(super) fn open(
        identity: &[&str],
        path: &Path,
        metadata: std::fs::Metadata,
    ) -> Result<Self> {
        let folder = folder("XDG_STATE_HOME", ".local/state")?.join("uploads");
        create_private_folder(&folder)?;
        remove_expired(&folder);
        let mut hash = Sha256::new();
        let whole = std::fs::canonicalize(path).map_err(|error| Failure::file(path, &error))?;
        let path_bytes = whole.as_os_str().as_encoded_bytes();
        for part in identity.iter().map(|part| part.as_bytes()).chain([path_bytes]) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let entry = folder.join(format!("{}.json", &hex::encode(&hash.finalize())[..32]));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&entry)
            .map_err(|error| Failure::file(&entry, &error))?;
        file.try_lock().map_err(|_| {
            Failure::failed("another dossier put is sending this file to the same contact")
                .next("wait until it ends; it retries by itself if the connection breaks")
        })?;
        Ok(Self { path: entry, file, metadata })
    }

    /// The upload that an earlier command started for this file, if the file is unchanged.
    pub(super) fn load(&mut self) -> Option<UploadRef> {
        let mut text = String::new();
        self.file.rewind().ok()?;
        (&self.file).take(MAX_ENTRY_BYTES).read_to_string(&mut text).ok()?;
        let entry: Entry = serde_json::from_str(&text).ok()?;
        let is_same = entry.size_bytes == self.metadata.len()
            && entry.modified == self.modified()
            && entry.inode == self.metadata.ino();
        is_same.then_some(entry.upload)
    }

    /// Saves an upload, before its first byte is sent.
    pub(super) fn save(&mut self, upload: &UploadRef) -> Result<()> {
        let entry = Entry {
            size_bytes: self.metadata.len(),
            modified: self.modified(),
            inode: self.metadata.ino(),
            upload: upload.clone(),
        };
        let text = serde_json::to_vec(&entry).unwrap_or_default();
        // A partial entry does not parse and counts as none.
        let written = self
            .file
            .rewind()
            .and_then(|()| self.file.set_len(0))
            .and_then(|()| self.file.write_all(&text));
        written.map_err(|error| Failure::file(&self.path, &error))
    }

    /// Removes the entry; there is nothing left to resume.
    pub(super) fn remove(&self) {
        // Harmless if it stays: the server reports that the upload has ended.
        let _ = std::fs::remove_file(&self.path);
    }

    fn modified(&self) -> (i64, i64) {
        (self.metadata.mtime(), self.metadata.mtime_nsec())
    }
}

/// Removes entries of uploads that have expired.
fn remove_expired(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.take(MAX_AGE_CHECKS).filter_map(std::result::Result::ok) {
        let modified = entry.metadata().and_then(|found| found.modified());
        let age = modified.ok().and_then(|time| time.elapsed().ok());
        if age.is_some_and(|age| age > MAX_AGE) {
            // If this fails, the next upload tries again.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
