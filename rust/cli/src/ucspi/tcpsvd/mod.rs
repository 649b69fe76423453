//! `tcpsvd` of ipsvd 1.0.0.

mod counts;
mod log;
mod status;
mod visit;

use super::getopt::{flags, Flag};
use super::instructions::{self, Place};
use super::listening::{self, Account};
use super::words::{shown, Voice};
use super::{errno, lookup, Fatal, Ready};
use counts::Counts;
use forkserve::{Connection, Event};
use log::Log;
use nix::unistd::{Gid, Group, Uid, User};
use status::Status;
use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;
use visit::Visit;

pub(super) const ABOUT: &str = "Executes a program for each connection, as tcpsvd does";

pub(super) const MORE: &str = "Options, environment, exit status and log are those of tcpsvd of \
ipsvd 1.0.0. The program has the connection as its standard input and output, and PROTO, \
TCPLOCALIP, TCPLOCALPORT, TCPLOCALHOST, TCPREMOTEIP, TCPREMOTEPORT and TCPREMOTEHOST in its \
environment, with -C TCPCONCURRENCY. SIGTERM ends the server; the programs live on. Also what \
the command does when it is called by the name tcpsvd.";

pub(super) const FLAGS: &[Flag] = flags! {
    'b' "N" "How many connections the kernel queues [default: 20]";
    'c' "N" "Serve at most N connections at once; others wait [default: 30]";
    'C' "N[:TEXT]" "Serve at most N connections of one address; write TEXT to others, and close \
                    them";
    'E' "" "Set no variables in the program's environment";
    'h' "" "Look up the client's host name, for TCPREMOTEHOST";
    'i' "DIR" "Follow the instructions in the directory DIR";
    'l' "NAME" "Set TCPLOCALHOST to NAME, and do not look it up";
    'p' "" "As -h, and take no host name that does not have the client's address";
    't' "SECONDS" "With -i, remove a file of the directory that was not read for so long";
    'u' "USER" "Become this user, USER[:GROUP...], or by numbers :UID:GID..., when the server \
                listens";
    'v' "" "Print what happens to the standard output; twice: with the instructions";
    'V' "" "Print the version";
    'x' "FILE" "Follow the instructions that ipsvd-cdb has put into FILE";
};

const VOICE: Voice = Voice {
    name: "tcpsvd",
    usage: "usage: tcpsvd [-Ehpv] [-u user] [-c n] [-C n:msg] [-b n] [-l name] [-i dir|-x cdb] \
            [-t sec] host port prog\n\n",
    status: 111,
};

/// What the options say.
struct Settings {
    limit: u32,
    backlog: u32,
    user: Option<OsString>,
    visit: Visit,
}

pub(super) fn run(words: &[OsString]) -> Result<(), Fatal> {
    let (settings, words) = settings(words)?;
    start(settings, words)
}

fn settings(words: &[OsString]) -> Result<(Settings, &[OsString]), Fatal> {
    let (mut limit, mut backlog, mut user) = (30, 20, None);
    let (mut directory, mut database) = (None, None);
    let mut age = Duration::ZERO;
    let mut visit = Visit {
        verbosity: 0,
        ask_host: false,
        paranoid: false,
        no_environment: false,
        local_host: None,
        instructions: None,
        concurrency: None,
        counts: Counts::default(),
    };
    let behind = VOICE.read(FLAGS, words, |letter, value| {
        match letter {
            'b' => backlog = VOICE.number("-b", &value, 0..=i32::MAX as u32)?,
            'c' => limit = VOICE.number("-c", &value, 1..=1_000_000)?,
            'C' => visit.concurrency = Some(concurrency(&value)?),
            'E' => visit.no_environment = true,
            'h' => visit.ask_host = true,
            'i' | 'x' if directory.is_some() || database.is_some() => return Err(VOICE.usage()),
            'i' => directory = Some(value),
            'x' => database = Some(value),
            'l' => visit.local_host = Some(value),
            'p' => (visit.ask_host, visit.paranoid) = (true, true),
            't' => age = Duration::from_secs(VOICE.number("-t", &value, 0..=1_000_000_000)?),
            'u' => user = Some(value),
            'v' => visit.verbosity = visit.verbosity.saturating_add(1),
            'V' => {
                let usage = VOICE.usage();
                let version = concat!("tcpsvd of forkserve ", env!("CARGO_PKG_VERSION"), "\n");
                return Err(Fatal::new(usage.status, format!("{version}{}", usage.lines)));
            }
            _ => {}
        }
        Ok(())
    })?;
    visit.instructions = directory
        .map(|path| Place::Directory(path.into(), age))
        .or_else(|| database.map(|path| Place::Database(path.into())));
    if let Some((number, _)) = &mut visit.concurrency {
        *number = (*number).min(limit);
    }
    Ok((Settings { limit, backlog, user, visit }, behind))
}

fn concurrency(value: &OsStr) -> Result<(u32, Vec<u8>), Fatal> {
    let mut parts = value.as_bytes().splitn(2, |byte| *byte == b':');
    let number = OsStr::from_bytes(parts.next().unwrap_or_default());
    let number = VOICE.number("-C", number, 1..=1_000_000)?;
    let message = instructions::message(parts.next().unwrap_or_default());
    // The most that the library sends to a client that it refuses.
    if message.len() > 4096 {
        return Err(VOICE.fatal(VOICE.status, "-C: a message of more than 4096 bytes"));
    }
    Ok((number, message))
}

