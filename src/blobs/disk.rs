//! The store on local disk. Directories are opened without following symbolic links (S10).
//!
//! An upload is written to `staging/` and synced, then hard-linked to its final path, and the
//! directory is synced. The staging name stays until the row is committed. After a crash, the few
//! names left in `staging/` identify exactly the blobs that may lack a row: no scan is needed.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, OnceLock};

use rustix::fs::{AtFlags, Mode, OFlags};

use super::files::{
    PRIVATE_FILE, begin_write_back, check_same_file_system, ensure_directory, open_below,
    open_directory, remove_file,
};
use super::key::{BLOBS, BlobKey, Part, StagedKey};

/// Write-back starts after this many bytes. The disk then works while the rest of the upload
/// arrives, and the final sync has little left to do.
const WRITE_BACK_BYTES: u64 = 8 << 20;

/// How the message of a failed sync names the file.
const UPLOAD: &str = "an upload";

/// The store below a data folder.
pub(super) struct Disk {
    pub(super) root: OwnedFd,
    pub(super) staging: OwnedFd,
    pub(super) blobs: OwnedFd,
    /// Why the store no longer accepts writes.
    pub(super) failed: Arc<OnceLock<String>>,
}

impl Disk {
    pub(super) fn open(root: OwnedFd) -> anyhow::Result<Self> {
        let (staging, blobs) = (open_below(&root, "staging")?, open_below(&root, BLOBS)?);
        check_same_file_system(["staging", BLOBS], [&staging, &blobs])?;
        Ok(Self { root, staging, blobs, failed: Arc::default() })
    }

    pub(super) fn check_writable(&self) -> io::Result<()> {
        match self.failed.get() {
            None => Ok(()),
            Some(failure) => Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, &**failure)),
        }
    }

    /// Returns the outcome of a sync. A failure stops all writes, unless the disk was only full.
    pub(super) fn check_sync<E: Into<io::Error>>(
        &self,
        what: &str,
        outcome: Result<(), E>,
    ) -> io::Result<()> {
        record_sync(&self.failed, what, outcome)
    }

    /// Creates the empty file of an upload.
    pub(super) fn stage(&self, staged: StagedKey) -> io::Result<File> {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.check_writable()?;
        Ok(rustix::fs::openat(&self.staging, staged.file(), flags, PRIVATE_FILE)?.into())
    }

    /// Opens the file of a resumable upload, truncated to the acknowledged bytes.
    pub(super) fn resume(&self, staged: StagedKey, offset_bytes: u64) -> io::Result<File> {
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
            // A failed commit had linked it to its final path; no row refers to it there.
            let directory = self.open_blob_directory(staged.key)?;
            remove_file(&directory, &staged.key.file(Part::Original))?;
        }
        file.set_len(offset_bytes)?;
        file.seek(io::SeekFrom::End(0))?;
        Ok(file)
    }

    pub(super) fn sync_staging(&self) -> io::Result<()> {
        self.check_sync("the staging folder", rustix::fs::fsync(&self.staging))
    }

    pub(super) fn settle(&self, staged: StagedKey) -> io::Result<()> {
        remove_file(&self.staging, &staged.file())
    }

    /// Whether an upload has its staging entry here.
    pub(super) fn has_staged(&self, staged: StagedKey) -> io::Result<bool> {
        match rustix::fs::statat(&self.staging, staged.file(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn staged(&self) -> io::Result<Vec<StagedKey>> {
        let mut found = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.staging)? {
            let entry = entry?;
            found.extend(entry.file_name().to_str().ok().and_then(StagedKey::parse));
        }
        Ok(found)
    }

    pub(super) fn open_part(&self, key: BlobKey, part: Part) -> io::Result<File> {
        let directory = self.open_blob_directory(key)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&directory, key.file(part), flags, Mode::empty())?;
        Ok(File::from(file))
    }

    pub(super) fn put_preview(&self, key: BlobKey, bytes: &[u8]) -> io::Result<()> {
        self.check_writable()?;
        let directory = self.open_blob_directory(key)?;
        let (name, original) = (key.file(Part::Preview), key.file(Part::Original));
        let temporary = key.unfinished_preview();
        let flags =
            OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let written = rustix::fs::openat(&directory, &temporary, flags, PRIVATE_FILE)
            .map_err(io::Error::from)
            .and_then(|file| {
                let mut file = File::from(file);
                file.write_all(bytes)?;
                self.check_sync("a preview", file.sync_data())?;
                Ok(rustix::fs::renameat(&directory, &temporary, &directory, &name)?)
            });
        if let Err(error) = written {
            let _ = remove_file(&directory, &temporary);
            return Err(error);
        }
        // The blob may have been deleted meanwhile: a preview without an original must not stay.
        if let Err(error) = rustix::fs::statat(&directory, &original, AtFlags::SYMLINK_NOFOLLOW) {
            remove_file(&directory, &name)?;
            return Err(error.into());
        }
        Ok(())
    }

    pub(super) fn remove(&self, key: BlobKey) -> io::Result<()> {
        match self.open_blob_directory(key) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(directory) => {
                remove_file(&directory, &key.file(Part::Original))?;
                // In this order, a concurrent render cannot rename one to the other unnoticed.
                remove_file(&directory, &key.unfinished_preview())?;
                remove_file(&directory, &key.file(Part::Preview))
            }
        }
    }

    pub(super) fn restore(&self, key: BlobKey, bytes: &mut dyn io::Read) -> io::Result<()> {
        ensure_directory(&self.blobs, &key.site_directory())?;
        let site = open_directory(&self.blobs, &key.site_directory())?;
        ensure_directory(&site, &key.directory())?;
        let directory = open_directory(&site, &key.directory())?;
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = key.file(Part::Original);
        let file = rustix::fs::openat(&directory, name, flags, PRIVATE_FILE)?;
        io::copy(bytes, &mut File::from(file)).map(drop)
    }

    /// Links a staged file to its final path, durably.
    fn link_into_place(&self, staged: StagedKey, file: &File) -> io::Result<()> {
        self.check_sync(UPLOAD, file.sync_data())?;
        let key = staged.key;
        let directory = self.create_blob_directory(key)?;
        let name = key.file(Part::Original);
        rustix::fs::linkat(&self.staging, staged.file(), &directory, &name, AtFlags::empty())?;
        if let Err(error) = self.check_sync("a folder", rustix::fs::fsync(&directory)) {
            let _ = remove_file(&directory, &name);
            return Err(error);
        }
        Ok(())
    }

    pub(super) fn open_blob_directory(&self, key: BlobKey) -> io::Result<OwnedFd> {
        let site = open_directory(&self.blobs, &key.site_directory())?;
        open_directory(&site, &key.directory())
    }

    pub(super) fn create_blob_directory(&self, key: BlobKey) -> io::Result<OwnedFd> {
        if let Ok(directory) = self.open_blob_directory(key) {
            return Ok(directory);
        }
        let site = self.create_directory(&self.blobs, &key.site_directory())?;
        self.create_directory(&site, &key.directory())
    }

    /// Creates a directory durably and opens it.
    pub(super) fn create_directory(&self, parent: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
        if ensure_directory(parent, name)? {
            self.check_sync("a folder", rustix::fs::fsync(parent))?;
        }
        open_directory(parent, name)
    }
}

