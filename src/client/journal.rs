//! What is remembered of a large upload until it is done, so that the same command goes on with it
//! after it was killed: one small file, private, since its address is all the authority there is.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::profiles::{folder, make_private_folder};
use super::{Failure, Result};
use crate::domain::hex;

/// Largest entry that is read: an upload's address has a few hundred bytes.
const MOST_BYTES: u64 = 64 * 1024;
/// What was not gone on with for so long has expired at the server.
const LIFE: Duration = Duration::from_hours(8 * 24);
/// Entries that are looked at for their age with each upload.
const MOST_LOOKED_AT: usize = 1_000;

/// The upload that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begun {
    /// The upload URL's token.
    pub(super) token: String,
    /// The upload's id behind it.
    pub(super) upload: String,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    /// The file as it was: another one begins anew.
    size_bytes: u64,
    modified: (i64, i64),
    inode: u64,
    begun: Begun,
}

/// The entry of one file on its way to one contact. Nobody else works on it meanwhile.
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    of: std::fs::Metadata,
}

impl Journal {
    /// Takes the entry of a file; `identity` says where it goes to and as what.
    ///
    /// # Errors
    ///
    /// When another command is sending the same file, or nothing can be written there.
    pub(super) fn take(identity: &[&str], path: &Path, of: std::fs::Metadata) -> Result<Self> {
        let folder = folder("XDG_STATE_HOME", ".local/state")?.join("uploads");
        make_private_folder(&folder)?;
        forget_old(&folder);
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
                .next("wait for it; it goes on by itself after a cut")
        })?;
        Ok(Self { path: entry, file, of })
    }

    /// The upload that was begun for the file as it is now.
    pub(super) fn begun(&mut self) -> Option<Begun> {
        let mut text = String::new();
        self.file.rewind().ok()?;
        (&self.file).take(MOST_BYTES).read_to_string(&mut text).ok()?;
        let entry: Entry = serde_json::from_str(&text).ok()?;
        let is_same = entry.size_bytes == self.of.len()
            && entry.modified == self.modified()
            && entry.inode == self.of.ino();
        is_same.then_some(entry.begun)
    }

    /// Remembers an upload, before its first byte is sent.
    pub(super) fn remember(&mut self, begun: &Begun) -> Result<()> {
        let entry = Entry {
            size_bytes: self.of.len(),
            modified: self.modified(),
            inode: self.of.ino(),
            begun: begun.clone(),
        };
        let text = serde_json::to_vec(&entry).unwrap_or_default();
        // Half an entry cannot be read, and counts as none.
        let written = self
            .file
            .rewind()
            .and_then(|()| self.file.set_len(0))
            .and_then(|()| self.file.write_all(&text));
        written.map_err(|error| Failure::file(&self.path, &error))
    }

    /// There is nothing to go on with any more.
    pub(super) fn forget(&self) {
        // One that stays names an upload that is over, which the server says.
        let _ = std::fs::remove_file(&self.path);
    }

    fn modified(&self) -> (i64, i64) {
        (self.of.mtime(), self.of.mtime_nsec())
    }
}

/// Removes entries that nobody came back to.
fn forget_old(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.take(MOST_LOOKED_AT).filter_map(std::result::Result::ok) {
        let modified = entry.metadata().and_then(|found| found.modified());
        let age = modified.ok().and_then(|time| time.elapsed().ok());
        if age.is_some_and(|age| age > LIFE) {
            // It is old tomorrow as well.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
