//! Pictures made of blobs that can be made again (transforms), below `cache/<site>/<blob>/`. They go
//! with their blob. Nothing but this process's own index counts on them.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags};
use uuid::Uuid;

use super::files::{PRIVATE_FILE, make_directory, open_directory, remove_file};
use super::walk::{found, names};
use super::{BlobKey, Blobs, Part};
use crate::domain::ids::{BlobId, SiteId};
use crate::domain::transform::ResultId;

/// Where results are written before they get their names; of the one process that serves.
const UNFINISHED: &str = "unfinished";
/// How often a directory is emptied while makers put more into it.
const REMOVE_TRIES: u32 = 16;

/// A result that is there.
#[derive(Debug, Clone, Copy)]
pub struct CachedResult {
    /// Of which blob.
    pub key: BlobKey,
    /// Which one.
    pub result: ResultId,
    /// How large.
    pub size_bytes: u64,
    /// When it was written, in Unix seconds.
    pub written_s: u64,
}

impl Blobs {
    /// Opens a result.
    ///
    /// # Errors
    ///
    /// `NotFound` when it is not there.
    pub fn open_result(&self, key: BlobKey, result: ResultId) -> io::Result<File> {
        let directory = self.open_result_directory(key)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&directory, result.to_string(), flags, Mode::empty())?;
        Ok(File::from(file))
    }

    /// Keeps a result. One that is there already is replaced as a whole.
    ///
    /// # Errors
    ///
    /// When it cannot be kept, `NotFound` when its blob is gone; then nothing is left of it.
    pub fn put_result(&self, key: BlobKey, result: ResultId, bytes: &[u8]) -> io::Result<()> {
        self.check_writable()?;
        make_directory(&self.cache, UNFINISHED)?;
        let unfinished = open_directory(&self.cache, UNFINISHED)?;
        let temporary = Uuid::new_v4().simple().to_string();
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let written = rustix::fs::openat(&unfinished, &temporary, flags, PRIVATE_FILE)
            .map_err(io::Error::from)
            .and_then(|file| {
                let mut file = File::from(file);
                file.write_all(bytes)?;
                // So that a power cut leaves none that is cut off. A failure costs this file only:
                // nothing was acknowledged that rests on it.
                file.sync_data()?;
                let directory = self.make_result_directory(key)?;
                let name = result.to_string();
                Ok(rustix::fs::renameat(&unfinished, &temporary, &directory, name)?)
            });
        if let Err(error) = written {
            let _ = remove_file(&unfinished, &temporary);
            return Err(error);
        }
        // A delete may have come in between: what no blob stands behind must not stay.
        if self.size_of(key)?.is_none() {
            self.remove_results(key)?;
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(())
    }

    /// Removes a result, if it is there.
    ///
    /// # Errors
    ///
    /// When it is there and cannot be removed.
    pub fn remove_result(&self, key: BlobKey, result: ResultId) -> io::Result<()> {
        let Some(directory) = found(self.open_result_directory(key))? else { return Ok(()) };
        remove_file(&directory, &result.to_string())?;
        let site = open_directory(&self.cache, &key.site_directory())?;
        // One that is not empty stays.
        let _ = rustix::fs::unlinkat(&site, key.file(Part::Original), AtFlags::REMOVEDIR);
        Ok(())
    }

    /// Removes everything that was made of a blob.
    pub(super) fn remove_results(&self, key: BlobKey) -> io::Result<()> {
        let Some(site) = found(open_directory(&self.cache, &key.site_directory()))? else {
            return Ok(());
        };
        let name = key.file(Part::Original);
        for _ in 0..REMOVE_TRIES {
            let Some(directory) = found(open_directory(&site, &name))? else { return Ok(()) };
            for name in names(&directory)? {
                remove_file(&directory, &name)?;
            }
            match rustix::fs::unlinkat(&site, &name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => return Ok(()),
                // One more was put there meanwhile; whoever did looks whether the blob is there.
                Err(rustix::io::Errno::NOTEMPTY | rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(rustix::io::Errno::NOTEMPTY.into())
    }

    /// A file without a name, which goes when it is closed.
    pub(super) fn anonymous_file(&self) -> io::Result<File> {
        make_directory(&self.cache, UNFINISHED)?;
        let unfinished = open_directory(&self.cache, UNFINISHED)?;
        let temporary = Uuid::new_v4().simple().to_string();
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&unfinished, &temporary, flags, PRIVATE_FILE)?;
        remove_file(&unfinished, &temporary)?;
        Ok(file.into())
    }

    /// Removes what a killed process was writing. Only the process that serves may call it.
    ///
    /// # Errors
    ///
    /// When the directory cannot be read.
    pub fn remove_unfinished_results(&self) -> io::Result<()> {
        let unfinished = open_directory(&self.cache, UNFINISHED);
        let Some(unfinished) = found(unfinished)? else { return Ok(()) };
        names(&unfinished)?.iter().try_for_each(|name| remove_file(&unfinished, name))
    }

    /// Shows every result of a blob that is there, and removes those of blobs that are gone. One
    /// directory at a time is in memory.
    ///
    /// # Errors
    ///
    /// When the store cannot be read. What goes while it is looked at is passed over.
    pub fn results(&self, show: &mut dyn FnMut(CachedResult)) -> io::Result<()> {
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
                    show(CachedResult {
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
        make_directory(&self.cache, &site)?;
        let site = open_directory(&self.cache, &site)?;
        make_directory(&site, &blob)?;
        open_directory(&site, &blob)
    }
}

/// Reads 32 digits as our names have them.
fn simple_id(name: &str) -> Option<Uuid> {
    let id = Uuid::try_parse(name).ok()?;
    (id.simple().to_string() == name).then_some(id)
}