fn record_sync<E: Into<io::Error>>(
    failed: &OnceLock<String>,
    what: &str,
    outcome: Result<(), E>,
) -> io::Result<()> {
    let Err(error) = outcome.map_err(Into::into) else { return Ok(()) };
    if !matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        tracing::error!(%error, what, "sync failed: no more writes until the next start");
        let _ = failed.set(format!("syncing {what} to disk failed: {error}"));
    }
    Err(error)
}

/// The disk side of an upload that is being written.
pub(super) struct OnDisk<'a> {
    pub(super) disk: &'a Disk,
    pub(super) staged: StagedKey,
    /// Write-back has started for the bytes before this offset.
    pub(super) write_back_offset: u64,
}

impl OnDisk<'_> {
    pub(super) fn written(&mut self, file: &File, written: u64) {
        if written - self.write_back_offset >= WRITE_BACK_BYTES {
            begin_write_back(file, self.write_back_offset, written - self.write_back_offset);
            self.write_back_offset = written;
        }
    }

    pub(super) fn sync(&self, file: &File) -> io::Result<()> {
        self.disk.check_sync(UPLOAD, file.sync_data())
    }

    /// Returns a sync of the bytes written so far, for another thread to run.
    pub(super) fn deferred_sync(
        &self,
        file: &File,
    ) -> io::Result<impl FnOnce() -> io::Result<()> + Send + 'static> {
        let (file, failed) = (file.try_clone()?, Arc::clone(&self.disk.failed));
        Ok(move || record_sync(&failed, UPLOAD, file.sync_data()))
    }

    pub(super) fn seal(&self, file: &File) -> io::Result<()> {
        self.disk.link_into_place(self.staged, file)
    }
}
