//! The server as a Rust program uses it.
//!
//! Thin: `run`, `dispatch` and `accept_fork` are three loops around the one
//! state machine in `engine`.

mod binding;
mod program;
mod stopper;

pub use stopper::Stopper;

use crate::child::exit::{self, ExitStatus};
use crate::engine::supervisor::Start;
use crate::engine::{Engine, Turn};
use crate::error::Error;
use crate::event::Event;
use crate::hooks::RustHooks;
use crate::metrics::MetricsReader;
use crate::net::conn::Connection;
use crate::net::place::Place;
use crate::options::Options;
use crate::shared::board::Live;
use crate::stats::{Stats, StatsReader};
use crate::sys::process;
use nix::errno::Errno;
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

/// A server: its listeners, its children and its limits.
///
/// It belongs to the process that begins to serve (`run`, `dispatch`, `accept_fork`
/// or `start`), which may be another than the one that made it: a program can
/// listen, so that errors are seen, and detach by `daemon(3)` afterwards. In every
/// other process all calls fail with ECHILD from then on, also in its children.
/// Until then any process that has a copy may use it, and a stop counts for the one
/// that begins. A copy that has not begun is dropped without an effect on the
/// others: the file of a Unix socket goes with the last of them.
///
/// Dropping it before its drain is complete ends its children
/// with SIGKILL and waits for them, but no longer than two seconds for one that
/// does not end by that. A supervisor that does not end them in `kill_after` (of
/// which at most five seconds count) and two seconds more is killed with them.
/// Dropping it in a child frees memory only.
pub struct Server {
    engine: Box<Engine>,
}

/// What [`Server::accept_fork`] returns, as `fork(2)` does.
#[derive(Debug)]
// A box would be an allocation between fork and handler.
#[allow(clippy::large_enum_variant)]
pub enum Fork {
    /// In the parent: the new child's number.
    Parent(i32),
    /// In the child: its connection. The child ends by `std::process::exit`
    /// or by returning from `main`.
    Child(Connection),
}

impl Server {
    /// A server with these options. Checks them; opens nothing to the outside.
    ///
    /// Errors: EINVAL with the option's name; EMFILE, ENFILE, ENOMEM; ENOSYS
    /// on a kernel that is too old.
    pub fn new(options: Options) -> Result<Server, Error> {
        Engine::new(options).map(|engine| Server { engine: Box::new(engine) })
    }

    /// Listens at `address`: `127.0.0.1:7000`, `[::1]:0` (a free port),
    /// `localhost:7000` (each address of the name), `127.0.0.1:http` (the port
    /// of a service), `:7000` (all interfaces), `unix:/path`,
    /// `unix:@abstract`, `fd:3` (a listening stream socket, which the server
    /// takes over: on success it is the server's to close, and it is non-blocking, in
    /// each process that has it), `systemd:NAME` and `systemd:` (each socket of this name,
    /// or all, that systemd has passed to this process; the same holds for them).
    ///
    /// May be called several times before the server runs. The socket of
    /// `unix:/path` replaces a file that a dead server left, and is removed at
    /// the end. May ask a name server, and wait for it.
    ///
    /// Errors: EINVAL for an address that cannot be parsed; what `socket`,
    /// `bind` or `listen` failed with; EEXIST for a socket that the server has already;
    /// ENOENT where systemd has passed no such socket to this process;
    /// EBUSY once the server runs. Nothing is left open on an error.
    pub fn listen(&mut self, address: impl AsRef<OsStr>) -> Result<(), Error> {
        self.engine.listen(Place::Text(address.as_ref().as_bytes()))
    }

    /// Listens at a socket that listens already: a `TcpListener`, a `UnixListener`, or
    /// one that the program was started with. It becomes the server's, also on an error,
    /// which closes it.
    ///
    /// It is made close-on-exec and non-blocking. The second is a flag of the open file
    /// description, so it holds in each process and for each descriptor that shares it.
    /// The options for listeners (`backlog` and so on) do not apply to it.
    ///
    /// Errors: EINVAL if it does not listen, EPROTOTYPE if it has datagrams, ENOTSOCK;
    /// EEXIST if the server has it already, also by another descriptor; EBUSY once the
    /// server runs.
    pub fn listen_fd(&mut self, listener: impl Into<OwnedFd>) -> Result<(), Error> {
        let listener = listener.into();
        self.engine.listen(Place::Fd(listener.as_raw_fd()))?;
        // The server's from here on.
        let _ = listener.into_raw_fd();
        Ok(())
    }

