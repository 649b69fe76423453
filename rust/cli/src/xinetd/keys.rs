//! The keys of a service: what each takes, and what it means here.
//!
//! `docs/from-xinetd.md` has a row for each.

use super::clients;
use super::draft::{Account, Draft, Target};
use super::endpoint;
use super::file::{Operator, Setting};
use crate::failure::Failure;
use std::path::PathBuf;

/// How many values a key takes, and by which operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    /// So many, by `=`, once.
    Exactly(usize),
    /// One or more, by `=`, once.
    Several,
    /// Any number, by `=`, `+=` and `-=`, again and again.
    Set,
}

type Apply = fn(&mut Draft, &Setting) -> Result<(), Failure>;

enum Does {
    Apply(Apply),
    /// It says which services are served, and is looked at before them.
    Selects,
    /// It is checked, and has no effect.
    Nothing,
    /// An error, with what to use in its place.
    Refused(&'static str),
}

pub(super) struct Key {
    name: &'static str,
    takes: Takes,
    /// Whether the entry `defaults` may have it; and whether a service may.
    in_defaults: bool,
    in_service: bool,
    does: Does,
}

const fn key(name: &'static str, takes: Takes, does: Does) -> Key {
    Key { name, takes, in_defaults: false, in_service: true, does }
}

/// One that may stand in the defaults, too.
const fn shared(name: &'static str, takes: Takes, does: Does) -> Key {
    Key { in_defaults: true, ..key(name, takes, does) }
}

const fn selecting(name: &'static str) -> Key {
    Key { in_service: false, ..shared(name, Takes::Set, Does::Selects) }
}

use Does::{Apply as Do, Nothing, Refused, Selects};
use Takes::{Exactly, Set, Several};

const RPC: &str = "services of Sun RPC are not served; leave this one to xinetd";

const KEYS: &[Key] = &[
    key("id", Exactly(1), Do(id)),
    key("type", Several, Do(kind)),
    key("disable", Exactly(1), Selects),
    key("socket_type", Exactly(1), Do(socket_type)),
    key("protocol", Exactly(1), Do(protocol)),
    key("wait", Exactly(1), Do(wait)),
    key("port", Exactly(1), Do(port)),
    shared("bind", Exactly(1), Do(bind)),
    shared("interface", Exactly(1), Do(bind)),
    shared("v6only", Exactly(1), Do(v6only)),
    key("flags", Several, Do(flags)),
    key("server", Exactly(1), Do(server)),
    key("server_args", Several, Do(server_args)),
    key("env", Set, Do(env)),
    shared("passenv", Set, Do(passenv)),
    key("user", Exactly(1), Do(user)),
    key("group", Exactly(1), Do(group)),
    shared("groups", Exactly(1), Do(groups)),
    shared("umask", Exactly(1), Do(|d, s| d.set(s, "umask", &s.values[0]))),
    key("nice", Exactly(1), Do(|d, s| d.set(s, "nice", &s.values[0]))),
    key("rlimit_as", Exactly(1), Do(|d, s| rlimit(d, s, "as"))),
    key("rlimit_cpu", Exactly(1), Do(|d, s| rlimit(d, s, "cpu"))),
    key("rlimit_data", Exactly(1), Do(|d, s| rlimit(d, s, "data"))),
    key("rlimit_files", Exactly(1), Do(|d, s| rlimit(d, s, "nofile"))),
    key("rlimit_rss", Exactly(1), Do(|d, s| rlimit(d, s, "rss"))),
    key("rlimit_stack", Exactly(1), Do(|d, s| rlimit(d, s, "stack"))),
    shared("instances", Exactly(1), Do(instances)),
    shared("per_source", Exactly(1), Do(per_source)),
    shared("cps", Exactly(2), Do(cps)),
    shared("only_from", Set, Do(|d, s| Draft::clients(&mut d.only_from, s))),
    shared("no_access", Set, Do(|d, s| Draft::clients(&mut d.no_access, s))),
    shared("banner", Exactly(1), Do(|d, s| Draft::banner(&mut d.banner, s))),
    shared("banner_success", Exactly(1), Do(|d, s| Draft::banner(&mut d.banner_success, s))),
    shared("banner_fail", Exactly(1), Do(|d, s| Draft::banner(&mut d.banner_fail, s))),
    shared("log_type", Several, Do(log_type)),
    shared("log_on_success", Set, Do(|_, s| words(s, &SUCCESS))),
    shared("log_on_failure", Set, Do(|_, s| words(s, &FAILURE))),
    shared("mdns", Exactly(1), Nothing),
    selecting("enabled"),
    selecting("disabled"),
    key("access_times", Several, Refused("clients are let in at all times; start and stop it")),
    shared("max_load", Exactly(1), Refused("the load is not looked at; limit instances")),
    key("redirect", Exactly(2), Refused("use server = /usr/bin/socat to forward connections")),
    key("libwrap", Exactly(1), Refused("hosts.allow and hosts.deny are not read; use only_from")),
    key("deny_time", Exactly(1), Refused("there are no sensors; see penalty in docs/limits.md")),
    key("rpc_version", Exactly(1), Refused(RPC)),
    key("rpc_number", Exactly(1), Refused(RPC)),
];

impl Key {
    /// The key of a setting, if it may stand there, with this operator and so many values.
    pub(super) fn of(setting: &Setting, in_service: bool) -> Result<&'static Key, Failure> {
        let Some(key) = KEYS.iter().find(|key| key.name == setting.key) else {
            return Err(setting.wrong("there is no such key"));
        };
        if in_service && !key.in_service {
            return Err(setting.wrong("stands in defaults only"));
        }
        if !in_service && !key.in_defaults {
            return Err(setting.wrong("does not stand in defaults"));
        }
        if setting.operator != Operator::Set && key.takes != Set {
            return Err(setting.wrong(format!("takes =, not {}", setting.operator)));
        }
        let values = setting.values.len();
        match key.takes {
            Exactly(1) if values != 1 => {
                Err(setting.wrong(format!("takes one value, not {values}")))
            }
            Exactly(2) if values != 2 => {
                Err(setting.wrong(format!("takes two values, not {values}")))
            }
            Several if values == 0 => Err(setting.wrong("needs a value")),
            _ => Ok(key),
        }
    }

