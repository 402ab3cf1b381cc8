//! The blob store, on local disk or in a bucket of an S3-compatible store. Only [`BlobKey`] builds
//! blob names, and no name contains user text (S9). All functions block; callers run them off the
//! async threads.
//!
//! In either store, an upload creates an entry in `staging/` before its first byte. The entry stays
//! until the row is committed. After a crash, the few leftover entries identify exactly the blobs
//! that may lack a row, so recovery needs no scan.

mod disk;
mod files;
mod key;
mod moving;
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

use anyhow::Context as _;

use crate::config::Config;
use crate::domain::ids::BlobId;
use crate::domain::store_place::{StoreKeys, StoreLocation};
pub use files::drop_os_cache;
pub use key::{BlobKey, Part, ResumePoint, StagedKey};
pub use moving::{ExpectedOriginal, MoveError};
pub use results::CachedResult;
pub use s3::{Probe, ProbeStep, RangeReader, Remote, StepFailure, StoreErrorKind};
pub use staged::{DeferredSync, Staged};
pub use walk::{AllStaged, StoredFile};

use disk::{Disk, OnDisk};
use files::{open_below, open_root};
use s3::{S3, Sending};
use staged::{OnDrop, Transfer};

/// The blob store.
pub struct Blobs {
    store: Store,
    /// The cache of data that can be regenerated, always on this machine.
    cache: OwnedFd,
    /// Uploads in progress in this process; every other entry in staging is a leftover.
    active: Mutex<HashMap<BlobId, UploadKind>>,
    /// The second store, while blobs are migrated. It has no second store itself.
    secondary: Option<Box<Self>>,
}

enum Store {
    Disk(Disk),
    S3(Box<S3>),
}

/// How an upload arrives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum UploadKind {
    /// In one request.
    Plain,
    /// In several requests: it has more to clean up than its staging entry.
    Resumable,
}

/// The location of an original.
pub enum Original {
    /// On this machine.
    File(File),
    /// In a bucket; not requested yet.
    Remote(Remote),
}

impl Blobs {
    /// Opens the store that the settings name, and checks that a bucket is usable. `root` is the
    /// data folder.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read or written, or the bucket cannot be used. The message is
    /// written for the operator.
    pub fn open(root: &Path, config: &Config) -> anyhow::Result<Self> {
        let largest_bytes = config.upload_max_bytes;
        let mut blobs =
            Self::open_at(root, &config.blobs, config.blobs_keys.as_ref(), largest_bytes)?;
        if let Some((location, keys)) = &config.blobs_also {
            let secondary = Self::open_at(root, location, keys.as_ref(), largest_bytes)
                .context("blobs_also")?;
            blobs.secondary = Some(Box::new(secondary));
        }
        Ok(blobs)
    }

    /// Opens the store at one location, for uploads of up to `largest_bytes`.
    ///
    /// # Errors
    ///
    /// As [`Blobs::open`].
    pub fn open_at(
        root: &Path,
        location: &StoreLocation,
        keys: Option<&StoreKeys>,
        largest_bytes: u64,
    ) -> anyhow::Result<Self> {
        let StoreLocation::S3(bucket) = location else { return Self::local(root) };
        let s3 = S3::open(bucket, keys, largest_bytes)?;
        s3.check().with_context(|| format!("the bucket {:?} cannot be used", bucket.name))?;
        Self::with(Store::S3(Box::new(s3)), &open_root(root)?)
    }

    /// Opens the store on disk below a data folder and creates its directories.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read or written.
    pub fn local(root: &Path) -> anyhow::Result<Self> {
        let root = open_root(root)?;
        Self::with(Store::Disk(Disk::open(root.try_clone()?)?), &root)
    }

    fn with(store: Store, root: &OwnedFd) -> anyhow::Result<Self> {
        let cache = open_below(root, "cache")?;
        Ok(Self { store, cache, active: Mutex::default(), secondary: None })
    }

    /// Tests every operation that the server needs on the configured buckets. Each result comes
    /// with the name of its setting. Needs no data folder.
    pub fn probe(config: &Config) -> Vec<(&'static str, anyhow::Result<Probe>)> {
        let also =
            config.blobs_also.as_ref().map(|(location, keys)| ("blobs_also", location, keys));
        let stores =
            [Some(("blobs", &config.blobs, &config.blobs_keys)), also].into_iter().flatten();
        let buckets = stores.filter_map(|(setting, location, keys)| match location {
            StoreLocation::Local => None,
            StoreLocation::S3(bucket) => Some((setting, bucket, keys)),
        });
        let probes = buckets.map(|(setting, bucket, keys)| {
            let opened = S3::open(bucket, keys.as_ref(), config.upload_max_bytes);
            (setting, opened.map(|s3| s3.probe()))
        });
        probes.collect()
    }

    /// Whether other servers can reach the blobs too.
    pub fn is_shared(&self) -> bool {
        matches!(self.store, Store::S3(_))
            || self.secondary.as_ref().is_some_and(|secondary| secondary.is_shared())
    }

