//! The bytes, on local disk. [`BlobKey`] is the only maker of names below the root, and no name
//! ever holds user text (S9). Every directory is opened without following links (S10). All
//! functions block; callers run them off the async threads.
//!
//! An upload is written to `staging/`, synced, then *linked* to its place and the directory
//! synced. The staging name stays until the row is committed, so after a crash the few names
//! left in `staging/` say exactly which blobs may lack a row: no scan is needed.

mod files;
mod results;
mod walk;

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::Context as _;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use crate::domain::ids::{AttachmentId, BlobId, SiteId};
pub use results::CachedResult;
pub use walk::{AllStaged, Stored};

use files::{begin_write_back, make_directory, open_directory, remove_file};

const BLOBS: &str = "blobs";
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);
/// After so many bytes the disk is told to begin with them, so that it works while the rest of
/// the upload arrives and the sync at the end finds little left to do.
const WRITE_BACK_BYTES: u64 = 8 << 20;

/// Names a blob: the site that owns it and its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobKey {
    /// The tenant.
    pub site: SiteId,
    /// The bytes.
    pub blob: BlobId,
}

/// What of a blob is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The bytes as uploaded.
    Original,
    /// The reduced picture, which can be made again at any time.
    Preview,
}

impl BlobKey {
    /// The path of the original below the root of a store.
    pub fn path(self) -> String {
        format!(
            "{BLOBS}/{}/{}/{}",
            self.site_directory(),
            self.directory(),
            self.file(Part::Original)
        )
    }

    /// Reads what [`BlobKey::path`] makes, and nothing else.
    pub fn parse_path(path: &str) -> Option<Self> {
        let mut parts = path.strip_prefix(BLOBS)?.strip_prefix('/')?.split('/');
        let (site, _, blob) = (parts.next()?, parts.next()?, parts.next()?);
        let id = |text| uuid::Uuid::try_parse(text).ok();
        let key = Self { site: SiteId(id(site)?), blob: BlobId(id(blob)?) };
        (key.path() == path).then_some(key)
    }

    fn site_directory(self) -> String {
        self.site.0.simple().to_string()
    }

    fn directory(self) -> String {
        format!("{:02x}", self.blob.as_bytes()[0])
    }

    fn file(self, part: Part) -> String {
        let blob = self.blob.0.simple();
        match part {
            Part::Original => blob.to_string(),
            Part::Preview => format!("{blob}.preview"),
        }
    }

    /// The name of a preview that is being written. A killed process may leave it.
    fn unfinished_preview(self) -> String {
        format!("{}.new", self.file(Part::Preview))
    }
}

/// An upload that has not been committed: its blob and the attachment that it is to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StagedKey {
    /// The blob.
    pub key: BlobKey,
    /// The attachment whose row will name the blob.
    pub attachment: AttachmentId,
}

impl StagedKey {
    fn file(self) -> String {
        let (site, attachment) = (self.key.site.0.simple(), self.attachment.0.simple());
        format!("{site}.{attachment}.{}", self.key.blob.0.simple())
    }

    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('.').map(|part| uuid::Uuid::try_parse(part).ok());
        let (site, attachment, blob) = (parts.next()??, parts.next()??, parts.next()??);
        let key = BlobKey { site: SiteId(site), blob: BlobId(blob) };
        let staged = Self { key, attachment: AttachmentId(attachment) };
        (parts.next().is_none() && staged.file() == name).then_some(staged)
    }
}

/// The store of bytes.
pub struct Blobs {
    root: OwnedFd,
    staging: OwnedFd,
    blobs: OwnedFd,
    cache: OwnedFd,
    /// Why nothing is written any more.
    failed: OnceLock<String>,
    /// Uploads of this process that are under way; what else lies in staging was left behind.
    active: Arc<Mutex<HashSet<BlobId>>>,
}