    /// Whether it stands once in an entry; the defaults do not add to it.
    pub(super) fn is_single(&self) -> bool {
        self.takes != Set
    }

    pub(super) fn apply(&self, draft: &mut Draft, setting: &Setting) -> Result<(), Failure> {
        match self.does {
            Do(apply) => apply(draft, setting),
            Selects | Nothing => Ok(()),
            Refused(instead) => Err(setting.wrong(instead)),
        }
    }
}

/// `yes` or `no`.
pub(super) fn yes(setting: &Setting) -> Result<bool, Failure> {
    match setting.values[0].as_str() {
        "yes" => Ok(true),
        "no" => Ok(false),
        other => Err(setting.wrong(format!("{other}: not yes or no"))),
    }
}

fn id(draft: &mut Draft, setting: &Setting) -> Result<(), Failure> {
    draft.id.clone_from(&setting.values[0]);
    Ok(())
}

fn kind(draft: &mut Draft, setting: &Setting) -> Result<(), Failure> {
    for word in &setting.values {
        let why = match word.as_str() {
            "UNLISTED" => {
                draft.unlisted = true;
                continue;
            }
            "INTERNAL" => "the services inside xinetd are not here; name a server",
            "RPC" => RPC,
            "TCPMUX" | "TCPMUXPLUS" => "there is no TCPMUX; give the service a port of its own",
            _ => "not one of UNLISTED, INTERNAL, RPC, TCPMUX, TCPMUXPLUS",
        };
        return Err(setting.wrong(format!("{word}: {why}")));
    }
    Ok(())
}

fn socket_type(_: &mut Draft, setting: &Setting) -> Result<(), Failure> {
    let why = match setting.values[0].as_str() {
        "stream" => return Ok(()),
        "dgram" | "raw" | "seqpacket" => "has no connections; only stream is served",
        _ => "not a socket type; only stream is served",
    };
    Err(setting.wrong(format!("{}: {why}", setting.values[0])))
}

