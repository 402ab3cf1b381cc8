//! The sandbox of a render worker. Before it reads an untrusted file, a worker drops unlimited
//! memory and time, files, the network, and other programs. It keeps the socket to the server and
//! the handles received through it.

use std::collections::BTreeMap;
use std::io;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, getpid, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// Address space of a worker: decoded pixels and a copy of them, at most 256 MiB each; the source,
/// at most 64 MiB; and 448 MiB for code, libraries, stacks and encoders.
const MAX_MEMORY_BYTES: u64 = 1 << 30;
/// CPU time of a worker over all its pictures. The server stops each picture long before; this
/// limit is for a worker that the server cannot kill.
const MAX_CPU_SECONDS: u64 = 300;
/// Open handles: the standard three, the socket, the source, and what a library may hold.
const MAX_HANDLES: u64 = 16;
/// The system kills workers first when memory runs out.
const OOM_SCORE: &str = "1000";

/// Closes inherited handles. The program itself has not opened anything yet.
#[expect(unsafe_code, reason = "there is no safe wrapper of close_range")]
pub(super) fn close_inherited() {
    // SAFETY: called first in the process, so no value owns any handle from 3 on. If the call fails
    // (an older system), only handles without close-on-exec would stay open.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0);
    }
}

/// Sets every limit that does not depend on optional features of the system.
///
/// # Errors
///
/// When one cannot be set: the worker must not run then.
pub(super) fn set_limits() -> io::Result<()> {
    // Before the process becomes non-dumpable, which makes its own `/proc` files unwritable. If it
    // fails, the system chooses which process to kill.
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    set_parent_process_death_signal(Some(Signal::KILL))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    for (resource, limit) in [
        (Resource::As, MAX_MEMORY_BYTES),
        (Resource::Cpu, MAX_CPU_SECONDS),
        (Resource::Core, 0),
        (Resource::Fsize, 0),
        (Resource::Nofile, MAX_HANDLES),
    ] {
        setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })?;
    }
    Ok(())
}

/// Blocks every system call that decoding does not need, for all threads of the process. A blocked
/// call fails with `ENOSYS`. False when the system has no such filter.
///
/// Everything that must be loaded, opened or started has to be so before this call.
pub(super) fn filter_calls() -> bool {
    let Ok(program) = filter() else { return false };
    seccompiler::apply_filter_all_threads(&program).is_ok()
}

fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let mut calls: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    let own_process = getpid().as_raw_nonzero().get() as u64;
    for (call, argument, operator, value) in [
        // Threads, not processes. (A filter cannot read the flags of clone3. It is blocked, and the
        // C library falls back to clone.)
        (libc::SYS_clone, 0, masked(libc::CLONE_THREAD), libc::CLONE_THREAD as u64),
        // No new executable memory.
        (libc::SYS_mmap, 2, masked(libc::PROT_EXEC), 0),
        (libc::SYS_mprotect, 2, masked(libc::PROT_EXEC), 0),
        // To abort.
        (libc::SYS_tgkill, 0, SeccompCmpOp::Eq, own_process),
        // To name threads.
        (libc::SYS_prctl, 0, SeccompCmpOp::Eq, libc::PR_SET_NAME as u64),
        // Debug builds check a handle before they close it.
        (libc::SYS_fcntl, 1, SeccompCmpOp::Eq, libc::F_GETFD as u64),
    ] {
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?;
        calls.insert(call, vec![SeccompRule::new(vec![condition])?]);
    }
    let others = SeccompAction::Errno(libc::ENOSYS as u32);
    SeccompFilter::new(calls, others, SeccompAction::Allow, architecture)?.try_into()
}

fn masked(bits: libc::c_int) -> SeccompCmpOp {
    SeccompCmpOp::MaskedEq(bits as u64)
}

/// Calls that decoding, its threads, the allocator and the socket need, with any arguments.
const ALLOWED: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_getcpu,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_pread64,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sendto,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_sysinfo,
    libc::SYS_write,
    libc::SYS_writev,
];
