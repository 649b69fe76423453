//! The rules of tcprules(1): who may connect, and what the program is told.

use super::cdb::Cdb;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;

/// What is known of a client.
pub(super) struct Client<'a> {
    pub(super) ip: &'a str,
    pub(super) host: Option<&'a str>,
    pub(super) info: Option<&'a [u8]>,
}

/// A rule: no more than that the client is served, if nothing else is said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) deny: bool,
    pub(super) variables: Vec<(OsString, OsString)>,
}

/// The rule for a client: the first that there is, from the narrowest to the widest.
pub(super) fn rule(rules: &Cdb, client: &Client<'_>) -> io::Result<Rule> {
    for key in keys(client) {
        if let Some(data) = rules.find(&key)? {
            return Ok(parse(&data));
        }
    }
    Ok(Rule::default())
}

fn keys(client: &Client<'_>) -> Vec<Vec<u8>> {
    let ip = client.ip.as_bytes();
    let host = client.host.map(str::as_bytes);
    let mut keys = Vec::new();
    if let Some(info) = client.info {
        keys.push([info, b"@", ip].concat());
        keys.extend(host.map(|host| [info, b"@=", host].concat()));
    }
    keys.push(ip.to_vec());
    keys.extend(host.map(|host| [b"=", host].concat()));
    let ends = (1..=ip.len()).rev().filter(|end| b".:".contains(&ip[end - 1]));
    keys.extend(ends.map(|end| ip[..end].to_vec()));
    if let Some(host) = host {
        let dots = (0..host.len()).filter(|at| host[*at] == b'.');
        keys.extend(dots.map(|at| [b"=", &host[at..]].concat()));
        keys.push(b"=".to_vec());
    }
    keys.push(Vec::new());
    keys
}

/// Instructions, each with a NUL behind it: `D`, and `+NAME=VALUE`.
fn parse(data: &[u8]) -> Rule {
    let mut rule = Rule::default();
    for instruction in data.split_inclusive(|byte| *byte == 0) {
        let Some((0, instruction)) = instruction.split_last() else { break };
        match instruction.split_first() {
            Some((b'D', _)) => rule.deny = true,
            Some((b'+', variable)) => {
                if let Some(at) = variable.iter().position(|byte| *byte == b'=') {
                    let [name, value] = [&variable[..at], &variable[at + 1..]]
                        .map(|bytes| OsStr::from_bytes(bytes).to_owned());
                    rule.variables.push((name, value));
                }
            }
            _ => {}
        }
    }
    rule
}

#[cfg(test)]
mod tests {
    use super::super::cdb::tests::make;
    use super::*;

    fn texts(client: Client<'_>) -> Vec<String> {
        let texts = keys(&client).into_iter().map(|key| String::from_utf8(key).expect("text"));
        texts.collect()
    }

    #[test]
    fn the_narrowest_rule_comes_first() {
        let (ip, host) = ("86.75.30.9", Some("one.two.three"));
        assert_eq!(
            texts(Client { ip, host, info: Some(b"xyz") }),
            [
                "xyz@86.75.30.9",
                "xyz@=one.two.three",
                "86.75.30.9",
                "=one.two.three",
                "86.75.30.",
                "86.75.",
                "86.",
                "=.two.three",
                "=.three",
                "=",
                ""
            ]
        );
        assert_eq!(
            texts(Client { ip: "10.0.0.1", host: None, info: Some(b"") }),
            ["@10.0.0.1", "10.0.0.1", "10.0.0.", "10.0.", "10.", ""]
        );
        assert_eq!(
            texts(Client { ip: "2001:db8::1", host: None, info: None }),
            ["2001:db8::1", "2001:db8::", "2001:db8:", "2001:", ""]
        );
    }

    #[test]
    fn a_rule_denies_or_sets_variables() {
        let path = make("rules.cdb", &[(b"10.", b"D\0+A=1=2\0+B=\0"), (b"", b"")]);
        let rules = Cdb::open(&path).expect("a database");
        let of = |ip| rule(&rules, &Client { ip, host: None, info: None }).expect("read");
        let variables = vec![("A".into(), "1=2".into()), ("B".into(), "".into())];
        assert_eq!(of("10.0.0.1"), Rule { deny: true, variables });
        assert_eq!(of("11.0.0.1"), Rule::default());
        std::fs::remove_file(path).expect("removed");
    }
}
