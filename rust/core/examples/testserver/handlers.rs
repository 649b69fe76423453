//! The testserver's handlers: what a child does.

use crate::host::on_signal;
use crate::report::Line;
use crate::{number, STOPPER};
use forkserve::{Connection, Io, Program};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::sync::OnceLock;

/// What all children inherit, as a stack canary.
static SECRET: OnceLock<[u8; 4]> = OnceLock::new();

pub(crate) fn make_secret() -> std::io::Result<()> {
    let mut bytes = [0; 4];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let _ = SECRET.set(bytes);
    Ok(())
}

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
pub(crate) fn program_of(text: &str) -> Result<Program, forkserve::Error> {
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

/// Tells what a proxy has said of its connection; then an echo.
fn tell_proxied(mut connection: &Connection) -> std::io::Result<()> {
    let mut text = format!("peer={} local={}", connection.peer_name(), connection.local_name());
    if let Some(header) = connection.proxy() {
        let command = match header.command() {
            forkserve::ProxyCommand::Proxy => "proxy",
            forkserve::ProxyCommand::Local => "local",
        };
        let kind = if header.is_stream() { "stream" } else { "dgram" };
        let tls = header.tls();
        let is = |yes: Option<bool>| u8::from(yes.unwrap_or(false));
        let (named, used) = (u8::from(header.names_client()), is(tls.map(|tls| tls.is_used())));
        let verified = is(tls.map(|tls| tls.is_verified()));
        let (version, sender) = (header.version(), header.sender_name());
        let _ = write!(text, " version={version} command={command} named={named} type={kind}");
        let _ = write!(text, " sender={sender} tls={used} verified={verified}");
        let values = [
            ("authority", header.authority()),
            ("alpn", header.alpn()),
            ("id", header.unique_id()),
            ("tls_version", tls.and_then(|tls| tls.version())),
            ("cn", tls.and_then(|tls| tls.common_name())),
        ];
        for (name, value) in values {
            if let Some(value) = value {
                let _ = write!(text, " {name}={}", String::from_utf8_lossy(value));
            }
        }
    }
    writeln!(connection, "{text}")?;
    let mut data = [0; 4096];
    loop {
        match connection.read(&mut data)? {
            0 => return Ok(()),
            _ if data[0] == b'!' => std::process::abort(),
            got => connection.write_all(&data[..got])?,
        }
    }
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

pub(crate) fn serve(handler: &str, connection: &Connection) -> i32 {
    let status = |result: std::io::Result<()>| i32::from(result.is_err());
    match handler {
        "echo" => status(echo(connection)),
        "proxied" => status(tell_proxied(connection)),
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
