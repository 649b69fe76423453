//! `start` with a program of its own as the supervisor, instead of a fork of the host.
//!
//! The host packs what the supervisor needs: the plan, a file with the host's words to it
//! and the listeners' particulars, and the descriptors (scoreboard, wake-up, listeners). It
//! sends them by the tie, whose other end is the new program's standard input; what is sent
//! is queued, so no process waits for the other. From there on it is a start as any other:
//! the tie tells how it went, and the host has a supervisor that is its child.
//!
//! The new program gets its own standard input back, and makes a server with the same options
//! that takes the host's place.

use crate::engine::stops::Stops;
use crate::engine::tie::tell;
use crate::engine::Engine;
use crate::error::Error;
use crate::net::listener::Listener;
use crate::net::socket_file::SocketFile;
use crate::options::Options;
use crate::shared::board::Board;
use crate::sys::signal::block_all;
use crate::sys::wake::Wake;
use crate::sys::{parcel, process, tie};
use nix::errno::Errno;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};

/// Of the plan: the next version of this library has another layout, perhaps.
const VERSION: u64 = 1;

/// What a host has handed to this process, which is to be its supervisor.
pub struct Handed {
    tie: OwnedFd,
    host: libc::pid_t,
    wake: OwnedFd,
    board: OwnedFd,
    ports: Vec<HandedPort>,
    payload: Vec<u8>,
}

struct HandedPort {
    listener: OwnedFd,
    adopted: bool,
    file: Option<SocketFile>,
}

fn fail(operation: &'static str) -> impl Fn(Errno) -> Error {
    move |errno| Error::os(operation, "", errno)
}

// ---- In the host --------------------------------------------------------------

impl Engine {
    /// Starts `program`, which is to call [`Handed::receive`], as the supervisor, and waits
    /// until it stands or says why it does not. Runs no code of the host's.
    pub(crate) fn start_fresh(
        &mut self,
        program: &[OsString],
        payload: &[u8],
    ) -> Result<i32, Error> {
        self.rights.check()?;
        self.phase.check_start(self.endpoints.is_empty())?;
        self.claim()?;
        self.claim_service();
        let (tie, tie_end) = tie::pair().map_err(fail("socketpair"))?;
        self.endpoints.pin_files();
        let spawned = self.send_parcel(&tie, payload).and_then(|()| self.execute(program, tie_end));
        match spawned {
            Ok(pid) => self.await_supervisor(pid, tie).map(|()| pid),
            Err(error) => {
                self.endpoints.unpin_files();
                Err(error)
            }
        }
    }

    fn execute(&self, program: &[OsString], tie_end: OwnedFd) -> Result<libc::pid_t, Error> {
        let variables = self.notifier.as_ref().map(|notifier| notifier.variables());
        spawn(program, variables.unwrap_or_default(), tie_end)
    }

    fn send_parcel(&self, tie: &OwnedFd, payload: &[u8]) -> Result<(), Error> {
        let Some(board) = &self.board_file else {
            let text = "the scoreboard is in no file: memfd_create was refused when the server \
                was made";
            return Err(Error::new(Errno::ENOTSUP, text));
        };
        let listeners: Vec<&Listener> = self.endpoints.listeners().collect();
        let plan = parcel::file_of(&plan(&listeners, payload)).map_err(fail("memfd_create"))?;
        // Of the host's that are closed there is none to send.
        let stdin = std::io::stdin().as_fd().try_clone_to_owned().ok();
        let first = [plan.as_fd(), self.stops.wake().as_fd(), board.as_fd()];
        let first: Vec<_> = first.into_iter().chain(stdin.as_ref().map(AsFd::as_fd)).collect();
        parcel::send(tie.as_fd(), &first).map_err(fail("sendmsg"))?;
        let listeners: Vec<BorrowedFd<'_>> = listeners.iter().map(|one| one.as_fd()).collect();
        for some in listeners.chunks(parcel::MOST) {
            parcel::send(tie.as_fd(), some).map_err(fail("sendmsg"))?;
        }
        Ok(())
    }
}

