//! What a process is doing: which system call it waits in, and whether that ends when a
//! client comes.
//!
//! `/proc/PID/syscall` tells the call and its arguments to a caller that could attach a
//! debugger. Others have `/proc/PID/wchan`, the place in the kernel where it sleeps.

use crate::machine::descriptors::{watched, Descriptors};
use procfs::process::{Process, Syscall};
use procfs::ProcResult;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// More than any poll has.
const MOST_POLLED: usize = 1 << 16;
/// An epoll in an epoll in …
const DEEPEST: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Certainty {
    Yes,
    No,
    /// The caller may not see it, or the process was running.
    Unknown,
}

/// One thread, at one moment.
#[derive(Clone, Debug)]
enum Call {
    Running,
    Blocked {
        number: i64,
        arguments: [u64; 6],
    },
    /// Only where it sleeps in the kernel.
    Place(String),
    Unseen,
}

impl Call {
    fn of(pid: i32, tid: i32, syscall: ProcResult<Syscall>) -> Call {
        match syscall {
            Ok(Syscall::Blocked { syscall_number: number, argument_registers, .. }) => {
                Call::Blocked { number, arguments: argument_registers }
            }
            // Or in the kernel, but not by a call.
            Ok(_) => Call::Running,
            Err(_) => task_place(pid, tid).map_or(Call::Unseen, Call::Place),
        }
    }
}

/// What the threads of a process are doing.
#[derive(Clone, Debug)]
pub(crate) struct Activity {
    pid: i32,
    calls: Vec<Call>,
}

impl Activity {
    /// Of a process that has so many threads.
    pub(crate) fn of(pid: i32, threads: i64) -> Activity {
        let Ok(process) = Process::new(pid) else {
            return Activity { pid, calls: Vec::new() }; // It has ended.
        };
        if threads == 1 {
            return Activity { pid, calls: vec![Call::of(pid, pid, process.syscall())] };
        }
        let tasks = process.tasks().map_or(Vec::new(), |tasks| tasks.flatten().collect());
        let calls = tasks.iter().map(|task| Call::of(pid, task.tid, task.syscall()));
        Activity { pid, calls: calls.collect() }
    }

    /// Whether the calls themselves are hidden from the caller.
    pub(crate) fn is_hidden(&self) -> bool {
        self.calls.iter().any(|call| matches!(call, Call::Place(_) | Call::Unseen))
    }

    /// Whether it waits for clients at the listener with this inode.
    pub(crate) fn accepts(&self, listener: u64, descriptors: &Descriptors) -> Certainty {
        let mut certainty = Certainty::No;
        for call in &self.calls {
            let sockets = match call {
                Call::Running | Call::Unseen => None,
                Call::Blocked { number, arguments } => {
                    Some(self.waited_for(*number, arguments, descriptors))
                }
                Call::Place(place) => self.waited_for_at(place, descriptors),
            };
            match sockets {
                Some(sockets) if sockets.contains(&listener) => return Certainty::Yes,
                Some(_) => {}
                None => certainty = Certainty::Unknown,
            }
        }
        certainty
    }

    /// Whether it has one thread, which waits for a private lock without a time limit: no
    /// other thread is there that could release it.
    pub(crate) fn waits_for_nobody(&self) -> bool {
        let [Call::Blocked { number, arguments }] = &self.calls[..] else { return false };
        let [_, operation, _, timeout, ..] = *arguments;
        let command = operation as i32 & !(libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME);
        let waits = [libc::FUTEX_WAIT, libc::FUTEX_WAIT_BITSET, libc::FUTEX_LOCK_PI];
        *number == libc::SYS_futex
            && operation as i32 & libc::FUTEX_PRIVATE_FLAG != 0
            && waits.contains(&command)
            && timeout == 0
    }