impl Blobs {
    /// Opens the store below a data folder, making its directories.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read or written.
    pub fn open(root: &Path) -> anyhow::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let root_fd = rustix::fs::openat(CWD, root, flags, Mode::empty())
            .with_context(|| format!("cannot open {}", root.display()))?;
        let open = |name: &str| {
            make_directory(&root_fd, name)
                .and_then(|is_new| if is_new { Ok(rustix::fs::fsync(&root_fd)?) } else { Ok(()) })
                .and_then(|()| open_directory(&root_fd, name))
                .with_context(|| format!("cannot use {}", root.join(name).display()))
        };
        let (staging, blobs, cache) = (open("staging")?, open(BLOBS)?, open("cache")?);
        let (failed, active) = (OnceLock::new(), Arc::default());
        Ok(Self { root: root_fd, staging, blobs, cache, failed, active })
    }

    /// Why nothing is written any more, if so: a sync has failed, and what the system had not
    /// written by then may be lost without another word, so only a new start can tell what is
    /// there (R11).
    pub fn failure(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }

    fn check_writable(&self) -> io::Result<()> {
        match self.failed.get() {
            None => Ok(()),
            Some(failure) => Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, &**failure)),
        }
    }

    /// Passes the outcome of a sync on. One that failed ends all writing, unless the disk was
    /// only full.
    fn synced<E: Into<io::Error>>(&self, what: &str, outcome: Result<(), E>) -> io::Result<()> {
        let Err(error) = outcome.map_err(Into::into) else { return Ok(()) };
        if !matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            tracing::error!(%error, what, "a sync failed: no more writes until the next start");
            let _ = self.failed.set(format!("syncing {what} to disk failed: {error}"));
        }
        Err(error)
    }

    /// Begins an upload.
    ///
    /// # Errors
    ///
    /// When the file cannot be made, for example on a full disk.
    pub fn stage(&self, staged: StagedKey) -> io::Result<Staged<'_>> {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.check_writable()?;
        lock(&self.active).insert(staged.key.blob);
        match rustix::fs::openat(&self.staging, staged.file(), flags, PRIVATE_FILE) {
            Ok(file) => Ok(Staged {
                store: self,
                staged,
                file: File::from(file),
                written: 0,
                handed_on: 0,
                left: Left::Removed,
            }),
            Err(error) => {
                lock(&self.active).remove(&staged.key.blob);
                Err(error.into())
            }
        }
    }

    /// Makes the empty file of a resumable upload, durably. It counts as under way until
    /// [`Blobs::abandon`], so that no recovery takes it before its row is there.
    ///
    /// # Errors
    ///
    /// When it cannot be made; then nothing is left.
    pub fn begin(&self, staged: StagedKey) -> io::Result<()> {
        let mut file = self.stage(staged)?;
        self.synced("the staging folder", rustix::fs::fsync(&self.staging))?;
        file.left = Left::Sealed;
        Ok(())
    }

    /// Goes on with a resumable upload: what lies behind its first `offset_bytes` was never
    /// acknowledged and is cut off.
    ///
    /// # Errors
    ///
    /// When the file is not there, is too short, or cannot be written.
    pub fn resume(&self, staged: StagedKey, offset_bytes: u64) -> io::Result<Staged<'_>> {
        self.check_writable()?;
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file =
            File::from(rustix::fs::openat(&self.staging, staged.file(), flags, Mode::empty())?);
        let metadata = file.metadata()?;
        if metadata.len() < offset_bytes {
            let problem = "a resumable upload's file is shorter than what was acknowledged";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, problem));
        }
        if metadata.nlink() > 1 {
            // A commit that failed had put it at its place; no row names it there.
            let directory = self.open_blob_directory(staged.key)?;
            remove_file(&directory, &staged.key.file(Part::Original))?;
        }
        file.set_len(offset_bytes)?;
        file.seek(io::SeekFrom::End(0))?;
        lock(&self.active).insert(staged.key.blob);
        let (written, handed_on) = (offset_bytes, offset_bytes);
        Ok(Staged { store: self, staged, file, written, handed_on, left: Left::Resumable })
    }

    /// Forgets the staging name of an upload whose outcome is known. The bytes stay.
    ///
    /// # Errors
    ///
    /// When the name cannot be removed; it is then looked at again by the next recovery.
    pub fn settle(&self, staged: StagedKey) -> io::Result<()> {
        let removed = remove_file(&self.staging, &staged.file());
        lock(&self.active).remove(&staged.key.blob);
        removed
    }

    /// Leaves an upload whose outcome is not known to the next recovery.
    pub fn abandon(&self, staged: StagedKey) {
        lock(&self.active).remove(&staged.key.blob);
    }

    /// Uploads that some process began and left: neither settled nor under way here.
    ///
    /// # Errors
    ///
    /// When the directory cannot be read.
    pub fn left_behind(&self) -> io::Result<Vec<StagedKey>> {
        let mut found = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.staging)? {
            let entry = entry?;
            let staged = entry.file_name().to_str().ok().and_then(StagedKey::parse);
            found.extend(staged.filter(|staged| !lock(&self.active).contains(&staged.key.blob)));
        }
        Ok(found)
    }

    /// Opens a blob for reading.
    ///
    /// # Errors
    ///
    /// `NotFound` when there is no such blob or part.
    pub fn open_part(&self, key: BlobKey, part: Part) -> io::Result<File> {
        let directory = self.open_blob_directory(key)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&directory, key.file(part), flags, Mode::empty())?;
        Ok(File::from(file))
    }

    /// Keeps a preview beside its blob. One that is there already is replaced as a whole.
    ///
    /// # Errors
    ///
    /// `NotFound` when the blob is gone, in which case nothing is left of the preview.
    pub fn put_preview(&self, key: BlobKey, bytes: &[u8]) -> io::Result<()> {
        self.check_writable()?;
        let directory = self.open_blob_directory(key)?;
        let (name, whole) = (key.file(Part::Preview), key.file(Part::Original));
        let temporary = key.unfinished_preview();
        let flags =
            OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let written = rustix::fs::openat(&directory, &temporary, flags, PRIVATE_FILE)
            .map_err(io::Error::from)
            .and_then(|file| {
                let mut file = File::from(file);
                file.write_all(bytes)?;
                self.synced("a preview", file.sync_data())?;
                Ok(rustix::fs::renameat(&directory, &temporary, &directory, &name)?)
            });
        if let Err(error) = written {
            let _ = remove_file(&directory, &temporary);
            return Err(error);
        }
        // A delete may have come in between: what no blob stands behind must not stay.
        if let Err(error) = rustix::fs::statat(&directory, &whole, AtFlags::SYMLINK_NOFOLLOW) {
            remove_file(&directory, &name)?;
            return Err(error.into());
        }
        Ok(())
    }

    /// Removes a blob and all that was made of it, also a preview that was never finished. Removing
    /// what is gone already is no error.
    ///
    /// # Errors
    ///
    /// When something is there and cannot be removed.
    pub fn remove(&self, key: BlobKey) -> io::Result<()> {
        match self.open_blob_directory(key) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(directory) => {
                remove_file(&directory, &key.file(Part::Original))?;
                // In this order a maker at work cannot rename the one into the other unseen.
                remove_file(&directory, &key.unfinished_preview())?;
                remove_file(&directory, &key.file(Part::Preview))?;
            }
        }
        // After the original, whose absence a maker looks for.
        self.remove_results(key)
    }

    /// Writes an original that is restored, into a store that nobody uses yet. Durable only when
    /// the caller has synced the file system.
    ///
    /// # Errors
    ///
    /// When it is there already, or cannot be written.
    pub fn restore(&self, key: BlobKey, bytes: &mut dyn io::Read) -> io::Result<()> {
        make_directory(&self.blobs, &key.site_directory())?;
        let site = open_directory(&self.blobs, &key.site_directory())?;
        make_directory(&site, &key.directory())?;
        let directory = open_directory(&site, &key.directory())?;
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = key.file(Part::Original);
        let file = rustix::fs::openat(&directory, name, flags, PRIVATE_FILE)?;
        io::copy(bytes, &mut File::from(file)).map(drop)
    }

    fn open_blob_directory(&self, key: BlobKey) -> io::Result<OwnedFd> {
        let site = open_directory(&self.blobs, &key.site_directory())?;
        open_directory(&site, &key.directory())
    }

    fn make_blob_directory(&self, key: BlobKey) -> io::Result<OwnedFd> {
        if let Ok(directory) = self.open_blob_directory(key) {
            return Ok(directory);
        }
        let site = self.make(&self.blobs, &key.site_directory())?;
        self.make(&site, &key.directory())
    }

    /// Makes a directory durably and opens it.
    fn make(&self, parent: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
        if make_directory(parent, name)? {
            self.synced("a folder", rustix::fs::fsync(parent))?;
        }
        open_directory(parent, name)
    }
}

