//! Cgroups for the children: a directory of the server's own, and in it one for each slot.
//!
//! ```text
//! /sys/fs/cgroup/x                  what the option names, delegated to the server
//! /sys/fs/cgroup/x/forkserve-4711   the server's, with the number of the process that serves
//! /sys/fs/cgroup/x/forkserve-4711/0 the leaf of the children that have slot 0, one after the other
//! ```
//!
//! The server's directory is locked while it is in use, so that the next server can tell
//! what a killed one has left and remove it. Where its children have lived on, they stay.

use crate::error::Error;
use crate::options::Cgroup;
use crate::sys::{cgroup, clone_into, file, process, socket};
use nix::errno::Errno;
use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The server's directory.
pub(crate) struct Folder {
    base: OwnedFd,
    /// The lock as well.
    fd: OwnedFd,
    name: CString,
    path: CString,
    limits: Vec<(CString, Vec<u8>)>,
    /// By slot: whether there is a leaf with its limits, fit to be used again.
    made: Vec<Cell<bool>>,
    /// Whether a process can be born in a leaf.
    bears: bool,
}

/// How often to make a directory that another server, which takes it for an old one, removes.
const TRIES: u32 = 10;

impl Folder {
    /// Makes it, with the first leaf. The error is what would keep a child from its cgroup.
    /// `None`: children have none.
    pub(crate) fn prepare(option: &Cgroup) -> Result<Option<Folder>, Error> {
        let Some(path) = option.path() else {
            return Ok(None);
        };
        let base = open_base(path)?;
        remove_old(Path::new(path));
        let name = name_of(process::getpid());
        let mut folder = Folder::make(base, path, name, option)?;
        match folder.check(path, option) {
            Ok(()) => Ok(Some(folder)),
            Err(error) => {
                folder.remove();
                Err(error)
            }
        }
    }

    fn make(base: OwnedFd, path: &str, name: String, option: &Cgroup) -> Result<Folder, Error> {
        let whole = format!("{path}/{name}");
        let fail = |errno| Error::os("cgroup", &format!("{path}: mkdir {name}"), errno);
        let c_text = |text: &str| CString::new(text).map_err(|_| fail(Errno::EINVAL));
        let c_name = c_text(&name)?;
        let mut tries = 0;
        let fd = loop {
            tries += 1;
            cgroup::make(base.as_fd(), &c_name).map_err(fail)?;
            // Another server, which cleans up, may have been first.
            match file::lock_folder(Path::new(&whole)) {
                Ok(fd) if fs::exists(&whole).unwrap_or(true) => break fd,
                Err(errno) if tries == TRIES => return Err(fail(errno)),
                Ok(_) | Err(_) => socket::pause(1),
            }
        };
        let mut limits = Vec::new();
        for (file, value) in option.limits() {
            limits.push((c_text(file)?, value.as_bytes().to_vec()));
        }
        Ok(Folder {
            base,
            fd,
            path: c_text(&whole)?,
            name: c_name,
            limits,
            made: Vec::new(),
            bears: false,
        })
    }

    /// Makes and ends the first leaf, as it is done for each child.
    fn check(&mut self, path: &str, option: &Cgroup) -> Result<(), Error> {
        let fail = |what: &str| {
            let subject = format!("{path}: {what}");
            move |errno| Error::os("cgroup", &subject, errno)
        };
        hand_on(self.base.as_fd(), path, option)?;
        hand_on(self.fd.as_fd(), &self.path.to_string_lossy(), option)?;
        self.make_leaf(0).map_err(|(limit, errno)| {
            match limit.and_then(|number| option.limits().nth(number)) {
                Some((file, value)) => fail(&format!("{file}={value}"))(errno),
                None => fail("mkdir")(errno),
            }
        })?;
        let leaf = cgroup::open(self.fd.as_fd(), Leaf::new(0, "").name());
        self.bears = leaf.is_ok_and(|leaf| clone_into::try_out(leaf.as_fd()).is_ok());
        self.kill(0).map_err(|errno| match errno {
            Errno::ENOENT => {
                let text = format!("cgroup {path}: it has no cgroup.kill, which needs Linux 5.14");
                Error::new(Errno::ENOSYS, text)
            }
            errno => fail("cgroup.kill")(errno),
        })?;
        self.ready(0).map_err(fail("mkdir"))
    }

    /// Whether a process can be born in a leaf.
    pub(crate) fn bears(&self) -> bool {
        self.bears
    }