/// Executes the program, by `posix_spawn`: that costs the same in a host of any size, and is
/// allowed beside threads.
fn spawn(
    program: &[OsString],
    variables: Vec<(&'static str, OsString)>,
    tie_end: OwnedFd,
) -> Result<libc::pid_t, Error> {
    let Some((name, arguments)) = program.split_first() else {
        return Err(Error::new(Errno::EINVAL, "argv: no program"));
    };
    let mut command = Command::new(name);
    // A function of a library that is looked up when it is first called is looked up in
    // each child again, and each look-up writes to a page.
    command.env("LD_BIND_NOW", "1");
    // Those of the host, perhaps, for which another server tells.
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"].iter().for_each(|name| {
        command.env_remove(name);
    });
    command.envs(variables);
    // What the program opens first would become the stream that the host has closed.
    // (Not `Stdio::null`, which gets the number of such a stream.)
    let null = || File::options().write(true).open("/dev/null")?.as_fd().try_clone_to_owned();
    if let (true, Ok(null)) = (is_closed(std::io::stdout().as_fd()), null()) {
        command.stdout(Stdio::from(null));
    }
    if let (true, Ok(null)) = (is_closed(std::io::stderr().as_fd()), null()) {
        command.stderr(Stdio::from(null));
    }
    let spawned = command.args(arguments).stdin(Stdio::from(tie_end)).spawn();
    let spawned = spawned.map_err(|error| {
        let errno = error.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw);
        Error::os("execute", &name.to_string_lossy(), errno)
    })?;
    Ok(spawned.id() as libc::pid_t)
}

fn is_closed(stream: BorrowedFd<'_>) -> bool {
    let copy = stream.try_clone_to_owned();
    copy.is_err_and(|error| error.raw_os_error() == Some(libc::EBADF))
}

fn plan(listeners: &[&Listener], payload: &[u8]) -> Vec<u8> {
    let words = [VERSION, process::getpid() as u64, listeners.len() as u64];
    let mut plan = words.map(u64::to_ne_bytes).concat();
    for listener in listeners {
        let (device, inode, path) = listener.file().map_or((0, 0, &[][..]), SocketFile::identity);
        let adopted = u64::from(listener.info().adopted);
        let words = [adopted, device, inode, path.len() as u64];
        plan.extend(words.map(u64::to_ne_bytes).concat());
        plan.extend_from_slice(path);
    }
    plan.extend_from_slice(payload);
    plan
}

// ---- In the new program -------------------------------------------------------

impl Handed {
    /// Takes what the host has sent, of which the standard input is the way, and makes the
    /// host's standard input this program's. To be called once, early.
    pub fn receive() -> Result<Handed, Error> {
        let tie = std::io::stdin().as_fd().try_clone_to_owned();
        let errno =
            |error: std::io::Error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        let tie = tie.map_err(|error| fail("dup")(errno(error)))?;
        Handed::take(&tie).inspect_err(|error| {
            tell(&tie, Err(error));
        })
    }

