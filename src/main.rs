//! The program: sets the allocator's bounds, runs the command line, returns its exit code.

use std::process::ExitCode;

/// Memory areas of glibc's allocator. More of them hold on to memory after bursts of uploads
/// and previews: measured, two need half the peak of the default and give it back.
const ALLOCATOR_AREAS: i32 = 2;

fn main() -> ExitCode {
    bound_allocator();
    dossier::cli::run()
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "there is no safe wrapper of mallopt; it only sets a number")]
fn bound_allocator() {
    // SAFETY: called first in main, before any other thread exists; a refusal changes nothing.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ALLOCATOR_AREAS);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn bound_allocator() {
    let _ = ALLOCATOR_AREAS;
}