    pub(crate) fn path(&self) -> &CStr {
        &self.path
    }

    /// Sees to it that this slot has a leaf.
    pub(crate) fn ready(&mut self, slot: usize) -> Result<(), Errno> {
        if self.made.get(slot).is_some_and(Cell::get) {
            return Ok(());
        }
        self.make_leaf(slot).map_err(|(_, errno)| errno)
    }

    /// The error with the number of the limit that could not be set.
    fn make_leaf(&mut self, slot: usize) -> Result<(), (Option<usize>, Errno)> {
        let folder = self.fd.as_fd();
        let name = Leaf::new(slot, "");
        let made = match cgroup::make(folder, name.name()) {
            // One that is not fit to be used.
            Err(Errno::EEXIST) => {
                cgroup::remove(folder, name.name()).and_then(|()| cgroup::make(folder, name.name()))
            }
            made => made,
        };
        made.map_err(|errno| (None, errno))?;
        // A child that made others in it would keep the next one out.
        let within = cgroup::write(folder, Leaf::new(slot, DESCENDANTS).name(), b"0");
        let set = |(file, value): &(CString, Vec<u8>)| {
            let leaf = cgroup::open(folder, name.name())?;
            cgroup::write(leaf.as_fd(), file, value)
        };
        let wrong = self.limits.iter().enumerate().find_map(|(n, limit)| {
            let errno = set(limit).err()?;
            Some((Some(n), errno))
        });
        if let Some(wrong) = wrong.or(within.err().map(|errno| (None, errno))) {
            // Without its limits no child is to find it.
            let _ = cgroup::remove(folder, name.name());
            return Err(wrong);
        }
        if self.made.len() <= slot {
            self.made.resize(slot + 1, Cell::default());
        }
        self.made[slot].set(true);
        Ok(())
    }

    /// The leaf is not what it was: another one is made for the next child.
    pub(crate) fn doubt(&self, slot: usize) {
        self.made.get(slot).into_iter().for_each(|made| made.set(false));
    }

    /// The leaf, to be born in.
    pub(crate) fn open(&mut self, slot: usize) -> Result<OwnedFd, Errno> {
        self.ready(slot)?;
        cgroup::open(self.fd.as_fd(), Leaf::new(slot, "").name())
    }

    /// Whether a process is left in the leaf.
    pub(crate) fn is_populated(&self, slot: usize) -> bool {
        cgroup::is_populated(self.fd.as_fd(), Leaf::new(slot, EVENTS).name()).unwrap_or(false)
    }

    /// SIGKILL to all processes in the leaf, and to those that they make meanwhile.
    ///
    /// Since Linux 6.14 a process that is born in a cgroup in which all have been killed
    /// before is killed as well, whenever that was: the kernel compares the number of kills
    /// with that of the parent's cgroup. So another leaf is made for the next child.
    pub(crate) fn kill(&self, slot: usize) -> Result<(), Errno> {
        self.doubt(slot);
        cgroup::write(self.fd.as_fd(), Leaf::new(slot, KILL).name(), b"1")
    }

    /// Removes what is empty.
    pub(crate) fn remove(self) {
        for slot in 0..self.made.len().max(1) {
            let _ = cgroup::remove(self.fd.as_fd(), Leaf::new(slot, "").name());
        }
        let _ = cgroup::remove(self.base.as_fd(), &self.name);
    }

    /// Its descriptors, in a child of this process: not to be closed.
    pub(crate) fn abandon(self) {
        let _ = (self.base.into_raw_fd(), self.fd.into_raw_fd());
    }

    /// The descriptors that a child is to close.
    pub(crate) fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.base.as_fd(), self.fd.as_fd()]
    }
}

fn name_of(pid: libc::pid_t) -> String {
    format!("forkserve-{pid}")
}

fn open_base(path: &str) -> Result<OwnedFd, Error> {
    let fail = |errno| Error::os("cgroup", path, errno);
    let base = file::open_folder(Path::new(path)).map_err(fail)?;
    if !cgroup::is_cgroup(base.as_fd()).map_err(fail)? {
        let text = format!("cgroup {path}: it is not a directory of cgroup v2");
        return Err(Error::new(Errno::EINVAL, text));
    }
    Ok(base)
}

