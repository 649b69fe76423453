//! The file of a Unix socket: made by `bind`, and removed only by the
//! server that made it.
//!
//! A number of an inode is given to the next file as soon as the last socket and
//! the last name of the file are gone, and then the file of a successor looks like
//! one's own. So a file is removed while its listener is open, or while a
//! descriptor (the pin) keeps its number taken. Where there is neither, the kernel
//! is asked whether a process has a socket there.
//!
//! Between a look at a file and its removal a successor could replace it. So both
//! are done under the lock of the folder, and so is all of what makes a socket:
//! two servers that start at once do not take each other for dead.

use crate::sys::file::{lock_folder, open_path};
use crate::sys::socket::{self, RawAddress};
use nix::errno::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// How long a new socket waits for the lock of its folder, which others hold for
/// microseconds. Then it does without.
const LOCK_TO_BIND: Duration = Duration::from_secs(1);
/// The same for a removal, which is a step of the loop.
const LOCK_TO_REMOVE: Duration = Duration::from_millis(100);
/// How long a socket may be bound without listening before it is taken
/// for one that never will. (A server that has ended leaves such a one behind while a
/// child of it lives.)
const UNTIL_IT_LISTENS: Duration = Duration::from_secs(1);
/// Between two looks.
const PAUSE_MS: u32 = 2;

/// The file of a socket that was bound here.
pub(crate) struct SocketFile {
    path: PathBuf,
    id: Id,
    pin: Option<OwnedFd>,
}

/// What tells a file from its successors.
#[derive(Clone, Copy, PartialEq)]
struct Id {
    device: u64,
    inode: u64,
    /// Where the file system tells it.
    born: Option<SystemTime>,
}

impl Id {
    /// Of the socket at `path`; `None` if there is none.
    fn of(path: &Path) -> Option<Id> {
        let meta = std::fs::symlink_metadata(path).ok()?;
        let id = Id { device: meta.dev(), inode: meta.ino(), born: meta.created().ok() };
        meta.file_type().is_socket().then_some(id)
    }
}

/// The right to bind and to remove sockets in a folder, among the processes that take this lock.
pub(crate) struct FolderLock(#[allow(dead_code)] Option<OwnedFd>);

impl FolderLock {
    /// To bind a socket at `path`, and to have it listen.
    pub(crate) fn to_bind(path: &Path) -> FolderLock {
        FolderLock::take(path, LOCK_TO_BIND)
    }

    /// A process that may read the folder can hold its lock for ever, so the wait is
    /// short: the worst is what would happen without the lock.
    fn take(path: &Path, limit: Duration) -> FolderLock {
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let end = Instant::now() + limit;
        loop {
            match lock_folder(folder) {
                Ok(lock) => return FolderLock(Some(lock)),
                Err(Errno::EAGAIN | Errno::EINTR) if Instant::now() < end => {
                    socket::pause(PAUSE_MS)
                }
                Err(_) => return FolderLock(None),
            }
        }
    }
}

impl SocketFile {
    /// The file of the socket that has just been bound at `path`.
    pub(crate) fn at(path: &Path) -> Option<SocketFile> {
        let id = Id::of(path)?;
        // The working directory may change before the end.
        let path = std::path::absolute(path).ok()?;
        Some(SocketFile { path, id, pin: None })
    }

    /// While the listener is open: makes sure that the file can be told from others
    /// afterwards, too.
    pub(crate) fn pin(&mut self) {
        // What is opened is the file itself if it is so before and after: its inode
        // cannot be another's meanwhile.
        let pin = open_path(&self.path).ok();
        self.pin = pin.filter(|_| Id::of(&self.path) == Some(self.id));
    }

    pub(crate) fn unpin(&mut self) -> Option<OwnedFd> {
        self.pin.take()
    }

    pub(crate) fn pinned(&self) -> Option<BorrowedFd<'_>> {
        self.pin.as_ref().map(AsFd::as_fd)
    }

    /// Removes the file, if it is still the one that was made here. `open`: the
    /// listener is.
    pub(crate) fn remove(&self, open: bool) {
        let _lock = FolderLock::take(&self.path, LOCK_TO_REMOVE);
        if Id::of(&self.path) != Some(self.id) {
            return;
        }
        if open || self.pin.is_some() || !self.is_bound() {
            // A failure (a read-only directory by now) leaves a stale file, which
            // the next server knows how to replace.
            let _ = std::fs::remove_file(&self.path);
        }
    }

    /// Removes the file once no process has a socket there: the listener has just been
    /// closed here, and other processes may have it.
    pub(crate) fn remove_if_unbound(&self) {
        if !self.is_bound() {
            self.remove(false);
        }
    }

    fn is_bound(&self) -> bool {
        let path = self.path.as_os_str().as_bytes();
        // A relative name was shorter, perhaps: without one that fits there is no asking.
        RawAddress::from_unix(path).is_none_or(|raw| is_bound(&raw))
    }
}

/// Removes the file of a server that is no more, under the lock of the folder;
/// false when it is not such a file: then a server listens there, or is about to,
/// or it is not a socket at all.
pub(crate) fn remove_stale(path: &Path, raw: &RawAddress) -> bool {
    let Some(id) = Id::of(path) else { return false };
    nobody_listens(raw) && Id::of(path) == Some(id) && std::fs::remove_file(path).is_ok()
}

fn nobody_listens(raw: &RawAddress) -> bool {
    let end = Instant::now() + UNTIL_IT_LISTENS;
    loop {
        // The socket is non-blocking: EAGAIN means a full queue, so a server has it.
        let refused = socket::stream_socket(libc::AF_UNIX)
            .and_then(|probe| socket::connect(probe.as_fd(), raw))
            .is_err_and(|errno| errno == Errno::ECONNREFUSED);
        if !refused || !is_bound(raw) {
            return refused;
        }
        // Bound and not listening: a server that takes no lock is between the two
        // calls, or a child of one that has ended still has a copy.
        if Instant::now() >= end {
            return true;
        }
        socket::pause(PAUSE_MS);
    }
}

/// Whether some process has a socket that is bound there, whatever it does with it.
/// The process does not notice: a socket of another kind cannot connect to it, and
/// fails with another errno (EPROTOTYPE) than where there is none.
fn is_bound(raw: &RawAddress) -> bool {
    let asked = socket::datagram_socket(libc::AF_UNIX)
        .and_then(|probe| socket::connect(probe.as_fd(), raw));
    !matches!(asked, Err(Errno::ECONNREFUSED | Errno::ENOENT))
}
