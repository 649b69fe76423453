//! What goes wrong, in one type: an errno and a line that names the culprit.
//!
//! The errno is what a C caller gets as `-errno` and what decides the class of
//! the Python exception. The text is one line: what was being done, to what,
//! and why it did not work, such as `bind 127.0.0.1:80: Permission denied`.

use nix::errno::Errno;
use std::fmt;
use std::sync::OnceLock;

/// An error of the library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    errno: Errno,
    text: String,
}

impl Error {
    /// A failed system call: `operation`, what it was applied to, and the
    /// kernel's reason, as `strerror(3)` has it.
    pub fn os(operation: &str, subject: &str, errno: Errno) -> Error {
        let space = if subject.is_empty() { "" } else { " " };
        Error { errno, text: format!("{operation}{space}{subject}: {}", reason(errno)) }
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

/// What `strerror(3)` says, which is what C and Python programs show elsewhere.
pub(crate) fn reason(errno: Errno) -> String {
    strip_number(&std::io::Error::from_raw_os_error(errno as i32))
}

/// The text of an error of the standard library's, without the number behind it.
pub(crate) fn strip_number(error: &std::io::Error) -> String {
    let mut text = error.to_string();
    if let Some(errno) = error.raw_os_error() {
        let number = format!(" (os error {errno})");
        if text.ends_with(&number) {
            text.truncate(text.len() - number.len());
        }
    }
    text
}

/// Static text for an error number, given as the C functions return it
/// (negative) or as `errno` holds it (positive): that of `strerror(3)` at the
/// first call, except for the codes that mean something of their own here.
pub fn strerror(code: i32) -> &'static str {
    // Errors end far below; the last text stands for all unknown ones.
    const END: i32 = 256;
    static TEXTS: OnceLock<Vec<String>> = OnceLock::new();
    let texts = TEXTS.get_or_init(|| {
        let text = |errno| match errno {
            libc::ECHILD => "Handle used in a process that does not own it".to_owned(),
            libc::ESHUTDOWN => "The server has been stopped".to_owned(),
            libc::ENOTRECOVERABLE => "The server is unusable after an internal error".to_owned(),
            END => "Unknown error".to_owned(),
            other => strip_number(&std::io::Error::from_raw_os_error(other)),
        };
        (0..=END).map(text).collect()
    });
    &texts[code.saturating_abs().min(END) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "its texts of errors are its own")]
    fn the_text_names_operation_subject_and_reason() {
        let error = Error::os("bind", "127.0.0.1:80", Errno::EACCES);
        assert_eq!(error.to_string(), "bind 127.0.0.1:80: Permission denied");
        assert_eq!(error.errno(), libc::EACCES);
        let io = std::io::Error::from(error);
        assert_eq!(io.kind(), std::io::ErrorKind::PermissionDenied);
        assert_eq!(io.to_string(), "bind 127.0.0.1:80: Permission denied");
    }

    #[test]
    #[cfg_attr(miri, ignore = "its texts of errors are its own")]
    fn codes_are_taken_with_either_sign() {
        assert_eq!(strerror(-libc::EACCES), "Permission denied");
        assert_eq!(strerror(libc::EACCES), strerror(-libc::EACCES));
        assert_eq!(strerror(0), "Success");
        assert_eq!(strerror(libc::EBADF), "Bad file descriptor");
        assert_eq!(strerror(255), "Unknown error 255");
        assert_eq!(strerror(99999), "Unknown error");
        assert_eq!(strerror(i32::MIN), "Unknown error");
    }

    #[test]
    #[cfg_attr(miri, ignore = "its texts of errors are its own")]
    fn reasons_are_those_of_libc() {
        assert_eq!(reason(Errno::EBADF), "Bad file descriptor");
        let error = std::io::Error::from_raw_os_error(libc::EIO);
        assert_eq!(strip_number(&error), "Input/output error");
        assert_eq!(strip_number(&std::io::Error::other("odd (os error)")), "odd (os error)");
    }
}