fn protocol(_: &mut Draft, setting: &Setting) -> Result<(), Failure> {
    match setting.values[0].as_str() {
        "tcp" => Ok(()),
        other => Err(setting.wrong(format!("{other}: only tcp is served"))),
    }
}

fn wait(_: &mut Draft, setting: &Setting) -> Result<(), Failure> {
    match yes(setting)? {
        false => Ok(()),
        true => Err(setting.wrong(
            "yes: one program for all connections is not served; leave it \
                                   to xinetd or systemd",
        )),
    }
}

fn port(draft: &mut Draft, setting: &Setting) -> Result<(), Failure> {
    let text = &setting.values[0];
    let number = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = if number { text.parse().ok() } else { endpoint::port_of(text) };
    let why = if number { "not from 0 to 65535" } else { "not in /etc/services" };
    draft.port = Some(port.ok_or_else(|| setting.wrong(format!("{text}: {why}")))?);
    Ok(())
}

fn bind(draft: &mut Draft, setting: &Setting) -> Result<(), Failure> {
    if draft.bind.is_some() {
        return Err(setting.wrong("bind and interface are the same"));
    }
    draft.bind = Some(setting.clone());
    Ok(())
}

fn v6only(draft: &mut Draft, setting: &Setting) -> Result<(), Failure> {
    draft.families.v6_only = yes(setting)?;
    Ok(())
}

fn flags(draft: &mut Draft, setting: &Setting) -> Result<(), Failure> {
    for word in &setting.values {
        let why = match word.as_str() {
            "NODELAY" => {
                draft.set(setting, "nodelay", "true")?;
                continue;
            }
            "KEEPALIVE" => {
                draft.set(setting, "keepalive", "true")?;
                continue;
            }
            "NORETRY" => {
                draft.set(setting, "fork_retry", "0")?;
                continue;
            }
            "NAMEINARGS" => {
                draft.name_in_args = true;
                continue;
            }
            "NOLIBWRAP" => {
                draft.no_libwrap = true;
                continue;
            }
            "IPv4" => {
                draft.families.v4 = true;
                continue;
            }
            "IPv6" => {
                draft.families.v6 = true;
                continue;
            }
            // What xinetd does without them as well, and we do.
            "REUSE" => continue,
            "INTERCEPT" => "is for services that wait",
            "IDONLY" => "clients are not asked for the names of their users (RFC 1413)",
            "SENSOR" => "there are no sensors",
            "LABELED" => "contexts of SELinux are not set",
            _ => "no such flag",
        };
        return Err(setting.wrong(format!("{word}: {why}")));
    }
    Ok(())
}

fn server(draft: &mut Draft, setting: &Setting) -> Result<(), Failure> {
    let path = &setting.values[0];
    if !path.contains('/') {
        return Err(setting.wrong(format!("{path}: not a path; it is not looked for in PATH")));
    }
    draft.server = Some(setting.clone());
    Ok(())
}

fn server_args(draft: &mut Draft, setting: &Setting) -> Result<(), Failure> {
    draft.arguments.clone_from(&setting.values);
    Ok(())
}

fn env(draft: &mut Draft, setting: &Setting) -> Result<(), Failure> {
    if setting.operator == Operator::Remove {
        return Err(setting.wrong("takes = and +=, not -="));
    }
    if setting.operator == Operator::Set {
        draft.environment.clear();
    }
    for text in &setting.values {
        let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(setting.wrong(format!("{text}: not NAME=value")));
        };
        draft.environment.push((name.to_owned(), value.to_owned()));
    }
    Ok(())
}

fn passenv(draft: &mut Draft, setting: &Setting) -> Result<(), Failure> {
    let names = draft.pass.get_or_insert_default();
    if setting.operator == Operator::Set {
        names.clear();
    }
    names.retain(|name| !setting.values.contains(name));
    if setting.operator != Operator::Remove {
        names.extend(setting.values.iter().cloned());
    }
    Ok(())
}

fn user(draft: &mut Draft, setting: &Setting) -> Result<(), Failure> {
    draft.user = Some(Account::user(setting)?);
    Ok(())
}

