//! The calls on files and directories that the store is made of.

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
        .with_context(|| {
            let problem = format!("cannot use the folder {name} below the data folder");
            let stat = rustix::fs::statat(root, name, AtFlags::SYMLINK_NOFOLLOW);
            let is_link =
                |stat: rustix::fs::Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
            if !stat.is_ok_and(is_link) {
                return problem;
            }
            format!(
                "{problem}: it is a symbolic link, and none is followed there; put the whole data \
                 folder elsewhere instead, with --data or a link in its own place"
            )
        })
}

/// Refuses two folders between which no file can be linked, because they are on two disks or were mounted
/// apart.
pub(super) fn check_one_disk(names: [&str; 2], folders: [&OwnedFd; 2]) -> anyhow::Result<()> {
    let [one, other] = folders.map(disk);
    if one? == other? {
        return Ok(());
    }
    bail!(
        "the folders {} and {} below the data folder are on two disks, or mounted apart: a file that \
         is whole gets its place by a link, which leads to no other disk; mount the whole data folder \
         instead, or keep the bytes in a bucket",
        names[0],
        names[1]
    )
}

/// What tells the disks of folders apart: their device and, where the system says it, their mount.
fn disk(folder: &OwnedFd) -> io::Result<(u64, Option<u64>)> {
    Ok((rustix::fs::fstat(folder)?.st_dev, mount(folder)))
}

#[cfg(target_os = "linux")]
fn mount(folder: &OwnedFd) -> Option<u64> {
    use rustix::fs::{StatxFlags, statx};

    let found = statx(folder, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
    // Since Linux 5.8.
    let is_said = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::MNT_ID);
    is_said.then_some(found.stx_mnt_id)
}

#[cfg(not(target_os = "linux"))]
fn mount(_: &OwnedFd) -> Option<u64> {
    None
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
