//! The terminal: its size, single keys, and a screen of its own that goes away at the end.

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::termios::{
    isatty, tcgetattr, tcgetwinsize, tcsetattr, LocalModes, OptionalActions, Termios,
};
use std::io::{self, Read, Write};
use std::time::Duration;

pub(super) struct Terminal {
    before: Termios,
}

pub(super) enum Key {
    /// The terminal has gone.
    End,
    Other(u8),
}

/// As the keys that they stand for.
pub(super) const UP: u8 = b'k';
pub(super) const DOWN: u8 = b'j';

impl Terminal {
    /// None if the standard input and output are not both a terminal.
    pub(super) fn open() -> Option<Terminal> {
        let (input, mut output) = (io::stdin(), io::stdout());
        if !isatty(&input) || !isatty(&output) {
            return None;
        }
        let before = tcgetattr(&input).ok()?;
        let mut keys = before.clone();
        // Ctrl-C still ends the program.
        keys.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        tcsetattr(&input, OptionalActions::Now, &keys).ok()?;
        // The other screen, without a cursor.
        output.write_all(b"\x1b[?1049h\x1b[?25l").ok()?;
        Some(Terminal { before })
    }

    /// Columns and rows.
    pub(super) fn size(&self) -> (usize, usize) {
        match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                (usize::from(size.ws_col), usize::from(size.ws_row))
            }
            _ => (80, 24),
        }
    }

    /// A key that is pressed within `limit`.
    pub(super) fn key(&self, limit: Duration) -> Option<Key> {
        let input = io::stdin();
        let mut polled = [PollFd::new(&input, PollFlags::IN)];
        let limit = Timespec::try_from(limit).ok()?;
        if !poll(&mut polled, Some(&limit)).is_ok_and(|ready| ready > 0) {
            return None;
        }
        let mut bytes = [0; 8];
        // What was pressed at once is read at once; the first key counts.
        match io::stdin().lock().read(&mut bytes) {
            Ok(0) | Err(_) => Some(Key::End),
            Ok(count) => Some(Key::Other(match &bytes[..count] {
                b"\x1b[A" | b"\x1bOA" => UP,
                b"\x1b[B" | b"\x1bOB" => DOWN,
                other => other[0],
            })),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Whether or not that works, this is the end.
        let _ = io::stdout().write_all(b"\x1b[?25h\x1b[?1049l");
        let _ = io::stdout().flush();
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}
