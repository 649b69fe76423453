//! A child that tries something out and says how it went.
//!
//! It is made without libc's `fork`, and without a signal at its end: the host's
//! handlers of `pthread_atfork` and SIGCHLD do not learn of it, nor does a host that
//! waits for any child. It makes system calls and ends.

use super::{check, own, process, raw, socket};
use nix::errno::Errno;
use std::os::fd::{AsRawFd, OwnedFd};

/// How long it may take: a path can be on a file system that does not respond.
const LIMIT_S: libc::time_t = 10;

/// What did not work, by its number.
pub(crate) struct Misstep {
    pub(crate) step: usize,
    pub(crate) errno: Errno,
}

/// What did not work, or why that is not known: the call that failed.
pub(crate) enum Flop {
    Misstep(Misstep),
    Lost(&'static str, Errno),
}

/// Runs `play` in a child, and returns what it returned.
///
/// `play` makes system calls only: it runs in a copy of a process that may have threads.
pub(crate) fn rehearse(play: impl FnOnce() -> Result<(), Misstep>) -> Result<(), Flop> {
    let (reader, writer) = pair().map_err(|errno| Flop::Lost("socketpair", errno))?;
    let blocked = super::signal::block_all();
    // SAFETY: as fork(2) without a signal; the child makes raw system calls until it ends,
    // and does not return.
    let pid = unsafe { raw::call(libc::SYS_clone, [0; 5]) };
    if pid == 0 {
        let said = match play() {
            Ok(()) => [usize::MAX, 0],
            Err(Misstep { step, errno }) => [step, errno as usize],
        };
        let args = [writer.as_raw_fd() as usize, said.as_ptr() as usize, size_of_val(&said)];
        // SAFETY: `said` has as many bytes.
        unsafe { raw::call(libc::SYS_write, args) };
        process::exit_now(0);
    }
    blocked.restore();
    let pid = raw::check(pid).map_err(|errno| Flop::Lost("clone", errno))? as libc::pid_t;
    drop(writer);
    let heard = hear(&reader);
    if matches!(heard, Err(Flop::Lost(..))) {
        // It has not come to its end. Without a signal, `kill` by number is what there is;
        // nobody else waits for it.
        // SAFETY: takes no pointers.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
    bury(pid);
    heard
}

/// Of sockets: a limit of what may be written to files is not for them.
fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    let mut ends = [0; 2];
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: `ends` has room for two descriptors.
    check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) })?;
    // SAFETY: the kernel has just given this descriptor to us alone.
    let reader = unsafe { own(ends[0]) };
    // SAFETY: as above.
    let writer = unsafe { own(ends[1]) };
    let limit = libc::timeval { tv_sec: LIMIT_S, tv_usec: 0 };
    let size = size_of_val(&limit) as libc::socklen_t;
    let (level, name) = (libc::SOL_SOCKET, libc::SO_RCVTIMEO);
    // SAFETY: `limit` is readable for its size.
    check(unsafe {
        libc::setsockopt(reader.as_raw_fd(), level, name, (&raw const limit).cast(), size)
    })?;
    Ok((reader, writer))
}

fn hear(reader: &OwnedFd) -> Result<(), Flop> {
    let mut said = [0_usize; 2];
    let size = size_of_val(&said);
    let got = loop {
        // SAFETY: `said` has room for as many bytes.
        let got = unsafe { libc::recv(reader.as_raw_fd(), said.as_mut_ptr().cast(), size, 0) };
        match (got, Errno::last()) {
            (-1, Errno::EINTR) => {}
            (-1, _) => return Err(Flop::Lost("rehearsal", Errno::ETIMEDOUT)),
            _ => break got,
        }
    };
    if got != size as isize {
        // A filter of the host's has ended it, or it was killed.
        return Err(Flop::Lost("rehearsal", Errno::ECHILD));
    }
    match said {
        [usize::MAX, _] => Ok(()),
        [step, errno] => {
            let errno = Errno::from_raw(errno as i32);
            Err(Flop::Misstep(Misstep { step, errno }))
        }
    }
}

/// Takes its status. It ends at once: it has said its last word or been killed. Where it
/// does not, the kernel holds it, and it is left to be.
pub(super) fn bury(pid: libc::pid_t) -> Option<libc::c_int> {
    // Without a signal at its end, a child is none of those that are waited for otherwise.
    let flags = libc::WNOHANG | libc::__WALL;
    for _ in 0..1000 {
        let mut status = 0;
        // SAFETY: `status` is writable.
        let waited = unsafe { libc::waitpid(pid, &mut status, flags) };
        if waited == pid {
            return Some(status);
        }
        if waited == -1 && Errno::last() == Errno::ECHILD {
            return None;
        }
        socket::pause(1);
    }
    None
}
