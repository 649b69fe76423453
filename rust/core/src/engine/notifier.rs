//! What systemd is told of this server.
//!
//! Of several servers in a process the first that begins tells of itself: it is one service.
//! A server that a child makes tells nothing, for the service is that of its parent.

use crate::systemd::notify::{self, Notify};
use nix::errno::Errno;
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// When to try again what the receiver had no room for, and how often.
const AGAIN: Duration = Duration::from_millis(100);
const TRIES: u32 = 50;

/// The server of this process, or of the one that this is a child of, that tells; 0: none.
static TELLS: AtomicU64 = AtomicU64::new(0);
static LAST: AtomicU64 = AtomicU64::new(0);

pub(crate) struct Notifier {
    id: u64,
    notify: Notify,
    /// In the process that runs the loop, which never needs another descriptor for it then.
    socket: Option<OwnedFd>,
    /// In a supervisor: the service's main process.
    main: Option<libc::pid_t>,
    /// When to tell next that the loop turns.
    feed_at: Option<Instant>,
    unsent: Option<Unsent>,
    /// The last was not received, and the observer knows of it.
    fails: bool,
}

/// What is to be sent once more.
struct Unsent {
    lines: String,
    at: Instant,
    tries: u32,
}

impl Notifier {
    pub(crate) fn new(notify: Notify) -> Notifier {
        Notifier {
            id: LAST.fetch_add(1, Relaxed) + 1,
            notify,
            socket: None,
            main: None,
            feed_at: None,
            unsent: None,
            fails: false,
        }
    }

    /// Whether it is this server that tells.
    pub(crate) fn claim(&self) -> bool {
        match TELLS.compare_exchange(0, self.id, Relaxed, Relaxed) {
            Ok(_) => true,
            Err(id) => id == self.id,
        }
    }

    /// What another program needs to tell it for this process.
    pub(crate) fn variables(&self) -> Vec<(&'static str, OsString)> {
        self.notify.variables()
    }

    /// The server ends, and another may tell.
    pub(crate) fn release(&self) {
        let _ = TELLS.compare_exchange(self.id, 0, Relaxed, Relaxed);
    }

    /// In the process that runs the loop: it tells from now on that the loop turns. `main`:
    /// in the name of this process. Returns a descriptor that children are to close.
    pub(crate) fn begin(
        &mut self,
        main: Option<libc::pid_t>,
        now: Instant,
    ) -> Result<BorrowedFd<'_>, Errno> {
        self.main = main;
        self.feed_at = self.notify.feed_interval().map(|_| now);
        let socket: &OwnedFd = self.socket.insert(notify::socket()?);
        Ok(socket.as_fd())
    }

    /// When there is something to tell.
    pub(crate) fn due(&self) -> Option<Instant> {
        let unsent = self.unsent.as_ref().map(|unsent| unsent.at);
        [self.feed_at, unsent].into_iter().flatten().min()
    }

    /// Tells these lines, now or a little later. The error, once: they are not received.
    pub(crate) fn tell(&mut self, lines: String, now: Instant) -> Result<(), Errno> {
        self.unsent = None;
        self.deliver(Unsent { lines, at: now, tries: 0 }, now)
    }

    /// Tells what is due.
    pub(crate) fn tell_due(&mut self, now: Instant) -> Result<(), Errno> {
        let unsent = self.unsent.take_if(|unsent| unsent.at <= now);
        let told = unsent.map_or(Ok(()), |unsent| self.deliver(unsent, now));
        let Some(interval) = self.notify.feed_interval() else { return told };
        if self.feed_at.is_none_or(|at| at > now) {
            return told;
        }
        self.feed_at = Some(now + interval);
        match self.send("WATCHDOG=1") {
            // Rather than in half of the time that is left.
            Err(errno) if is_full(errno) => {
                self.feed_at = Some(now + interval.min(AGAIN));
                told
            }
            sent => told.and(self.once(sent)),
        }
    }

    fn deliver(&mut self, mut unsent: Unsent, now: Instant) -> Result<(), Errno> {
        match self.send(&unsent.lines) {
            // Without a loop nothing would try again.
            Err(errno) if is_full(errno) && unsent.tries < TRIES && self.socket.is_some() => {
                (unsent.at, unsent.tries) = (now + AGAIN, unsent.tries + 1);
                self.unsent = Some(unsent);
                Ok(())
            }
            sent => self.once(sent),
        }
    }

    fn send(&self, lines: &str) -> Result<(), Errno> {
        match &self.socket {
            Some(socket) => self.notify.send(socket.as_fd(), lines, self.main),
            None => self.notify.send(notify::socket()?.as_fd(), lines, self.main),
        }
    }

    /// Of failures in a row the first.
    fn once(&mut self, sent: Result<(), Errno>) -> Result<(), Errno> {
        let known = std::mem::replace(&mut self.fails, sent.is_err());
        if known {
            Ok(())
        } else {
            sent
        }
    }

    /// In a child, which has closed the descriptor: its number may be another file's.
    pub(crate) fn abandon(&mut self) {
        let _ = self.socket.take().map(IntoRawFd::into_raw_fd);
    }
}

/// Whether the receiver has no room now.
fn is_full(errno: Errno) -> bool {
    matches!(errno, Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM)
}
