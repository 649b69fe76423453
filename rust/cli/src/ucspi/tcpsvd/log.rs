//! What is said, and text of others in it.

use std::io::{self, Write};

pub(super) fn warn(text: &str) {
    crate::ucspi::say(&format!("tcpsvd: warning: {text}\n"));
}

#[derive(Clone, Copy)]
pub(super) struct Log {
    pub(super) verbosity: u8,
}

impl Log {
    pub(super) fn info(self, text: String) {
        if self.verbosity > 0 {
            let line = format!("tcpsvd: info: {text}\n");
            // A log that takes nothing is no reason to stop serving.
            let mut out = io::stdout();
            let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
        }
    }
}

/// Text of others, without what a line or a field could be ended by.
pub(super) fn safe(text: &[u8]) -> String {
    cut(text, 100, |byte| match byte {
        33..=126 if byte != b':' => char::from(byte),
        _ => '?',
    })
}

/// Instructions, one behind the other.
pub(super) fn listed(text: &[u8]) -> String {
    let end = text.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    cut(&text[..end], 140, |byte| match byte {
        0 => ',',
        32..=126 => char::from(byte),
        _ => '?',
    })
}

fn cut(text: &[u8], most: usize, plain: impl Fn(u8) -> char) -> String {
    let mut shown: String = text.iter().take(most).map(|byte| plain(*byte)).collect();
    if text.len() >= most {
        shown.push_str("...(truncate)");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_does_not_break_a_line() {
        assert_eq!(safe(b"a b\n:c\xff"), "a?b??c?");
        assert_eq!(safe(&[b'x'; 100]), "x".repeat(100) + "...(truncate)");
        assert_eq!(listed(b"+A=1\0C2:no\n\0\0"), "+A=1,C2:no?");
        assert_eq!(listed(b"\0"), "");
    }
}
