//! The pieces of the loop, for bindings to other languages: no part of the interface
//! that is promised to Rust programs.

use crate::child::exit::EXIT_PANIC;
use crate::child::{Child, EXIT_OSERR};
use crate::engine::fresh::{Handed, Standing};
use crate::engine::supervisor::Start;
use crate::engine::{Engine, Turn};
use crate::error::Error;
use crate::escape::escaped;
use crate::hooks::Hooks;
use crate::net::address::Address;
use crate::net::place::Place;
use crate::options::Options;
use crate::server::Server;
use crate::sys::process;
use nix::errno::Errno;
use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::Duration;

/// So often in a row a supervisor fails to wait before it ends.
const MOST_DEAF: u32 = 16;

#[doc(hidden)]
impl Server {
    /// [`Server::listen_fd`] of a number, which stays the caller's on an error.
    pub fn listen_raw(&mut self, fd: RawFd) -> Result<(), Error> {
        self.engine.listen(Place::Fd(fd))
    }

    /// This process is the library's own, as a supervisor is, and no host of other code: it
    /// is the command. Before it begins.
    pub fn own_process(&mut self) {
        self.engine.own_process();
    }

    /// Answers scrapers at `address` by HTTP, in a child of the process that serves:
    /// `/metrics`, and `/ready`, which is 503 in a drain. To be called before serving begins;
    /// returns the addresses that it listens at. For commands: the child is a copy of the
    /// host as it is when serving begins, and lives as long as the server.
    pub fn serve_metrics(&mut self, address: impl AsRef<OsStr>) -> Result<Vec<String>, Error> {
        self.engine.serve_metrics(Place::Text(address.as_ref().as_bytes()))
    }

    /// Finds what the text of an address alone says to be wrong with it.
    pub fn check_address(address: &OsStr) -> Result<(), Error> {
        Address::parse(address.as_bytes()).map(drop)
    }

    /// Finds, before anything listens, what would keep the children from their sandbox.
    pub fn check_sandbox(&self) -> Result<(), Error> {
        self.engine.check_sandbox()
    }

    /// Begins to run, if it has not: the listeners are announced.
    pub fn begin(&mut self) -> Result<(), Error> {
        self.engine.begin()
    }

    /// Blocks until [`Server::turn`] has something to do, `limit` is over, or a
    /// signal was handled. Calls no code of the host's: a binding may give up
    /// its locks around it.
    pub fn wait(&mut self, limit: Option<Duration>) -> Result<(), Error> {
        self.engine.wait(limit)
    }

    /// Goes on until the next fork or until there is nothing to do. Does not
    /// block. In a child it returns [`Turn::Child`], and the caller makes sure that
    /// the child ends, commonly by [`serve`](crate::serve).
    pub fn turn(&mut self, hooks: &mut dyn Hooks) -> Result<Turn, Error> {
        self.engine.turn(hooks)
    }

    /// [`Server::accept_fork`] with other hooks: [`Turn::Child`],
    /// [`Turn::Forked`] or [`Turn::Drained`].
    pub fn step(&mut self, hooks: &mut dyn Hooks) -> Result<Turn, Error> {
        self.engine.begin()?;
        loop {
            match self.engine.turn(hooks)? {
                Turn::Idle => self.engine.wait(None)?,
                turn => return Ok(turn),
            }
        }
    }

    /// [`Server::step`], which ends with EINTR after [`Stopper::interrupt`](crate::Stopper::interrupt).
    pub fn step_unless_interrupted(&mut self, hooks: &mut dyn Hooks) -> Result<Turn, Error> {
        self.engine.begin()?;
        loop {
            // It comes to this after each connection of a listener, however many are queued.
            match self.engine.turn(hooks)? {
                Turn::Idle if self.engine.take_interrupt() => {
                    return Err(Error::new(Errno::EINTR, "interrupt was called"));
                }
                Turn::Idle => self.engine.wait(None)?,
                turn => return Ok(turn),
            }
        }
    }

    /// Takes up what is reported now, without waiting.
    pub fn begin_dispatch(&mut self) -> Result<(), Error> {
        self.engine.begin()?;
        self.engine.forget_handled();
        self.engine.wait(Some(Duration::ZERO))
    }

    /// How many things were done since [`Server::begin_dispatch`].
    pub fn handled(&self) -> usize {
        self.engine.handled()
    }

    /// Lets `fd` end [`Server::wait`] when it is readable. The caller reads it
    /// and removes it again before closing it.
    pub fn watch(&self, fd: BorrowedFd<'_>) -> Result<(), Error> {
        self.engine.watch_extra(fd)
    }

    /// Undoes [`Server::watch`].
    pub fn unwatch(&self, fd: BorrowedFd<'_>) {
        self.engine.unwatch_extra(fd);
    }

