//! What a function of the interface failed with.

/// An error number and its text.
pub(crate) struct Failure {
    pub(crate) errno: i32,
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn new(errno: i32, text: impl Into<String>) -> Failure {
        Failure { errno, text: text.into() }
    }

    /// After a fault of the library's own.
    pub(crate) fn unusable() -> Failure {
        Failure::new(libc::ENOTRECOVERABLE, "internal error: the server is unusable")
    }
}

impl From<core::Error> for Failure {
    fn from(error: core::Error) -> Failure {
        Failure { errno: error.errno(), text: error.to_string() }
    }
}

pub(crate) fn failure<T>(errno: i32, text: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::new(errno, text))
}
