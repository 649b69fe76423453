//! Rules of Landlock: what is outside of the sandbox for signals and debuggers, and
//! which files may be read and written. Made in the parent; the child enters them.

use crate::error::Error;
use crate::escape::escaped;
use crate::options::{Landlock, Options};
use crate::sys::landlock::version;
use landlock::{
    Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, Scope, ABI,
};
use nix::errno::Errno;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The version from which on signals and abstract Unix sockets have a border.
const SCOPES: u32 = 6;
/// The version from which on files cannot be emptied either.
const TRUNCATE: u32 = 3;
/// The newest version that is used here. What later ones restrict is not promised.
const NEWEST: u32 = 6;

/// The rules of the options, for a child to enter; `None`: there are none.
pub(super) fn ruleset(options: &Options) -> Result<Option<OwnedFd>, Error> {
    let (option, needed) = if options.isolate {
        ("isolate", SCOPES)
    } else if !options.read_paths.is_empty() {
        ("read_paths", TRUNCATE)
    } else if !options.write_paths.is_empty() {
        ("write_paths", TRUNCATE)
    } else {
        return Ok(None);
    };
    let found = match version() {
        Ok(found) => found,
        Err(_) if options.landlock == Landlock::Try => return Ok(None),
        Err(errno @ Errno::EOPNOTSUPP) => {
            let text = format!("{option}: Landlock is turned off in this kernel");
            return Err(Error::new(errno, text));
        }
        Err(errno) => return Err(Error::new(errno, format!("{option}: {}", too_old(needed, 0)))),
    };
    if found < needed && options.landlock == Landlock::Require {
        return Err(Error::new(Errno::ENOSYS, format!("{option}: {}", too_old(needed, found))));
    }
    build(options, option, found.min(NEWEST))
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

fn build(options: &Options, option: &str, found: u32) -> Result<Option<OwnedFd>, Error> {
    let abi = match found {
        1 => ABI::V1,
        2 => ABI::V2,
        3 => ABI::V3,
        4 => ABI::V4,
        5 => ABI::V5,
        _ => ABI::V6,
    };
    let fail = |error: RulesetError| {
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL);
        Error::custom(errno, format!("{option}: {error}"))
    };
    let with_paths = !options.read_paths.is_empty() || !options.write_paths.is_empty();
    // Without a scope, a ruleset is still a border for debuggers. It must restrict
    // something; what is chosen here is allowed everywhere.
    let only_border = !with_paths && found < SCOPES;
    let files = match (with_paths, only_border) {
        (true, _) => AccessFs::from_all(abi),
        (false, true) => AccessFs::from_all(abi) & (AccessFs::MakeBlock | AccessFs::Refer),
        (false, false) => BitFlags::EMPTY,
    };
    let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    if !files.is_empty() {
        ruleset = ruleset.handle_access(files).map_err(fail)?;
    }
    if options.isolate && found >= SCOPES {
        ruleset = ruleset.scope(Scope::from_all(abi)).map_err(fail)?;
    }
    let mut ruleset = ruleset.create().map_err(fail)?;
    if only_border {
        ruleset = allow(ruleset, option, Path::new("/"), files)?;
    }
    let read = AccessFs::from_read(abi);
    for (option, paths, access) in [
        ("read_paths", &options.read_paths, read),
        ("write_paths", &options.write_paths, AccessFs::from_all(abi)),
    ] {
        for path in paths {
            ruleset = allow(ruleset, option, path, access & files)?;
        }
    }
    Ok(ruleset.into())
}

/// What is beneath `path`, or the file itself.
fn allow(
    ruleset: RulesetCreated,
    option: &str,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, Error> {
    let shown = escaped(path.as_os_str().as_bytes());
    let found = fs::metadata(path).map_err(|error| {
        Error::os(option, &shown, Errno::from_raw(error.raw_os_error().unwrap_or(libc::EINVAL)))
    })?;
    let access = match found.is_dir() {
        true => access,
        false => access & AccessFs::from_file(ABI::V6),
    };
    let beneath = PathFd::new(path)
        .map_err(|error| Error::new(Errno::EINVAL, format!("{option} {shown}: {error}")))?;
    ruleset
        .add_rule(PathBeneath::new(beneath, access))
        .map_err(|error| Error::new(Errno::EINVAL, format!("{option} {shown}: {error}")))
}

/// Whether an option needs the promise to get no more privileges, which the kernel wants of
/// a process without privileges.
pub(super) fn is_wanted(options: &Options) -> bool {
    let wanted = |paths: &[PathBuf]| !paths.is_empty();
    options.isolate || wanted(&options.read_paths) || wanted(&options.write_paths)
}