    /// No more than so many children for now, and never more than
    /// [`Options::max_children`]; 0 lets clients wait. For a caller that has other
    /// children to count with them.
    pub fn limit_children(&mut self, most: u32) {
        self.engine.limit_children(most);
    }

    /// Sends the spares home, for a caller that stops serving and lets the children
    /// live on. To be followed by [`Server::wait`] and
    /// [`Server::spares_recalled`] until that one is true, and by no turn.
    pub fn recall_spares(&mut self) {
        self.engine.recall_spares();
    }

    /// Takes up what is reported; whether no child is left that has no connection.
    pub fn spares_recalled(&mut self) -> bool {
        self.engine.spares_recalled()
    }

    /// Gives up the children, which live on, and returns their process IDs, for
    /// the caller to wait for them. A server that is dropped after this ends
    /// none of them. One that has spares recalls them first.
    pub fn release_children(&mut self) -> Vec<i32> {
        self.engine.release_children()
    }

    /// In the host, for a binding that has told the supervisor to stop and waits for
    /// its end, to be called once a second: ends a supervisor that is stopped by a signal
    /// or has not drained in the time that its options give it. The error is that of
    /// [`Server::wait_supervisor`].
    pub fn look_after_supervisor(&mut self) -> Result<(), Error> {
        self.engine.look_after_supervisor()
    }

    /// [`Server::start`] in parts: [`Start::Supervisor`] is to be followed by
    /// [`Server::supervise`].
    pub fn start_with(&mut self, hooks: &mut dyn Hooks) -> Result<Start, Error> {
        self.engine.start(hooks)
    }

    /// As [`Server::start`], with a program that is executed as the supervisor:
    /// `program[0]`, an absolute path, which is to call [`Handed::receive`]. `payload` is
    /// what it is told. Runs no code of the host's, and may be called beside threads.
    pub fn start_fresh(&mut self, program: &[OsString], payload: &[u8]) -> Result<i32, Error> {
        self.engine.start_fresh(program, payload)
    }

    /// In such a program: the host's server, with the host's options. To be followed by
    /// [`Server::stand`] and [`Server::supervise`]. Also the host is told of an error.
    pub fn join(options: Options, handed: Handed) -> Result<(Server, Standing), Error> {
        let (engine, standing) = Engine::join(options, handed)?;
        Ok((Server { engine: Box::new(engine) }, standing))
    }

    /// Makes this process the supervisor, and tells the host; ends it where that fails.
    /// `ready` is called with all signals blocked.
    pub fn stand(&mut self, standing: Standing, ready: impl FnOnce()) {
        self.engine.stand_joined(standing, ready);
    }

    /// The supervisor's loop; ends the process after the drain. `serve` is
    /// called in each child and ends it. A panic, for example in the observer, is exit
    /// status 70.
    pub fn supervise<H: Hooks>(&mut self, hooks: &mut H, serve: impl FnMut(Child, &mut H)) -> ! {
        // It must not unwind into the host's copy of what called this.
        let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.supervision(hooks, serve)));
        let said = panic.downcast_ref::<&str>().copied();
        let said = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        // An observer's words, perhaps of several lines, and with something of a client's.
        let said = escaped(said.unwrap_or("without a text"));
        let text = format!("the supervisor panicked: {said}");
        self.engine.tell_host(Err(&Error::new(Errno::ENOTRECOVERABLE, text)));
        process::exit_now(EXIT_PANIC)
    }

    fn supervision<H: Hooks>(
        &mut self,
        hooks: &mut H,
        mut serve: impl FnMut(Child, &mut H),
    ) -> Infallible {
        let mut deaf = 0;
        loop {
            let turn = self.engine.turn(hooks);
            // Apart from the others: a child is to reach no table of jumps.
            if let Ok(Turn::Child(child)) = turn {
                serve(child, hooks);
                process::exit_now(0)
            }
            match turn {
                Ok(Turn::Child(_) | Turn::Forked(_)) => {}
                Ok(Turn::Idle) => match self.engine.wait(None) {
                    Ok(()) => deaf = 0,
                    // Perhaps other code has closed its epoll. It must not spin.
                    Err(error) if deaf == MOST_DEAF => {
                        self.engine.end_children();
                        self.engine.tell_host(Err(&error));
                        process::exit_now(EXIT_OSERR)
                    }
                    Err(_) => deaf += 1,
                },
                Ok(Turn::Drained) => {
                    hooks.exit();
                    let status = self.engine.conclude();
                    hooks.end(status);
                    process::exit_now(status)
                }
                Err(error) => self.engine.drain_if_deaf(error),
            }
        }
    }
}
