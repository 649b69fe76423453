//! A program for each connection.

use crate::engine::supervisor::Start;
use crate::engine::Turn;
use crate::error::Error;
use crate::hooks::RustHooks;
use crate::program::Program;
use crate::server::{drained, Server};

impl Server {
    /// Serves until a drain is complete, with `program` executed for each connection. So each
    /// has an address layout and a stack canary of its own, at a cost that does not grow with
    /// the host: the child is made on the host's memory (`CLONE_VM` and `CLONE_VFORK`). No
    /// code of the host's runs in it, nor do its `pthread_atfork` handlers, so the host may
    /// have threads.
    ///
    /// The program has the connection where [`Program::io`] says, the host's standard streams,
    /// and no other descriptor. Its signals have their defaults, and none is blocked. It leads
    /// a process group, unless [`Options::process_group`](crate::Options::process_group) says
    /// otherwise. Limits, deadlines, penalties, events and counters are those of any child.
    /// `connections_per_child` and `linger` have no effect. With `spares`, and with a sandbox, the
    /// child is a fork of the host that executes the program. If the program cannot be
    /// executed, that is [`Event::ExecFailed`](crate::Event::ExecFailed), and the connection is
    /// refused, or held where a shortage is the cause.
    ///
    /// Where an option looks at handshakes (`handshake`, `max_handshakes`,
    /// `max_handshakes_per_source`, `at_capacity` with `Evict` or `EvictSource`), the program has
    /// one descriptor more, whose number is in its environment as `FORKSERVE_ESTABLISHED_FD`.
    /// What it writes there, a byte or more, says that its connection is established, as
    /// [`Connection::established`](crate::Connection::established) does for a handler.
    ///
    /// Errors: as [`Server::run`]; what keeps the program from being executed now.
    pub fn run_program(&mut self, program: &Program) -> Result<(), Error> {
        let mut hooks = RustHooks::default();
        self.set_program(Some(program))?;
        loop {
            match self.step(&mut hooks)? {
                Turn::Drained => return Ok(()),
                Turn::Forked(_) | Turn::Idle | Turn::Child(_) => {}
            }
        }
    }

    /// [`Server::dispatch`] with a program for each connection, as [`Server::run_program`].
    ///
    /// Errors: as [`Server::dispatch`]; at its first call what keeps the program from being
    /// executed.
    pub fn dispatch_program(&mut self, program: &Program) -> Result<usize, Error> {
        let mut hooks = RustHooks::default();
        if !self.engine.has_program(program) {
            self.set_program(Some(program))?;
        }
        self.begin_dispatch()?;
        loop {
            match self.turn(&mut hooks)? {
                Turn::Idle => return Ok(self.handled()),
                Turn::Drained => return Err(drained()),
                Turn::Forked(_) | Turn::Child(_) => {}
            }
        }
    }

    /// [`Server::start`] with a program for each connection, as [`Server::run_program`].
    ///
    /// Errors: as [`Server::start`]; what keeps the program from being executed now.
    pub fn start_program(&mut self, program: &Program) -> Result<i32, Error> {
        let mut hooks = RustHooks::default();
        self.set_program(Some(program))?;
        match self.start_with(&mut hooks)? {
            Start::Host(pid) => Ok(pid),
            Start::Supervisor => self.supervise(&mut hooks, |_, _| {}),
        }
    }

    /// Whether a program serves connections. For bindings.
    #[doc(hidden)]
    pub fn serves_program(&self) -> bool {
        self.engine.serves_program()
    }

    /// What serves connections from now on; `None`: a handler. For bindings.
    #[doc(hidden)]
    pub fn set_program(&mut self, program: Option<&Program>) -> Result<(), Error> {
        self.engine.set_program(program)
    }
}
