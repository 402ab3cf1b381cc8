//! What a render worker gives up before it sees a stranger's file: memory and time without end,
//! files, the network, other programs. It keeps the socket to the server and the handles that
//! come through it.

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

/// Address space of a worker: decoded pixels and a copy of them at their bound of 256 MiB each,
/// the source at its bound of 64 MiB, and 448 MiB for programs, libraries, stacks and encoders.
const MEMORY_MAX_BYTES: u64 = 1 << 30;
/// Processor time of a worker over all its pictures. The server ends each picture long before; this
/// is for a worker that the server cannot end.
const CPU_MAX_SECONDS: u64 = 300;
/// Open handles: the standard three, the socket, the source, and what a library may hold.
const HANDLES_MAX: u64 = 16;
/// When memory runs out, a worker goes before anything else.
const OOM_SCORE: &str = "1000";

/// Closes what was not meant for a worker. Nothing of this program has opened anything yet.
#[expect(unsafe_code, reason = "there is no safe wrapper of close_range")]
pub(super) fn close_inherited() {
    // SAFETY: called first in the process, so no value owns any handle from 3 on; a refusal (an
    // older system) leaves handles open that close by themselves when a program is started.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0);
    }
}

/// Sets every bound that does not depend on the system's abilities.
///
/// # Errors
///
/// When one cannot be set: then there must be no worker.
pub(super) fn set_bounds() -> io::Result<()> {
    // Before the process stops being its own to look at. Without it, the system chooses as it likes.
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    set_parent_process_death_signal(Some(Signal::KILL))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    for (resource, limit) in [
        (Resource::As, MEMORY_MAX_BYTES),
        (Resource::Cpu, CPU_MAX_SECONDS),
        (Resource::Core, 0),
        (Resource::Fsize, 0),
        (Resource::Nofile, HANDLES_MAX),
    ] {
        setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })?;
    }
    Ok(())
}

/// Takes every system call away that decoding does not need: what is not listed does not exist any
/// more, for this thread and all that it starts. False when the system cannot do that.
///
/// What has to be loaded, opened or started must have been before.
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
        // Threads, not processes. (clone3 hides its flags, and the C library then uses clone.)
        (libc::SYS_clone, 0, masked(libc::CLONE_THREAD), libc::CLONE_THREAD as u64),
        // No code but the program's own.
        (libc::SYS_mmap, 2, masked(libc::PROT_EXEC), 0),
        (libc::SYS_mprotect, 2, masked(libc::PROT_EXEC), 0),
        // To abort.
        (libc::SYS_tgkill, 0, SeccompCmpOp::Eq, own_process),
        // To name threads.
        (libc::SYS_prctl, 0, SeccompCmpOp::Eq, libc::PR_SET_NAME as u64),
        // Asked in debug builds before a handle is closed.
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

/// What decoding, its threads, the allocator and the socket need, whatever the arguments.
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
