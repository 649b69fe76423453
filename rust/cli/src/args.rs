//! The command line.

use crate::flags::Flags;
use crate::log::Log;
use crate::machine::target::Target;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Serves a program, and looks into fork servers: one connection, one process.
#[derive(Parser, Debug)]
#[command(name = "forkserve", version, after_help = EXIT_STATUS)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_STATUS: &str = "Exit status: 0 if all is well, 100 for wrong usage, 111 if the system \
                           refuses something; then one line on the standard error names it.";

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    Serve(Box<Serve>),
    Doctor(Doctor),
    Ps(Ps),
    Top(Top),
}

/// Executes a program for each connection.
///
/// The program has the connection as its standard input and output, unless --io says
/// otherwise, and leads a process group: deadlines, and the end, reach what it has started.
/// SIGTERM, SIGINT or SIGHUP begins the drain; a second one ends the programs by SIGTERM, a
/// third by SIGKILL. Each event is a line on the standard error.
#[derive(Args, Debug)]
#[command(
    after_help = "Times are seconds, or with a unit: 500ms, 10m, 2h. Exit status: 0 after a \
                        drain, 100 for wrong usage, 111 for a system error."
)]
pub(crate) struct Serve {
    /// Where to listen: 127.0.0.1:7000, [::1]:0, localhost:7000, :7000 (all interfaces),
    /// unix:/path, unix:@name, fd:3, systemd:NAME, systemd:
    #[arg(value_name = "ADDRESS", required_unless_present = "xinetd")]
    pub(crate) addresses: Vec<OsString>,
    /// The program, looked for in PATH, and its arguments
    #[arg(value_name = "PROGRAM", required_unless_present = "xinetd", last = true, num_args = 1..)]
    pub(crate) program: Vec<OsString>,
    /// Serve the services of a configuration of xinetd: a file, or a folder of them. Options
    /// on the command line count for each service, over what the file says
    #[arg(long, value_name = "FILE",
          conflicts_with_all = ["addresses", "program", "io", "env"])]
    pub(crate) xinetd: Option<PathBuf>,
    /// Only check what would be served: print a line for each program, and listen nowhere
    #[arg(long)]
    pub(crate) check: bool,
    /// Where the program has its connection
    #[arg(long, value_enum, default_value = "stdio")]
    pub(crate) io: Place,
    /// Which variables tell the program of its client
    #[arg(long, value_enum, value_delimiter = ',', default_value = "ucspi,cgi,systemd")]
    pub(crate) env: Vec<Env>,
    /// How events are written
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) log: Log,
    /// Answer scrapers here: /metrics has the counters as OpenMetrics text, /ready is 200, and
    /// 503 once a drain has begun; an address as of the server, best of the loopback interface
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) metrics: Option<OsString>,
    #[command(flatten)]
    pub(crate) flags: Flags,
}

/// Where a program has its connection.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Place {
    /// Standard input and output
    Stdio,
    /// Standard input, output and error
    #[value(name = "stdio+err")]
    StdioErr,
    /// Descriptor 3
    Fd3,
}

/// Variables of a program.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Env {
    /// PROTO, TCPREMOTEIP and so on
    Ucspi,
    /// REMOTE_ADDR and REMOTE_PORT
    Cgi,
    /// LISTEN_FDS and so on, with --io fd3
    Systemd,
    /// REMOTE_HOST, as xinetd sets it
    Xinetd,
    /// None
    None,
}

/// Says what is wrong with a running fork server, whatever it was made with.
///
/// Shows its processes with their sockets (inode, state, peer, queue), and findings: a
/// connection in CLOSE_WAIT that the parent forgot to close, a listener in a child or an
/// orphan ("Address already in use"), one connection in several processes, zombies, a full
/// accept queue, descriptors near their limit, threads in a parent that forks, children that
/// are stopped or stuck, and what makes the forks expensive. It reads /proc and asks
/// sock_diag(7), and changes nothing. A finding is one that two looks, 0.6 s apart, have in
/// common. What the caller may not see is said as well: run it as root, or as the server's
/// user.
#[derive(Args, Debug)]
#[command(after_help = "Exit status: 0 if nothing was found, 1 if there are findings, 100 for \
                        wrong usage, 111 for a system error.")]
pub(crate) struct Doctor {
    /// The server: its process (1234), its port (:7000), its address (127.0.0.1:7000), or its
    /// Unix socket (/run/server.sock, @name)
    #[arg(value_name = "PID|:PORT|PATH")]
    pub(crate) target: Target,
    /// Write JSON: one object on one line for each look
    #[arg(long)]
    pub(crate) json: bool,
    /// Look again every SECONDS, and say what has come and what has gone
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true,
          default_missing_value = "2", value_parser = seconds)]
    pub(crate) watch: Option<Duration>,
    /// List every process: without it, at most 20 children of one process
    #[arg(long)]
    pub(crate) all: bool,
}

/// Lists the servers of this library that run on this machine, with their connections.
///
/// Shows those that the caller may see (all for root): process model, addresses, limits,
/// counters, and each connection with its number, process, client, state, age, processor
/// time and resident memory. They need no configuration: each keeps its scoreboard where
/// /proc shows it. A server whose process was killed is listed while children of it live.
#[derive(Args, Debug)]
pub(crate) struct Ps {
    /// Only this server: a process of it (1234), its port (:7000), its address
    /// (127.0.0.1:7000), or its Unix socket (/run/server.sock, @name)
    #[arg(value_name = "PID|:PORT|PATH")]
    pub(crate) target: Option<Target>,
    /// Write JSON: one object on one line
    #[arg(long)]
    pub(crate) json: bool,
    /// Sort the connections by this
    #[arg(long, value_name = "KEY", default_value = "id")]
    pub(crate) sort: Key,
}

/// Shows the connections of the servers of this library, live.
///
/// Looks again every second. Keys: the arrows or j and k select a connection; a, c, m, i,
/// p sort by age, processor time, memory, number and client; x asks whether to end the
/// selected connection, and sends SIGTERM to its process; X does so with SIGKILL; q quits.
/// Without a terminal the text is printed as by ps.
#[derive(Args, Debug)]
pub(crate) struct Top {
    /// Only this server, as for ps
    #[arg(value_name = "PID|:PORT|PATH")]
    pub(crate) target: Option<Target>,
    /// Write JSON: one object on one line for each look
    #[arg(long)]
    pub(crate) json: bool,
    /// Sort the connections by this
    #[arg(long, value_name = "KEY", default_value = "cpu")]
    pub(crate) sort: Key,
    /// Look again after so long
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub(crate) interval: Duration,
    /// End after so many looks; without a terminal the default is 1
    #[arg(long, value_name = "LOOKS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
}

/// What connections are sorted by: numbers from the largest down, but for `id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Key {
    /// The number of the connection
    Id,
    /// How long it has been served
    Age,
    /// Processor time of its process
    Cpu,
    /// Resident memory of its process
    Memory,
    /// The client
    Peer,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if (0.1..=86400.0).contains(&number) {
        Ok(Duration::from_secs_f64(number))
    } else {
        Err("not between 0.1 and 86400 seconds".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn seconds_have_a_range() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["", "x", "0", "-1", "nan", "inf", "1e9"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
