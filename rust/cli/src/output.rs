//! The standard output, and text of other programs on it.

use crate::failure::Failure;
use serde::Serialize;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write};

/// Writes `text` as a whole.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::Closed,
        _ => Failure::of("standard output", error),
    })
}

/// Writes one line of JSON.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let line = serde_json::to_string(value).map_err(|error| Failure::of("--json", error))?;
    print(&(line + "\n"))
}

/// Names of processes and sockets have any byte in them: what a terminal would take
/// for a command is escaped.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            // Writing to a string does not fail.
            let _ = write!(shown, "{}", character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// What a shell would take for `forkserve serve` with these words.
pub(crate) fn command_line(words: &[OsString]) -> String {
    let mut line = "forkserve serve".to_owned();
    for word in words {
        let word = word.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "%+,-./:=@_[]".contains(c);
        match !word.is_empty() && word.chars().all(plain) {
            true => line.push_str(&format!(" {word}")),
            false => line.push_str(&format!(" '{}'", printable(&word.replace('\'', "'\\''")))),
        }
    }
    line
}

/// "1 thread", "2 threads".
pub(crate) fn count(number: u64, one: &str, more: &str) -> String {
    if number == 1 {
        format!("1 {one}")
    } else {
        format!("{number} {more}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
        assert_eq!(printable("naïve"), "naïve");
    }
}
