//! The store on local disk. Every directory is opened without following links (S10).
//!
//! An upload is written to `staging/`, synced, then *linked* to its place and the directory
//! synced. The staging name stays until the row is committed, so after a crash the few names
//! left in `staging/` say exactly which blobs may lack a row: no scan is needed.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, OnceLock};

use rustix::fs::{AtFlags, Mode, OFlags};

use super::files::{
    PRIVATE_FILE, begin_write_back, check_one_disk, make_directory, open_below, open_directory,
    remove_file,
};
use super::key::{BLOBS, BlobKey, Part, StagedKey};

/// After so many bytes the disk is told to begin with them, so that it works while the rest of
/// the upload arrives and the sync at the end finds little left to do.
const WRITE_BACK_BYTES: u64 = 8 << 20;

/// What a failed sync names.
const AN_UPLOAD: &str = "an upload";

/// The store below a data folder.
pub(super) struct Disk {
    pub(super) root: OwnedFd,
    pub(super) staging: OwnedFd,
    pub(super) blobs: OwnedFd,
    /// Why nothing is written any more.
    pub(super) failed: Arc<OnceLock<String>>,
}

impl Disk {
    pub(super) fn open(root: OwnedFd) -> anyhow::Result<Self> {
        let (staging, blobs) = (open_below(&root, "staging")?, open_below(&root, BLOBS)?);
        check_one_disk(["staging", BLOBS], [&staging, &blobs])?;
        Ok(Self { root, staging, blobs, failed: Arc::default() })
    }

    pub(super) fn check_writable(&self) -> io::Result<()> {
        match self.failed.get() {
            None => Ok(()),
            Some(failure) => Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, &**failure)),
        }
    }

    /// Passes the outcome of a sync on. One that failed ends all writing, unless the disk was
    /// only full.
    pub(super) fn synced<E: Into<io::Error>>(
        &self,
        what: &str,
        outcome: Result<(), E>,
    ) -> io::Result<()> {
        pass_on(&self.failed, what, outcome)
    }

    /// The empty file of an upload.
    pub(super) fn stage(&self, staged: StagedKey) -> io::Result<File> {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.check_writable()?;
        Ok(rustix::fs::openat(&self.staging, staged.file(), flags, PRIVATE_FILE)?.into())
    }

    /// The file of a resumable upload, cut to what was acknowledged.
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
            // A commit that failed had put it at its place; no row names it there.
            let directory = self.open_blob_directory(staged.key)?;
            remove_file(&directory, &staged.key.file(Part::Original))?;
        }
        file.set_len(offset_bytes)?;
        file.seek(io::SeekFrom::End(0))?;
        Ok(file)
    }

    pub(super) fn sync_staging(&self) -> io::Result<()> {
        self.synced("the staging folder", rustix::fs::fsync(&self.staging))
    }

    pub(super) fn settle(&self, staged: StagedKey) -> io::Result<()> {
        remove_file(&self.staging, &staged.file())
    }

    /// Whether an upload has its staging name here.
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

    pub(super) fn remove(&self, key: BlobKey) -> io::Result<()> {
        match self.open_blob_directory(key) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(directory) => {
                remove_file(&directory, &key.file(Part::Original))?;
                // In this order a maker at work cannot rename the one into the other unseen.
                remove_file(&directory, &key.unfinished_preview())?;
                remove_file(&directory, &key.file(Part::Preview))
            }
        }
    }

    pub(super) fn restore(&self, key: BlobKey, bytes: &mut dyn io::Read) -> io::Result<()> {
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

    /// Links a staged file to its place, durably.
    fn place(&self, staged: StagedKey, file: &File) -> io::Result<()> {
        self.synced(AN_UPLOAD, file.sync_data())?;
        let key = staged.key;
        let directory = self.make_blob_directory(key)?;
        let name = key.file(Part::Original);
        rustix::fs::linkat(&self.staging, staged.file(), &directory, &name, AtFlags::empty())?;
        if let Err(error) = self.synced("a folder", rustix::fs::fsync(&directory)) {
            let _ = remove_file(&directory, &name);
            return Err(error);
        }
        Ok(())
    }

    pub(super) fn open_blob_directory(&self, key: BlobKey) -> io::Result<OwnedFd> {
        let site = open_directory(&self.blobs, &key.site_directory())?;
        open_directory(&site, &key.directory())
    }

    pub(super) fn make_blob_directory(&self, key: BlobKey) -> io::Result<OwnedFd> {
        if let Ok(directory) = self.open_blob_directory(key) {
            return Ok(directory);
        }
        let site = self.make(&self.blobs, &key.site_directory())?;
        self.make(&site, &key.directory())
    }

    /// Makes a directory durably and opens it.
    pub(super) fn make(&self, parent: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
        if make_directory(parent, name)? {
            self.synced("a folder", rustix::fs::fsync(parent))?;
        }
        open_directory(parent, name)
    }
}

fn pass_on<E: Into<io::Error>>(
    failed: &OnceLock<String>,
    what: &str,
    outcome: Result<(), E>,
) -> io::Result<()> {
    let Err(error) = outcome.map_err(Into::into) else { return Ok(()) };
    if !matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        tracing::error!(%error, what, "a sync failed: no more writes until the next start");
        let _ = failed.set(format!("syncing {what} to disk failed: {error}"));
    }
    Err(error)
}

/// What an upload on disk does with its file.
pub(super) struct OnDisk<'a> {
    pub(super) disk: &'a Disk,
    pub(super) staged: StagedKey,
    pub(super) handed_on: u64,
}

impl OnDisk<'_> {
    pub(super) fn written(&mut self, file: &File, written: u64) {
        if written - self.handed_on >= WRITE_BACK_BYTES {
            begin_write_back(file, self.handed_on, written - self.handed_on);
            self.handed_on = written;
        }
    }

    pub(super) fn sync(&self, file: &File) -> io::Result<()> {
        self.disk.synced(AN_UPLOAD, file.sync_data())
    }

    /// A sync of what is written now, to be done elsewhere.
    pub(super) fn sync_elsewhere(
        &self,
        file: &File,
    ) -> io::Result<impl FnOnce() -> io::Result<()> + Send + 'static> {
        let (file, failed) = (file.try_clone()?, Arc::clone(&self.disk.failed));
        Ok(move || pass_on(&failed, AN_UPLOAD, file.sync_data()))
    }

    pub(super) fn seal(&self, file: &File) -> io::Result<()> {
        self.disk.place(self.staged, file)
    }
}
