//! The command `forkserve`: serves a program, and looks into fork servers.
//!
//! It is a library so that `examples/pages.rs` can write its manual pages and
//! completions. `args` is the command line; each subcommand has a room of its own;
//! `service` serves programs, wherever they were named, also by `xinetd`; `ucspi` is
//! `tcpserver` and `tcpsvd`; `servers` finds the servers of this library, and `machine` is what
//! the kernel says about processes and sockets.

mod args;
mod doctor;
mod failure;
mod flags;
mod log;
mod machine;
mod output;
mod ps;
mod serve;
mod servers;
mod service;
mod top;
mod ucspi;
mod xinetd;

use clap::{CommandFactory, FromArgMatches};
use std::process::ExitCode;

/// The definition of the command line.
pub fn command() -> clap::Command {
    args::Arguments::command().subcommands(ucspi::commands())
}

/// Does what the command line says, and returns the exit status.
pub fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    if let Some((name, words)) = ucspi::called(&words) {
        return name.run(words);
    }
    let parsed =
        command().try_get_matches().and_then(|matches| args::Arguments::from_arg_matches(&matches));
    let arguments = match parsed {
        Ok(arguments) => arguments,
        Err(error) => return failure::usage(&error),
    };
    let done = match arguments.command {
        args::Command::Serve(arguments) => serve::serve(*arguments),
        args::Command::Doctor(arguments) => doctor::doctor(&arguments),
        args::Command::Ps(arguments) => ps::ps(&arguments),
        args::Command::Top(arguments) => top::top(&arguments),
    };
    done.unwrap_or_else(failure::Failure::report)
}
