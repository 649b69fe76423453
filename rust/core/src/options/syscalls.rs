//! Which system calls a child may make, as text: `stdio`.

use crate::error::Error;
use crate::escape::quoted;
use nix::errno::Errno;
use std::str::FromStr;

/// The system calls that a child may make. As text: nothing, for all of them, or the
/// name of a preset.
///
/// ```
/// let calls: forkserve::Syscalls = "stdio".parse()?;
/// assert_eq!(calls, forkserve::Syscalls::Stdio);
/// # Ok::<(), forkserve::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Syscalls {
    /// All of them.
    #[default]
    All,
    /// Those that compute and talk to what is open: read and write, memory, time,
    /// signals to the child itself. Everything else fails with EPERM: opening files,
    /// making sockets and processes, signals to other processes, executable memory.
    Stdio,
}

impl FromStr for Syscalls {
    type Err = Error;

    fn from_str(text: &str) -> Result<Syscalls, Error> {
        match text.trim_matches(|c: char| c.is_ascii_whitespace()) {
            "" => Ok(Syscalls::All),
            "stdio" => Ok(Syscalls::Stdio),
            other => {
                let shown: String = other.chars().take(60).collect();
                let text = format!("{} is not a preset: \"stdio\" is", quoted(&shown));
                Err(Error::new(Errno::EINVAL, text))
            }
        }
    }
}
