//! The presets of system calls, as programs for the kernel.
//!
//! Made in the parent. What is not on the list fails with EPERM: libraries expect that,
//! and a handler that opens a file by mistake says so instead of being killed.

use crate::options::Options;
use crate::sandbox::bpf::{assemble, Condition, Verdict, Verdicts};

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
pub(super) fn stdio(options: &Options) -> Program {
    let code: Box<[libc::sock_filter]> = assemble(&verdicts(options)).into();
    let own = code.iter().enumerate().filter(|(_, instruction)| instruction.k == OWN);
    let own = own.map(|(index, _)| index).collect();
    Program { code, own }
}

fn verdicts(options: &Options) -> Verdicts {
    let calls = STDIO.iter().chain(OLDER).map(|call| (*call as u32, Verdict::Allow));
    let mut verdicts: Verdicts = calls.collect();
    if options.connections_per_child > 1 {
        // It is to take the next one. No other socket listens.
        verdicts.push((libc::SYS_accept4 as u32, Verdict::Allow));
    }
    let mut only = |call: libc::c_long, alternatives: Vec<Vec<Condition>>| {
        verdicts.push((call as u32, Verdict::If(alternatives)));
    };
    let equal = |argument, value: u32| vec![Condition { argument, mask: u32::MAX, value }];
    let bits = |argument, mask: libc::c_int, value: libc::c_int| {
        vec![Condition { argument, mask: mask as u32, value: value as u32 }]
    };
    // No memory that can be written and then executed, or made to be.
    only(libc::SYS_mmap, vec![bits(2, libc::PROT_EXEC, 0)]);
    only(libc::SYS_mprotect, vec![bits(2, libc::PROT_EXEC, 0)]);
    // A pair is no way out.
    only(libc::SYS_socketpair, vec![equal(0, libc::AF_UNIX as u32)]);
    // What is asked of an open descriptor, and is no matter of a device.
    let requests = [
        libc::FIONREAD as u32,
        libc::FIONBIO as u32,
        libc::FIOCLEX as u32,
        libc::FIONCLEX as u32,
        libc::TCGETS as u32,
        libc::TIOCGWINSZ as u32,
    ];
    only(libc::SYS_ioctl, requests.map(|request| equal(1, request)).into());
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
    only(libc::SYS_fcntl, requests.map(|request| equal(1, request as u32)).into());
    // By its newer name, of an open descriptor, if the path is empty.
    only(libc::SYS_newfstatat, vec![bits(3, libc::AT_EMPTY_PATH, libc::AT_EMPTY_PATH)]);
    // Limits are read, not set: the pointer to a new one is NULL, in both halves.
    let upper = |argument: u32| Condition { argument: argument + 6, mask: u32::MAX, value: 0 };
    let lower = |argument: u32| Condition { argument, mask: u32::MAX, value: 0 };
    only(libc::SYS_prlimit64, vec![vec![lower(0), lower(2), upper(2)]]);
    // abort() and raise() are signals to itself.
    only(libc::SYS_kill, vec![equal(0, OWN)]);
    only(libc::SYS_tgkill, vec![equal(0, OWN)]);
    only(libc::SYS_tkill, vec![equal(0, OWN)]);
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::seccomp::MOST;

    #[test]
    fn a_child_has_room_for_the_program() {
        let program = stdio(&Options { connections_per_child: 2, ..Options::default() });
        assert!((100..=MOST).contains(&program.code.len()), "{}", program.code.len());
        // Of kill, tgkill and tkill.
        assert_eq!(program.own.len(), 3);
    }
}
