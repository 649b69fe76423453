//! Rules of Landlock: what is outside of the sandbox for signals and debuggers, and
//! which files may be read and written. Made in the parent; the child enters them.

use crate::error::Error;
use crate::escape::escaped;
use crate::event::Reduction;
use crate::options::{Landlock, Options};
use crate::sys::landlock::{self, version};
use nix::errno::Errno;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The version from which on signals and abstract Unix sockets have a border.
const SCOPES: u32 = 6;
/// The version from which on files cannot be emptied either.
const TRUNCATE: u32 = 3;
/// The newest version that is used here. What later ones restrict is not promised.
const NEWEST: u32 = 6;

/// Rules, if there are any, and what they do without.
type Rules = (Option<OwnedFd>, Vec<Reduction>);

/// The rules of the options, for a child to enter.
pub(super) fn ruleset(options: &Options) -> Result<Rules, Error> {
    let (option, needed) = if options.isolate {
        ("isolate", SCOPES)
    } else if !options.read_paths.is_empty() {
        ("read_paths", TRUNCATE)
    } else if !options.write_paths.is_empty() {
        ("write_paths", TRUNCATE)
    } else {
        return Ok((None, Vec::new()));
    };
    let found = match version() {
        Ok(found) => found,
        Err(_) if options.landlock == Landlock::Try => {
            return Ok((None, vec![Reduction::NoLandlock]));
        }
        Err(errno @ Errno::EOPNOTSUPP) => {
            let text = format!("{option}: Landlock is turned off in this kernel");
            return Err(Error::new(errno, text));
        }
        Err(errno) => return Err(Error::new(errno, format!("{option}: {}", too_old(needed, 0)))),
    };
    if found < needed && options.landlock == Landlock::Require {
        return Err(Error::new(Errno::ENOSYS, format!("{option}: {}", too_old(needed, found))));
    }
    let paths = !options.read_paths.is_empty() || !options.write_paths.is_empty();
    let scopes = (options.isolate && found < SCOPES).then_some(Reduction::NoScopes);
    let truncate = (paths && found < TRUNCATE).then_some(Reduction::NoTruncate);
    let ruleset = build(options, option, found.min(NEWEST))?;
    Ok((Some(ruleset), scopes.into_iter().chain(truncate).collect()))
}

fn too_old(needed: u32, found: u32) -> String {
    let linux = if needed == SCOPES { "6.12" } else { "6.2" };
    let found = match found {
        0 => "none".to_owned(),
        found => format!("version {found}"),
    };
    format!(
        "it needs version {needed} of Landlock (Linux {linux}), and this kernel has {found}; see \
         the option landlock"
    )
}

/// Uses of files, as the kernel's header has them (`LANDLOCK_ACCESS_FS_*`).
const EXECUTE: u64 = 1 << 0;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const MAKE_BLOCK: u64 = 1 << 11;
const REFER: u64 = 1 << 13;
const TRUNCATE_FILE: u64 = 1 << 14;
const IOCTL_DEVICE: u64 = 1 << 15;
const READ: u64 = EXECUTE | READ_FILE | READ_DIR;
/// Those that a file can have that is no folder.
const OF_A_FILE: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE_FILE | IOCTL_DEVICE;
/// `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET` and `LANDLOCK_SCOPE_SIGNAL`.
const BOTH_SCOPES: u64 = 3;

/// All that a version knows.
fn all_uses(version: u32) -> u64 {
    let count = match version {
        1 => 13,
        2 => 14,
        3 | 4 => 15,
        _ => 16,
    };
    (1 << count) - 1
}

fn build(options: &Options, option: &str, found: u32) -> Result<OwnedFd, Error> {
    let with_paths = !options.read_paths.is_empty() || !options.write_paths.is_empty();
    let scopes = if options.isolate && found >= SCOPES { BOTH_SCOPES } else { 0 };
    // Without a scope, a ruleset is still a border for debuggers. It must restrict
    // something; what is chosen here is allowed everywhere.
    let only_border = !with_paths && scopes == 0;
    let files = match (with_paths, only_border) {
        (true, _) => all_uses(found),
        (false, true) => all_uses(found) & (MAKE_BLOCK | REFER),
        (false, false) => 0,
    };
    let ruleset = landlock::create(files, scopes);
    let ruleset = ruleset.map_err(|errno| Error::os(option, "landlock_create_ruleset", errno))?;
    if only_border {
        allow(&ruleset, option, Path::new("/"), files)?;
    }
    for path in &options.read_paths {
        allow(&ruleset, "read_paths", path, READ)?;
    }
    for path in &options.write_paths {
        allow(&ruleset, "write_paths", path, files)?;
    }
    Ok(ruleset)
}

/// What is beneath `path`, or the file itself.
fn allow(ruleset: &OwnedFd, option: &str, path: &Path, uses: u64) -> Result<(), Error> {
    let shown = escaped(path.as_os_str().as_bytes());
    let fail = |errno| Error::os(option, &shown, errno);
    let errno_of = |error: io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EINVAL));
    let file = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path);
    let file = file.map_err(|error| fail(errno_of(error)))?;
    let is_folder = file.metadata().map_err(|error| fail(errno_of(error)))?.is_dir();
    let uses = if is_folder { uses } else { uses & OF_A_FILE };
    landlock::allow(ruleset.as_fd(), file.as_fd(), uses).map_err(fail)
}

/// Whether an option needs the promise to get no more privileges, which the kernel wants of
/// a process without privileges.
pub(super) fn is_wanted(options: &Options) -> bool {
    let wanted = |paths: &[PathBuf]| !paths.is_empty();
    options.isolate || wanted(&options.read_paths) || wanted(&options.write_paths)
}
