//! testserver: the library with everything chosen by command line, for tests
//! that look at a server from outside.
//!
//! Same command line and same output as tests/c/testserver.c, where both are
//! described; the modes `run`, `dispatch`, `step` and `start` are those of the Rust API.
#![allow(unsafe_code, clippy::print_stdout, clippy::print_stderr)]

use forkserve::{Fork, Options, Program, Server, Variables};
use std::os::fd::{AsFd, AsRawFd};
use std::process::exit;
use std::sync::atomic::Ordering;
use std::sync::OnceLock;
use std::time::Duration;

#[path = "testserver/handlers.rs"]
mod handlers;
#[path = "testserver/host.rs"]
mod host;
#[path = "testserver/report.rs"]
mod report;
use handlers::{make_secret, program_of, serve};
use host::{detach, handler, on_signal, put_own_child, set_up, stop};
use report::{observe, put_line, put_stats, Line, REPORT};

static STOPPER: OnceLock<forkserve::Stopper> = OnceLock::new();

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
    make_secret().unwrap_or_else(|_| bad_usage("no /dev/urandom"));
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
    for line in server.metrics().lines() {
        put_line(&format!("metrics {line}\n"));
    }
    drop(server);
    exit(i32::from(result.is_err()));
}
