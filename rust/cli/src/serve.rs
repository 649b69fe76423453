//! `forkserve serve`: a program for each connection.

use crate::args;
use crate::failure::Failure;
use crate::output::command_line;
use crate::service::{self, Service};
use crate::xinetd;
use forkserve::{Io, Program, Variables};
use std::io;
use std::process::ExitCode;

/// Serves until a signal has stopped it and all programs have ended.
pub(crate) fn serve(arguments: args::Serve) -> Result<ExitCode, Failure> {
    let services = match &arguments.xinetd {
        Some(path) => xinetd::services(path, &arguments)?,
        None => vec![Service {
            shown: shown(&arguments),
            program: program(&arguments)?,
            addresses: arguments.addresses,
            options: arguments.flags.options(),
            greeting: Vec::new(),
            observer: arguments.log.observer(None, io::stderr()),
            metrics: arguments.metrics,
            log: arguments.log,
            label: None,
        }],
    };
    match arguments.check {
        true => service::check(services),
        false => service::run(services),
    }
}

fn shown(arguments: &args::Serve) -> String {
    let mut words = arguments.flags.words();
    words.extend(arguments.addresses.iter().cloned());
    words.push("--".into());
    words.extend(arguments.program.iter().cloned());
    command_line(&words)
}

fn program(arguments: &args::Serve) -> Result<Program, Failure> {
    let mut variables = Variables::default();
    for kind in &arguments.env {
        match kind {
            args::Env::Ucspi => variables.ucspi = true,
            args::Env::Cgi => variables.cgi = true,
            args::Env::Systemd => variables.systemd = true,
            args::Env::Xinetd => variables.xinetd = true,
            args::Env::None => variables = Variables::default(),
        }
    }
    let io = match arguments.io {
        args::Place::Stdio => Io::Stdio,
        args::Place::StdioErr => Io::StdioErr,
        args::Place::Fd3 => Io::Fd3,
    };
    let program = Program::new(&arguments.program);
    program
        .map(|program| program.io(io).variables(variables))
        .map_err(|error| Failure::line(error.to_string()))
}