    /// Why the store stopped accepting writes, if it did. After a failed sync, the system may drop
    /// unwritten data without a further error. Only a restart can establish what is on disk (R11).
    pub fn failure(&self) -> Option<&str> {
        let here = match &self.store {
            Store::Disk(disk) => disk.failed.get().map(String::as_str),
            Store::S3(_) => None,
        };
        here.or_else(|| self.secondary.as_ref()?.failure())
    }

    fn check_writable(&self) -> io::Result<()> {
        match &self.store {
            Store::Disk(disk) => disk.check_writable(),
            Store::S3(_) => Ok(()),
        }
    }

    /// Begins an upload; `size_bytes` is its size, if announced. Other servers use `now_ms` to
    /// detect that the upload was abandoned.
    ///
    /// # Errors
    ///
    /// When the file cannot be created, for example on a full disk.
    pub fn stage(
        &self,
        staged: StagedKey,
        size_bytes: Option<u64>,
        now_ms: i64,
    ) -> io::Result<Staged<'_>> {
        self.begin_with(staged, size_bytes, now_ms, UploadKind::Plain)
    }

    fn begin_with(
        &self,
        staged: StagedKey,
        size_bytes: Option<u64>,
        now_ms: i64,
        kind: UploadKind,
    ) -> io::Result<Staged<'_>> {
        self.active().insert(staged.key.blob, kind);
        let opened = match &self.store {
            Store::Disk(disk) => disk
                .stage(staged)
                .map(|file| (file, Transfer::Disk(OnDisk { disk, staged, write_back_offset: 0 }))),
            Store::S3(s3) => self.anonymous_file().map(|file| {
                let sending = Sending::begin(s3, staged, size_bytes, now_ms);
                (file, Transfer::S3(Box::new(sending)))
            }),
        };
        match opened {
            Ok((file, transfer)) => {
                let on_drop = OnDrop::Discard;
                Ok(Staged { blobs: self, staged, file, written: 0, transfer, on_drop })
            }
            Err(error) => {
                self.active().remove(&staged.key.blob);
                Err(error)
            }
        }
    }

    /// Creates an empty, durable resumable upload. It counts as in progress until
    /// [`Blobs::abandon`], so recovery does not remove it before its row exists.
    ///
    /// # Errors
    ///
    /// When it cannot be created; nothing remains of it then.
    pub fn begin(&self, staged: StagedKey, now_ms: i64) -> io::Result<()> {
        let mut file = self.begin_with(staged, None, now_ms, UploadKind::Resumable)?;
        match &mut file.transfer {
            Transfer::Disk(on_disk) => on_disk.disk.sync_staging()?,
            Transfer::S3(sending) => sending.wait_for_marker()?,
        }
        file.on_drop = OnDrop::KeepSealed;
        Ok(())
    }

    /// Resumes a resumable upload in the store where it began. Bytes after `resume_point` were
    /// never acknowledged and are cut off.
    ///
    /// # Errors
    ///
    /// When the upload does not exist, is too short, or cannot be written.
    pub fn resume(
        &self,
        staged: StagedKey,
        resume_point: &ResumePoint,
        now_ms: i64,
    ) -> io::Result<Staged<'_>> {
        self.in_either(|blobs| blobs.resume_here(staged, resume_point, now_ms))
    }

    fn resume_here(
        &self,
        staged: StagedKey,
        resume_point: &ResumePoint,
        now_ms: i64,
    ) -> io::Result<Staged<'_>> {
        let offset_bytes = resume_point.offset_bytes;
        let (file, transfer) = match &self.store {
            Store::Disk(disk) => {
                let file = disk.resume(staged, offset_bytes)?;
                (file, Transfer::Disk(OnDisk { disk, staged, write_back_offset: offset_bytes }))
            }
            Store::S3(s3) => {
                let mut file = self.anonymous_file()?;
                let sending = Sending::resume(s3, staged, resume_point, &mut file, now_ms)?;
                file.set_len(offset_bytes)?;
                file.seek(io::SeekFrom::End(0))?;
                (file, Transfer::S3(Box::new(sending)))
            }
        };
        self.active().insert(staged.key.blob, UploadKind::Resumable);
        let (written, on_drop) = (offset_bytes, OnDrop::KeepResumable);
        Ok(Staged { blobs: self, staged, file, written, transfer, on_drop })
    }

    /// Removes the staging entry of an upload whose outcome is known. The bytes stay.
    ///
    /// # Errors
    ///
    /// When the entry cannot be removed; the next recovery examines it again.
    pub fn settle(&self, staged: StagedKey) -> io::Result<()> {
        let kind = self.active().get(&staged.key.blob).copied();
        let settled = match &self.store {
            Store::Disk(disk) => disk.settle(staged),
            Store::S3(s3) => s3.settle(staged, kind == Some(UploadKind::Plain)),
        };
        self.active().remove(&staged.key.blob);
        settled?;
        match &self.secondary {
            // An upload in progress here has no entry there.
            Some(secondary) if kind.is_none() => secondary.settle(staged),
            _ => Ok(()),
        }
    }

    /// Leaves an upload with an unknown outcome to the next recovery.
    pub fn abandon(&self, staged: StagedKey) {
        self.active().remove(&staged.key.blob);
        if let Some(secondary) = &self.secondary {
            secondary.abandon(staged);
        }
    }

    /// Uploads that are neither settled nor in progress in this process.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn unsettled_uploads(&self) -> io::Result<Vec<StagedKey>> {
        let mut staged = match &self.store {
            Store::Disk(disk) => disk.staged()?,
            Store::S3(s3) => s3.staged()?.0,
        };
        {
            let active = self.active();
            staged.retain(|staged| !active.contains_key(&staged.key.blob));
        }
        if let Some(secondary) = &self.secondary {
            staged.extend(secondary.unsettled_uploads()?);
        }
        Ok(staged)
    }

    /// Whether no server works any longer on an upload that [`Blobs::unsettled_uploads`] returned.
    /// On disk there is no other server; in a bucket, the age of the upload's marker decides.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn is_abandoned(&self, staged: StagedKey, now_ms: i64) -> io::Result<bool> {
        let here = match &self.store {
            Store::Disk(disk) => disk.has_staged(staged)?,
            Store::S3(s3) => s3.is_abandoned(staged, now_ms)?,
        };
        match &self.secondary {
            Some(secondary) if !here => secondary.is_abandoned(staged, now_ms),
            _ => Ok(here),
        }
    }

    /// Opens a blob for reading. A blob in a bucket is downloaded completely into an anonymous
    /// file, which disappears when it is closed.
    ///
    /// # Errors
    ///
    /// `NotFound` when the blob or part does not exist.
    pub fn open_part(&self, key: BlobKey, part: Part) -> io::Result<File> {
        self.in_either(|blobs| match &blobs.store {
            Store::Disk(disk) => disk.open_part(key, part),
            Store::S3(s3) => {
                let mut file = blobs.anonymous_file()?;
                s3.fetch(key, part, &mut file)?;
                Ok(file)
            }
        })
    }

    /// Opens an original for sending. A bucket is not queried yet, unless there are two stores.
    ///
    /// # Errors
    ///
    /// `NotFound` when the original should exist and does not; `NetworkDown` when a queried bucket
    /// is unavailable.
    pub fn original(&self, key: BlobKey, size_bytes: u64) -> io::Result<Original> {
        self.in_either(|blobs| match &blobs.store {
            Store::Disk(disk) => disk.open_part(key, Part::Original).map(Original::File),
            Store::S3(s3) => {
                let remote = s3.remote(key, size_bytes);
                let remote = if self.secondary.is_some() { remote.pin()? } else { remote };
                Ok(Original::Remote(remote))
            }
        })
    }

    /// Tries the primary store, then the secondary, then the primary again. A blob that moves
    /// between the first two attempts is found by the third.
    fn in_either<'a, T>(&'a self, attempt: impl Fn(&'a Self) -> io::Result<T>) -> io::Result<T> {
        let is_absent = |result: &io::Result<T>| matches!(result, Err(error) if error.kind() == io::ErrorKind::NotFound);
        let mut result = attempt(self);
        for store in self.secondary.iter().map(|secondary| &**secondary).chain([self]) {
            if self.secondary.is_none() || !is_absent(&result) {
                break;
            }
            result = attempt(store);
        }
        result
    }

    /// Stores a preview beside its blob. Replaces an existing preview atomically.
    ///
    /// # Errors
    ///
    /// `NotFound` when the blob no longer exists; nothing remains of the preview then.
    pub fn put_preview(&self, key: BlobKey, bytes: &[u8]) -> io::Result<()> {
        self.in_either(|blobs| match &blobs.store {
            Store::Disk(disk) => disk.put_preview(key, bytes),
            Store::S3(s3) => s3.put_preview(key, bytes),
        })
    }

    /// Removes a blob and everything derived from it, including an unfinished preview. A missing
    /// file is not an error.
    ///
    /// # Errors
    ///
    /// When an existing file cannot be removed.
    pub fn remove(&self, key: BlobKey) -> io::Result<()> {
        for blobs in self.stores() {
            match &blobs.store {
                Store::Disk(disk) => disk.remove(key)?,
                Store::S3(s3) => s3.remove(key)?,
            }
        }
        // After the original: a concurrent render checks for its absence.
        self.remove_results(key)
    }

    /// Writes a restored original into a store on disk that is not in use yet. It is durable only
    /// after the caller has synced the file system.
    ///
    /// # Errors
    ///
    /// When it already exists or cannot be written; `Unsupported` for a bucket.
    pub fn restore(&self, key: BlobKey, bytes: &mut dyn io::Read) -> io::Result<()> {
        match &self.store {
            Store::Disk(disk) => disk.restore(key, bytes),
            Store::S3(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Every store that may hold blobs.
    fn stores(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.secondary.as_deref())
    }

    fn active(&self) -> std::sync::MutexGuard<'_, HashMap<BlobId, UploadKind>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
