//! The bytes, on local disk or in a bucket of an S3-compatible store. [`BlobKey`] is the only maker
//! of their names, and no name ever holds user text (S9). All functions block; callers run them off
//! the async threads.
//!
//! Whichever store it is, an upload leaves a name in `staging/` before its first byte, and that name
//! stays until the row is committed: so after a crash the few names left there say exactly which blobs
//! may lack a row, and no scan is needed.

mod disk;
mod files;
mod key;
mod results;
mod s3;
mod staged;
mod walk;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Seek as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::config::Config;
use crate::domain::ids::BlobId;
use crate::domain::store_place::StorePlace;
pub use key::{BlobKey, Part, StagedKey};
pub use results::CachedResult;
pub use s3::{Probe, Reading, Remote};
pub use staged::Staged;
pub use walk::{AllStaged, Stored};

use disk::{Disk, OnDisk};
use files::{open_below, open_root};
use s3::{S3, Sending};
use staged::{Left, Way};

/// The store of bytes.
pub struct Blobs {
    store: Store,
    /// What can be made again, always on this machine.
    cache: OwnedFd,
    /// Uploads of this process that are under way; what else lies in staging was left behind.
    active: Mutex<HashMap<BlobId, Kind>>,
}

enum Store {
    Disk(Disk),
    S3(Box<S3>),
}

/// How an upload arrives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// In one request.
    Plain,
    /// In pieces, so that there is more than its staging name to be taken away.
    Resumable,
}

/// Where an original is.
pub enum Original {
    /// On this machine.
    File(File),
    /// In a bucket; not asked for yet.
    Remote(Remote),
}

impl Blobs {
    /// Opens the store that the settings name; `root` is the data folder. A bucket is asked whether
    /// it can be used.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read or written, or the bucket cannot be used: in plain words.
    pub fn open(root: &Path, config: &Config) -> anyhow::Result<Self> {
        match &config.blobs {
            StorePlace::Local => Self::local(root),
            StorePlace::S3(bucket) => {
                let s3 = S3::open(bucket, config.blobs_keys.as_ref(), config.upload_max_bytes)?;
                s3.check()?;
                let cache = open_below(&open_root(root)?, "cache")?;
                Ok(Self { store: Store::S3(Box::new(s3)), cache, active: Mutex::default() })
            }
        }
    }

    /// Opens the store on disk below a data folder, making its directories.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read or written.
    pub fn local(root: &Path) -> anyhow::Result<Self> {
        let root = open_root(root)?;
        let cache = open_below(&root, "cache")?;
        Ok(Self { store: Store::Disk(Disk::open(root)?), cache, active: Mutex::default() })
    }

    /// Tries all that is needed of a bucket; `None` on disk.
    pub fn probe(&self) -> Option<Probe> {
        match &self.store {
            Store::Disk(_) => None,
            Store::S3(s3) => Some(s3.probe()),
        }
    }

    /// Whether the bytes lie where other servers reach them too.
    pub fn is_shared(&self) -> bool {
        matches!(self.store, Store::S3(_))
    }

    /// Why nothing is written any more, if so: a sync has failed, and what the system had not
    /// written by then may be lost without another word, so only a new start can tell what is
    /// there (R11).
    pub fn failure(&self) -> Option<&str> {
        match &self.store {
            Store::Disk(disk) => disk.failed.get().map(String::as_str),
            Store::S3(_) => None,
        }
    }

    fn check_writable(&self) -> io::Result<()> {
        match &self.store {
            Store::Disk(disk) => disk.check_writable(),
            Store::S3(_) => Ok(()),
        }
    }