/// Has the directories in `folder` controlled by what the limits need.
fn hand_on(folder: BorrowedFd<'_>, path: &str, option: &Cgroup) -> Result<(), Error> {
    let read = |name| fs::read_to_string(Path::new(path).join(name)).unwrap_or_default();
    let (there, handed) = (read("cgroup.controllers"), read("cgroup.subtree_control"));
    for (file, _) in option.limits() {
        let controller = file.split('.').next().unwrap_or_default();
        if !there.split_whitespace().any(|word| word == controller) {
            let there = if there.trim().is_empty() { "none" } else { there.trim() };
            let text = format!(
                "cgroup {path}: {file} needs the controller {controller}, and this directory \
                 has {there}"
            );
            return Err(Error::new(Errno::ENOENT, text));
        }
        if handed.split_whitespace().any(|word| word == controller) {
            continue;
        }
        let word = format!("+{controller}");
        let written = cgroup::write(folder, c"cgroup.subtree_control", word.as_bytes());
        written.map_err(|errno| match errno {
            Errno::EBUSY => Error::new(
                errno,
                format!(
                    "cgroup {path}: processes are in this directory itself, which keeps it from \
                     handing on the controller {controller}"
                ),
            ),
            _ => Error::os("cgroup", &format!("{path}: cgroup.subtree_control {word}"), errno),
        })?;
    }
    Ok(())
}

/// Removes what servers have left that are not there any more.
fn remove_old(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with("forkserve-") {
            remove_one(&entry.path());
        }
    }
}

/// The directory of a server, if no process serves by it, and as far as it is empty.
fn remove_one(folder: &Path) {
    let Ok(_lock) = file::lock_folder(folder) else { return };
    for leaf in fs::read_dir(folder).into_iter().flatten().flatten() {
        if leaf.file_type().is_ok_and(|kind| kind.is_dir()) {
            let _ = fs::remove_dir(leaf.path());
        }
    }
    let _ = fs::remove_dir(folder);
}

/// For a host: its supervisor, of this number, has ended. Removes what it has left.
pub(crate) fn clear(option: &Cgroup, supervisor: libc::pid_t) {
    if let Some(folder) = folder_of(option, supervisor) {
        remove_one(&folder);
    }
}

/// For a host: ends all children of its supervisor, of this number, with all that they have
/// started.
pub(crate) fn kill_all(option: &Cgroup, supervisor: libc::pid_t) {
    let Some(folder) = folder_of(option, supervisor) else { return };
    match fs::write(folder.join("cgroup.kill"), "1") {
        Err(error) if error.kind() != ErrorKind::NotFound => {}
        _ => {}
    }
}

fn folder_of(option: &Cgroup, supervisor: libc::pid_t) -> Option<PathBuf> {
    option.path().map(|path| Path::new(path).join(name_of(supervisor)))
}

const KILL: &str = "/cgroup.kill";
const EVENTS: &str = "/cgroup.events";
const DESCENDANTS: &str = "/cgroup.max.descendants";
const PROCS: &str = "/cgroup.procs";

/// The name of a leaf, or of a file in it, made without an allocation.
struct Leaf([u8; Leaf::ROOM]);

impl Leaf {
    /// Ten digits, the longest name of a file, and a NUL.
    const ROOM: usize = 10 + DESCENDANTS.len() + 1;

    #[inline(always)]
    fn new(slot: usize, file: &'static str) -> Leaf {
        let mut text = [0; Leaf::ROOM];
        let mut digits = 1;
        let mut rest = slot as u32;
        while rest >= 10 {
            (rest, digits) = (rest / 10, digits + 1);
        }
        let mut rest = slot as u32;
        for place in (0..digits).rev() {
            text[place] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        for (place, letter) in text[digits..].iter_mut().zip(file.bytes()) {
            *place = letter;
        }
        Leaf(text)
    }

    #[inline(always)]
    fn name(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or(c"")
    }
}

/// In a child: moves it into the leaf of its slot.
#[inline(always)]
pub(crate) fn enter(folder: &CStr, slot: usize) -> Result<(), Errno> {
    cgroup::enter(folder, Leaf::new(slot, PROCS).name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_have_the_numbers_of_slots() {
        assert_eq!(Leaf::new(0, "").name(), c"0");
        assert_eq!(Leaf::new(9, PROCS).name(), c"9/cgroup.procs");
        assert_eq!(Leaf::new(10, KILL).name(), c"10/cgroup.kill");
        let longest = Leaf::new(u32::MAX as usize, DESCENDANTS);
        assert_eq!(longest.name(), c"4294967295/cgroup.max.descendants");
    }
}