    /// For a reader: "accept", "epoll_wait".
    pub(crate) fn describe(&self) -> String {
        let one = |call: &Call| match call {
            Call::Running => "running".to_owned(),
            Call::Blocked { number, .. } => match name(*number) {
                Some(name) => format!("waits in {name}"),
                None => format!("waits in system call {number}"),
            },
            Call::Place(place) => format!("waits in the kernel's {place}"),
            Call::Unseen => "doing something that is not shown".to_owned(),
        };
        // The threads of a process are mostly alike.
        let mut all: Vec<String> = self.calls.iter().map(one).collect();
        all.dedup();
        all.truncate(3);
        all.join(", ")
    }

    /// The inodes of the sockets that a call waits to read from.
    fn waited_for(&self, number: i64, arguments: &[u64; 6], held: &Descriptors) -> Vec<u64> {
        let fds = match name(number) {
            Some("accept" | "accept4") => vec![arguments[0] as i32],
            Some("poll" | "ppoll") => self.polled(arguments[0], arguments[1]),
            Some("select" | "pselect6") => self.selected(arguments[0], arguments[1]),
            Some("epoll_wait" | "epoll_pwait" | "epoll_pwait2") => vec![arguments[0] as i32],
            _ => Vec::new(),
        };
        let mut inodes = Vec::new();
        for fd in fds {
            self.expand(fd, held, DEEPEST, &mut inodes);
        }
        inodes
    }

    /// The same by where the kernel sleeps, as far as that tells.
    fn waited_for_at(&self, place: &str, held: &Descriptors) -> Option<Vec<u64>> {
        if place.starts_with("inet_csk_accept") {
            return Some(held.sockets.iter().map(|(_, inode)| *inode).collect());
        }
        if place.contains("ep_poll") || place.contains("do_epoll_wait") {
            let mut inodes = Vec::new();
            for epoll in &held.epolls {
                self.expand(*epoll, held, DEEPEST, &mut inodes);
            }
            return Some(inodes);
        }
        let other = ["do_wait", "sigsuspend", "nanosleep", "sk_wait_data", "pipe_read"];
        other.iter().any(|name| place.contains(name)).then(Vec::new)
    }

    /// A socket itself, or what an epoll watches.
    fn expand(&self, fd: i32, held: &Descriptors, depth: usize, inodes: &mut Vec<u64>) {
        if let Some((_, inode)) = held.sockets.iter().find(|(other, _)| *other == fd) {
            inodes.push(*inode);
        } else if depth > 0 && held.epolls.contains(&fd) {
            for watched in watched(self.pid, fd) {
                if watched.reads {
                    inodes.push(watched.inode);
                    if held.epolls.contains(&watched.fd) {
                        self.expand(watched.fd, held, depth - 1, inodes);
                    }
                }
            }
        }
    }

    /// The descriptors of a `struct pollfd` array in its memory that are to be read.
    fn polled(&self, address: u64, count: u64) -> Vec<i32> {
        let Some(bytes) = self.memory(address, (count as usize).min(MOST_POLLED) * 8) else {
            return Vec::new();
        };
        let entries = bytes.chunks_exact(8);
        let fds = entries.filter_map(|entry| {
            let fd = i32::from_ne_bytes(*entry.first_chunk()?);
            let events = i16::from_ne_bytes([entry[4], entry[5]]);
            (events & libc::POLLIN != 0).then_some(fd)
        });
        fds.collect()
    }

    /// The descriptors of a set in its memory.
    fn selected(&self, most: u64, address: u64) -> Vec<i32> {
        let most = (most as usize).min(MOST_POLLED);
        if address == 0 {
            return Vec::new();
        }
        let Some(bytes) = self.memory(address, most.div_ceil(8)) else { return Vec::new() };
        (0..most).filter(|fd| bytes[fd / 8] >> (fd % 8) & 1 != 0).map(|fd| fd as i32).collect()
    }

    fn memory(&self, address: u64, len: usize) -> Option<Vec<u8>> {
        let file = File::open(format!("/proc/{}/mem", self.pid)).ok()?;
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, address).ok()?;
        Some(bytes)
    }
}

fn task_place(pid: i32, tid: i32) -> Option<String> {
    let place = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/wchan")).ok()?;
    (!place.is_empty() && place != "0").then_some(place)
}

