//! Takes originals over from another place. Bytes get their name here only when all of them had the
//! SHA-256 that their row says, and count as moved only when they were read back from here with it.
//!
//! `moving/<upload>` says that one is under way; it stays until whoever moves has seen that the row is
//! still there. So what a killed move leaves is exactly what lies there, and everything else that has
//! its name and its size was looked at.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{AtFlags, OFlags};
use sha2::{Digest as _, Sha256};

use super::disk::Disk;
use super::files::{PRIVATE_FILE, forget_cached, remove_file};
use super::key::{Part, StagedKey};
use super::walk::names;
use super::{Blobs, Original, Store};

/// Where moves are noted.
pub(super) const MOVING: &str = "moving";
/// Bytes that are read at once.
const PIECE_BYTES: u64 = 1 << 20;

/// An original as its row describes it.
#[derive(Debug, Clone, Copy)]
pub struct Whole {
    /// Its names.
    pub named: StagedKey,
    /// How many bytes there must be.
    pub size_bytes: u64,
    /// Their SHA-256.
    pub sha256: [u8; 32],
}

/// Why an original was not moved.
#[derive(Debug, thiserror::Error)]
pub enum MoveFailed {
    /// It cannot be read where it lies, or is another one there.
    #[error("cannot be read at the old place: {0}")]
    Source(io::Error),
    /// It cannot be written, or came back as another one; then nothing is left of it.
    #[error("cannot be kept at the new place: {0}")]
    Target(#[from] io::Error),
}

impl Blobs {
    /// Takes an original over, durably. It is not settled until [`Blobs::settle_move`].
    ///
    /// # Errors
    ///
    /// See [`MoveFailed`]. Bytes that are not those of the row are never left at its place.
    pub fn take_over(&self, from: &Self, whole: &Whole) -> Result<(), MoveFailed> {
        let source = from.look_at(whole).map_err(MoveFailed::Source)?;
        match &self.store {
            Store::Disk(disk) => disk.take_over(&source, whole),
            Store::S3(s3) => s3.take_over(&source, whole),
        }
    }

    fn look_at(&self, whole: &Whole) -> io::Result<Original> {
        match self.original(whole.named.key, whole.size_bytes)? {
            Original::Remote(remote) => Ok(Original::Remote(remote.look()?)),
            Original::File(file) => {
                let size_bytes = file.metadata()?.len();
                if size_bytes == whole.size_bytes {
                    return Ok(Original::File(file));
                }
                let problem = format!("{size_bytes} bytes, {} expected", whole.size_bytes);
                Err(io::Error::new(io::ErrorKind::InvalidData, problem))
            }
        }
    }

    /// Forgets that a move was under way, once its row was looked at.
    ///
    /// # Errors
    ///
    /// When the name cannot be removed; it is then looked at again by the next move.
    pub fn settle_move(&self, named: StagedKey) -> io::Result<()> {
        match &self.store {
            Store::Disk(disk) => remove_file(&disk.moving()?, &named.file()),
            Store::S3(s3) => s3.settle_move(named),
        }
    }

    /// Gives up what a move that was not settled has put to the store beside its name.
    ///
    /// # Errors
    ///
    /// When the store cannot be read or written.
    pub fn give_up_move(&self, named: StagedKey) -> io::Result<()> {
        match &self.store {
            // The next one begins anew.
            Store::Disk(_) => Ok(()),
            Store::S3(s3) => s3.give_up_move(named),
        }
    }

    /// Moves that were not settled, because they failed or whoever moved was killed.
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
    /// Fills a buffer with what lies from an offset on. Blocks.
    pub(super) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::File(file) => file.read_exact_at(buffer, offset),
            Self::Remote(remote) => remote.read_exact_at(buffer, offset),
        }
    }

    /// Shows all bytes in pieces, and then compares their SHA-256.
    pub(super) fn read_whole(
        &self,
        whole: &Whole,
        mut show: impl FnMut(&[u8]) -> Result<(), MoveFailed>,
    ) -> Result<(), MoveFailed> {
        let (mut sha256, mut offset) = (Sha256::new(), 0);
        let mut buffer = vec![0; whole.size_bytes.min(PIECE_BYTES) as usize];
        while offset < whole.size_bytes {
            let piece = &mut buffer[..(whole.size_bytes - offset).min(PIECE_BYTES) as usize];
            self.read_exact_at(piece, offset).map_err(MoveFailed::Source)?;
            sha256.update(&*piece);
            show(piece)?;
            offset += piece.len() as u64;
        }
        check(sha256, whole).map_err(MoveFailed::Source)
    }
}

/// Compares the SHA-256 of all bytes with that of the row.
pub(super) fn check(sha256: Sha256, whole: &Whole) -> io::Result<()> {
    if <[u8; 32]>::from(sha256.finalize()) == whole.sha256 {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "another SHA-256 than that of the upload"))
}

impl MoveFailed {
    /// What was wrong when bytes were read back.
    pub(super) fn back(self) -> Self {
        match self {
            Self::Source(error) | Self::Target(error) => Self::Target(error),
        }
    }
}

impl Disk {
    fn moving(&self) -> io::Result<OwnedFd> {
        self.make(&self.root, MOVING)
    }

    fn take_over(&self, source: &Original, whole: &Whole) -> Result<(), MoveFailed> {
        let (moving, name) = (self.moving()?, whole.named.file());
        // What a killed move left may be a second name of bytes that are at their place.
        remove_file(&moving, &name)?;
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(
            rustix::fs::openat(&moving, &name, flags, PRIVATE_FILE).map_err(io::Error::from)?,
        );
        if let Err(failed) = self.write_whole(source, whole, file) {
            let _ = remove_file(&moving, &name);
            return Err(failed);
        }
        let directory = self.make_blob_directory(whole.named.key)?;
        let place = whole.named.key.file(Part::Original);
        // One of another size, or of a move that nobody saw the end of.
        remove_file(&directory, &place)?;
        rustix::fs::linkat(&moving, &name, &directory, &place, AtFlags::empty())
            .map_err(io::Error::from)?;
        Ok(self.synced("a folder", rustix::fs::fsync(&directory))?)
    }

    fn write_whole(
        &self,
        source: &Original,
        whole: &Whole,
        mut file: File,
    ) -> Result<(), MoveFailed> {
        source.read_whole(whole, |piece| Ok(file.write_all(piece)?))?;
        self.synced("an original", file.sync_data())?;
        // What lies in memory says nothing of the disk.
        forget_cached(&file, 0, None);
        Original::File(file).read_whole(whole, |_| Ok(())).map_err(MoveFailed::back)
    }
}
