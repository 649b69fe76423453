//! testserver: the library with everything chosen by command line, for tests
//! that look at a server from outside.
//!
//! Same command line and same output as tests/c/testserver.c, where both are
//! described; the modes `run`, `dispatch`, `step` and `start` are those of the Rust API.
#![allow(unsafe_code, clippy::print_stdout, clippy::print_stderr)]

use forkserve::{Connection, Event, Fork, Io, Options, Program, Server, Variables};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::process::exit;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::OnceLock;
use std::time::Duration;

#[path = "testserver/host.rs"]
mod host;
use host::{detach, handler, on_signal, put_own_child, set_up, stop};

static STOPPER: OnceLock<forkserve::Stopper> = OnceLock::new();
/// Where the lines go.
static REPORT: AtomicI32 = AtomicI32::new(libc::STDOUT_FILENO);
/// What all children inherit, as a stack canary.
static SECRET: OnceLock<[u8; 4]> = OnceLock::new();

// ---- What is printed --------------------------------------------------------

/// One line of JSON, written as a whole and past the buffer of `print!`.
struct Line(String);

impl Line {
    fn new(event: &str) -> Line {
        Line(format!("{{\"event\": \"{event}\""))
    }

    fn number(mut self, name: &str, value: impl std::fmt::Display) -> Line {
        let _ = write!(self.0, ", \"{name}\": {value}");
        self
    }

    fn text(mut self, name: &str, value: &str) -> Line {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
        let _ = write!(self.0, ", \"{name}\": \"{value}\"");
        self
    }

    fn put(mut self) {
        self.0.push_str("}\n");
        put_line(&self.0);
    }
}

fn put_line(line: &str) {
    if forkserve::write_all(REPORT.load(Ordering::Relaxed), line.as_bytes()).is_err() {
        exit(3); // No reader is left.
    }
}

fn about(event: &str, id: u64, peer: &str) -> Line {
    Line::new(event).number("id", id).text("peer", peer)
}

fn observe(event: &Event<'_>) {
    let line = match *event {
        Event::Listening { address } => Line::new("listening").text("address", address),
        Event::Accepted { id, peer } => about("accepted", id, peer),
        Event::Forked { id, peer, pid } => about("forked", id, peer).number("pid", pid),
        Event::ForkFailed { id, peer, errno } => {
            about("fork_failed", id, peer).number("error", errno)
        }
        Event::Held { id, peer } => about("held", id, peer),
        Event::Refused { id, peer, reason } => {
            with_reason(about("refused", id, peer), reason.name(), reason.errno())
        }
        Event::Ended { id, peer, pid, exit, duration, usage } => {
            let (code, signal) = code_and_signal(exit);
            about("ended", id, peer)
                .number("pid", pid)
                .number("exit_code", code)
                .number("exit_signal", signal)
                .number("duration_us", duration.as_micros())
                .number("cpu_us", (usage.user + usage.system).as_micros())
                .number("max_rss_kib", usage.max_rss_kib)
        }
        Event::Paused { reason } => with_reason(Line::new("paused"), reason.name(), reason.errno()),
        Event::Resumed => Line::new("resumed"),
        Event::ListenerFailed { address, errno } => {
            Line::new("listener_failed").text("address", address).number("error", errno)
        }
        Event::ExecFailed { id, peer, path, errno } => {
            about("exec_failed", id, peer).text("path", path).number("error", errno)
        }
        Event::SocketFileLeft { address, errno } => {
            Line::new("socket_file_left").text("address", address).number("error", errno)
        }
        Event::ChildDistrusted { pid } => Line::new("child_distrusted").number("pid", pid),
        Event::SparesRenewed { reason } => {
            Line::new("spares_renewed").text("reason", reason.name())
        }
        Event::Draining { live } => Line::new("draining").number("live", live),
        Event::Stopped => Line::new("stopped"),
        Event::Detached { live } => Line::new("detached").number("live", live),
        Event::SupervisorEnded { pid, exit } => {
            let (code, signal) = code_and_signal(exit);
            Line::new("supervisor_ended")
                .number("pid", pid)
                .number("exit_code", code)
                .number("exit_signal", signal)
        }
        _ => return,
    };
    line.put();
}

fn code_and_signal(exit: forkserve::Exit) -> (i32, i32) {
    match exit {
        forkserve::Exit::Code(code) => (code, 0),
        forkserve::Exit::Signal(signal) => (-1, signal),
        forkserve::Exit::Unknown => (-1, 0),
    }
}

