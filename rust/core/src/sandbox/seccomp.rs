//! The presets of system calls, as programs for the kernel.
//!
//! Made in the parent. What is not on the list fails with EPERM: libraries expect that,
//! and a handler that opens a file by mistake says so instead of being killed.

use crate::error::Error;
use crate::options::Options;
use crate::sys::seccomp::MOST;
use nix::errno::Errno;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule,
};
use std::collections::BTreeMap;

/// A program, and which of its instructions compare with the number of the child.
pub(super) struct Program {
    pub(super) code: Box<[libc::sock_filter]>,
    pub(super) own: Box<[usize]>,
}

/// Stands for the number of the child in a program: more than any process has.
const OWN: u32 = 0x7fff_fff1;

/// What computes, and talks to what is open.
const STDIO: &[libc::c_long] = &[
    // Bytes in and out.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_tee,
    libc::SYS_lseek,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    // Descriptors.
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_fstat,
    libc::SYS_pipe2,
    libc::SYS_eventfd2,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    // Waiting for them.
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    // Memory.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_msync,
    libc::SYS_membarrier,
    // Time.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    libc::SYS_getitimer,
    libc::SYS_setitimer,
    libc::SYS_times,
    libc::SYS_getrusage,
    // Signals to itself.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    // Who it is.
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getpgid,
    libc::SYS_getsid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getresuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getresgid,
    libc::SYS_getgroups,
    libc::SYS_getcwd,
    libc::SYS_umask,
    libc::SYS_uname,
    // What languages do by the way.
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_wait4,
    libc::SYS_waitid,
    // The end.
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// The older names of some of them, which newer machines do not have.
#[cfg(target_arch = "x86_64")]
const OLDER: &[libc::c_long] = &[
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_eventfd,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_time,
    libc::SYS_alarm,
    libc::SYS_pause,
    libc::SYS_getpgrp,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[libc::c_long] = &[];

/// The program of the preset "stdio".
pub(super) fn stdio(options: &Options) -> Result<Program, Error> {
    let fail =
        |why: &dyn std::fmt::Display| Error::new(Errno::EINVAL, format!("syscalls stdio: {why}"));
    let filter = rules(options).and_then(|rules| {
        let arch = std::env::consts::ARCH.try_into()?;
        let denied = SeccompAction::Errno(libc::EPERM as u32);
        SeccompFilter::new(rules, denied, SeccompAction::Allow, arch)
    });
    let program: BpfProgram =
        filter.and_then(BpfProgram::try_from).map_err(|error| fail(&error))?;
    if program.len() > MOST {
        return Err(fail(&"the program is too long"));
    }
    let own = program.iter().enumerate().filter(|(_, code)| code.k == OWN);
    let own = own.map(|(index, _)| index).collect();
    let code = program.iter().map(|code| libc::sock_filter {
        code: code.code,
        jt: code.jt,
        jf: code.jf,
        k: code.k,
    });
    Ok(Program { code: code.collect(), own })
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn rules(options: &Options) -> Result<Rules, seccompiler::BackendError> {
    let mut rules: Rules = STDIO.iter().chain(OLDER).map(|call| (*call, Vec::new())).collect();
    if options.connections_per_child > 1 {
        // It is to take the next one. No other socket listens.
        rules.insert(libc::SYS_accept4, Vec::new());
    }
    let equal = |argument, value: libc::c_int| {
        SeccompCondition::new(argument, Dword, SeccompCmpOp::Eq, value as u32 as u64)
    };
    let without = |argument, bits: libc::c_int| {
        let mask = bits as u32 as u64;
        SeccompCondition::new(argument, Dword, SeccompCmpOp::MaskedEq(mask), 0)
    };
    let one = |condition| SeccompRule::new(vec![condition?]);
    let mut only = |call, alternatives: Vec<Result<SeccompRule, seccompiler::BackendError>>| {
        alternatives.into_iter().collect::<Result<Vec<_>, _>>().map(|found| {
            rules.insert(call, found);
        })
    };
    // No memory that can be written and then executed, or made to be.
    only(libc::SYS_mmap, vec![one(without(2, libc::PROT_EXEC))])?;
    only(libc::SYS_mprotect, vec![one(without(2, libc::PROT_EXEC))])?;
    // A pair is no way out.
    only(libc::SYS_socketpair, vec![one(equal(0, libc::AF_UNIX))])?;
    // What is asked of an open descriptor, and is no matter of a device.
    let requests = [
        libc::FIONREAD,
        libc::FIONBIO,
        libc::FIOCLEX,
        libc::FIONCLEX,
        libc::TCGETS,
        libc::TIOCGWINSZ,
    ];
    let requests = requests.map(|request| one(equal(1, request as libc::c_int)));
    only(libc::SYS_ioctl, requests.into())?;
    // Not the owner of a descriptor, to whom the kernel sends signals.
    let requests = [
        libc::F_DUPFD,
        libc::F_DUPFD_CLOEXEC,
        libc::F_GETFD,
        libc::F_SETFD,
        libc::F_GETFL,
        libc::F_SETFL,
        libc::F_GETLK,
        libc::F_SETLK,
        libc::F_SETLKW,
        libc::F_GETPIPE_SZ,
    ];
    only(libc::SYS_fcntl, requests.map(|request| one(equal(1, request))).into())?;
    // By its newer name, of an open descriptor, if the path is empty.
    let descriptor = SeccompCondition::new(
        3,
        Dword,
        SeccompCmpOp::MaskedEq(libc::AT_EMPTY_PATH as u64),
        libc::AT_EMPTY_PATH as u64,
    );
    only(libc::SYS_newfstatat, vec![one(descriptor)])?;
    // Limits are read, not set.
    only(
        libc::SYS_prlimit64,
        vec![SeccompRule::new(vec![
            equal(0, 0)?,
            SeccompCondition::new(2, seccompiler::SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?,
        ])],
    )?;
    // abort() and raise() are signals to itself.
    let own = || one(equal(0, OWN as libc::c_int));
    only(libc::SYS_kill, vec![own()])?;
    only(libc::SYS_tgkill, vec![own()])?;
    only(libc::SYS_tkill, vec![own()])?;
    Ok(rules)
}