/// The calls in which servers wait, by the number on this machine.
fn name(number: i64) -> Option<&'static str> {
    let known = [
        (libc::SYS_accept, "accept"),
        (libc::SYS_accept4, "accept4"),
        (libc::SYS_ppoll, "ppoll"),
        (libc::SYS_pselect6, "pselect6"),
        (libc::SYS_epoll_pwait, "epoll_pwait"),
        (libc::SYS_epoll_pwait2, "epoll_pwait2"),
        (libc::SYS_futex, "futex"),
        (libc::SYS_read, "read"),
        (libc::SYS_readv, "readv"),
        (libc::SYS_recvfrom, "recvfrom"),
        (libc::SYS_recvmsg, "recvmsg"),
        (libc::SYS_write, "write"),
        (libc::SYS_writev, "writev"),
        (libc::SYS_sendto, "sendto"),
        (libc::SYS_sendmsg, "sendmsg"),
        (libc::SYS_connect, "connect"),
        (libc::SYS_wait4, "wait4"),
        (libc::SYS_waitid, "waitid"),
        (libc::SYS_flock, "flock"),
        (libc::SYS_fcntl, "fcntl"),
        (libc::SYS_fsync, "fsync"),
        (libc::SYS_semop, "semop"),
        (libc::SYS_nanosleep, "nanosleep"),
        (libc::SYS_clock_nanosleep, "clock_nanosleep"),
        (libc::SYS_rt_sigsuspend, "rt_sigsuspend"),
        (libc::SYS_rt_sigtimedwait, "rt_sigtimedwait"),
        (libc::SYS_restart_syscall, "restart_syscall"),
        (libc::SYS_exit_group, "exit_group"),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_poll, "poll"),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_select, "select"),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_epoll_wait, "epoll_wait"),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_pause, "pause"),
    ];
    known.iter().find(|(other, _)| *other == number).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocked(number: i64, arguments: [u64; 6]) -> Activity {
        Activity { pid: 0, calls: vec![Call::Blocked { number, arguments }] }
    }

    #[test]
    fn a_lock_that_nobody_can_release_is_told_from_others() {
        let private = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as u64;
        assert!(blocked(libc::SYS_futex, [1, private, 2, 0, 0, 0]).waits_for_nobody());
        let shared = libc::FUTEX_WAIT as u64;
        assert!(!blocked(libc::SYS_futex, [1, shared, 2, 0, 0, 0]).waits_for_nobody());
        assert!(!blocked(libc::SYS_futex, [1, private, 2, 99, 0, 0]).waits_for_nobody());
        assert!(!blocked(libc::SYS_read, [1, private, 2, 0, 0, 0]).waits_for_nobody());
        let mut two = blocked(libc::SYS_futex, [1, private, 2, 0, 0, 0]);
        two.calls.push(Call::Running);
        assert!(!two.waits_for_nobody());
    }

    #[test]
    fn accept_names_its_listener() {
        let held = Descriptors { sockets: vec![(3, 77)], ..Descriptors::default() };
        let activity = blocked(libc::SYS_accept, [3, 0, 0, 0, 0, 0]);
        assert_eq!(activity.accepts(77, &held), Certainty::Yes);
        assert_eq!(activity.accepts(78, &held), Certainty::No);
        let running = Activity { pid: 0, calls: vec![Call::Running] };
        assert_eq!(running.accepts(77, &held), Certainty::Unknown);
    }

    #[test]
    fn own_memory_is_read_where_a_poll_points() {
        let set = [0b1010_0000u8, 1];
        let activity = Activity { pid: std::process::id() as i32, calls: Vec::new() };
        assert_eq!(activity.selected(9, set.as_ptr() as u64), [5, 7, 8]);
        let mut polled = [0u8; 16];
        polled[0] = 6;
        polled[4] = libc::POLLIN as u8;
        polled[8] = 7;
        assert_eq!(activity.polled(polled.as_ptr() as u64, 2), [6]);
        assert!(activity.polled(8, 2).is_empty(), "not mapped");
    }
}