fn with_reason(line: Line, name: &str, errno: i32) -> Line {
    let line = line.text("reason", name);
    if errno != 0 {
        line.number("error", errno)
    } else {
        line
    }
}

/// A line with all counters that are numbers.
macro_rules! counters {
    (
        $($(#[doc = $doc:literal])+ $name:ident $(= $word:ident)?, since $since:literal;)*
        histogram $($rest:tt)*
    ) => {
        fn counters(stats: &forkserve::Stats) -> Line {
            Line::new("stats")$(.number(stringify!($name), stats.$name))*
        }
    };
}

forkserve::counters_table!(counters);

fn put_stats(server: &Server) {
    counters(&server.stats()).put();
}

// ---- Handlers: what a child does --------------------------------------------

fn greet(mut connection: &Connection) -> std::io::Result<()> {
    connection.write_all(format!("ready {}\n", std::process::id()).as_bytes())
}

fn echo(mut connection: &Connection) -> std::io::Result<()> {
    std::io::copy(&mut { connection }, &mut connection).map(drop)
}

fn hold(mut connection: &Connection) -> std::io::Result<()> {
    greet(connection)?;
    connection.read(&mut [0]).map(drop)
}

/// Sends until the client has gone.
fn flood(mut connection: &Connection) -> i32 {
    loop {
        match connection.write_all(&[0; 65536]).map_err(|error| error.kind()) {
            Ok(()) => {}
            Err(std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset) => {
                return libc::EPIPE;
            }
            Err(_) => return 1,
        }
    }
}

/// What a connection that has taken its child over can do.
fn shut_listeners() {
    for fd in 3..1024 {
        let (mut listens, mut size): (libc::c_int, libc::socklen_t) = (0, 4);
        let out = (&raw mut listens).cast();
        // SAFETY: `listens` is writable for its size; the kernel checks the descriptor.
        let result =
            unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ACCEPTCONN, out, &mut size) };
        if result == 0 && listens == 1 {
            // SAFETY: takes no pointers.
            unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
        }
    }
}

/// A child of the handler; returns its status.
fn fork_child(connection: &Connection) -> i32 {
    let ended = std::process::Command::new("sh").args(["-c", "exit 9"]).status();
    match (echo(connection), ended) {
        (Ok(()), Ok(status)) => status.code().unwrap_or(1),
        _ => 1,
    }
}

/// A process of the handler's own that goes on with the client when the handler
/// has long returned. The connection is closed here, so the library lets it be.
fn leave_child(connection: &Connection) -> i32 {
    // SAFETY: the process has one thread here.
    if unsafe { libc::fork() } == 0 {
        let status = i32::from(hold(connection).is_err());
        // SAFETY: ends the process.
        unsafe { libc::_exit(status) }
    }
    // SAFETY: the descriptor is open; that it is closed early is what is tested.
    unsafe { libc::close(connection.as_raw_fd()) }
}

/// One that has the connection and does nothing with it until the client leaves.
fn stay(mut connection: &Connection) -> i32 {
    let _ = greet(connection);
    // SAFETY: the process has one thread here.
    if unsafe { libc::fork() } == 0 {
        let status = i32::from(!matches!(connection.read(&mut [0]), Ok(0)));
        // SAFETY: ends the process.
        unsafe { libc::_exit(status) }
    }
    0
}

/// A reply to a client whose request was not read to its end.
fn answer(mut connection: &Connection) -> std::io::Result<()> {
    connection.read_exact(&mut [0])?;
    connection.write_all(b"answer\n")
}

/// What handlers do in a host with threads.
fn work(connection: &Connection) -> std::io::Result<()> {
    for size in 1..20 {
        drop(std::hint::black_box(format!("{:?}", vec![1u8; 500 * size])));
    }
    echo(connection)
}

/// What there is to call in a child, with its result: a server that is run is
/// borrowed.
fn call_back(mut connection: &Connection) -> std::io::Result<()> {
    let answer = STOPPER.get().map(|stopper| (stopper.stop(), stopper.check_owner()));
    let Some((Err(stop), Err(owner))) = answer else {
        return Err(std::io::ErrorKind::Other.into());
    };
    writeln!(connection, "stop={} owner={}", -stop, -owner.errno())?;
    echo(connection)
}