fn start(settings: Settings, words: &[OsString]) -> Result<(), Fatal> {
    let [host, port, program @ ..] = words else {
        return Err(VOICE.usage());
    };
    if program.is_empty() {
        return Err(VOICE.usage());
    }
    let (host, port) = (VOICE.text(host)?, VOICE.text(port)?);
    let account = settings.user.as_deref().map(account).transpose()?;
    let unknown = || format!("unknown port number or name: {port}");
    let number = lookup::port(port).ok_or_else(|| VOICE.fatal(100, unknown()))?;
    let program = VOICE.program(program)?;
    let visit = settings.visit;
    if let Some(place) = &visit.instructions {
        place.check().map_err(|error| {
            let path = shown(place.path().as_os_str().as_bytes());
            VOICE.fatal(111, format!("unable to read {path}: {}", errno::text(&error)))
        })?;
    }
    let address = SocketAddr::new(address(host)?, number);
    let mut options = super::options(settings.limit);
    if let (Some((number, message)), None) = (&visit.concurrency, &visit.instructions) {
        // No instruction changes it: no process is made for those above it.
        options.max_per_source = *number;
        (options.source_prefix_v4, options.source_prefix_v6) = (32, 128);
        options.refuse_message.clone_from(message);
    }
    let most = options.max_per_source;
    let fatal = |text: String| VOICE.fatal(111, text);
    let ready = Ready::new(options).map_err(fatal)?;
    let socket = listening::bind(address, "unable to bind socket");
    let socket = socket.map_err(|failed| VOICE.failed(failed))?;
    listening::listen(&socket, settings.backlog).map_err(|failed| VOICE.failed(failed))?;
    account.as_ref().map_or(Ok(()), Account::enter).map_err(|failed| VOICE.failed(failed))?;
    listening::let_go(false).map_err(|failed| VOICE.failed(failed))?;
    let log = Log { verbosity: visit.verbosity };
    log.info(format!("listening on {}:{}{}, starting.", address.ip(), port, become_whom(&account)));
    let mut status = Status {
        log,
        live: 0,
        limit: settings.limit,
        local_host: visit.local_host.clone().unwrap_or_default(),
        local: address.ip(),
        most,
        counts: visit.counts.clone(),
    };
    let serve = |connection: &Connection| match visit.make(connection, &program) {
        Ok(status) => status,
        Err(text) => {
            crate::ucspi::say(&format!("tcpsvd: drop: {text}\n"));
            111
        }
    };
    let observe = move |event: &Event<'_>| status.observe(event);
    let at_signal = || log.info("sigterm received, exit.".to_owned());
    ready.serve(socket, observe, serve, at_signal).map_err(fatal)
}

fn address(host: &str) -> Result<IpAddr, Fatal> {
    if host.is_empty() || host == "0" {
        return Ok(Ipv4Addr::UNSPECIFIED.into());
    }
    let found = lookup::addresses(host);
    let found = found.map_err(|reason| {
        VOICE.fatal(111, format!("unable to look up ip address: {host}: {reason}"))
    })?;
    let first = found.iter().find(|ip| ip.is_ipv4()).or(found.first());
    first.copied().ok_or_else(|| VOICE.fatal(100, format!("unable to look up ip address: {host}")))
}

fn become_whom(account: &Option<Account>) -> String {
    match account {
        Some(Account { user: Some(user), groups }) => {
            let group = groups.first().map_or(0, |group| group.as_raw());
            format!(", uid {user}, gid {group}")
        }
        _ => String::new(),
    }
}

/// `user`, `user:group:group`, or by numbers `:uid:gid:gid`.
fn account(text: &OsStr) -> Result<Account, Fatal> {
    let unknown = || VOICE.fatal(100, format!("unknown user/group: {}", shown(text.as_bytes())));
    let words = text.to_str().ok_or_else(unknown)?;
    let found = match words.strip_prefix(':') {
        Some(numbers) => by_number(numbers),
        None => by_name(words).map_err(|why| {
            let why = errno::text(&why.into());
            VOICE.fatal(111, format!("unable to get user/group: {words}: {why}"))
        })?,
    };
    found.ok_or_else(unknown)
}

fn by_number(words: &str) -> Option<Account> {
    let mut numbers = words.split(':').map(|number| number.parse::<u32>().ok());
    let user = numbers.next()??;
    let groups: Option<Vec<_>> = numbers.map(|number| number.map(Gid::from_raw)).collect();
    let groups = groups.filter(|groups| !groups.is_empty())?;
    Some(Account { groups, user: Some(Uid::from_raw(user)) })
}

fn by_name(words: &str) -> nix::Result<Option<Account>> {
    let mut names = words.split(':');
    let Some(user) = User::from_name(names.next().unwrap_or_default())? else {
        return Ok(None);
    };
    let mut groups = Vec::new();
    for name in names {
        let Some(group) = Group::from_name(name)? else { return Ok(None) };
        groups.push(group.gid);
    }
    if groups.is_empty() {
        groups.push(user.gid);
    }
    Ok(Some(Account { groups, user: Some(user.uid) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_numbers_or_names() {
        let root = Uid::from_raw(0);
        let groups = |numbers: &[u32]| numbers.iter().map(|n| Gid::from_raw(*n)).collect();
        assert_eq!(by_number("7:8:9").map(|a| a.groups), Some(groups(&[8, 9])));
        for wrong in ["7", "7:", "x:8", ""] {
            assert_eq!(by_number(wrong), None, "{wrong}");
        }
        let account = by_name("root").expect("asked").expect("root");
        assert_eq!((account.user, account.groups), (Some(root), groups(&[0])));
        assert_eq!(by_name("no-such-user"), Ok(None));
        assert_eq!(by_name("root:no-such-group"), Ok(None));
    }
}
