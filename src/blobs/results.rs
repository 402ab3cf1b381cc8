//! The transform cache: regenerable pictures rendered from blobs, below `cache/<site>/<blob>/`.
//! They are removed with their blob. Only this process's own index relies on them.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags};
use uuid::Uuid;

use super::files::{PRIVATE_FILE, ensure_directory, open_directory, remove_file};
use super::walk::{found, names};
use super::{BlobKey, Blobs, Part};
use crate::domain::ids::{BlobId, SiteId};
use crate::domain::transform::ResultId;

/// The folder where results are written before they are renamed. Only the serving process uses it.
const UNFINISHED: &str = "unfinished";
/// Attempts to empty a directory while concurrent renders add to it.
const REMOVE_ATTEMPTS: u32 = 16;

/// A cached result.
#[derive(Debug, Clone, Copy)]
pub struct CachedResult {
    /// The blob that it was rendered from.
    pub key: BlobKey,
    /// Its id.
    pub result: ResultId,
    /// Its size.
    pub size_bytes: u64,
    /// When it was written, in Unix seconds.
    pub written_s: u64,
}

impl Blobs {
    /// Opens a result.
    ///
    /// # Errors
    ///
    /// `NotFound` when it does not exist.
    pub fn open_result(&self, key: BlobKey, result: ResultId) -> io::Result<File> {
        let directory = self.open_result_directory(key)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&directory, result.to_string(), flags, Mode::empty())?;
        Ok(File::from(file))
    }

    /// Stores a result. Replaces an existing one atomically.
    ///
    /// # Errors
    ///
    /// When it cannot be stored; `NotFound` when its blob no longer exists. Nothing remains of the
    /// result then.
    pub fn put_result(&self, key: BlobKey, result: ResultId, bytes: &[u8]) -> io::Result<()> {
        self.check_writable()?;
        ensure_directory(&self.cache, UNFINISHED)?;
        let unfinished = open_directory(&self.cache, UNFINISHED)?;
        let temporary = Uuid::new_v4().simple().to_string();
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let written = rustix::fs::openat(&unfinished, &temporary, flags, PRIVATE_FILE)
            .map_err(io::Error::from)
            .and_then(|file| {
                let mut file = File::from(file);
                file.write_all(bytes)?;
                // So that a power cut leaves no truncated result. A failed sync costs this file
                // only: nothing acknowledged depends on it.
                file.sync_data()?;
                let directory = self.make_result_directory(key)?;
                let name = result.to_string();
                Ok(rustix::fs::renameat(&unfinished, &temporary, &directory, name)?)
            });
        if let Err(error) = written {
            let _ = remove_file(&unfinished, &temporary);
            return Err(error);
        }
        // The blob may have been deleted meanwhile: a result without an original must not stay.
        if self.size_of(key)?.is_none() {
            self.remove_results(key)?;
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(())
    }

    /// Removes a result, if it exists.
    ///
    /// # Errors
    ///
    /// When it exists and cannot be removed.
    pub fn remove_result(&self, key: BlobKey, result: ResultId) -> io::Result<()> {
        let Some(directory) = found(self.open_result_directory(key))? else { return Ok(()) };
        remove_file(&directory, &result.to_string())?;
        let site = open_directory(&self.cache, &key.site_directory())?;
        // Fails, as it should, unless the directory is empty.
        let _ = rustix::fs::unlinkat(&site, key.file(Part::Original), AtFlags::REMOVEDIR);
        Ok(())
    }

    /// Removes every result rendered from a blob.
    pub(super) fn remove_results(&self, key: BlobKey) -> io::Result<()> {
        let Some(site) = found(open_directory(&self.cache, &key.site_directory()))? else {
            return Ok(());
        };
        let name = key.file(Part::Original);
        for _ in 0..REMOVE_ATTEMPTS {
            let Some(directory) = found(open_directory(&site, &name))? else { return Ok(()) };
            for name in names(&directory)? {
                remove_file(&directory, &name)?;
            }
            match rustix::fs::unlinkat(&site, &name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => return Ok(()),
                // A concurrent render added one meanwhile; it checks whether the blob still exists.
                Err(rustix::io::Errno::NOTEMPTY | rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(rustix::io::Errno::NOTEMPTY.into())
    }

    /// Creates a file without a name, which disappears when it is closed.
    pub(super) fn anonymous_file(&self) -> io::Result<File> {
        ensure_directory(&self.cache, UNFINISHED)?;
        let unfinished = open_directory(&self.cache, UNFINISHED)?;
        let temporary = Uuid::new_v4().simple().to_string();
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&unfinished, &temporary, flags, PRIVATE_FILE)?;
        remove_file(&unfinished, &temporary)?;
        Ok(file.into())
    }

    /// Removes the unfinished results of a killed process. Only the serving process may call it.
    ///
    /// # Errors
    ///
    /// When the directory cannot be read.
    pub fn remove_unfinished_results(&self) -> io::Result<()> {
        let unfinished = open_directory(&self.cache, UNFINISHED);
        let Some(unfinished) = found(unfinished)? else { return Ok(()) };
        names(&unfinished)?.iter().try_for_each(|name| remove_file(&unfinished, name))
    }

    /// Calls `visit` for every result of an existing blob, and removes the results of deleted
    /// blobs. Holds one directory at a time in memory.
    ///
    /// # Errors
    ///
    /// When the store cannot be read. Files that disappear meanwhile are ignored.
    pub fn results(&self, visit: &mut dyn FnMut(CachedResult)) -> io::Result<()> {
        for site_name in names(&self.cache)? {
            let Some(site) = simple_id(&site_name).map(SiteId) else { continue };
            let Some(directory) = found(open_directory(&self.cache, &site_name))? else { continue };
            for name in names(&directory)? {
                let Some(blob) = simple_id(&name).map(BlobId) else { continue };
                let key = BlobKey { site, blob };
                if self.size_of(key)?.is_none() {
                    self.remove_results(key)?;
                    continue;
                }
                let Some(results) = found(self.open_result_directory(key))? else { continue };
                for name in names(&results)? {
                    let Some(id) = simple_id(&name) else { continue };
                    let stat = rustix::fs::statat(&results, &name, AtFlags::SYMLINK_NOFOLLOW);
                    let Some(stat) = found(stat.map_err(io::Error::from))? else { continue };
                    visit(CachedResult {
                        key,
                        result: ResultId::from_bytes(*id.as_bytes()),
                        size_bytes: stat.st_size as u64,
                        written_s: stat.st_mtime as u64,
                    });
                }
            }
        }
        Ok(())
    }

    fn open_result_directory(&self, key: BlobKey) -> io::Result<OwnedFd> {
        let site = open_directory(&self.cache, &key.site_directory())?;
        open_directory(&site, &key.file(Part::Original))
    }

    fn make_result_directory(&self, key: BlobKey) -> io::Result<OwnedFd> {
        let (site, blob) = (key.site_directory(), key.file(Part::Original));
        ensure_directory(&self.cache, &site)?;
        let site = open_directory(&self.cache, &site)?;
        ensure_directory(&site, &blob)?;
        open_directory(&site, &blob)
    }
}

/// Parses an id of 32 lower-case hexadecimal digits, the form of all names here.
fn simple_id(name: &str) -> Option<Uuid> {
    let id = Uuid::try_parse(name).ok()?;
    (id.simple().to_string() == name).then_some(id)
}