/// The client sends a guess at the secret's beginning. A right one is answered, a
/// wrong one crashes the child.
fn guess(mut connection: &Connection) -> i32 {
    let mut bytes = [0; 4];
    let got = connection.read(&mut bytes).unwrap_or(0);
    if !SECRET.get().is_some_and(|secret| secret.starts_with(&bytes[..got])) {
        std::process::abort();
    }
    i32::from(connection.write_all(b"right\n").is_err())
}

/// The status that the client names in its first byte.
fn named_status(mut connection: &Connection) -> i32 {
    let mut status = [0];
    let _ = connection.read(&mut status);
    i32::from(status[0])
}

/// A program, as in `stdio:/bin/sh:echo hello`.
fn program_of(text: &str) -> Result<Program, forkserve::Error> {
    let mut parts = text.splitn(3, ':');
    let mut part = || parts.next().unwrap_or_default();
    let (word, path, command) = (part(), part(), part());
    let io = Io::ALL.iter().find(|(_, known)| *known == word).map(|(io, _)| *io);
    let arguments = if command.is_empty() { vec![path] } else { vec![path, "-c", command] };
    Ok(Program::new(arguments)?.io(io.unwrap_or_default()))
}

/// Becomes a program. If that fails, it tells the client why, and is an echo server.
fn execute(mut connection: &Connection, text: &str) -> i32 {
    let error = match program_of(text) {
        Ok(program) => connection.exec(&program),
        Err(error) => error,
    };
    let told = writeln!(connection, "errno {}", error.errno());
    i32::from(told.and_then(|()| echo(connection)).is_err())
}

/// An echo whose client says by an "e" that it is established.
fn establish(mut connection: &Connection) -> std::io::Result<()> {
    greet(connection)?;
    let mut data = [0; 4096];
    loop {
        match connection.read(&mut data)? {
            0 => return Ok(()),
            got => {
                if data[0] == b'e' {
                    connection.established();
                }
                connection.write_all(&data[..got])?;
            }
        }
    }
}

/// Has functions called at the end of its child. How it ends the client says: "k" by a
/// signal, "e" without a return.
fn end_with_functions(mut connection: &Connection) -> i32 {
    let fd = connection.as_raw_fd();
    for number in [1, 2] {
        connection.at_exit(move || {
            // SAFETY: takes no pointers.
            let open = unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0;
            let line = Line::new("at_exit").number("number", number);
            line.number("pid", std::process::id()).number("open", i32::from(open)).put();
        });
    }
    let mut how = [0];
    let _ = connection.read(&mut how);
    match &how {
        // SAFETY: ends the process.
        b"k" => unsafe { libc::raise(libc::SIGKILL) },
        b"e" => panic!("as the client wants"),
        _ => 0,
    }
}

fn serve(handler: &str, connection: &Connection) -> i32 {
    let status = |result: std::io::Result<()>| i32::from(result.is_err());
    match handler {
        "echo" => status(echo(connection)),
        "hold" => status(hold(connection)),
        "ignore-term" => {
            on_signal(libc::SIGTERM, libc::SIG_IGN, 0);
            status(hold(connection))
        }
        "crash" => {
            let _ = greet(connection);
            // Rust's own handler, there for stack overflows, would survive it.
            on_signal(libc::SIGSEGV, libc::SIG_DFL, 0);
            // SAFETY: ends the process.
            unsafe { libc::raise(libc::SIGSEGV) }
        }
        "close-fd" => {
            let _ = greet(connection);
            // SAFETY: the descriptor is open; closing it early is what is tested.
            unsafe { libc::close(connection.as_raw_fd()) }
        }
        "close-all" => {
            let _ = greet(connection);
            // SAFETY: the process ends, or finds out that it cannot go on.
            (3..1024).map(|fd| unsafe { libc::close(fd) }).for_each(|_| ());
            0
        }
        "fork-child" => fork_child(connection),
        "shut-listeners" => {
            shut_listeners();
            status(echo(connection))
        }
        "leave-child" => leave_child(connection),
        "stay" => stay(connection),
        "answer" => status(answer(connection)),
        "work" => status(work(connection)),
        "call-back" => status(call_back(connection)),
        "flood" => flood(connection),
        "secret" => guess(connection),
        "status" => named_status(connection),
        "establish" => status(establish(connection)),
        "at-exit" => end_with_functions(connection),
        "print" => {
            print!("<served {}>", connection.id());
            status(echo(connection))
        }
        _ if handler.starts_with("exec=") => execute(connection, &handler[5..]),
        _ if handler.starts_with("_exit=") => {
            let _ = greet(connection);
            // SAFETY: ends the process.
            unsafe { libc::_exit(number(&handler[6..])) }
        }
        _ => handler.strip_prefix("exit=").and_then(|n| n.parse().ok()).unwrap_or(1),
    }
}

