//! Writes a backup beside its target and renames it there once it is complete and durable.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Read};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// The extension of a backup in one file.
const TAR: &str = "tar";

/// A private, locked folder beside a target. It is removed unless it is completed.
pub struct Partial {
    folder: PathBuf,
    target: PathBuf,
    _lock: File,
}

impl Partial {
    /// Creates the folder. The leftovers of a dead process are removed first.
    ///
    /// # Errors
    ///
    /// When the target exists and is not an empty folder; when another process is writing to it;
    /// when the folder cannot be created.
    pub fn create(target: &Path) -> anyhow::Result<Self> {
        let is_free = match fs::read_dir(target) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if !is_free {
            bail!("{} already exists; choose another path", target.display());
        }
        let name = target
            .file_name()
            .with_context(|| format!("{} does not end with a name", target.display()))?;
        let mut name = name.to_owned();
        name.push(".partial");
        let folder = target.with_file_name(name);
        let problem = || format!("cannot write to {}", folder.display());
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).with_context(problem)?;
        let lock = private(&folder.join("lock"), true).with_context(problem)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("another process is writing to {}; wait until it ends", folder.display())
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(problem),
        }
        let partial = Self { folder: folder.clone(), target: target.to_path_buf(), _lock: lock };
        for leftover in [partial.content(), partial.work()] {
            remove_all(&leftover).with_context(problem)?;
        }
        DirBuilder::new().mode(0o700).create(partial.work()).with_context(problem)?;
        Ok(partial)
    }

    /// The content that becomes the target.
    pub fn content(&self) -> PathBuf {
        self.folder.join("content")
    }

    /// A folder for temporary files.
    pub fn work(&self) -> PathBuf {
        self.folder.join("work")
    }

    /// Makes everything durable and renames the content to the target.
    ///
    /// # Errors
    ///
    /// When it cannot be synced or renamed; the target does not exist then.
    pub fn complete(self) -> anyhow::Result<()> {
        let problem = || format!("cannot finish {}", self.target.display());
        sync_file_system(&self.folder).with_context(problem)?;
        fs::rename(self.content(), &self.target).with_context(problem)?;
        let parent = self.target.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = File::open(parent.unwrap_or(Path::new("."))).with_context(problem)?;
        parent.sync_all().with_context(problem)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // The next backup to the same target removes what cannot be removed now.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Syncs the whole file system: a sync for each of a million files would take hours.
#[cfg(target_os = "linux")]
fn sync_file_system(folder: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(folder)?)?)
}

#[cfg(not(target_os = "linux"))]
fn sync_file_system(_: &Path) -> io::Result<()> {
    rustix::fs::sync();
    Ok(())
}

fn private(path: &Path, is_lock: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    if is_lock {
        options.create(true).truncate(false)
    } else {
        options.create_new(true)
    };
    options.open(path)
}

fn remove_all(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A backup that is being written.
pub struct Writer {
    partial: Partial,
    tar: Option<tar::Builder<BufWriter<File>>>,
}

impl Writer {
    /// Begins a backup: a tar file when the name ends with `.tar`, otherwise a folder.
    ///
    /// # Errors
    ///
    /// As [`Partial::create`].
    pub fn begin(target: &Path) -> anyhow::Result<Self> {
        let partial = Partial::create(target)?;
        let is_tar = target.extension().is_some_and(|extension| extension == TAR);
        let tar = if is_tar {
            if target.exists() {
                bail!("{} already exists; choose another path", target.display());
            }
            Some(tar::Builder::new(BufWriter::new(private(&partial.content(), false)?)))
        } else {
            DirBuilder::new().mode(0o700).create(partial.content())?;
            None
        };
        Ok(Self { partial, tar })
    }

    /// A folder for temporary files.
    pub fn work(&self) -> PathBuf {
        self.partial.work()
    }

    /// Adds a file of exactly `size_bytes`. Files must be added in the order of their paths.
    ///
    /// # Errors
    ///
    /// When it cannot be written, or `bytes` has a different size.
    pub fn add(&mut self, path: &str, size_bytes: u64, bytes: &mut dyn Read) -> io::Result<()> {
        let copied = if let Some(tar) = &mut self.tar {
            let mut header = tar::Header::new_ustar();
            header.set_mode(0o600);
            header.set_size(size_bytes);
            let mut counted = CountingReader { inner: bytes.take(size_bytes), read: 0 };
            tar.append_data(&mut header, path, &mut counted)?;
            counted.read
        } else {
            let file = self.partial.content().join(path);
            if let Some(folder) = file.parent() {
                DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            }
            io::copy(&mut bytes.take(size_bytes), &mut private(&file, false)?)?
        };
        if copied == size_bytes && bytes.read(&mut [0])? == 0 {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the size of the file has changed"))
    }

    /// Makes the backup durable and renames it to its target.
    ///
    /// # Errors
    ///
    /// When it cannot be written; the target does not exist then.
    pub fn finish(self) -> anyhow::Result<()> {
        if let Some(tar) = self.tar {
            let file = tar.into_inner().and_then(|file| Ok(file.into_inner()?));
            file.and_then(|file| file.sync_all()).context("cannot finish the tar file")?;
        }
        self.partial.complete()
    }
}

struct CountingReader<R> {
    inner: R,
    read: u64,
}

impl<R: Read> Read for CountingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read += read as u64;
        Ok(read)
    }
}
