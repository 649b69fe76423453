//! The words of a command line: what they are, and what is wrong with them.

use super::getopt::{Flag, Found, Options};
use super::listening::Failed;
use super::{Fatal, Name};
use clap::{Arg, ArgAction, Command};
use forkserve::Program;
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStrExt;
use std::str::FromStr;

/// One of the programs, as it speaks.
pub(super) struct Voice {
    pub(super) name: &'static str,
    pub(super) usage: &'static str,
    /// The exit status of wrong usage.
    pub(super) status: u8,
}

impl Voice {
    /// Reads the options; `set` says what is wrong with the value of one. The words behind.
    pub(super) fn read<'a>(
        &self,
        flags: &[Flag],
        words: &'a [OsString],
        mut set: impl FnMut(char, OsString) -> Result<(), Fatal>,
    ) -> Result<&'a [OsString], Fatal> {
        let name = self.name;
        let mut options = Options::new(flags, words);
        for found in &mut options {
            let wrong = match found {
                Found::Flag(letter, value) => {
                    set(letter, value)?;
                    continue;
                }
                Found::Illegal(letter) => format!("illegal option -- {}", shown(&[letter])),
                Found::Alone(letter) => format!("option requires an argument -- {letter}"),
            };
            let usage = self.usage().lines;
            return Err(Fatal::new(self.status, format!("{name}: {wrong}\n{usage}")));
        }
        // `words` lives longer than the options do.
        let behind = options.rest().len();
        Ok(&words[words.len() - behind..])
    }

    pub(super) fn usage(&self) -> Fatal {
        Fatal::new(self.status, self.usage.to_owned())
    }

    pub(super) fn fatal(&self, status: u8, text: impl Display) -> Fatal {
        Fatal::new(status, format!("{}: fatal: {text}\n", self.name))
    }

    /// A system error.
    pub(super) fn failed(&self, failed: Failed) -> Fatal {
        self.fatal(111, failed)
    }

    pub(super) fn number<T>(
        &self,
        flag: &str,
        text: &OsStr,
        range: RangeInclusive<T>,
    ) -> Result<T, Fatal>
    where
        T: FromStr + PartialOrd + Display,
    {
        let digits = text.as_bytes().iter().all(u8::is_ascii_digit);
        let number = text.to_str().filter(|_| digits).and_then(|text| text.parse().ok());
        number.filter(|number| range.contains(number)).ok_or_else(|| {
            let (least, most) = range.into_inner();
            let text = shown(text.as_bytes());
            let wrong = format!("{flag} {text}: not a number from {least} to {most}");
            self.fatal(self.status, wrong)
        })
    }

    /// Text that is to be shown, or looked up.
    pub(super) fn text<'a>(&self, word: &'a OsStr) -> Result<&'a str, Fatal> {
        word.to_str().ok_or_else(|| {
            self.fatal(self.status, format!("{}: not UTF-8", shown(word.as_bytes())))
        })
    }

    /// The program, which can be executed now.
    pub(super) fn program(&self, words: &[OsString]) -> Result<Program, Fatal> {
        let program = Program::new(words).and_then(|program| program.check().map(|()| program));
        program.map_err(|error| {
            let name = shown(words.first().map_or(b"", |word| word.as_bytes()));
            let why = super::errno::text(&std::io::Error::from_raw_os_error(error.errno()));
            self.fatal(111, format!("unable to run {name}: {why}"))
        })
    }
}

/// Bytes on one line.
pub(super) fn shown(bytes: &[u8]) -> String {
    crate::output::printable(&String::from_utf8_lossy(bytes))
}

/// The definition of a command line.
pub(super) fn command(
    name: &'static str,
    about: &'static str,
    more: &'static str,
    flags: &[Flag],
) -> Command {
    let flags = flags.iter().map(|flag| {
        let arg = Arg::new(flag.letter.to_string()).short(flag.letter).help(flag.about);
        match flag.value {
            "" => arg.action(ArgAction::SetTrue),
            value => arg.value_name(value).allow_hyphen_values(true),
        }
    });
    let word = |name: &'static str, about| Arg::new(name).value_name(name).help(about);
    let program = word("PROGRAM", "The program, looked for in PATH, and its arguments");
    Command::new(name)
        .about(about)
        .long_about(format!("{about}.\n\n{more}"))
        .disable_help_flag(true)
        .args(flags)
        .arg(Arg::new("help").long("help").action(ArgAction::Help).help("Print help"))
        .arg(
            word("HOST", "Where to listen: an address, a name, or 0 for every address")
                .required(true),
        )
        .arg(word("PORT", "A number, or the name of a service; 0: a free port").required(true))
        .arg(program.required(true).trailing_var_arg(true).num_args(1..).allow_hyphen_values(true))
}

pub(super) fn help(name: &Name) -> String {
    let mut command = command(name.name, name.about, name.more, name.flags);
    command.render_long_help().to_string()
}