/// An upload that is being written. Dropping it before it is sealed removes it, unless it is to
/// be gone on with.
pub struct Staged<'a> {
    store: &'a Blobs,
    staged: StagedKey,
    file: File,
    written: u64,
    handed_on: u64,
    left: Left,
}

/// What dropping a [`Staged`] leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Nothing: the upload was given up.
    Removed,
    /// The file, for an upload that goes on later.
    Resumable,
    /// The file, and its outcome to be settled by whoever has it.
    Sealed,
}

impl Staged<'_> {
    /// Appends to the file.
    ///
    /// # Errors
    ///
    /// When it cannot be written, for example on a full disk.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.written += bytes.len() as u64;
        if self.written - self.handed_on >= WRITE_BACK_BYTES {
            begin_write_back(&self.file, self.handed_on, self.written - self.handed_on);
            self.handed_on = self.written;
        }
        Ok(())
    }

    /// Bytes of the file.
    pub fn len_bytes(&self) -> u64 {
        self.written
    }

    /// Makes what was written so far durable at its staging name, for an upload that goes on.
    ///
    /// # Errors
    ///
    /// When it cannot be synced.
    pub fn sync(&mut self) -> io::Result<()> {
        self.store.synced("an upload", self.file.sync_data())
    }

    /// Takes back what was written behind an offset.
    ///
    /// # Errors
    ///
    /// When the file cannot be cut.
    pub fn cut(&mut self, offset_bytes: u64) -> io::Result<()> {
        self.file.set_len(offset_bytes)?;
        self.file.seek(io::SeekFrom::End(0))?;
        (self.written, self.handed_on) = (offset_bytes, offset_bytes);
        Ok(())
    }

    /// The file, to look into.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Makes the bytes durable at their place: file synced, linked, directory synced (R1). The
    /// staging name stays until [`Blobs::settle`].
    ///
    /// # Errors
    ///
    /// When any of it fails; then nothing is left at the blob's place.
    pub fn seal(mut self) -> io::Result<StagedKey> {
        self.store.synced("an upload", self.file.sync_data())?;
        let key = self.staged.key;
        let directory = self.store.make_blob_directory(key)?;
        let name = key.file(Part::Original);
        rustix::fs::linkat(
            &self.store.staging,
            self.staged.file(),
            &directory,
            &name,
            AtFlags::empty(),
        )?;
        if let Err(error) = self.store.synced("a folder", rustix::fs::fsync(&directory)) {
            let _ = remove_file(&directory, &name);
            return Err(error);
        }
        self.left = Left::Sealed;
        Ok(self.staged)
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        match self.left {
            // What cannot be removed now is found by the next recovery.
            Left::Removed => drop(self.store.settle(self.staged)),
            Left::Resumable => self.store.abandon(self.staged),
            Left::Sealed => {}
        }
    }
}

fn lock(active: &Mutex<HashSet<BlobId>>) -> std::sync::MutexGuard<'_, HashSet<BlobId>> {
    active.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
