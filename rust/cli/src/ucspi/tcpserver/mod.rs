//! `tcpserver` of ucspi-tcp 0.88, with the options of Debian's ucspi-tcp-ipv6.

mod status;
mod visit;

use super::environment::as_six;
use super::getopt::{flags, Flag};
use super::listening::{self, Account};
use super::words::Voice;
use super::{errno, lookup, Fatal, Ready};
use forkserve::{Connection, Event};
use nix::net::if_::if_nametoindex;
use nix::unistd::{Gid, Uid};
use status::Status;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;
use visit::Visit;

pub(super) const ABOUT: &str = "Executes a program for each connection, as tcpserver does";

pub(super) const MORE: &str = "Options, environment, exit status and log are those of tcpserver \
of ucspi-tcp 0.88. The program has the connection as its standard input and output, and PROTO, \
TCPLOCALIP, TCPLOCALPORT, TCPLOCALHOST, TCPREMOTEIP, TCPREMOTEPORT, TCPREMOTEHOST and \
TCPREMOTEINFO in its environment. SIGTERM ends the server; the programs live on. Also what the \
command does when it is called by the name tcpserver.";

pub(super) const FLAGS: &[Flag] = flags! {
    '1' "" "Print the port to the standard output, when the server listens";
    '4' "" "Listen at an IPv4 address only, where a name has others";
    '6' "" "Listen at an IPv6 address, 0 at all; IPv4 clients are shown as ::ffff:192.0.2.1";
    'b' "N" "How many connections the kernel queues [default: 20]";
    'B' "TEXT" "Write TEXT to each connection, before anything else is done for it";
    'c' "N" "Serve at most N connections at once; others wait [default: 40]";
    'd' "" "Do not set TCP_NODELAY (default)";
    'D' "" "Set TCP_NODELAY on connections";
    'g' "GID" "Become this group, by number, when the server listens";
    'h' "" "Look up the client's host name, for TCPREMOTEHOST (default)";
    'H' "" "Do not look up the client's host name";
    'I' "INTERFACE" "The interface of a link-local IPv6 address";
    'l' "NAME" "Set TCPLOCALHOST to NAME, and do not look it up";
    'o' "" "Leave the IP options of connections alone";
    'O' "" "Remove the IP options of connections, such as source routes (default)";
    'p' "" "Take no host name that does not have the client's address";
    'P' "" "Take the host name as it is (default)";
    'q' "" "Print nothing";
    'Q' "" "Print errors (default)";
    'r' "" "Ask the client's host for TCPREMOTEINFO (default)";
    'R' "" "Do not ask the client's host";
    't' "SECONDS" "How long the client's host has for its answer [default: 26]";
    'u' "UID" "Become this user, by number, when the server listens";
    'U' "" "As -u $UID -g $GID";
    'v' "" "Print errors and what happens";
    'x' "FILE" "Follow the rules that tcprules has put into FILE";
    'X' "" "With -x, serve everyone if there is no FILE";
};

const VOICE: Voice = Voice {
    name: "tcpserver",
    usage: "tcpserver: usage: tcpserver [ -1UXpPhHrRoOdDqQv ] [ -c limit ] [ -x rules.cdb ] \
            [ -B banner ] [ -g gid ] [ -u uid ] [ -b backlog ] [ -l localname ] [ -t timeout ] \
            host port program\n",
    status: 100,
};

const QUIET: u8 = 0;
const ERRORS: u8 = 1;
const ALL: u8 = 2;

/// What the options say.
struct Settings {
    verbosity: u8,
    limit: u32,
    backlog: u32,
    family: Family,
    interface: u32,
    print_port: bool,
    account: Account,
    client: Visit,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Any,
    Four,
    Six,
}

pub(super) fn run(words: &[OsString]) -> Result<(), Fatal> {
    let (settings, words) = settings(words)?;
    let quiet = settings.verbosity == QUIET;
    start(settings, words).map_err(|fatal| match quiet {
        true => Fatal::new(fatal.status, String::new()),
        false => fatal,
    })
}

