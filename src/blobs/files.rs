//! The calls on files and directories that the store is made of.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::Context as _;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

const PRIVATE_DIRECTORY: Mode = Mode::RWXU;
pub(super) const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Opens the folder that the store lies in.
pub(super) fn open_root(root: &Path) -> anyhow::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, root, flags, Mode::empty())
        .with_context(|| format!("cannot open {}", root.display()))
}

/// Opens a directory of the store, which is made durably if need be.
pub(super) fn open_below(root: &OwnedFd, name: &str) -> anyhow::Result<OwnedFd> {
    make_directory(root, name)
        .and_then(|is_new| if is_new { Ok(rustix::fs::fsync(root)?) } else { Ok(()) })
        .and_then(|()| open_directory(root, name))
        .with_context(|| format!("cannot use the folder {name} below the data folder"))
}

/// Makes nothing durable, so its outcome does not matter: [`super::Staged::seal`] syncs.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "there is no safe wrapper of sync_file_range; it takes numbers")]
pub(super) fn begin_write_back(file: &File, offset: u64, length: u64) {
    use std::os::fd::AsRawFd as _;

    // SAFETY: the descriptor is open for as long as `file` is borrowed; no memory is passed.
    unsafe {
        libc::sync_file_range(
            file.as_raw_fd(),
            offset as libc::off64_t,
            length as libc::off64_t,
            libc::SYNC_FILE_RANGE_WRITE,
        );
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn begin_write_back(_: &File, _: u64, _: u64) {}

/// Lets the system forget what it holds of a file: what lies in memory may be right where the disk
/// is wrong, and what others need there is not to be pushed out. Advice only.
#[cfg(target_os = "linux")]
pub fn forget_cached(file: &File, offset: u64, length: Option<NonZeroU64>) {
    let _ = rustix::fs::fadvise(file, offset, length, rustix::fs::Advice::DontNeed);
}

#[cfg(not(target_os = "linux"))]
pub fn forget_cached(_: &File, _: u64, _: Option<NonZeroU64>) {}

pub(super) fn open_directory(parent: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

/// Makes a directory, if it is not there; true when it was made and its parent is to be synced.
pub(super) fn make_directory(parent: &OwnedFd, name: &str) -> io::Result<bool> {
    match rustix::fs::mkdirat(parent, name, PRIVATE_DIRECTORY) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn remove_file(directory: &OwnedFd, name: &str) -> io::Result<()> {
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
