//! What the host of the testserver is like: what it does with its signals, its
//! children, its threads and its files.

use crate::report::Line;
use crate::{bad_usage, STOPPER};
use std::time::Duration;

extern "C" fn do_nothing(_: libc::c_int) {}

extern "C" fn reap_everything(_: libc::c_int) {
    let saved = nix::errno::Errno::last_raw();
    // SAFETY: a null status is allowed.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
    nix::errno::Errno::set_raw(saved);
}

pub(crate) extern "C" fn stop(_: libc::c_int) {
    if let Some(stopper) = STOPPER.get() {
        let _ = stopper.stop();
    }
}

pub(crate) extern "C" fn detach(_: libc::c_int) {
    if let Some(stopper) = STOPPER.get() {
        let _ = stopper.detach();
    }
}

/// Without SA_RESTART: calls of the host are to be interrupted.
pub(crate) fn on_signal(number: libc::c_int, handler: libc::sighandler_t, flags: libc::c_int) {
    // SAFETY: all-zero bytes are a valid sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: a complete action, whose handler is async-signal-safe.
    let result = unsafe { libc::sigaction(number, &action, std::ptr::null_mut()) };
    assert_eq!(result, 0, "sigaction {number}");
}

pub(crate) fn handler(function: extern "C" fn(libc::c_int)) -> libc::sighandler_t {
    function as *const () as libc::sighandler_t
}

fn storm() {
    on_signal(libc::SIGALRM, handler(do_nothing), 0);
    let every = libc::timeval { tv_sec: 0, tv_usec: 1000 };
    let timer = libc::itimerval { it_interval: every, it_value: every };
    // SAFETY: no old value is asked for.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) };
}

/// A thread of a busy host: in `malloc` most of the time that it runs.
fn busy() {
    loop {
        (0..20).for_each(|_| drop(std::hint::black_box(vec![1u8; 10_000])));
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// A thread that stops the server when SIGUSR1 asks for it.
fn stop_when_asked() {
    // SAFETY: all-zero bytes are a valid sigset_t: the empty one.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is initialised, and the signal exists.
    unsafe { libc::sigaddset(&mut set, libc::SIGUSR1) };
    // SAFETY: a complete set; no old one is asked for. Blocked before the thread
    // is made, and so in all threads.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) };
    std::thread::spawn(move || {
        let mut number = 0;
        // SAFETY: a complete set, and room for a number.
        while unsafe { libc::sigwait(&set, &mut number) } == 0 {
            stop(number);
        }
    });
}

/// A child of the host's, not of the server's: one that ends at once, or one
/// that waits for a signal to end it.
fn own_child(ends: bool) -> libc::pid_t {
    // SAFETY: the child only ends.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        if !ends {
            // SAFETY: takes no arguments. Returns after a signal that is handled.
            unsafe { libc::pause() };
        }
        // SAFETY: does not return.
        unsafe { libc::_exit(7) }
    }
    Line::new("own_child").number("pid", pid).put();
    pid
}

/// After the loop: the host's own children must still be there to be waited for.
/// One that a signal ended has that as a negative status.
pub(crate) fn put_own_child(pid: libc::pid_t) {
    let mut status = 0;
    // SAFETY: `status` is writable.
    let got = unsafe { libc::waitpid(pid, &mut status, 0) };
    let line = Line::new("own_child_ended").number("pid", got);
    let line = if got != pid {
        line.number("errno", nix::errno::Errno::last_raw())
    } else if libc::WIFSIGNALED(status) {
        line.number("status", -libc::WTERMSIG(status))
    } else {
        line.number("status", libc::WEXITSTATUS(status))
    };
    line.put();
}

fn close_stdio() {
    for fd in 0..3 {
        // SAFETY: nothing here uses them from now on.
        unsafe { libc::close(fd) };
    }
}

fn remove_cwd() -> std::io::Result<()> {
    let path = std::env::temp_dir().join(format!("forkserve-cwd-{}", std::process::id()));
    std::fs::create_dir(&path)?;
    std::env::set_current_dir(&path)?;
    std::fs::remove_dir(&path)
}

pub(crate) fn set_up(name: &str, own: &mut Vec<libc::pid_t>) {
    match name {
        "sigchld-ignored" => on_signal(libc::SIGCHLD, libc::SIG_IGN, 0),
        "nocldwait" => on_signal(libc::SIGCHLD, libc::SIG_DFL, libc::SA_NOCLDWAIT),
        "sigchld-handler" => on_signal(libc::SIGCHLD, handler(do_nothing), 0),
        "reaper" => on_signal(libc::SIGCHLD, handler(reap_everything), 0),
        "alarm-1khz" => storm(),
        "threads" => (0..8).for_each(|_| drop(std::thread::spawn(busy))),
        "own-child" => own.push(own_child(true)),
        "own-children" => own.extend([true, false, false].map(own_child)),
        "unflushed" => print!("<host>"),
        "stop-thread" => stop_when_asked(),
        "stdio-closed" => close_stdio(),
        "stdin-read" => drop(std::io::copy(&mut std::io::stdin(), &mut std::io::sink())),
        "cwd-removed" => assert!(remove_cwd().is_ok(), "a directory that is gone"),
        other => bad_usage(other),
    }
}
