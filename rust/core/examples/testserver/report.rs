//! What the testserver prints: events, its result, the counters.

use forkserve::{Event, Server};
use std::fmt::Write as _;
use std::process::exit;
use std::sync::atomic::{AtomicI32, Ordering};

/// Where the lines go.
pub(crate) static REPORT: AtomicI32 = AtomicI32::new(libc::STDOUT_FILENO);

/// One line of JSON, written as a whole and past the buffer of `print!`.
pub(crate) struct Line(String);

impl Line {
    pub(crate) fn new(event: &str) -> Line {
        Line(format!("{{\"event\": \"{event}\""))
    }

    pub(crate) fn number(mut self, name: &str, value: impl std::fmt::Display) -> Line {
        let _ = write!(self.0, ", \"{name}\": {value}");
        self
    }

    pub(crate) fn text(mut self, name: &str, value: &str) -> Line {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
        let _ = write!(self.0, ", \"{name}\": \"{value}\"");
        self
    }

    pub(crate) fn put(mut self) {
        self.0.push_str("}\n");
        put_line(&self.0);
    }
}

pub(crate) fn put_line(line: &str) {
    if forkserve::write_all(REPORT.load(Ordering::Relaxed), line.as_bytes()).is_err() {
        exit(3); // No reader is left.
    }
}

fn about(event: &str, id: u64, peer: &str) -> Line {
    Line::new(event).number("id", id).text("peer", peer)
}

pub(crate) fn observe(event: &Event<'_>) {
    let line = match *event {
        Event::Listening { address } => Line::new("listening").text("address", address),
        Event::Accepted { id, peer } => about("accepted", id, peer),
        Event::Announced { id, peer } => about("announced", id, peer),
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
        Event::HandshakeTimeout { id, peer, pid } => {
            about("handshake_timeout", id, peer).number("pid", pid)
        }
        Event::Evicted { id, peer, pid } => about("evicted", id, peer).number("pid", pid),
        Event::SandboxReduced { reason } => {
            Line::new("sandbox_reduced").text("reason", reason.name())
        }
        Event::SparesRenewed { reason } => {
            Line::new("spares_renewed").text("reason", reason.name())
        }
        Event::NotifyFailed { errno } => Line::new("notify_failed").number("error", errno),
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

pub(crate) fn put_stats(server: &Server) {
    counters(&server.stats()).put();
}