fn settings(words: &[OsString]) -> Result<(Settings, &[OsString]), Fatal> {
    let mut verbosity = ERRORS;
    let (mut limit, mut backlog) = (40, 20);
    let (mut family, mut interface, mut print_port) = (Family::Any, 0, false);
    let (mut uid, mut gid) = (0, 0);
    let mut visit = Visit {
        keep_ip_options: false,
        nodelay: false,
        banner: OsString::new(),
        ask_host: true,
        paranoid: false,
        ask_info: true,
        info_limit: Duration::from_secs(26),
        local_host: None,
        rules: None,
        serve_without_rules: false,
        six: false,
        mapped: false,
        verbosity,
    };
    let behind = VOICE.read(FLAGS, words, |letter, value| {
        match letter {
            '1' => print_port = true,
            '4' => family = Family::Four,
            '6' => family = Family::Six,
            'b' => backlog = VOICE.number("-b", &value, 0..=i32::MAX as u32)?,
            'B' => visit.banner = value,
            'c' => limit = VOICE.number("-c", &value, 1..=1_000_000)?,
            'd' | 'D' => visit.nodelay = letter == 'D',
            'g' => gid = id("-g", &value)?,
            'h' | 'H' => visit.ask_host = letter == 'h',
            'I' => {
                let unknown = |_| VOICE.fatal(111, format!("unknown interface: {}", lossy(&value)));
                interface = if_nametoindex(value.as_os_str()).map_err(unknown)?;
            }
            'l' => visit.local_host = Some(value),
            'o' | 'O' => visit.keep_ip_options = letter == 'o',
            'p' | 'P' => visit.paranoid = letter == 'p',
            'q' => verbosity = QUIET,
            'Q' => verbosity = ERRORS,
            'v' => verbosity = ALL,
            'r' | 'R' => visit.ask_info = letter == 'r',
            't' => {
                let seconds = VOICE.number("-t", &value, 0..=1_000_000)?;
                visit.info_limit = Duration::from_secs(seconds);
            }
            'u' => uid = id("-u", &value)?,
            'U' => {
                for (name, id) in [("UID", &mut uid), ("GID", &mut gid)] {
                    if let Some(value) = std::env::var_os(name) {
                        *id = self::id(name, &value)?;
                    }
                }
            }
            'x' => visit.rules = Some(value.into()),
            'X' => visit.serve_without_rules = true,
            _ => {}
        }
        Ok(())
    })?;
    visit.verbosity = verbosity;
    visit.mapped = family == Family::Six;
    // 0: as it is.
    let account = Account {
        groups: Some(gid).filter(|gid| *gid > 0).map(Gid::from_raw).into_iter().collect(),
        user: Some(uid).filter(|uid| *uid > 0).map(Uid::from_raw),
    };
    let settings = Settings {
        verbosity,
        limit,
        backlog,
        family,
        interface,
        print_port,
        account,
        client: visit,
    };
    Ok((settings, behind))
}

/// The number of a user or a group. A name would be 0 for the original: root.
fn id(flag: &str, value: &OsStr) -> Result<u32, Fatal> {
    VOICE.number(flag, value, 0..=u32::MAX - 1)
}

fn lossy(text: &OsStr) -> String {
    crate::output::printable(&text.to_string_lossy())
}

fn start(settings: Settings, words: &[OsString]) -> Result<(), Fatal> {
    let [host, port, program @ ..] = words else {
        return Err(VOICE.usage());
    };
    if program.is_empty() {
        return Err(VOICE.usage());
    }
    let (host, port) = (VOICE.text(host)?, VOICE.text(port)?);
    let unknown = || format!("unable to figure out port number for {port}");
    let port_number = lookup::port(port).ok_or_else(|| VOICE.fatal(111, unknown()))?;
    let program = VOICE.program(program)?;
    let mut visit = settings.client;
    visit.check_rules()?;
    let address = match address(host, settings.family)? {
        IpAddr::V6(ip) => SocketAddrV6::new(ip, port_number, 0, settings.interface).into(),
        ip => SocketAddr::new(ip, port_number),
    };
    visit.six = address.is_ipv6();
    let fatal = |text: String| VOICE.fatal(111, text);
    let ready = Ready::new(super::options(settings.limit)).map_err(fatal)?;
    let socket = listening::bind(address, "unable to bind").map_err(|f| VOICE.failed(f))?;
    let local = socket.local_addr().map_err(|error| {
        VOICE.fatal(111, format!("unable to get local address: {}", errno::text(&error)))
    })?;
    listening::listen(&socket, settings.backlog).map_err(|f| VOICE.failed(f))?;
    settings.account.enter().map_err(|f| VOICE.failed(f))?;
    if settings.print_port {
        let port = local.as_socket().map_or(0, |local| local.port());
        // Nobody may be there to read it.
        let mut out = io::stdout();
        let _ = writeln!(out, "{port}").and_then(|()| out.flush());
    }
    listening::let_go(true).map_err(|f| VOICE.failed(f))?;
    let mut status = Status { verbosity: settings.verbosity, live: 0, limit: settings.limit };
    status.print();
    let observe = move |event: &Event<'_>| status.observe(event);
    let serve = |connection: &Connection| match visit.make(connection, &program) {
        Ok(status) => status,
        Err(text) => {
            visit.say(ERRORS, format!("warning: dropping connection, {text}"));
            111
        }
    };
    ready.serve(socket, observe, serve, || {}).map_err(fatal)
}

fn address(host: &str, family: Family) -> Result<IpAddr, Fatal> {
    if host.is_empty() || host == "0" {
        return Ok(match family {
            Family::Six => Ipv6Addr::UNSPECIFIED.into(),
            _ => Ipv4Addr::UNSPECIFIED.into(),
        });
    }
    let found = lookup::addresses(host).map_err(|reason| {
        let text = format!("temporarily unable to figure out IP address for {host}: {reason}");
        VOICE.fatal(111, text)
    })?;
    let of = |six: bool| found.iter().copied().find(move |ip| ip.is_ipv6() == six);
    let ip = match family {
        Family::Four => of(false),
        Family::Any => of(false).or_else(|| of(true)),
        Family::Six => of(true).or_else(|| of(false).map(as_six)),
    };
    ip.ok_or_else(|| VOICE.fatal(111, format!("no IP address for {host}")))
}