// ---- The ways to run --------------------------------------------------------

fn run_program(mode: &str, server: &mut Server, program: &Program) -> Result<(), forkserve::Error> {
    match mode {
        "dispatch" => loop {
            match server.dispatch_program(program) {
                Ok(_) => {}
                Err(error) if error.errno() == libc::ESHUTDOWN => return Ok(()),
                Err(error) => return Err(error),
            }
            let fd = server.as_fd().as_raw_fd();
            let mut ready = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
            let timeout = server.next_timeout().map_or(-1, |time| time.as_millis() as libc::c_int);
            // SAFETY: one pollfd, writable for the call. EINTR: dispatch looks all the same.
            unsafe { libc::poll(&mut ready, 1, timeout) };
        },
        "start" => {
            server.start_program(program)?;
            server.wait_supervisor(None).map(drop)
        }
        _ => server.run_program(program),
    }
}

fn run(mode: &str, server: &mut Server, handler: &str) -> Result<(), forkserve::Error> {
    let drained = |error: forkserve::Error| match error.errno() {
        libc::ESHUTDOWN => Ok(()),
        _ => Err(error),
    };
    if let Some(text) = handler.strip_prefix("program=") {
        return run_program(mode, server, &program_of(text)?.variables(Variables::all()));
    }
    match mode {
        "dispatch" => loop {
            let fd = server.as_fd().as_raw_fd();
            let mut ready = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
            let timeout = server.next_timeout().map_or(-1, |time| time.as_millis() as libc::c_int);
            // SAFETY: one pollfd, writable for the call. EINTR: dispatch looks all the same.
            unsafe { libc::poll(&mut ready, 1, timeout) };
            if let Err(error) = server.dispatch(|connection| serve(handler, connection)) {
                return drained(error);
            }
        },
        "step" => loop {
            match server.accept_fork() {
                Ok(Fork::Child(connection)) => exit(serve(handler, &connection) & 0xff),
                Ok(Fork::Parent(_)) => {}
                Err(error) => return drained(error),
            }
        },
        "start" => {
            server.start(|connection| serve(handler, connection))?;
            server.wait_supervisor(None).map(drop)
        }
        _ => server.run(|connection| serve(handler, connection)),
    }
}

/// What a stop and the loop return once the loop has ended.
fn put_again(mode: &str, server: &mut Server, handler: &str) {
    let errno = |result: Result<(), forkserve::Error>| result.map_or_else(|e| -e.errno(), |()| 0);
    let stopped = server.stopper().stop().map_or_else(|errno| -errno, |()| 0);
    let line = Line::new("again").number("stop", stopped);
    line.number("run", errno(run(mode, server, handler))).put();
}

// ---- The command line -------------------------------------------------------

#[derive(Default)]
struct Plan {
    options: Options,
    mode: String,
    handler: String,
    addresses: Vec<String>,
    setups: Vec<String>,
    stop_first: u32,
    again: bool,
    silent: bool,
}

fn bad_usage(what: &str) -> ! {
    eprintln!("testserver: {what}\nUsage: see tests/c/testserver.c");
    exit(2)
}

fn number<T: std::str::FromStr>(value: &str) -> T {
    value.parse().unwrap_or_else(|_| bad_usage(value))
}

fn millis(value: &str) -> Duration {
    Duration::from_millis(number(value))
}

/// The value that a text stands for, written as in C.
macro_rules! value {
    (number $arguments:tt $text:ident) => {
        number($text)
    };
    (flag $arguments:tt $text:ident) => {
        $text != "0"
    };
    (time $arguments:tt $text:ident) => {
        millis($text)
    };
    (limit ($none:expr, $most:tt, $meaning:tt) $text:ident) => {
        (number::<i64>($text) != $none).then(|| millis($text))
    };
    (bytes $arguments:tt $text:ident) => {
        $text.into()
    };
    (choice $arguments:tt $text:ident) => {
        choice($text)
    };
    (networks $arguments:tt $text:ident) => {
        parsed($text)
    };
    (statuses $arguments:tt $text:ident) => {
        $text.split(',').map(|status| number(status.trim())).collect()
    };
    (mode $arguments:tt $text:ident) => {
        u32::from_str_radix($text, 8).ok()
    };
    (signed $arguments:tt $text:ident) => {
        number($text)
    };
    (setting ($none:literal, $least:literal, $most:literal, $meaning:tt) $text:ident) => {
        Some(number::<i32>($text)).filter(|number| *number != $none)
    };
    (text $arguments:tt $text:ident) => {
        parsed($text)
    };
    (paths $arguments:tt $text:ident) => {
        $text.split(':').filter(|path| !path.is_empty()).map(Into::into).collect()
    };
    (path $arguments:tt $text:ident) => {
        Some($text.into()).filter(|_| !$text.is_empty())
    };
    (account $arguments:tt $text:ident) => {
        (!$text.is_empty()).then(|| $text.into())
    };
}

