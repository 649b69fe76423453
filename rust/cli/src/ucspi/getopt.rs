//! Options of one letter, as the programs of ucspi-tcp and ipsvd read them: several may
//! stand in a word, a value may stand behind its letter, and the first word without a dash
//! ends them. `--` does so too.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// An option.
pub(super) struct Flag {
    pub(super) letter: char,
    /// What its value is called; empty: it has none.
    pub(super) value: &'static str,
    pub(super) about: &'static str,
}

/// A table of options.
macro_rules! flags {
    ($($letter:literal $value:literal $about:literal;)*) => {
        &[$(Flag { letter: $letter, value: $value, about: $about }),*]
    };
}

pub(super) use flags;

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// An option, and its value if it has one.
    Flag(char, OsString),
    /// There is no such option.
    Illegal(u8),
    /// Its value is missing.
    Alone(char),
}

/// The options at the head of a command line.
pub(super) struct Options<'a> {
    flags: &'a [Flag],
    words: &'a [OsString],
    at: usize,
    /// How much of the word has been read; 0: none.
    within: usize,
    ended: bool,
}

impl<'a> Options<'a> {
    pub(super) fn new(flags: &'a [Flag], words: &'a [OsString]) -> Options<'a> {
        Options { flags, words, at: 0, within: 0, ended: false }
    }

    /// The words behind the options.
    pub(super) fn rest(&self) -> &'a [OsString] {
        self.words.get(self.at..).unwrap_or_default()
    }

    fn end(&mut self) -> Option<Found> {
        self.ended = true;
        None
    }
}

impl Iterator for Options<'_> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        if self.ended {
            return None;
        }
        if self.within > 0 && self.words.get(self.at).is_some_and(|word| word.len() == self.within)
        {
            (self.at, self.within) = (self.at + 1, 0);
        }
        let Some(word) = self.words.get(self.at).map(|word| word.as_bytes()) else {
            return self.end();
        };
        if self.within == 0 {
            match word {
                [b'-', b'-', ..] => {
                    self.at += 1;
                    return self.end();
                }
                [b'-', _, ..] => self.within = 1,
                _ => return self.end(),
            }
        }
        let letter = word[self.within];
        self.within += 1;
        let Some(flag) = self.flags.iter().find(|flag| flag.letter as u32 == u32::from(letter))
        else {
            return Some(Found::Illegal(letter));
        };
        if flag.value.is_empty() {
            return Some(Found::Flag(flag.letter, OsString::new()));
        }
        let behind = &word[self.within..];
        (self.at, self.within) = (self.at + 1, 0);
        if !behind.is_empty() {
            return Some(Found::Flag(flag.letter, OsStr::from_bytes(behind).to_owned()));
        }
        let Some(value) = self.words.get(self.at) else {
            return Some(Found::Alone(flag.letter));
        };
        self.at += 1;
        Some(Found::Flag(flag.letter, value.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> (Vec<Found>, Vec<OsString>) {
        let flags = [('v', ""), ('D', ""), ('c', "limit"), ('l', "name")]
            .map(|(letter, value)| Flag { letter, value, about: "" });
        let words: Vec<_> = words.iter().map(OsString::from).collect();
        let mut options = Options::new(&flags, &words);
        let found = options.by_ref().collect();
        (found, options.rest().to_vec())
    }

    fn flag(letter: char, value: &str) -> Found {
        Found::Flag(letter, value.into())
    }

    #[test]
    fn letters_stand_together_and_values_behind_them() {
        let (found, rest) = read(&["-vDc", "2", "-lLocal", "-c3", "0", "-v", "25"]);
        assert_eq!(
            found,
            [flag('v', ""), flag('D', ""), flag('c', "2"), flag('l', "Local"), flag('c', "3")]
        );
        assert_eq!(rest, ["0", "-v", "25"]);
    }

    #[test]
    fn two_dashes_end_them_and_a_dash_is_a_word() {
        assert_eq!(read(&["-v", "--", "-D"]), (vec![flag('v', "")], vec!["-D".into()]));
        assert_eq!(read(&["-", "x"]), (vec![], vec!["-".into(), "x".into()]));
        assert_eq!(read(&["-l", "--", "x"]).0, [flag('l', "--")]);
        assert_eq!(read(&["-l", "", "x"]).0, [flag('l', "")]);
    }

    #[test]
    fn what_is_wrong_is_told() {
        assert_eq!(read(&["-vz"]).0, [flag('v', ""), Found::Illegal(b'z')]);
        assert_eq!(read(&["-vc"]).0, [flag('v', ""), Found::Alone('c')]);
        assert_eq!(read(&[]), (vec![], vec![]));
    }
}
