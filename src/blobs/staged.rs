//! An upload that is being written. Its bytes always go to a local file, which is what gets
//! inspected. For a bucket that file is anonymous, and the bytes are forwarded as they arrive.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};

use bytes::Bytes;

use super::Blobs;
use super::disk::OnDisk;
use super::key::{ResumePoint, StagedKey};
use super::s3::Sending;

/// A sync that has not run yet.
pub type DeferredSync = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// An upload that is being written. Dropping it before it is sealed removes it, unless it is
/// resumable.
pub struct Staged<'a> {
    pub(super) blobs: &'a Blobs,
    pub(super) staged: StagedKey,
    pub(super) file: File,
    pub(super) written: u64,
    pub(super) transfer: Transfer<'a>,
    pub(super) on_drop: OnDrop,
}

/// How the bytes reach the store.
pub(super) enum Transfer<'a> {
    Disk(OnDisk<'a>),
    S3(Box<Sending<'a>>),
}

/// What dropping a [`Staged`] does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum OnDrop {
    /// Removes everything: the upload was cancelled.
    Discard,
    /// Keeps the bytes, for an upload that is resumed later.
    KeepResumable,
    /// Keeps the bytes; the caller settles the outcome.
    KeepSealed,
}

impl Staged<'_> {
    /// Appends to the file.
    ///
    /// # Errors
    ///
    /// When the bytes cannot be written, for example on a full disk, or cannot be sent.
    pub fn append(&mut self, bytes: &Bytes) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.written += bytes.len() as u64;
        match &mut self.transfer {
            Transfer::Disk(disk) => disk.written(&self.file, self.written),
            Transfer::S3(sending) => sending.written(&self.file, self.written, bytes)?,
        }
        Ok(())
    }

    /// The length of the file.
    pub fn len_bytes(&self) -> u64 {
        self.written
    }

    /// Makes everything written so far durable, so that the upload can be resumed at
    /// `resume_point`.
    ///
    /// # Errors
    ///
    /// When the bytes cannot be synced or sent.
    pub fn sync(&mut self, resume_point: &ResumePoint) -> io::Result<()> {
        match &mut self.transfer {
            Transfer::Disk(disk) => disk.sync(&self.file),
            Transfer::S3(sending) => sending.checkpoint(&self.file, resume_point),
        }
    }

    /// Returns a sync of the bytes written so far, for another thread to run while writing
    /// continues. `None` for a bucket: a checkpoint there is ordered with the parts that are being
    /// sent, so only [`Staged::sync`] works.
    ///
    /// # Errors
    ///
    /// When there are no file handles left.
    pub fn deferred_sync(&self) -> io::Result<Option<DeferredSync>> {
        match &self.transfer {
            Transfer::Disk(disk) => Ok(Some(Box::new(disk.deferred_sync(&self.file)?))),
            Transfer::S3(_) => Ok(None),
        }
    }

    /// Discards the bytes after an offset.
    ///
    /// # Errors
    ///
    /// When the file cannot be truncated.
    pub fn truncate(&mut self, offset_bytes: u64) -> io::Result<()> {
        self.file.set_len(offset_bytes)?;
        self.file.seek(io::SeekFrom::End(0))?;
        self.written = offset_bytes;
        match &mut self.transfer {
            Transfer::Disk(disk) => disk.write_back_offset = offset_bytes,
            Transfer::S3(sending) => sending.cancel_in_flight(),
        }
        Ok(())
    }

    /// The whole file, for inspection once everything is written.
    ///
    /// # Errors
    ///
    /// When bytes sent earlier, possibly by another server, cannot be fetched.
    pub fn whole(&mut self) -> io::Result<&mut File> {
        if let Transfer::S3(sending) = &mut self.transfer {
            sending.fetch_prefix(&mut self.file, self.written)?;
        }
        Ok(&mut self.file)
    }

    /// Makes the bytes durable at their final path: file synced, linked, directory synced (R1); or
    /// accepted by the bucket. The staging entry stays until [`Blobs::settle`].
    ///
    /// # Errors
    ///
    /// When any step fails. Then nothing remains at the blob's path, or the next recovery finds it.
    pub fn seal(mut self) -> io::Result<StagedKey> {
        match &mut self.transfer {
            Transfer::Disk(disk) => disk.seal(&self.file)?,
            Transfer::S3(sending) => sending.seal(&self.file, self.written)?,
        }
        self.on_drop = OnDrop::KeepSealed;
        Ok(self.staged)
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        match self.on_drop {
            OnDrop::Discard => {
                let cancelled = match &mut self.transfer {
                    Transfer::Disk(_) => Ok(()),
                    Transfer::S3(sending) => sending.cancel(),
                };
                // The next recovery finds whatever cannot be removed now.
                match cancelled {
                    Ok(()) => drop(self.blobs.settle(self.staged)),
                    Err(_) => self.blobs.abandon(self.staged),
                }
            }
            OnDrop::KeepResumable => self.blobs.abandon(self.staged),
            OnDrop::KeepSealed => {}
        }
    }
}