    /// Listens at `host`, each address of it, and at the port or the service `service`:
    /// `listen_host(Some("::1"), "7000")`. An IPv6 address has no brackets here. `None`, and
    /// an empty host, stand for all interfaces. May ask a name server, and wait for it.
    ///
    /// Errors: as [`Server::listen`].
    pub fn listen_host(&mut self, host: Option<&str>, service: &str) -> Result<(), Error> {
        self.engine.listen(Place::Host(host, service))
    }

    /// The addresses that the server listens at, with the ports that the
    /// kernel chose, in the order of [`Server::listen`].
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.engine.addresses()
    }

    /// Gives every [`Event`] to `observer`, in the parent, from inside the call
    /// that runs the loop. It should not block: the loop waits for it.
    pub fn observe(&mut self, observer: impl FnMut(&Event<'_>) + Send + 'static) {
        self.engine.set_observer(Some(Box::new(observer)));
    }

    /// Removes the observer.
    pub fn unobserve(&mut self) {
        self.engine.set_observer(None);
    }

    /// Serves until a drain is complete, with `handler` called in a new child
    /// for each connection; its result is the child's exit status. The client then
    /// sees the end of what it was sent, also if it has sent more than was read
    /// ([`Options::linger`]), and if another process has the socket.
    ///
    /// Blocks. Makes no thread, touches no signal disposition, waits for no
    /// child but its own. A panic of the handler is exit status 70.
    ///
    /// Errors: ESHUTDOWN after a stop; EDESTADDRREQ without an address; what
    /// made a listener unusable: it is closed, the children live, and `run`
    /// may be called again; what keeps `fork` or `waitid` from working, after two
    /// seconds.
    pub fn run<R: ExitStatus>(
        &mut self,
        mut handler: impl FnMut(&Connection) -> R,
    ) -> Result<(), Error> {
        let mut hooks = RustHooks::default();
        self.engine.set_program(None)?;
        self.engine.begin()?;
        loop {
            match self.engine.turn(&mut hooks)? {
                Turn::Child(child) => exit::serve(child, &mut handler, &mut hooks),
                Turn::Forked(_) => {}
                Turn::Idle => self.engine.wait(None)?,
                Turn::Drained => return Ok(()),
            }
        }
    }

    /// Does what there is to do without waiting, for a program that has a loop
    /// of its own: call it when the descriptor ([`AsFd`]) is readable and when
    /// [`Server::next_timeout`] has passed. Returns how many things it did.
    ///
    /// Errors: as [`Server::run`]; ESHUTDOWN as soon as a drain is complete.
    pub fn dispatch<R: ExitStatus>(
        &mut self,
        mut handler: impl FnMut(&Connection) -> R,
    ) -> Result<usize, Error> {
        let mut hooks = RustHooks::default();
        self.engine.set_program(None)?;
        self.begin_dispatch()?;
        loop {
            match self.engine.turn(&mut hooks)? {
                Turn::Child(child) => exit::serve(child, &mut handler, &mut hooks),
                Turn::Forked(_) => {}
                Turn::Idle => return Ok(self.handled()),
                Turn::Drained => return Err(drained()),
            }
        }
    }

    /// Waits for a connection and forks: returns once in the parent and once
    /// in the child, as `fork(2)` does.
    ///
    /// Errors: as [`Server::run`]; ESHUTDOWN as soon as a drain is complete; EINTR after
    /// [`Stopper::interrupt`], and then it may be called again.
    pub fn accept_fork(&mut self) -> Result<Fork, Error> {
        let mut hooks = RustHooks::default();
        self.engine.set_program(None)?;
        match self.step_unless_interrupted(&mut hooks)? {
            Turn::Child(child) => match child.into_connection() {
                Some(connection) => Ok(Fork::Child(connection)),
                // A spare that is not needed: its end is not the host's business.
                None => process::exit_now(0),
            },
            Turn::Forked(pid) => Ok(Fork::Parent(pid)),
            Turn::Idle | Turn::Drained => Err(drained()),
        }
    }

    /// Forks a process that serves, the supervisor, and returns its process ID.
    /// Call it early, while the host is small and has no threads: the supervisor
    /// and its children are copies of the host as it is now, and do not cost more
    /// when the host grows later.
    ///
    /// The host keeps [`Server::stats`], [`Server::connections`],
    /// [`Stopper::stop`] and [`Server::wait_supervisor`]. When it ends or
    /// executes another program, the supervisor drains and ends too. The
    /// observer is called in the supervisor.
    ///
    /// Errors: what kept the supervisor from starting; ETIMEDOUT: it did not stand
    /// within 30 s. The server can then be started again.
    pub fn start<R: ExitStatus>(
        &mut self,
        mut handler: impl FnMut(&Connection) -> R,
    ) -> Result<i32, Error> {
        let mut hooks = RustHooks::default();
        self.engine.set_program(None)?;
        match self.engine.start(&mut hooks)? {
            Start::Host(pid) => Ok(pid),
            Start::Supervisor => {
                self.supervise(&mut hooks, |child, hooks| exit::serve(child, &mut handler, hooks))
            }
        }
    }

    /// In the host: waits until the supervisor has ended, at most `limit`
    /// (`None`: without limit); false if it has not, true if it has drained.
    ///
    /// Errors: how it ended otherwise, each time: what made its last listener
    /// unusable, or kept it from waiting; ENOTRECOVERABLE with what a panic said;
    /// EOWNERDEAD if a signal or a call of `exit` ended it. ECHILD without a
    /// supervisor.
    pub fn wait_supervisor(&mut self, limit: Option<Duration>) -> Result<bool, Error> {
        self.engine.wait_supervisor(limit)
    }

    /// In the host: whether the supervisor runs; `None` without one.
    pub fn supervisor_runs(&self) -> Option<bool> {
        self.engine.supervisor_runs()
    }

    /// In the host: readable once the supervisor has ended; to be polled beside
    /// other things, before [`Server::wait_supervisor`]. `None` without one.
    pub fn supervisor_fd(&self) -> Option<BorrowedFd<'_>> {
        self.engine.supervisor_fd()
    }

    /// The connections that are being served now.
    pub fn connections(&self) -> Vec<Live> {
        self.stats_reader().connections()
    }

    /// A handle to stop this server from anywhere.
    pub fn stopper(&self) -> Stopper {
        let (wake, owner) = self.engine.stop_handle();
        Stopper::new(wake, owner, self.engine.may_detach())
    }

    /// [`Stopper::detach`]: closes the listeners and leaves the children to finish, at
    /// the next call that runs the loop, or in the supervisor.
    ///
    /// Errors: as there.
    pub fn detach(&self) -> Result<(), Error> {
        self.stopper().detach().map_err(|errno| match Errno::from_raw(errno) {
            Errno::EINVAL => {
                let text = "detach: orphans: with Terminate children do not outlive their parent";
                Error::new(Errno::EINVAL, text)
            }
            errno => Error::os("detach", "", errno),
        })
    }

    /// The counters now.
    pub fn stats(&self) -> Stats {
        self.stats_reader().read()
    }

    /// A handle to read the counters from other threads while the loop runs.
    pub fn stats_reader(&self) -> StatsReader {
        StatsReader(self.engine.board().clone())
    }

    /// The counters, gauges and the histogram of durations, as OpenMetrics text for a scraper;
    /// docs/metrics.md lists them. No client's address is in it.
    pub fn metrics(&self) -> String {
        self.metrics_reader().read()
    }

    /// A handle to read the metrics from other threads while the loop runs. To be taken
    /// after [`Server::listen`]: it tells of the listeners that there are then.
    pub fn metrics_reader(&self) -> MetricsReader {
        self.engine.metrics_reader()
    }

    /// When [`Server::dispatch`] is to be called at the latest; `None`: only
    /// when the descriptor is readable.
    pub fn next_timeout(&self) -> Option<Duration> {
        let ms = self.engine.timeout_ms(Instant::now())?;
        Some(Duration::from_millis(u64::from(ms)))
    }
}

pub(crate) fn drained() -> Error {
    Error::new(Errno::ESHUTDOWN, "the server has been stopped")
}

/// Readable when [`Server::dispatch`] has something to do. To be polled, not
/// to be read.
impl AsFd for Server {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.engine.epoll_fd()
    }
}

impl AsRawFd for Server {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("addresses", &self.addresses().collect::<Vec<_>>())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
