//! Lists all names in the store, for callers that compare them with the rows.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir};

use super::disk::Disk;
use super::{BlobKey, Blobs, Part, StagedKey, Store};
use crate::domain::ids::{BlobId, SiteId};

/// The folder for files without a row, when the store is repaired.
pub(super) const LOST_AND_FOUND: &str = "lost+found";

/// A file in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredFile {
    /// The blob that its name refers to.
    pub key: BlobKey,
    /// Which file of the blob; `None` for an unfinished preview.
    pub part: Option<Part>,
    /// Its size.
    pub size_bytes: u64,
}

/// Uploads in staging with the sizes of their files, and foreign names.
pub type AllStaged = (Vec<(StagedKey, u64)>, Vec<String>);

impl Blobs {
    /// The folders of sites, and foreign names beside them.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn sites(&self) -> io::Result<(Vec<SiteId>, Vec<String>)> {
        let mut all = Vec::new();
        for blobs in self.stores() {
            all.extend(match &blobs.store {
                Store::Disk(disk) => names(&disk.blobs)?,
                Store::S3(s3) => s3.site_names()?,
            });
        }
        all.sort_unstable();
        all.dedup();
        let (mut sites, mut foreign) = (Vec::new(), Vec::new());
        for name in all {
            match uuid::Uuid::try_parse(&name) {
                Ok(site) if site.simple().to_string() == name => sites.push(SiteId(site)),
                _ => foreign.push(name),
            }
        }
        Ok((sites, foreign))
    }

    /// The files of a site whose blob ids begin with the byte `first`, and foreign names among
    /// them.
    ///
    /// # Errors
    ///
    /// When the store cannot be read. Files that disappear meanwhile are ignored.
    pub fn stored(&self, site: SiteId, first: u8) -> io::Result<(Vec<StoredFile>, Vec<String>)> {
        let (mut stored, mut foreign) = (Vec::new(), Vec::new());
        let mut bytes = [0; 16];
        bytes[0] = first;
        let sample = BlobKey { site, blob: BlobId::from_bytes(bytes) };
        let mut all = Vec::new();
        for blobs in self.stores() {
            all.extend(match &blobs.store {
                Store::Disk(disk) => disk.blob_names(sample)?,
                Store::S3(s3) => s3.blob_names(sample)?,
            });
        }
        if self.secondary.is_some() {
            // A file in both stores counts once, as the one in the primary.
            all.sort_by(|(one, _), (two, _)| one.cmp(two));
            all.dedup_by(|(one, _), (two, _)| one == two);
        }
        for (name, size_bytes) in all {
            match parse(site, first, &name) {
                Some((key, part)) => stored.push(StoredFile { key, part, size_bytes }),
                None => {
                    foreign.push(format!(
                        "{}/{}/{name}",
                        sample.site_directory(),
                        sample.directory()
                    ));
                }
            }
        }
        Ok((stored, foreign))
    }

    /// The files of uploads with their sizes, and foreign names among them.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn all_staged(&self) -> io::Result<AllStaged> {
        let (mut staged, mut foreign) = (Vec::new(), Vec::new());
        for blobs in self.stores() {
            let (names, unknown) = match &blobs.store {
                Store::Disk(disk) => disk.all_staged()?,
                Store::S3(s3) => s3.all_staged()?,
            };
            staged.extend(names);
            foreign.extend(unknown);
        }
        Ok((staged, foreign))
    }

    /// The size of an original, if it exists.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn size_of(&self, key: BlobKey) -> io::Result<Option<u64>> {
        let found_size = self.in_either(|blobs| {
            let size_bytes = match &blobs.store {
                Store::Disk(disk) => disk.size_of(key)?,
                Store::S3(s3) => s3.size_of(key)?,
            };
            size_bytes.ok_or_else(|| io::ErrorKind::NotFound.into())
        });
        found(found_size)
    }

    /// Moves an orphaned original to `lost+found/`, and removes its preview.
    ///
    /// # Errors
    ///
    /// When it cannot be moved.
    pub fn set_aside(&self, key: BlobKey) -> io::Result<()> {
        for blobs in self.stores() {
            match &blobs.store {
                Store::Disk(disk) => disk.set_aside(key)?,
                Store::S3(s3) => s3.set_aside(key)?,
            }
        }
        self.remove(key)
    }
}

impl Disk {
    fn blob_names(&self, sample: BlobKey) -> io::Result<Vec<(String, u64)>> {
        let Some(directory) = found(self.open_blob_directory(sample))? else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for name in names(&directory)? {
            if let Some(size_bytes) = size(&directory, &name)? {
                found.push((name, size_bytes));
            }
        }
        Ok(found)
    }

    fn all_staged(&self) -> io::Result<AllStaged> {
        let (mut staged, mut foreign) = (Vec::new(), Vec::new());
        for name in names(&self.staging)? {
            match StagedKey::parse(&name) {
                None => foreign.push(format!("staging/{name}")),
                Some(key) => {
                    staged.extend(size(&self.staging, &name)?.map(|bytes| (key, bytes)));
                }
            }
        }
        Ok((staged, foreign))
    }

    fn size_of(&self, key: BlobKey) -> io::Result<Option<u64>> {
        match found(self.open_blob_directory(key))? {
            Some(directory) => size(&directory, &key.file(Part::Original)),
            None => Ok(None),
        }
    }

    fn set_aside(&self, key: BlobKey) -> io::Result<()> {
        let aside = self.create_directory(&self.root, LOST_AND_FOUND)?;
        let Some(directory) = found(self.open_blob_directory(key))? else { return Ok(()) };
        match rustix::fs::renameat(
            &directory,
            key.file(Part::Original),
            &aside,
            key.lost_and_found_name(),
        ) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(rustix::fs::fsync(&aside)?)
    }
}

fn parse(site: SiteId, first: u8, name: &str) -> Option<(BlobKey, Option<Part>)> {
    let blob = name.split('.').next()?;
    let blob = BlobId(uuid::Uuid::try_parse(blob).ok()?);
    let key = BlobKey { site, blob };
    if blob.as_bytes()[0] != first {
        return None;
    }
    if name == key.unfinished_preview() {
        return Some((key, None));
    }
    let parts = [Part::Original, Part::Preview];
    parts.into_iter().find(|part| key.file(*part) == name).map(|part| (key, Some(part)))
}

pub(super) fn names(directory: &OwnedFd) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}

fn size(directory: &OwnedFd, name: &str) -> io::Result<Option<u64>> {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
    Ok(found(stat.map_err(io::Error::from))?.map(|stat| stat.st_size as u64))
}

pub(super) fn found<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
