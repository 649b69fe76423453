//! `forkserve serve`: a program for each connection.

use crate::args;
use crate::failure::Failure;
use crate::log::{self, Log};
use forkserve::{Io, Program, Server, Variables};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::AsFd;
use std::process::ExitCode;

/// Serves until a signal has stopped it and all programs have ended.
pub(crate) fn serve(arguments: args::Serve) -> Result<ExitCode, Failure> {
    let program = program(&arguments)?;
    let log = arguments.log;
    let refused = |error: forkserve::Error| Failure::line(error.to_string());
    let listening = |error: forkserve::Error| match error.errno() {
        libc::EINVAL => Failure::usage(error.to_string()),
        _ => refused(error),
    };
    let mut server = Server::new(arguments.flags.0).map_err(refused)?;
    server.own_process();
    // Before anything listens.
    server.set_program(Some(&program)).map_err(refused)?;
    let signals = signals().map_err(|errno| Failure::of("signalfd", errno.desc()))?;
    for address in &arguments.addresses {
        server.listen(address).map_err(listening)?;
    }
    if let Some(address) = &arguments.metrics {
        for address in server.serve_metrics(address).map_err(listening)? {
            log::metrics(log, &address);
        }
    }
    if log != Log::Off {
        server.observe(move |event| log::write(log, event));
    }
    loop {
        match server.dispatch_program(&program) {
            Ok(_) => {}
            Err(error) if error.errno() == libc::ESHUTDOWN => return Ok(ExitCode::SUCCESS),
            Err(error) => return Err(refused(error)),
        }
        let timeout = server.next_timeout().map(PollTimeout::try_from);
        let timeout = timeout.map_or(PollTimeout::NONE, |time| time.unwrap_or(PollTimeout::MAX));
        let ready = PollFlags::POLLIN;
        let mut fds = [PollFd::new(server.as_fd(), ready), PollFd::new(signals.as_fd(), ready)];
        // EINTR: both are looked at all the same.
        let _ = poll(&mut fds, timeout);
        while let Ok(Some(_)) = signals.read_signal() {
            // It fails only in a child.
            let _ = server.stopper().stop();
        }
    }
}

fn program(arguments: &args::Serve) -> Result<Program, Failure> {
    let mut variables = Variables::default();
    for kind in &arguments.env {
        match kind {
            args::Env::Ucspi => variables.ucspi = true,
            args::Env::Cgi => variables.cgi = true,
            args::Env::Systemd => variables.systemd = true,
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

/// The signals that stop the server, each of them one step: the drain, SIGTERM, SIGKILL.
fn signals() -> nix::Result<SignalFd> {
    let mut set = SigSet::empty();
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().for_each(|one| set.add(one));
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}
