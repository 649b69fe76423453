//! `tcpserver` and `tcpsvd`: the command, called by their names, takes their arguments.
//!
//! What a client is told, and what the log says, are those of the originals. Each has a
//! file; what both are made of are the others. A child asks for what is to be known of its
//! client, as the rules and the flags say, and then becomes the program: the server itself
//! never waits for a name server.

mod cdb;
mod environment;
mod errno;
mod getopt;
mod ident;
mod instructions;
mod listening;
mod lookup;
mod serving;
mod tcprules;
mod tcpserver;
mod tcpsvd;
mod words;

use forkserve::{Connection, Event, Options, ProcessGroup, Server};
use getopt::Flag;
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use socket2::Socket;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// One of the programs.
pub(crate) struct Name {
    pub(crate) name: &'static str,
    about: &'static str,
    more: &'static str,
    flags: &'static [Flag],
    run: fn(&[OsString]) -> Result<(), Fatal>,
}

const NAMES: [Name; 2] = [
    Name {
        name: "tcpserver",
        about: tcpserver::ABOUT,
        more: tcpserver::MORE,
        flags: tcpserver::FLAGS,
        run: tcpserver::run,
    },
    Name {
        name: "tcpsvd",
        about: tcpsvd::ABOUT,
        more: tcpsvd::MORE,
        flags: tcpsvd::FLAGS,
        run: tcpsvd::run,
    },
];

/// Why nothing is served: lines for the standard error, and an exit status.
pub(super) struct Fatal {
    lines: String,
    status: u8,
}

impl Fatal {
    fn new(status: u8, lines: String) -> Fatal {
        Fatal { lines, status }
    }
}

/// The definitions of their command lines, for the help, the manual and the completions.
pub(crate) fn commands() -> impl Iterator<Item = clap::Command> {
    NAMES.iter().map(|name| words::command(name.name, name.about, name.more, name.flags))
}

/// What to run: the command was called by one of the names, or with one as a subcommand.
pub(crate) fn called(words: &[OsString]) -> Option<(&'static Name, &[OsString])> {
    let by_name = |word: &OsString| {
        let file = Path::new(word).file_name()?;
        NAMES.iter().find(|name| file.as_bytes() == name.name.as_bytes())
    };
    if let Some(name) = words.first().and_then(by_name) {
        return Some((name, &words[1..]));
    }
    let word = words.get(1)?;
    let name = NAMES.iter().find(|name| word.as_bytes() == name.name.as_bytes())?;
    Some((name, &words[2..]))
}

impl Name {
    pub(crate) fn run(&self, words: &[OsString]) -> ExitCode {
        // The originals end their options there, and go on with the next word.
        let shown = match words.first().map(|word| word.as_bytes()) {
            Some(b"--help") => Some(words::help(self)),
            Some(b"--version") => {
                Some(format!("{} of forkserve {}\n", self.name, env!("CARGO_PKG_VERSION")))
            }
            _ => None,
        };
        if let Some(text) = shown {
            return match crate::output::print(&text) {
                Ok(()) => ExitCode::SUCCESS,
                Err(failure) => failure.report(),
            };
        }
        match (self.run)(words) {
            Ok(()) => ExitCode::SUCCESS,
            Err(fatal) => {
                say(&fatal.lines);
                ExitCode::from(fatal.status)
            }
        }
    }
}

/// Writes lines to the standard error, by one call. Without one the status has to do.
fn say(lines: &str) {
    let _ = io::stderr().write_all(lines.as_bytes());
}

/// The options of a server that does as the originals do: its children are in its own
/// process group, and their ends are at once.
fn options(limit: u32) -> Options {
    Options {
        max_children: limit,
        process_group: ProcessGroup::Off,
        linger: Duration::ZERO,
        ..Options::default()
    }
}

/// A server that does not listen yet. SIGTERM waits for it from now on.
struct Ready {
    server: Server,
    signals: SignalFd,
}

impl Ready {
    fn new(options: Options) -> Result<Ready, String> {
        let server = Server::new(options).map_err(|error| error.to_string())?;
        let signals = serving::signals([Signal::SIGTERM]);
        let signals = signals.map_err(|errno| format!("signalfd: {}", errno.desc()))?;
        Ok(Ready { server, signals })
    }

    /// Serves until SIGTERM, by `visit` in a child for each connection, whose exit status it
    /// returns. The children live on.
    fn serve(
        mut self,
        listener: Socket,
        observe: impl FnMut(&Event<'_>) + Send + 'static,
        mut visit: impl FnMut(&Connection) -> i32,
        mut at_signal: impl FnMut(),
    ) -> Result<(), String> {
        self.server.listen_fd(listener).map_err(|error| error.to_string())?;
        self.server.observe(observe);
        let dispatch = |server: &mut Server| server.dispatch(&mut visit);
        let signalled = |server: &Server| {
            at_signal();
            // It fails only in a child.
            let _ = server.detach();
        };
        serving::until_stopped(&mut self.server, &self.signals, dispatch, signalled)
            .map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(words: &[&str]) -> Option<(&'static str, usize)> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        called(&words).map(|(name, rest)| (name.name, rest.len()))
    }

    #[test]
    fn the_name_of_the_file_says_what_it_is() {
        assert_eq!(found(&["/usr/lib/x/tcpserver", "0", "25", "cat"]), Some(("tcpserver", 3)));
        assert_eq!(found(&["tcpsvd"]), Some(("tcpsvd", 0)));
        assert_eq!(found(&["forkserve", "tcpsvd", "-v"]), Some(("tcpsvd", 1)));
        assert_eq!(found(&["forkserve", "serve", "tcpserver"]), None);
        assert_eq!(found(&["./tcpserver2"]), None);
        assert_eq!(found(&[]), None);
    }

    #[test]
    fn a_flag_has_one_meaning() {
        for name in &NAMES {
            let mut letters: Vec<_> = name.flags.iter().map(|flag| flag.letter).collect();
            letters.sort_unstable();
            let all = letters.len();
            letters.dedup();
            assert_eq!(letters.len(), all, "{}", name.name);
        }
    }
}
