//! The program: bounds the allocator, runs the command line, returns its exit code.

use std::process::ExitCode;

/// Arenas of glibc's allocator. More of them hold on to memory after bursts of uploads and
/// previews: measured, two need half the peak of the default and give it back.
const ARENA_MAX: i32 = 2;
/// Free memory kept at the top of an arena. With glibc's 128 KiB, every list response returns
/// memory to the system and faults it back in, page by page.
const TRIM_THRESHOLD: i32 = 4 << 20;
/// Larger allocations are mapped separately and returned when freed, as pictures are; smaller ones,
/// the buffers of uploads, downloads and lists, are reused.
const MMAP_THRESHOLD: i32 = 1 << 20;

fn main() -> ExitCode {
    bound_allocator();
    dossier::cli::run()
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "there is no safe wrapper of mallopt; it only sets numbers")]
fn bound_allocator() {
    // SAFETY: called first in main, before any other thread exists; a failure changes nothing.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ARENA_MAX);
        libc::mallopt(libc::M_TRIM_THRESHOLD, TRIM_THRESHOLD);
        libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn bound_allocator() {
    let _ = (ARENA_MAX, TRIM_THRESHOLD, MMAP_THRESHOLD);
}
