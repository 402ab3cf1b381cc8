//! The program: sets the allocator's bounds, runs the command line, returns its exit code.

use std::process::ExitCode;

/// Memory areas of glibc's allocator. More of them hold on to memory after bursts of uploads
/// and previews: measured, two need half the peak of the default and give it back.
const ALLOCATOR_AREAS: i32 = 2;
/// Free memory at an area's end that is kept. With glibc's 128 KiB, every answer of a list gives
/// memory back and takes it again, page by page.
const ALLOCATOR_KEEPS: i32 = 4 << 20;
/// Larger pieces are mapped alone and given back when freed, as pictures are; smaller ones,
/// the buffers of uploads, downloads and lists, are reused.
const ALLOCATOR_MAPS: i32 = 1 << 20;

fn main() -> ExitCode {
    bound_allocator();
    dossier::cli::run()
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "there is no safe wrapper of mallopt; it only sets numbers")]
fn bound_allocator() {
    // SAFETY: called first in main, before any other thread exists; a refusal changes nothing.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ALLOCATOR_AREAS);
        libc::mallopt(libc::M_TRIM_THRESHOLD, ALLOCATOR_KEEPS);
        libc::mallopt(libc::M_MMAP_THRESHOLD, ALLOCATOR_MAPS);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn bound_allocator() {
    let _ = (ALLOCATOR_AREAS, ALLOCATOR_KEEPS, ALLOCATOR_MAPS);
}
