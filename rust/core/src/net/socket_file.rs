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
use std::ffi::OsStr;
use std::fs::Metadata;
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
    /// Where the path began when the file was made. In a process that has another root
    /// by now (chroot) it leads elsewhere.
    root: Option<(u64, u64)>,
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
        Id::of_socket(&std::fs::symlink_metadata(path).ok()?)
    }

    fn of_socket(meta: &Metadata) -> Option<Id> {
        let id = Id { device: meta.dev(), inode: meta.ino(), born: meta.created().ok() };
        meta.file_type().is_socket().then_some(id)
    }
}

/// What this process has as its root.
fn root() -> Option<(u64, u64)> {
    std::fs::metadata("/").ok().map(|meta| (meta.dev(), meta.ino()))
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
        Some(SocketFile { path, id, root: root(), pin: None })
    }

    /// What another process knows the file by: device, inode, and an absolute path.
    pub(crate) fn identity(&self) -> (u64, u64, &[u8]) {
        (self.id.device, self.id.inode, self.path.as_os_str().as_bytes())
    }

    /// The file of that identity, whose listener is open; `None` if it has gone.
    pub(crate) fn identified(device: u64, inode: u64, path: &[u8]) -> Option<SocketFile> {
        let file = SocketFile::at(Path::new(OsStr::from_bytes(path)))?;
        (file.id.device == device && file.id.inode == inode).then_some(file)
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
    /// listener is. The error: it is still there, and cannot be removed, because the
    /// process has other rights or another root by now. The next server knows how to
    /// replace it.
    pub(crate) fn remove(&self, open: bool) -> Result<(), Errno> {
        let _lock = FolderLock::take(&self.path, LOCK_TO_REMOVE);
        match std::fs::symlink_metadata(&self.path) {
            Ok(meta) if Id::of_socket(&meta) == Some(self.id) => {}
            // Another server's.
            Ok(_) if root() == self.root => return Ok(()),
            Ok(_) => return Err(Errno::ENOENT),
            Err(error) => return self.why_out_of_reach(&error),
        }
        if open || self.pin.is_some() || !self.is_bound() {
            return match std::fs::remove_file(&self.path) {
                Err(error) => self.why_out_of_reach(&error),
                Ok(()) => Ok(()),
            };
        }
        Ok(())
    }

    /// Without an error where the file has been removed already.
    fn why_out_of_reach(&self, error: &std::io::Error) -> Result<(), Errno> {
        match error.raw_os_error().map_or(Errno::EIO, Errno::from_raw) {
            Errno::ENOENT | Errno::ENOTDIR if root() == self.root => Ok(()),
            errno => Err(errno),
        }
    }

    /// Removes the file once no process has a socket there: the listener has just been
    /// closed here, and other processes may have it.
    pub(crate) fn remove_if_unbound(&self) -> Result<(), Errno> {
        match self.ask() {
            Err(errno @ (Errno::EACCES | Errno::EPERM)) => Err(errno),
            asked if is_bound(asked) => Ok(()),
            _ => self.remove(false),
        }
    }

    fn is_bound(&self) -> bool {
        is_bound(self.ask())
    }

    fn ask(&self) -> Result<(), Errno> {
        let path = self.path.as_os_str().as_bytes();
        // A relative name was shorter, perhaps: without one that fits there is no asking.
        RawAddress::from_unix(path).map_or(Ok(()), |raw| ask(&raw))
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
        if !refused || !is_bound(ask(raw)) {
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

/// Asks whether some process has a socket that is bound there, whatever it does with it.
/// The process does not notice: a socket of another kind cannot connect to it, and
/// fails with another errno (EPROTOTYPE) than where there is none.
fn ask(raw: &RawAddress) -> Result<(), Errno> {
    let probe = socket::datagram_socket(libc::AF_UNIX)?;
    socket::connect(probe.as_fd(), raw)
}

/// What the kernel said to that.
fn is_bound(asked: Result<(), Errno>) -> bool {
    !matches!(asked, Err(Errno::ECONNREFUSED | Errno::ENOENT))
}
