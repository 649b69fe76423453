//! How the command fails: exit status 100 for wrong usage and 111 for everything
//! else, as the programs of ucspi-tcp have it, and one line that names what is wrong.

use clap::error::ErrorKind;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

const WRONG_USAGE: u8 = 100;
const SYSTEM_ERROR: u8 = 111;

/// Why a command cannot do what it was asked for.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A line for the standard error.
    System(String),
    /// The same, about the command line.
    Usage(String),
    /// The standard output is closed: its reader has seen enough.
    Closed,
}

impl Failure {
    /// What went wrong with `subject`.
    pub(crate) fn of(subject: impl Display, reason: impl Display) -> Failure {
        Failure::System(format!("{subject}: {reason}"))
    }

    /// With a text that names its subject.
    pub(crate) fn line(text: String) -> Failure {
        Failure::System(text)
    }

    pub(crate) fn usage(text: String) -> Failure {
        Failure::Usage(text)
    }

    pub(crate) fn report(self) -> ExitCode {
        match self {
            Failure::System(line) => say(&line, SYSTEM_ERROR),
            Failure::Usage(line) => say(&line, WRONG_USAGE),
            Failure::Closed => ExitCode::SUCCESS,
        }
    }
}

/// Help and version as asked for; otherwise what is wrong with the command line.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let shown = error.print();
        return if shown.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(SYSTEM_ERROR) };
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return say("no subcommand; see forkserve --help", WRONG_USAGE);
    }
    // The first paragraph names the argument; the others are advice.
    let text = error.render().to_string();
    let first = text.trim_start_matches("error: ").lines().take_while(|line| !line.is_empty());
    let line = first.map(str::trim).collect::<Vec<_>>().join(" ");
    say(&line, WRONG_USAGE)
}

fn say(line: &str, status: u8) -> ExitCode {
    // Without a standard error the status has to do.
    let _ = writeln!(io::stderr(), "forkserve: {line}");
    ExitCode::from(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_its_subject() {
        let Failure::System(line) = Failure::of("process 7", "no such process") else {
            panic!("a line");
        };
        assert_eq!(line, "process 7: no such process");
    }
}