    /// Begins an upload. `now_ms` is the time by which others see later whether it was left behind.
    ///
    /// # Errors
    ///
    /// When the file cannot be made, for example on a full disk.
    pub fn stage(&self, staged: StagedKey, now_ms: i64) -> io::Result<Staged<'_>> {
        self.begin_with(staged, now_ms, Kind::Plain)
    }

    fn begin_with(&self, staged: StagedKey, now_ms: i64, kind: Kind) -> io::Result<Staged<'_>> {
        self.active().insert(staged.key.blob, kind);
        let opened = match &self.store {
            Store::Disk(disk) => disk
                .stage(staged)
                .map(|file| (file, Way::Disk(OnDisk { disk, staged, handed_on: 0 }))),
            Store::S3(s3) => self.anonymous_file().map(|file| {
                let sending = Sending::begin(s3, staged, now_ms);
                (file, Way::S3(Box::new(sending)))
            }),
        };
        match opened {
            Ok((file, way)) => {
                Ok(Staged { blobs: self, staged, file, written: 0, way, left: Left::Removed })
            }
            Err(error) => {
                self.active().remove(&staged.key.blob);
                Err(error)
            }
        }
    }

    /// Makes a resumable upload, empty and durable. It counts as under way until
    /// [`Blobs::abandon`], so that no recovery takes it before its row is there.
    ///
    /// # Errors
    ///
    /// When it cannot be made; then nothing is left.
    pub fn begin(&self, staged: StagedKey, now_ms: i64) -> io::Result<()> {
        let mut file = self.begin_with(staged, now_ms, Kind::Resumable)?;
        match &mut file.way {
            Way::Disk(on_disk) => on_disk.disk.sync_staging()?,
            Way::S3(sending) => sending.marked()?,
        }
        file.left = Left::Sealed;
        Ok(())
    }

    /// Goes on with a resumable upload: what lies behind its first `offset_bytes` was never
    /// acknowledged and is cut off.
    ///
    /// # Errors
    ///
    /// When it is not there, is too short, or cannot be written.
    pub fn resume(
        &self,
        staged: StagedKey,
        offset_bytes: u64,
        now_ms: i64,
    ) -> io::Result<Staged<'_>> {
        let (file, way) = match &self.store {
            Store::Disk(disk) => {
                let file = disk.resume(staged, offset_bytes)?;
                (file, Way::Disk(OnDisk { disk, staged, handed_on: offset_bytes }))
            }
            Store::S3(s3) => {
                let mut file = self.anonymous_file()?;
                let sending = Sending::resume(s3, staged, offset_bytes, &mut file, now_ms)?;
                file.set_len(offset_bytes)?;
                file.seek(io::SeekFrom::End(0))?;
                (file, Way::S3(Box::new(sending)))
            }
        };
        self.active().insert(staged.key.blob, Kind::Resumable);
        let (written, left) = (offset_bytes, Left::Resumable);
        Ok(Staged { blobs: self, staged, file, written, way, left })
    }

    /// Forgets the staging name of an upload whose outcome is known. The bytes stay.
    ///
    /// # Errors
    ///
    /// When the name cannot be removed; it is then looked at again by the next recovery.
    pub fn settle(&self, staged: StagedKey) -> io::Result<()> {
        let kind = self.active().get(&staged.key.blob).copied();
        let settled = match &self.store {
            Store::Disk(disk) => disk.settle(staged),
            Store::S3(s3) => s3.settle(staged, kind == Some(Kind::Plain)),
        };
        self.active().remove(&staged.key.blob);
        settled
    }

    /// Leaves an upload whose outcome is not known to the next recovery.
    pub fn abandon(&self, staged: StagedKey) {
        self.active().remove(&staged.key.blob);
    }

    /// Uploads that are neither settled nor under way here.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn left_behind(&self) -> io::Result<Vec<StagedKey>> {
        let mut staged = match &self.store {
            Store::Disk(disk) => disk.staged()?,
            Store::S3(s3) => s3.staged()?.0,
        };
        let active = self.active();
        staged.retain(|staged| !active.contains_key(&staged.key.blob));
        Ok(staged)
    }

    /// Whether nobody works any more on an upload that [`Blobs::left_behind`] tells of: on disk there
    /// is nobody else, in a bucket its time says so.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn is_given_up(&self, staged: StagedKey, now_ms: i64) -> io::Result<bool> {
        match &self.store {
            Store::Disk(_) => Ok(true),
            Store::S3(s3) => s3.is_given_up(staged, now_ms),
        }
    }

    /// Opens a blob for reading. What lies in a bucket is fetched whole into a file that goes when it
    /// is closed.
    ///
    /// # Errors
    ///
    /// `NotFound` when there is no such blob or part.
    pub fn open_part(&self, key: BlobKey, part: Part) -> io::Result<File> {
        match &self.store {
            Store::Disk(disk) => disk.open_part(key, part),
            Store::S3(s3) => {
                let mut file = self.anonymous_file()?;
                s3.fetch(key, part, &mut file)?;
                Ok(file)
            }
        }
    }

    /// Opens an original to be sent on; what lies in a bucket is not asked for yet.
    ///
    /// # Errors
    ///
    /// `NotFound` when it should be on disk and is not.
    pub fn original(&self, key: BlobKey, size_bytes: u64) -> io::Result<Original> {
        match &self.store {
            Store::Disk(disk) => disk.open_part(key, Part::Original).map(Original::File),
            Store::S3(s3) => Ok(Original::Remote(s3.remote(key, size_bytes))),
        }
    }

    /// Keeps a preview beside its blob. One that is there already is replaced as a whole.
    ///
    /// # Errors
    ///
    /// `NotFound` when the blob is gone, in which case nothing is left of the preview.
    pub fn put_preview(&self, key: BlobKey, bytes: &[u8]) -> io::Result<()> {
        match &self.store {
            Store::Disk(disk) => disk.put_preview(key, bytes),
            Store::S3(s3) => s3.put_preview(key, bytes),
        }
    }

    /// Removes a blob and all that was made of it, also a preview that was never finished. Removing
    /// what is gone already is no error.
    ///
    /// # Errors
    ///
    /// When something is there and cannot be removed.
    pub fn remove(&self, key: BlobKey) -> io::Result<()> {
        match &self.store {
            Store::Disk(disk) => disk.remove(key)?,
            Store::S3(s3) => s3.remove(key)?,
        }
        // After the original, whose absence a maker looks for.
        self.remove_results(key)
    }

    /// Writes an original that is restored, into a store on disk that nobody uses yet. Durable only
    /// when the caller has synced the file system.
    ///
    /// # Errors
    ///
    /// When it is there already, or cannot be written; `Unsupported` for a bucket.
    pub fn restore(&self, key: BlobKey, bytes: &mut dyn io::Read) -> io::Result<()> {
        match &self.store {
            Store::Disk(disk) => disk.restore(key, bytes),
            Store::S3(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn active(&self) -> std::sync::MutexGuard<'_, HashMap<BlobId, Kind>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
