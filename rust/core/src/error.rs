//! What goes wrong, in one type: an errno and a line that names the culprit.
//!
//! The errno is what a C caller gets as `-errno` and what decides the class of
//! the Python exception. The text is one line: what was being done, to what,
//! and why it did not work, such as `bind 127.0.0.1:80: Permission denied`.

use nix::errno::Errno;
use std::fmt;

/// An error of the library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    errno: Errno,
    text: String,
}

impl Error {
    /// A failed system call: `operation`, what it was applied to, and the
    /// kernel's reason.
    pub(crate) fn os(operation: &str, subject: &str, errno: Errno) -> Error {
        let space = if subject.is_empty() { "" } else { " " };
        Error { errno, text: format!("{operation}{space}{subject}: {}", errno.desc()) }
    }

    /// Misuse that the library found by itself, in its own words.
    pub(crate) fn new(errno: Errno, text: impl Into<String>) -> Error {
        Error { errno, text: text.into() }
    }

    /// An error of a binding's own, for what its [`Hooks`](crate::Hooks) meet.
    pub fn custom(errno: i32, text: impl Into<String>) -> Error {
        Error::new(Errno::from_raw(errno), text)
    }

    /// The error number, as in `errno(3)`: positive.
    pub fn errno(&self) -> i32 {
        self.errno as i32
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> std::io::Error {
        std::io::Error::new(std::io::Error::from_raw_os_error(error.errno()).kind(), error)
    }
}

/// Static text for an error number, given as the C functions return it
/// (negative) or as `errno` holds it (positive).
pub fn strerror(code: i32) -> &'static str {
    match Errno::from_raw(code.saturating_abs()) {
        // The codes that mean something of their own here.
        Errno::ECHILD => "Handle used in a process that does not own it",
        Errno::ESHUTDOWN => "The server has been stopped",
        Errno::ENOTRECOVERABLE => "The server is unusable after an internal error",
        Errno::UnknownErrno if code == 0 => "Success",
        other => other.desc(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_operation_subject_and_reason() {
        let error = Error::os("bind", "127.0.0.1:80", Errno::EACCES);
        assert_eq!(error.to_string(), "bind 127.0.0.1:80: Permission denied");
        assert_eq!(error.errno(), libc::EACCES);
        let io = std::io::Error::from(error);
        assert_eq!(io.kind(), std::io::ErrorKind::PermissionDenied);
        assert_eq!(io.to_string(), "bind 127.0.0.1:80: Permission denied");
    }

    #[test]
    fn codes_are_taken_with_either_sign() {
        assert_eq!(strerror(-libc::EACCES), "Permission denied");
        assert_eq!(strerror(libc::EACCES), strerror(-libc::EACCES));
        assert_eq!(strerror(0), "Success");
        assert_eq!(strerror(99999), "Unknown errno");
        assert_eq!(strerror(i32::MIN), "Unknown errno");
    }
}
