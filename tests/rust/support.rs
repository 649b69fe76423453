//! What the tests of the Rust interface share: a process for each test, clients
//! in processes of their own, and the look at what is left.
//!
//! The tests fork, so the standard harness with its threads is not used. Each
//! test runs in a process of its own with a time limit; at its end it must have
//! no child and no descriptor more than at its start.

use forkserve::{Event, Exit, Options, Server};
use std::io::Write;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, Mutex};

/// A test: what it states, and how that is seen.
pub(crate) type Test = (&'static str, fn());

/// Seconds that a test or a client may take.
const LIMIT: u32 = 20;

/// Runs the tests whose names contain an argument, or all.
pub(crate) fn main(tests: &[Test]) -> ! {
    let filters: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let mut failed = 0;
    for (name, body) in tests {
        if !filters.is_empty() && !filters.iter().any(|filter| name.contains(filter.as_str())) {
            continue;
        }
        let status = Process::fork(|| {
            let before = descriptors();
            body();
            assert_eq!(wait_any(), None, "a child is left");
            assert_eq!(descriptors(), before, "descriptors are left");
        })
        .wait();
        println!("test {name} ... {}", if status == 0 { "ok" } else { "FAILED" });
        failed += i32::from(status != 0);
    }
    std::process::exit(failed.min(1))
}

/// A process that runs a function, and ends with 0, or 101 after a panic.
pub(crate) struct Process(libc::pid_t);

impl Process {
    pub(crate) fn fork(body: impl FnOnce()) -> Process {
        let _ = std::io::stdout().flush();
        // SAFETY: the test program has one thread here.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork");
        if pid == 0 {
            // SAFETY: takes no pointers. SIGALRM ends a process that hangs.
            unsafe { libc::alarm(LIMIT) };
            let done = catch_unwind(AssertUnwindSafe(body));
            std::process::exit(if done.is_ok() { 0 } else { 101 });
        }
        Process(pid)
    }

    /// Its exit status; 1000 and the signal's number if a signal ended it.
    pub(crate) fn wait(self) -> i32 {
        wait_for(self.0)
    }
}

/// As [`Process::wait`], for a child by its number.
pub(crate) fn wait_for(pid: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: `status` is writable.
    let got = unsafe { libc::waitpid(pid, &mut status, 0) };
    assert_eq!(got, pid, "the host's own child is there to be waited for");
    if libc::WIFEXITED(status) {
        libc::WEXITSTATUS(status)
    } else {
        1000 + libc::WTERMSIG(status)
    }
}

/// Waits for any child: what `None` says is that there is none.
fn wait_any() -> Option<libc::pid_t> {
    // SAFETY: a null status is allowed.
    let got = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
    (got >= 0).then_some(got)
}

/// The open descriptors.
pub(crate) fn descriptors() -> Vec<String> {
    let listing = std::fs::read_dir("/proc/self/fd").unwrap();
    // The one of the listing itself is gone when its link is read.
    let open = listing.filter_map(|entry| {
        let path = entry.unwrap().path();
        let target = std::fs::read_link(&path).ok()?;
        (!target.starts_with("/proc")).then(|| format!("{path:?} {target:?}"))
    });
    let mut open: Vec<String> = open.collect();
    open.sort();
    open
}

/// A server at a free port.
pub(crate) fn server(options: Options) -> (Server, String) {
    let mut server = Server::new(options).unwrap();
    server.listen("127.0.0.1:0").unwrap();
    let address = server.addresses().next().unwrap().to_owned();
    (server, address)
}

/// A client in a process of its own.
pub(crate) fn client(address: &str, talk: impl FnOnce(TcpStream)) -> Process {
    let address = address.to_owned();
    Process::fork(move || talk(TcpStream::connect(address).unwrap()))
}

/// What the observer hears, for a look afterwards: the ends of children.
#[derive(Clone, Default)]
pub(crate) struct Ends(Arc<Mutex<Vec<(i32, Exit)>>>);

impl Ends {
    /// Takes down the ends of a server's children, and stops it after `count`.
    pub(crate) fn of(server: &mut Server, count: usize) -> Ends {
        let ends = Ends::default();
        let (list, stopper) = (ends.clone(), server.stopper());
        server.observe(move |event| {
            if let Event::Ended { pid, exit, .. } = *event {
                let mut list = list.0.lock().unwrap();
                list.push((pid, exit));
                if list.len() == count {
                    stopper.stop().unwrap();
                }
            }
        });
        ends
    }

    pub(crate) fn exits(&self) -> Vec<Exit> {
        self.0.lock().unwrap().iter().map(|(_, exit)| *exit).collect()
    }

    pub(crate) fn pids(&self) -> Vec<i32> {
        self.0.lock().unwrap().iter().map(|(pid, _)| *pid).collect()
    }
}

/// Both ends of a pipe, for what a child has to tell.
pub(crate) fn pipe() -> (std::fs::File, std::fs::File) {
    let mut ends = [0; 2];
    // SAFETY: room for two numbers.
    assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
    // SAFETY: given by the kernel to us alone.
    let [read, write] = ends.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    (read.into(), write.into())
}

/// Whether `fd` is readable within `limit_ms` milliseconds.
pub(crate) fn readable(fd: &impl AsRawFd, limit_ms: i32) -> bool {
    let mut ready = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd, writable for the call.
    let count = unsafe { libc::poll(&mut ready, 1, limit_ms) };
    assert!(count >= 0, "poll");
    count == 1
}
