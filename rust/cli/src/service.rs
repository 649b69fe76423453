//! Programs that are served, each with its addresses and its options, by one loop.
//!
//! What a command line or a file asks for becomes a `Service`; nothing here knows where it
//! came from. All are checked before the first one listens.

use crate::failure::Failure;
use crate::log::{Log, Observer};
use crate::output;
use forkserve::{Connection, Options, ProcessGroup, Program, Server};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::ffi::OsString;
use std::io::Write;
use std::os::fd::AsFd;
use std::process::ExitCode;

/// A program, where it is served, and how.
pub(crate) struct Service {
    pub(crate) addresses: Vec<OsString>,
    pub(crate) options: Options,
    pub(crate) program: Program,
    /// What each client is sent before the program is executed.
    pub(crate) greeting: Vec<u8>,
    pub(crate) observer: Option<Observer>,
    /// Where scrapers are answered, which the log says.
    pub(crate) metrics: Option<OsString>,
    pub(crate) log: Log,
    /// Where it was asked for, where that is a file: errors begin with it.
    pub(crate) label: Option<String>,
    /// Address, options and program in the words of a command line.
    pub(crate) shown: String,
}

impl Service {
    fn labelled(&self, error: forkserve::Error) -> String {
        match &self.label {
            Some(label) => format!("{label}: {error}"),
            None => error.to_string(),
        }
    }

    fn no_address(&self, error: forkserve::Error) -> Failure {
        match error.errno() {
            libc::EINVAL => Failure::usage(self.labelled(error)),
            _ => self.refused(error),
        }
    }

    fn refused(&self, error: forkserve::Error) -> Failure {
        Failure::line(self.labelled(error))
    }
}

/// A service that has been checked, and its server.
struct Ready {
    server: Server,
    service: Service,
    /// Whether there may be something to do for it.
    due: bool,
}

/// Serves until a signal has stopped every service and all programs have ended.
pub(crate) fn run(services: Vec<Service>) -> Result<ExitCode, Failure> {
    let mut ready = prepare(services)?;
    let signals = signals().map_err(|errno| Failure::of("signalfd", errno.desc()))?;
    for one in &mut ready {
        one.listen()?;
    }
    loop {
        let mut index = 0;
        while index < ready.len() {
            match ready[index].dispatch()? {
                true => index += 1,
                false => drop(ready.remove(index)),
            }
        }
        if ready.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        wait(&mut ready, &signals);
    }
}

/// Finds what is wrong with services, as far as it can be found without listening, and
/// prints a line for each.
pub(crate) fn check(services: Vec<Service>) -> Result<ExitCode, Failure> {
    let ready = prepare(services)?;
    let lines: String = ready.iter().map(|one| format!("{}\n", one.service.shown)).collect();
    output::print(&lines).map(|()| ExitCode::SUCCESS)
}

fn prepare(services: Vec<Service>) -> Result<Vec<Ready>, Failure> {
    services.into_iter().map(Ready::of).collect()
}

impl Ready {
    fn of(service: Service) -> Result<Ready, Failure> {
        let mut options = service.options.clone();
        if !service.greeting.is_empty() && options.process_group == ProcessGroup::Auto {
            // As where a program is executed at once.
            options.process_group = ProcessGroup::Group;
        }
        let mut server = Server::new(options).map_err(|error| service.refused(error))?;
        server.own_process();
        let set = server.set_program(Some(&service.program));
        set.map_err(|error| service.refused(error))?;
        for address in service.addresses.iter().chain(&service.metrics) {
            let checked = Server::check_address(address);
            checked.map_err(|error| Failure::usage(service.labelled(error)))?;
        }
        server.check_sandbox().map_err(|error| service.refused(error))?;
        Ok(Ready { server, service, due: true })
    }

    fn listen(&mut self) -> Result<(), Failure> {
        for address in &self.service.addresses {
            self.server.listen(address).map_err(|error| self.service.no_address(error))?;
        }
        if let Some(address) = &self.service.metrics {
            let found = self.server.serve_metrics(address);
            for address in found.map_err(|error| self.service.no_address(error))? {
                self.service.log.metrics(&address);
            }
        }
        if let Some(observer) = self.service.observer.take() {
            self.server.observe(observer);
        }
        Ok(())
    }

    /// Returns whether it is still to be served.
    fn dispatch(&mut self) -> Result<bool, Failure> {
        if !std::mem::take(&mut self.due) {
            return Ok(true);
        }
        let Service { program, greeting, .. } = &self.service;
        let done = match greeting.is_empty() {
            true => self.server.dispatch_program(program),
            false => self.server.dispatch(|connection| greet(connection, greeting, program)),
        };
        match done {
            Ok(_) => Ok(true),
            Err(error) if error.errno() == libc::ESHUTDOWN => Ok(false),
            Err(error) => Err(self.service.refused(error)),
        }
    }
}

/// In a child. A client that has gone, or reads nothing, is the program's to notice.
fn greet(mut connection: &Connection, greeting: &[u8], program: &Program) -> i32 {
    let _ = connection.write_all(greeting);
    connection.exec(&program.told_of(connection)).errno()
}

/// Waits until there is something to do, and says for which of them.
fn wait(services: &mut [Ready], signals: &SignalFd) {
    let timeouts = services.iter().filter_map(|one| one.server.next_timeout());
    let timeout = timeouts.min().map(PollTimeout::try_from);
    let timeout = timeout.map_or(PollTimeout::NONE, |time| time.unwrap_or(PollTimeout::MAX));
    let descriptors = services.iter().map(|one| one.server.as_fd()).chain([signals.as_fd()]);
    let mut fds: Vec<_> = descriptors.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    // EINTR: then nothing is ready.
    let _ = poll(&mut fds, timeout);
    let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(true)).collect();
    for (one, ready) in services.iter_mut().zip(ready) {
        one.due = ready || one.server.next_timeout().is_some_and(|time| time.is_zero());
    }
    while let Ok(Some(_)) = signals.read_signal() {
        for one in &mut *services {
            // It fails only in a child.
            let _ = one.server.stopper().stop();
            one.due = true;
        }
    }
}

/// The signals that stop the servers, each of them one step: the drain, SIGTERM, SIGKILL.
fn signals() -> nix::Result<SignalFd> {
    let mut set = SigSet::empty();
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().for_each(|one| set.add(one));
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}