    fn take(tie: &OwnedFd) -> Result<Handed, Error> {
        let receive = || parcel::receive(tie.as_fd()).map_err(fail("recvmsg"));
        let bad = || Error::new(Errno::EBADMSG, "what the host has sent is not complete");
        let mut first = receive()?.into_iter();
        let (plan, wake, board) = (first.next(), first.next(), first.next());
        let stdin = first.next().or_else(|| File::open("/dev/null").map(OwnedFd::from).ok());
        if let Some(stdin) = stdin {
            parcel::become_stdin(stdin.as_fd()).map_err(fail("dup2"))?;
        }
        let plan = parcel::bytes_of(plan.ok_or_else(bad)?).map_err(fail("read"))?;
        let mut plan = Plan(&plan);
        let version = plan.number().ok_or_else(bad)?;
        if version != VERSION {
            let text = "the program of the supervisor has another version of forkserve";
            return Err(Error::new(Errno::EPROTO, text));
        }
        let host = plan.number().ok_or_else(bad)? as libc::pid_t;
        let count = plan.number().ok_or_else(bad)?;
        let mut particulars = Vec::new();
        for _ in 0..count {
            particulars.push(plan.port().ok_or_else(bad)?);
        }
        let mut listeners = Vec::new();
        while (listeners.len() as u64) < count {
            listeners.extend(receive()?);
        }
        let ports = listeners.into_iter().zip(particulars);
        let ports = ports.map(|(listener, (adopted, file))| HandedPort { listener, adopted, file });
        Ok(Handed {
            tie: tie.try_clone().map_err(|_| bad())?,
            host,
            wake: wake.ok_or_else(bad)?,
            board: board.ok_or_else(bad)?,
            ports: ports.collect(),
            payload: plan.0.to_vec(),
        })
    }

    /// The host's own words to its supervisor.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Tells the host why there will be no supervisor, and ends this process.
    pub fn refuse(self, error: &Error) -> ! {
        Standing(self.tie).refuse(error)
    }
}

/// The way to the host, from a program that has joined and does not stand yet.
pub struct Standing(OwnedFd);

impl Standing {
    /// As [`Handed::refuse`].
    pub fn refuse(self, error: &Error) -> ! {
        tell(&self.0, Err(error));
        process::exit_now(1)
    }
}

/// What is left of a plan to be read.
struct Plan<'a>(&'a [u8]);

impl Plan<'_> {
    fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_ne_bytes(*number))
    }

    /// Whether the listener was adopted, and its file.
    fn port(&mut self) -> Option<(bool, Option<SocketFile>)> {
        let adopted = self.number()? != 0;
        let (device, inode) = (self.number()?, self.number()?);
        let length = self.number()? as usize;
        let (path, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        let file = (!path.is_empty()).then(|| SocketFile::identified(device, inode, path));
        Some((adopted, file.flatten()))
    }
}

impl Engine {
    /// A server with the host's options that has what the host has handed over. Also the
    /// host is told of an error.
    pub(crate) fn join(options: Options, handed: Handed) -> Result<(Engine, Standing), Error> {
        let Handed { tie, host, wake, board, ports, payload: _ } = handed;
        match Engine::in_place_of(host, wake, board, ports, options) {
            Ok(engine) => Ok((engine, Standing(tie))),
            Err(error) => {
                tell(&tie, Err(&error));
                Err(error)
            }
        }
    }

    fn in_place_of(
        host: libc::pid_t,
        wake: OwnedFd,
        board_file: OwnedFd,
        ports: Vec<HandedPort>,
        options: Options,
    ) -> Result<Engine, Error> {
        options.validate()?;
        let board = Board::of_file(options.max_children as usize, board_file.as_fd());
        let board = board.map_err(fail("mmap"))?;
        let mut engine = Engine::on(board, Some(board_file), options, host)?;
        engine.common.owner = host;
        // The word on the scoreboard says that the host has begun, whose place this is.
        engine.rights.set(process::getpid());
        let owned = &mut engine.common.owned;
        owned.remove(&**engine.stops.wake());
        engine.stops = Stops::of(Wake::of(wake));
        owned.add_lasting(&**engine.stops.wake());
        for HandedPort { listener, adopted, file } in ports {
            let listener = Listener::handed(listener, adopted, file);
            engine.endpoints.push(listener.map_err(fail("getsockname"))?, owned);
        }
        Ok(engine)
    }

    /// In the new program: makes it the supervisor. `ready` is called with all signals blocked.
    pub(crate) fn stand_joined(&mut self, standing: Standing, ready: impl FnOnce()) {
        let mask = block_all();
        ready();
        self.stand(standing.0, mask);
    }
}