macro_rules! options {
    ($($topic:literal {$(
        $(#[doc = $doc:literal])+
        $name:ident $(as $c_name:ident)?: $kind:ident $arguments:tt = $default:tt
            $(, $word:ident $about:literal)*;
    )*})*) => {
        /// Sets the option of this name; whether there is one.
        fn set(options: &mut Options, name: &str, text: &str) -> bool {
            match name.trim_end_matches("_ms") {
                $($(stringify!($name) => options.$name = value!($kind $arguments text),)*)*
                _ => return false,
            }
            true
        }
    };
}

forkserve::options_table!(options);

fn choice<T: forkserve::Choice>(word: &str) -> T {
    let found = T::ALL.iter().find(|(_, known)| *known == word);
    found.map_or_else(|| bad_usage(word), |(choice, _)| *choice)
}

fn take_option(plan: &mut Plan, name: &str, value: String) {
    let options = &mut plan.options;
    match name {
        "--mode" => plan.mode = value,
        "--address" => plan.addresses.push(value),
        "--handler" => plan.handler = value,
        "--host" => plan.setups.push(value),
        "--stop-first" => plan.stop_first = number(&value),
        "--report" => REPORT.store(number(&value), Ordering::Relaxed),
        "--again" => plan.again = value != "0",
        "--observe" => plan.silent = value == "0",
        "--option" => match value.split_once('=') {
            Some((name, value)) if set(options, name, value) => {}
            _ => bad_usage(&value),
        },
        // With dashes, and without the unit.
        _ if set(options, &name.replacen("--", "", 1).replace('-', "_"), &value) => {}
        _ => bad_usage(name),
    }
}

fn parsed<T: std::str::FromStr<Err = forkserve::Error>>(text: &str) -> T {
    text.parse().unwrap_or_else(|error| die(error))
}

fn die(error: forkserve::Error) -> ! {
    eprintln!("testserver: {error}");
    exit(1)
}

fn main() {
    let mut plan = Plan { handler: "echo".into(), ..Plan::default() };
    let random: Result<[u8; 4], _> = std::fs::File::open("/dev/urandom").and_then(|mut file| {
        let mut bytes = [0; 4];
        file.read_exact(&mut bytes).map(|()| bytes)
    });
    let _ = SECRET.set(random.unwrap_or_else(|_| bad_usage("no /dev/urandom")));
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().unwrap_or_else(|| bad_usage(&name));
        take_option(&mut plan, &name, value);
    }
    if plan.addresses.is_empty() {
        plan.addresses.push("127.0.0.1:0".into());
    }
    let mut own = Vec::new();
    plan.setups.iter().for_each(|setup| set_up(setup, &mut own));
    let mut server = Server::new(plan.options).unwrap_or_else(|error| die(error));
    for address in &plan.addresses {
        server.listen(address).unwrap_or_else(|error| die(error));
    }
    if !plan.silent {
        server.observe(observe);
    }
    let _ = STOPPER.set(server.stopper());
    on_signal(libc::SIGTERM, handler(stop), 0);
    on_signal(libc::SIGINT, handler(stop), 0);
    on_signal(libc::SIGUSR2, handler(detach), 0);
    for address in server.addresses() {
        put_line(&format!("listening {address}\n"));
    }
    (0..plan.stop_first).for_each(|_| stop(0));
    put_line("ready\n");
    let result = run(&plan.mode, &mut server, &plan.handler);
    if plan.again {
        put_again(&plan.mode, &mut server, &plan.handler);
    }
    own.into_iter().for_each(put_own_child);
    let (code, message) = match &result {
        Ok(()) => (0, String::new()),
        Err(error) => (-error.errno(), error.to_string()),
    };
    Line::new("result").number("code", code).text("message", &message).put();
    put_stats(&server);
    drop(server);
    exit(i32::from(result.is_err()));
}
