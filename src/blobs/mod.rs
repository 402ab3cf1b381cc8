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
use crate::domain::store_place::{StoreKeys, StorePlace};
pub use files::forget_cached;
pub use key::{BlobKey, Part, Reached, StagedKey};
pub use moving::{MoveFailed, Whole};
pub use results::CachedResult;
pub use s3::{Failed, Probe, Reading, Remote, Step, Trouble};
pub use staged::{Staged, Sync};
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
    /// A second place, while bytes move from one to the other. It has none itself.
    also: Option<Box<Self>>,
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
        let largest_bytes = config.upload_max_bytes;
        let mut blobs =
            Self::open_at(root, &config.blobs, config.blobs_keys.as_ref(), largest_bytes)?;
        if let Some((place, keys)) = &config.blobs_also {
            let also =
                Self::open_at(root, place, keys.as_ref(), largest_bytes).context("blobs_also")?;
            blobs.also = Some(Box::new(also));
        }
        Ok(blobs)
    }

    /// Opens the store at one place. Uploads of up to `largest_bytes` fit into it.
    ///
    /// # Errors
    ///
    /// As [`Blobs::open`].
    pub fn open_at(
        root: &Path,
        place: &StorePlace,
        keys: Option<&StoreKeys>,
        largest_bytes: u64,
    ) -> anyhow::Result<Self> {
        let StorePlace::S3(bucket) = place else { return Self::local(root) };
        let s3 = S3::open(bucket, keys, largest_bytes)?;
        s3.check().with_context(|| format!("the bucket {:?} cannot be used", bucket.name))?;
        Self::with(Store::S3(Box::new(s3)), &open_root(root)?)
    }

    /// Opens the store on disk below a data folder, making its directories.
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
        Ok(Self { store, cache, active: Mutex::default(), also: None })
    }

    /// Tries all that is needed of the buckets that the settings name, by the setting. No data folder is
    /// needed for it.
    pub fn probe(config: &Config) -> Vec<(&'static str, anyhow::Result<Probe>)> {
        let also = config.blobs_also.as_ref().map(|(place, keys)| ("blobs_also", place, keys));
        let places =
            [Some(("blobs", &config.blobs, &config.blobs_keys)), also].into_iter().flatten();
        let buckets = places.filter_map(|(setting, place, keys)| match place {
            StorePlace::Local => None,
            StorePlace::S3(bucket) => Some((setting, bucket, keys)),
        });
        let probes = buckets.map(|(setting, bucket, keys)| {
            let opened = S3::open(bucket, keys.as_ref(), config.upload_max_bytes);
            (setting, opened.map(|s3| s3.probe()))
        });
        probes.collect()
    }

    /// Whether bytes lie where other servers reach them too.
    pub fn is_shared(&self) -> bool {
        matches!(self.store, Store::S3(_))
            || self.also.as_ref().is_some_and(|also| also.is_shared())
    }

    /// Why nothing is written any more, if so: a sync has failed, and what the system had not
    /// written by then may be lost without another word, so only a new start can tell what is
    /// there (R11).
    pub fn failure(&self) -> Option<&str> {
        let here = match &self.store {
            Store::Disk(disk) => disk.failed.get().map(String::as_str),
            Store::S3(_) => None,
        };
        here.or_else(|| self.also.as_ref()?.failure())
    }

    fn check_writable(&self) -> io::Result<()> {
        match &self.store {
            Store::Disk(disk) => disk.check_writable(),
            Store::S3(_) => Ok(()),
        }
    }

    /// Begins an upload, of so many bytes if that is announced. `now_ms` is the time by which others see
    /// later whether it was left behind.
    ///
    /// # Errors
    ///
    /// When the file cannot be made, for example on a full disk.
    pub fn stage(
        &self,
        staged: StagedKey,
        size_bytes: Option<u64>,
        now_ms: i64,
    ) -> io::Result<Staged<'_>> {
        self.begin_with(staged, size_bytes, now_ms, Kind::Plain)
    }

    fn begin_with(
        &self,
        staged: StagedKey,
        size_bytes: Option<u64>,
        now_ms: i64,
        kind: Kind,
    ) -> io::Result<Staged<'_>> {
        self.active().insert(staged.key.blob, kind);
        let opened = match &self.store {
            Store::Disk(disk) => disk
                .stage(staged)
                .map(|file| (file, Way::Disk(OnDisk { disk, staged, handed_on: 0 }))),
            Store::S3(s3) => self.anonymous_file().map(|file| {
                let sending = Sending::begin(s3, staged, size_bytes, now_ms);
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
        let mut file = self.begin_with(staged, None, now_ms, Kind::Resumable)?;
        match &mut file.way {
            Way::Disk(on_disk) => on_disk.disk.sync_staging()?,
            Way::S3(sending) => sending.marked()?,
        }
        file.left = Left::Sealed;
        Ok(())
    }

    /// Goes on with a resumable upload, where it was begun: what lies behind its `reached` bytes
    /// was never acknowledged and is cut off.
    ///
    /// # Errors
    ///
    /// When it is not there, is too short, or cannot be written.
    pub fn resume(
        &self,
        staged: StagedKey,
        reached: &Reached,
        now_ms: i64,
    ) -> io::Result<Staged<'_>> {
        self.in_either(|blobs| blobs.resume_here(staged, reached, now_ms))
    }

    fn resume_here(
        &self,
        staged: StagedKey,
        reached: &Reached,
        now_ms: i64,
    ) -> io::Result<Staged<'_>> {
        let offset_bytes = reached.offset_bytes;
        let (file, way) = match &self.store {
            Store::Disk(disk) => {
                let file = disk.resume(staged, offset_bytes)?;
                (file, Way::Disk(OnDisk { disk, staged, handed_on: offset_bytes }))
            }
            Store::S3(s3) => {
                let mut file = self.anonymous_file()?;
                let sending = Sending::resume(s3, staged, reached, &mut file, now_ms)?;
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
        settled?;
        match &self.also {
            // What is under way here has no name there.
            Some(also) if kind.is_none() => also.settle(staged),
            _ => Ok(()),
        }
    }

    /// Leaves an upload whose outcome is not known to the next recovery.
    pub fn abandon(&self, staged: StagedKey) {
        self.active().remove(&staged.key.blob);
        if let Some(also) = &self.also {
            also.abandon(staged);
        }
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
        {
            let active = self.active();
            staged.retain(|staged| !active.contains_key(&staged.key.blob));
        }
        if let Some(also) = &self.also {
            staged.extend(also.left_behind()?);
        }
        Ok(staged)
    }

    /// Whether nobody works any more on an upload that [`Blobs::left_behind`] tells of: on disk there
    /// is nobody else, in a bucket its time says so.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn is_given_up(&self, staged: StagedKey, now_ms: i64) -> io::Result<bool> {
        let here = match &self.store {
            Store::Disk(disk) => disk.has_staged(staged)?,
            Store::S3(s3) => s3.is_given_up(staged, now_ms)?,
        };
        match &self.also {
            Some(also) if !here => also.is_given_up(staged, now_ms),
            _ => Ok(here),
        }
    }

    /// Opens a blob for reading. What lies in a bucket is fetched whole into a file that goes when it
    /// is closed.
    ///
    /// # Errors
    ///
    /// `NotFound` when there is no such blob or part.
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

    /// Opens an original to be sent on; what lies in a bucket is not asked for yet, unless there are
    /// two places.
    ///
    /// # Errors
    ///
    /// `NotFound` when it should be there and is not; `NetworkDown` when a bucket that was asked is away.
    pub fn original(&self, key: BlobKey, size_bytes: u64) -> io::Result<Original> {
        self.in_either(|blobs| match &blobs.store {
            Store::Disk(disk) => disk.open_part(key, Part::Original).map(Original::File),
            Store::S3(s3) => {
                let remote = s3.remote(key, size_bytes);
                let remote = if self.also.is_some() { remote.look()? } else { remote };
                Ok(Original::Remote(remote))
            }
        })
    }

    /// Asks the one place for what may lie in the other. What moves between both questions is in the
    /// first one then.
    fn in_either<'a, T>(&'a self, ask: impl Fn(&'a Self) -> io::Result<T>) -> io::Result<T> {
        let is_absent = |asked: &io::Result<T>| matches!(asked, Err(error) if error.kind() == io::ErrorKind::NotFound);
        let mut asked = ask(self);
        for place in self.also.iter().map(|also| &**also).chain([self]) {
            if self.also.is_none() || !is_absent(&asked) {
                break;
            }
            asked = ask(place);
        }
        asked
    }

    /// Keeps a preview beside its blob. One that is there already is replaced as a whole.
    ///
    /// # Errors
    ///
    /// `NotFound` when the blob is gone, in which case nothing is left of the preview.
    pub fn put_preview(&self, key: BlobKey, bytes: &[u8]) -> io::Result<()> {
        self.in_either(|blobs| match &blobs.store {
            Store::Disk(disk) => disk.put_preview(key, bytes),
            Store::S3(s3) => s3.put_preview(key, bytes),
        })
    }

    /// Removes a blob and all that was made of it, also a preview that was never finished. Removing
    /// what is gone already is no error.
    ///
    /// # Errors
    ///
    /// When something is there and cannot be removed.
    pub fn remove(&self, key: BlobKey) -> io::Result<()> {
        for blobs in self.places() {
            match &blobs.store {
                Store::Disk(disk) => disk.remove(key)?,
                Store::S3(s3) => s3.remove(key)?,
            }
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

    /// Every place where bytes lie.
    fn places(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.also.as_deref())
    }

    fn active(&self) -> std::sync::MutexGuard<'_, HashMap<BlobId, Kind>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