fn group(draft: &mut Draft, setting: &Setting) -> Result<(), Failure> {
    draft.group = Some(Account::group(setting)?);
    Ok(())
}

fn groups(draft: &mut Draft, setting: &Setting) -> Result<(), Failure> {
    draft.groups = yes(setting)?;
    Ok(())
}

/// A number in the unit of setrlimit(2), in which K and M may stand for 1024 and 1024².
fn rlimit(draft: &mut Draft, setting: &Setting, name: &str) -> Result<(), Failure> {
    let text = &setting.values[0];
    let value = if text == "UNLIMITED" { "unlimited".to_owned() } else { text.to_uppercase() };
    let limit = format!("{name}={value}");
    if limit.parse::<forkserve::Rlimits>().is_err() {
        let why = "not a number, which K or M may follow, nor UNLIMITED";
        return Err(setting.wrong(format!("{text}: {why}")));
    }
    draft.rlimits.push(limit);
    let all = draft.rlimits.join(",");
    draft.set(setting, "rlimits", &all)
}

fn instances(draft: &mut Draft, setting: &Setting) -> Result<(), Failure> {
    match setting.values[0].as_str() {
        "UNLIMITED" => Ok(()),
        number => draft.set(setting, "max_children", number),
    }
}

fn per_source(draft: &mut Draft, setting: &Setting) -> Result<(), Failure> {
    match setting.values[0].as_str() {
        "UNLIMITED" => Ok(()),
        "0" => Err(setting.wrong("0: no client could connect; disable = yes says so")),
        number => draft.set(setting, "max_per_source", number),
    }
}

/// `50 10`: 50 connections a second. For how long xinetd would stop listening then is read,
/// and has no effect: the connections above the rate are refused.
fn cps(draft: &mut Draft, setting: &Setting) -> Result<(), Failure> {
    let pause = &setting.values[1];
    if pause.parse::<u32>().is_err() {
        return Err(setting.wrong(format!("{pause}: not a number of seconds")));
    }
    draft.set(setting, "rate", &setting.values[0])
}

const SUCCESS: [&str; 5] = ["PID", "HOST", "USERID", "EXIT", "DURATION"];
const FAILURE: [&str; 3] = ["HOST", "USERID", "ATTEMPT"];

/// What is logged is no choice here: a line has all there is.
fn words(setting: &Setting, known: &[&str]) -> Result<(), Failure> {
    match setting.values.iter().find(|word| !known.contains(&word.as_str())) {
        None => Ok(()),
        Some(word) => Err(setting.wrong(format!("{word}: not one of {}", known.join(", ")))),
    }
}

fn log_type(draft: &mut Draft, setting: &Setting) -> Result<(), Failure> {
    let values: Vec<&str> = setting.values.iter().map(String::as_str).collect();
    draft.log = match values[..] {
        ["FILE", path] => Target::File(PathBuf::from(path)),
        ["FILE", _, ..] => {
            let why = "the size of a file is not limited here; rotate it by logrotate(8)";
            return Err(setting.wrong(why));
        }
        ["SYSLOG", facility] => Target::syslog(setting, facility, "info")?,
        ["SYSLOG", facility, level] => Target::syslog(setting, facility, level)?,
        _ => return Err(setting.wrong("not FILE path, nor SYSLOG facility [level]")),
    };
    Ok(())
}

impl Draft {
    fn clients(list: &mut Option<Vec<String>>, setting: &Setting) -> Result<(), Failure> {
        let list = list.get_or_insert_default();
        if setting.operator == Operator::Set {
            list.clear();
        }
        for value in &setting.values {
            let networks = clients::networks(value);
            let networks = networks.map_err(|why| setting.wrong(format!("{value}: {why}")))?;
            list.retain(|network| !networks.contains(network));
            if setting.operator != Operator::Remove {
                list.extend(networks);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_row_for_each_key() {
        let page = include_str!("../../../../docs/from-xinetd.md");
        for Key { name, .. } in KEYS {
            assert!(
                page.contains(&format!("| `{name}`")) || page.contains(&format!(", `{name}`")),
                "{name}"
            );
        }
    }
}
