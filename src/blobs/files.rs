//! The file and directory operations that the store uses.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context as _, bail};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

const PRIVATE_DIRECTORY: Mode = Mode::RWXU;
pub(super) const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Opens the folder that contains the store.
pub(super) fn open_root(root: &Path) -> anyhow::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, root, flags, Mode::empty())
        .with_context(|| format!("cannot open {}", root.display()))
}

/// Opens a directory of the store. Creates it durably if it does not exist.
pub(super) fn open_below(root: &OwnedFd, name: &str) -> anyhow::Result<OwnedFd> {
    ensure_directory(root, name)
        .and_then(|is_new| if is_new { Ok(rustix::fs::fsync(root)?) } else { Ok(()) })
        .and_then(|()| open_directory(root, name))
        .with_context(|| {
            let problem = format!("cannot use the folder {name} below the data folder");
            let stat = rustix::fs::statat(root, name, AtFlags::SYMLINK_NOFOLLOW);
            let is_link =
                |stat: rustix::fs::Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
            if !stat.is_ok_and(is_link) {
                return problem;
            }
            format!(
                "{problem}: it is a symbolic link, and Dossier follows none there; move the whole \
                 data folder instead, with --data or a symbolic link in its place"
            )
        })
}

/// Rejects two folders between which files cannot be hard-linked, because they are on different
/// disks or mounts.
pub(super) fn check_same_file_system(
    names: [&str; 2],
    folders: [&OwnedFd; 2],
) -> anyhow::Result<()> {
    let [one, other] = folders.map(disk);
    if one? == other? {
        return Ok(());
    }
    bail!(
        "the folders {} and {} below the data folder are on different disks or mounts: complete \
         files are hard-linked from one to the other, which does not work across disks; mount the \
         whole data folder instead, or store the files in a bucket",
        names[0],
        names[1]
    )
}

/// Identifies the file system of a folder: its device and, where the system reports it, its mount.
fn disk(folder: &OwnedFd) -> io::Result<(u64, Option<u64>)> {
    Ok((rustix::fs::fstat(folder)?.st_dev, mount(folder)))
}

#[cfg(target_os = "linux")]
fn mount(folder: &OwnedFd) -> Option<u64> {
    use rustix::fs::{StatxFlags, statx};

    let found = statx(folder, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
    // Since Linux 5.8.
    let is_supported = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::MNT_ID);
    is_supported.then_some(found.stx_mnt_id)
}

#[cfg(not(target_os = "linux"))]
fn mount(_: &OwnedFd) -> Option<u64> {
    None
}

/// Starts write-back. It makes nothing durable, so its outcome does not matter:
/// [`super::Staged::seal`] syncs.
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

/// Asks the system to drop a file from its cache. Cached data may be right where the disk is wrong,
/// and a scan must not evict what others need. Advisory only.
#[cfg(target_os = "linux")]
pub fn drop_os_cache(file: &File, offset: u64, length: Option<NonZeroU64>) {
    let _ = rustix::fs::fadvise(file, offset, length, rustix::fs::Advice::DontNeed);
}

#[cfg(not(target_os = "linux"))]
pub fn drop_os_cache(_: &File, _: u64, _: Option<NonZeroU64>) {}

pub(super) fn open_directory(parent: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

/// Creates a directory if it does not exist. Returns true when it is new and its parent must be
/// synced.
pub(super) fn ensure_directory(parent: &OwnedFd, name: &str) -> io::Result<bool> {
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
