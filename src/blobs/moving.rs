//! Copies originals from another store. The bytes get their final name here only after all of them
//! matched the SHA-256 in their row. They count as moved only after they were read back with it.
//!
//! `moving/<upload>` marks a move in progress. It stays until the mover has seen that the row still
//! exists. So the leftovers of a killed move are exactly what `moving/` lists, and every other
//! original with the right name and size has been verified.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{AtFlags, OFlags};
use sha2::{Digest as _, Sha256};

use super::disk::Disk;
use super::files::{PRIVATE_FILE, drop_os_cache, remove_file};
use super::key::{Part, StagedKey};
use super::walk::names;
use super::{Blobs, Original, Store};

/// The folder that lists moves in progress.
pub(super) const MOVING: &str = "moving";
/// Bytes read at a time.
const READ_BYTES: u64 = 1 << 20;

/// An original as its row describes it.
#[derive(Debug, Clone, Copy)]
pub struct ExpectedOriginal {
    /// Its blob and its attachment.
    pub staged: StagedKey,
    /// Its size.
    pub size_bytes: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
}

/// Why an original was not moved.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// It cannot be read from the source store, or differs from its row there.
    #[error("cannot be read at the old location: {0}")]
    Source(io::Error),
    /// It cannot be written to the target store, or read back different. Nothing remains of it
    /// there.
    #[error("cannot be stored at the new location: {0}")]
    Target(#[from] io::Error),
}

impl Blobs {
    /// Copies an original from another store, durably. The move is open until
    /// [`Blobs::settle_move`].
    ///
    /// # Errors
    ///
    /// See [`MoveError`]. Bytes that differ from the row never remain at the original's path.
    pub fn copy_from(&self, from: &Self, expected: &ExpectedOriginal) -> Result<(), MoveError> {
        let source = from.open_source(expected).map_err(MoveError::Source)?;
        match &self.store {
            Store::Disk(disk) => disk.copy_from(&source, expected),
            Store::S3(s3) => s3.copy_from(&source, expected),
        }
    }

    fn open_source(&self, expected: &ExpectedOriginal) -> io::Result<Original> {
        match self.original(expected.staged.key, expected.size_bytes)? {
            Original::Remote(remote) => Ok(Original::Remote(remote.pin()?)),
            Original::File(file) => {
                let size_bytes = file.metadata()?.len();
                if size_bytes == expected.size_bytes {
                    return Ok(Original::File(file));
                }
                let problem = format!("{size_bytes} bytes, {} expected", expected.size_bytes);
                Err(io::Error::new(io::ErrorKind::InvalidData, problem))
            }
        }
    }

    /// Removes the entry of a move, once its row was checked.
    ///
    /// # Errors
    ///
    /// When the entry cannot be removed; the next move examines it again.
    pub fn settle_move(&self, staged: StagedKey) -> io::Result<()> {
        match &self.store {
            Store::Disk(disk) => remove_file(&disk.moving()?, &staged.file()),
            Store::S3(s3) => s3.settle_move(staged),
        }
    }

    /// Aborts an unsettled move and discards the parts that it has sent.
    ///
    /// # Errors
    ///
    /// When the store cannot be read or written.
    pub fn abort_move(&self, staged: StagedKey) -> io::Result<()> {
        match &self.store {
            // The next move starts over.
            Store::Disk(_) => Ok(()),
            Store::S3(s3) => s3.abort_move(staged),
        }
    }

    /// Moves that were not settled, because they failed or the mover was killed.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn unsettled_moves(&self) -> io::Result<Vec<StagedKey>> {
        match &self.store {
            Store::Disk(disk) => Ok(names(&disk.moving()?)?
                .iter()
                .filter_map(|name| StagedKey::parse(name))
                .collect()),
            Store::S3(s3) => s3.unsettled_moves(),
        }
    }
}

impl Original {
    /// Fills a buffer with the bytes from an offset on. Blocks.
    pub(super) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::File(file) => file.read_exact_at(buffer, offset),
            Self::Remote(remote) => remote.read_exact_at(buffer, offset),
        }
    }

    /// Passes all bytes to `visit` in chunks, then compares their SHA-256.
    pub(super) fn read_all(
        &self,
        expected: &ExpectedOriginal,
        mut visit: impl FnMut(&[u8]) -> Result<(), MoveError>,
    ) -> Result<(), MoveError> {
        let (mut sha256, mut offset) = (Sha256::new(), 0);
        let mut buffer = vec![0; expected.size_bytes.min(READ_BYTES) as usize];
        while offset < expected.size_bytes {
            let chunk = &mut buffer[..(expected.size_bytes - offset).min(READ_BYTES) as usize];
            self.read_exact_at(chunk, offset).map_err(MoveError::Source)?;
            sha256.update(&*chunk);
            visit(chunk)?;
            offset += chunk.len() as u64;
        }
        verify(sha256, expected).map_err(MoveError::Source)
    }
}

/// Compares the SHA-256 of all bytes with the row's.
pub(super) fn verify(sha256: Sha256, expected: &ExpectedOriginal) -> io::Result<()> {
    if <[u8; 32]>::from(sha256.finalize()) == expected.sha256 {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the SHA-256 differs from the upload's"))
}

impl MoveError {
    /// Attributes an error while reading back to the target store.
    pub(super) fn into_target(self) -> Self {
        match self {
            Self::Source(error) | Self::Target(error) => Self::Target(error),
        }
    }
}

impl Disk {
    fn moving(&self) -> io::Result<OwnedFd> {
        self.create_directory(&self.root, MOVING)
    }

    fn copy_from(&self, source: &Original, expected: &ExpectedOriginal) -> Result<(), MoveError> {
        let (moving, name) = (self.moving()?, expected.staged.file());
        // The leftover of a killed move may be a second link to an original at its final path.
        remove_file(&moving, &name)?;
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(
            rustix::fs::openat(&moving, &name, flags, PRIVATE_FILE).map_err(io::Error::from)?,
        );
        if let Err(failed) = self.write_and_verify(source, expected, file) {
            let _ = remove_file(&moving, &name);
            return Err(failed);
        }
        let directory = self.create_blob_directory(expected.staged.key)?;
        let final_name = expected.staged.key.file(Part::Original);
        // It has the wrong size, or comes from a move that did not complete.
        remove_file(&directory, &final_name)?;
        rustix::fs::linkat(&moving, &name, &directory, &final_name, AtFlags::empty())
            .map_err(io::Error::from)?;
        Ok(self.check_sync("a folder", rustix::fs::fsync(&directory))?)
    }

    fn write_and_verify(
        &self,
        source: &Original,
        expected: &ExpectedOriginal,
        mut file: File,
    ) -> Result<(), MoveError> {
        source.read_all(expected, |chunk| Ok(file.write_all(chunk)?))?;
        self.check_sync("an original", file.sync_data())?;
        // The verification must read the disk, not the system's cache.
        drop_os_cache(&file, 0, None);
        Original::File(file).read_all(expected, |_| Ok(())).map_err(MoveError::into_target)
    }
}
