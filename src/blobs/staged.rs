//! An upload while it is written. Its bytes go to a file of this machine in any case, which is what
//! is looked into; for a bucket that file has no name, and they are sent on while they arrive.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};

use bytes::Bytes;

use super::Blobs;
use super::disk::OnDisk;
use super::key::{Reached, StagedKey};
use super::s3::Sending;

/// A sync that is still to be done.
pub type Sync = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// An upload that is being written. Dropping it before it is sealed removes it, unless it is to
/// be gone on with.
pub struct Staged<'a> {
    pub(super) blobs: &'a Blobs,
    pub(super) staged: StagedKey,
    pub(super) file: File,
    pub(super) written: u64,
    pub(super) way: Way<'a>,
    pub(super) left: Left,
}

/// Where the bytes go.
pub(super) enum Way<'a> {
    Disk(OnDisk<'a>),
    S3(Box<Sending<'a>>),
}

/// What dropping a [`Staged`] leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// Nothing: the upload was given up.
    Removed,
    /// What is there, for an upload that goes on later.
    Resumable,
    /// What is there, and its outcome to be settled by whoever has it.
    Sealed,
}

impl Staged<'_> {
    /// Appends to the file.
    ///
    /// # Errors
    ///
    /// When it cannot be written, for example on a full disk, or not sent.
    pub fn append(&mut self, bytes: &Bytes) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.written += bytes.len() as u64;
        match &mut self.way {
            Way::Disk(disk) => disk.written(&self.file, self.written),
            Way::S3(sending) => sending.written(&self.file, self.written, bytes)?,
        }
        Ok(())
    }

    /// Bytes of the file.
    pub fn len_bytes(&self) -> u64 {
        self.written
    }

    /// Makes what was written so far, all of it, durable for an upload that goes on.
    ///
    /// # Errors
    ///
    /// When it cannot be synced or sent.
    pub fn sync(&mut self, reached: &Reached) -> io::Result<()> {
        match &mut self.way {
            Way::Disk(disk) => disk.sync(&self.file),
            Way::S3(sending) => sending.checkpoint(&self.file, reached),
        }
    }

    /// A sync of what was written so far, to be done on another thread while more is written. `None` for a
    /// bucket, where it takes its turn with what is sent: there is only [`Staged::sync`].
    ///
    /// # Errors
    ///
    /// When there are no file handles left.
    pub fn sync_elsewhere(&self) -> io::Result<Option<Sync>> {
        match &self.way {
            Way::Disk(disk) => Ok(Some(Box::new(disk.sync_elsewhere(&self.file)?))),
            Way::S3(_) => Ok(None),
        }
    }

    /// Takes back what was written behind an offset.
    ///
    /// # Errors
    ///
    /// When the file cannot be cut.
    pub fn cut(&mut self, offset_bytes: u64) -> io::Result<()> {
        self.file.set_len(offset_bytes)?;
        self.file.seek(io::SeekFrom::End(0))?;
        self.written = offset_bytes;
        match &mut self.way {
            Way::Disk(disk) => disk.handed_on = offset_bytes,
            Way::S3(sending) => sending.cut(),
        }
        Ok(())
    }

    /// The whole file, to look into once everything is written.
    ///
    /// # Errors
    ///
    /// When bytes that were sent earlier, maybe by another server, cannot be fetched.
    pub fn whole(&mut self) -> io::Result<&mut File> {
        if let Way::S3(sending) = &mut self.way {
            sending.fill(&mut self.file, self.written)?;
        }
        Ok(&mut self.file)
    }

    /// Makes the bytes durable at their place: file synced, linked, directory synced (R1); or taken
    /// by the bucket. The staging name stays until [`Blobs::settle`].
    ///
    /// # Errors
    ///
    /// When any of it fails; then nothing is left at the blob's place, or the next recovery finds it.
    pub fn seal(mut self) -> io::Result<StagedKey> {
        match &mut self.way {
            Way::Disk(disk) => disk.seal(&self.file)?,
            Way::S3(sending) => sending.seal(&self.file, self.written)?,
        }
        self.left = Left::Sealed;
        Ok(self.staged)
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        match self.left {
            Left::Removed => {
                let given_up = match &mut self.way {
                    Way::Disk(_) => Ok(()),
                    Way::S3(sending) => sending.give_up(),
                };
                // What cannot be removed now is found by the next recovery.
                match given_up {
                    Ok(()) => drop(self.blobs.settle(self.staged)),
                    Err(_) => self.blobs.abandon(self.staged),
                }
            }
            Left::Resumable => self.blobs.abandon(self.staged),
            Left::Sealed => {}
        }
    }
}
