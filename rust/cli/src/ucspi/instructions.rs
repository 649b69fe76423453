//! The instructions of ipsvd-instruct(5): who may connect, by which program, and what that
//! is told. They are files of a directory, or records of a database that ipsvd-cdb(8) has
//! made of it.

use super::cdb::Cdb;
use super::errno;
use super::lookup;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A directory. What was not read for so long is removed, unless that is 0.
    Directory(PathBuf, Duration),
    Database(PathBuf),
}

impl Place {
    pub(super) fn path(&self) -> &Path {
        match self {
            Place::Directory(path, _) | Place::Database(path) => path,
        }
    }

    /// Whether it can be read now.
    pub(super) fn check(&self) -> io::Result<()> {
        match self {
            Place::Directory(path, _) => fs::read_dir(path).map(drop),
            Place::Database(path) => Cdb::open(path).map(drop),
        }
    }
}

/// What is to be done with a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Action {
    #[default]
    Start,
    /// A command for the shell, in place of the program.
    Exec(Vec<u8>),
    Deny,
}

#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) action: Action,
    /// The file or the record, and where that led.
    pub(super) matched: Vec<u8>,
    /// What stands there, with a NUL or a comma between two instructions.
    pub(super) text: Vec<u8>,
    /// `None`: the program does not have the variable.
    pub(super) variables: Vec<(OsString, Option<OsString>)>,
    /// How many connections the client may have, and what it is told otherwise; 0: no limit.
    pub(super) concurrency: Option<(u32, Option<Vec<u8>>)>,
    pub(super) warnings: Vec<String>,
}

/// Why a client cannot be judged.
pub(super) enum Trouble {
    /// The directory or the database cannot be read.
    Place(io::Error),
    /// What is there for this client.
    Entry(io::Error),
}

/// An entry of the directory or the database.
enum Entry {
    Deny,
    Exec(Vec<u8>),
    /// Lines, with a NUL behind each.
    Lines(Vec<u8>),
}

/// How an entry of instructions ends.
enum End {
    Start,
    Deny,
    /// Another entry decides.
    Forward(Vec<u8>),
}

/// What is said about a client.
pub(super) fn judge(place: &Place, ip: IpAddr, host: Option<&str>) -> Result<Verdict, Trouble> {
    let source = Source::open(place).map_err(Trouble::Place)?;
    let mut verdict = Verdict::default();
    for key in keys(&ip.to_string(), host) {
        let entry = source.entry(key.as_bytes(), &mut verdict.warnings);
        if let Some(entry) = entry.map_err(Trouble::Entry)? {
            verdict.matched = source.name(key.as_bytes());
            verdict.follow(&source, entry, ip).map_err(Trouble::Entry)?;
            break;
        }
    }
    Ok(verdict)
}

/// The names of entries, from the narrowest to the widest; the first that is there counts.
fn keys(ip: &str, host: Option<&str>) -> Vec<String> {
    let mut keys = vec![ip.to_owned()];
    let mut prefix = ip;
    while let Some((shorter, _)) = prefix.rsplit_once('.') {
        prefix = shorter;
        keys.push(prefix.to_owned());
    }
    let mut rest = host.unwrap_or_default();
    // A name that comes from DNS is not to lead out of the directory.
    while !rest.is_empty() && !rest.starts_with('.') && !rest.contains('/') {
        keys.push(rest.to_owned());
        rest = rest.split_once('.').map_or("", |(_, rest)| rest);
    }
    keys.push("0".to_owned());
    keys
}

impl Verdict {
    fn follow(&mut self, source: &Source, entry: Entry, ip: IpAddr) -> io::Result<()> {
        let lines = match entry {
            Entry::Deny => {
                self.action = Action::Deny;
                return Ok(());
            }
            Entry::Exec(command) => {
                self.text.clone_from(&command);
                self.action = Action::Exec(command);
                return Ok(());
            }
            Entry::Lines(lines) => lines,
        };
        let forward = match self.obey(lines, Some(ip)) {
            End::Start => return Ok(()),
            End::Deny => {
                self.action = Action::Deny;
                return Ok(());
            }
            End::Forward(name) => name,
        };
        self.matched.extend([&b","[..], &forward].concat());
        match source.entry(&forward, &mut self.warnings)? {
            Some(Entry::Exec(command)) => {
                self.text.clone_from(&command);
                self.action = Action::Exec(command);
            }
            Some(Entry::Lines(lines)) => {
                if let Some(last) = self.text.last_mut() {
                    *last = b',';
                }
                self.obey(lines, None);
            }
            Some(Entry::Deny) => self.action = Action::Deny,
            None => {
                let matched = String::from_utf8_lossy(&self.matched);
                self.warnings.push(format!("{matched}: not found"));
                self.action = Action::Deny;
            }
        }
        Ok(())
    }

    /// Without `ip`, hosts are not asked for.
    fn obey(&mut self, lines: Vec<u8>, ip: Option<IpAddr>) -> End {
        let mut end = End::Start;
        let mut done = 0;
        for line in lines.split_inclusive(|byte| *byte == 0) {
            done += line.len();
            let line = line.strip_suffix(b"\0").unwrap_or(line);
            let Some((kind, rest)) = line.split_first() else { continue };
            match kind {
                b'+' => self.set(rest),
                b'C' => self.concurrency(rest),
                b'=' => {
                    let Some(ip) = ip else { continue };
                    let mut parts = rest.splitn(2, |byte| *byte == b':');
                    let host = parts.next().unwrap_or_default();
                    end = End::Deny;
                    if self.is_host(host, ip) {
                        end = match parts.next().filter(|name| !name.is_empty()) {
                            Some(name) => End::Forward(name.to_vec()),
                            None => End::Start,
                        };
                        break;
                    }
                }
                b'#' => {}
                _ => {
                    let [matched, line] = [&self.matched[..], line].map(String::from_utf8_lossy);
                    self.warnings.push(format!("bad instruction: {matched}: {line}"));
                }
            }
        }
        self.text.extend(&lines[..done]);
        end
    }

    fn set(&mut self, variable: &[u8]) {
        let at = variable.iter().position(|byte| *byte == b'=');
        let name = &variable[..at.unwrap_or(variable.len())];
        if name.is_empty() {
            return;
        }
        let text = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
        self.variables.push((text(name), at.map(|at| text(&variable[at + 1..]))));
    }

    fn concurrency(&mut self, text: &[u8]) {
        let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = String::from_utf8_lossy(&text[..digits]).parse();
        let number = number.unwrap_or(if digits == 0 { 0 } else { u32::MAX });
        let before = self.concurrency.take().and_then(|(_, message)| message);
        let message = text[digits..].strip_prefix(b":").map(message);
        self.concurrency = Some((number, message.or(before)));
    }

    fn is_host(&mut self, host: &[u8], ip: IpAddr) -> bool {
        if host == b"0" {
            return true;
        }
        let host = String::from_utf8_lossy(host);
        match lookup::addresses(&host) {
            Ok(found) if found.is_empty() => {
                self.warnings.push(format!("unable to look up ip address: {host}"));
                false
            }
            Ok(found) => found.contains(&ip),
            Err(reason) => {
                self.warnings.push(format!("unable to look up ip address: {host}: {reason}"));
                false
            }
        }
    }
}

/// A message, in which `\n`, `\r` and `\\` stand for what they do in C.
pub(super) fn message(text: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => match bytes.next() {
                Some(b'n') => message.push(b'\n'),
                Some(b'r') => message.push(b'\r'),
                Some(b'\\') => message.push(b'\\'),
                Some(other) => message.extend([b'\\', *other]),
                None => {}
            },
            byte => message.push(*byte),
        }
    }
    message
}

enum Source<'a> {
    Directory(&'a Path, Duration),
    Database(Cdb),
}

impl Source<'_> {
    fn open(place: &Place) -> io::Result<Source<'_>> {
        match place {
            Place::Directory(path, limit) => {
                fs::metadata(path)?;
                Ok(Source::Directory(path, *limit))
            }
            Place::Database(path) => Cdb::open(path).map(Source::Database),
        }
    }

    /// What an entry is called in the log.
    fn name(&self, key: &[u8]) -> Vec<u8> {
        match self {
            Source::Directory(path, _) => [path.as_os_str().as_bytes(), b"/", key].concat(),
            Source::Database(_) => key.to_vec(),
        }
    }

    fn entry(&self, key: &[u8], warnings: &mut Vec<String>) -> io::Result<Option<Entry>> {
        match self {
            Source::Directory(_, limit) => {
                let name = self.name(key);
                file(Path::new(OsStr::from_bytes(&name)), *limit, warnings)
            }
            Source::Database(cdb) => {
                let Some(mut data) = cdb.find(key)? else { return Ok(None) };
                match data.pop() {
                    Some(b'D') => Ok(Some(Entry::Deny)),
                    Some(b'X') => Ok(Some(Entry::Exec(data))),
                    Some(b'I') => {
                        data.push(0);
                        Ok(Some(Entry::Lines(data)))
                    }
                    Some(_) => Ok(None),
                    None => Err(io::Error::from_raw_os_error(libc::EPROTO)),
                }
            }
        }
    }
}

fn file(path: &Path, limit: Duration, warnings: &mut Vec<String>) -> io::Result<Option<Entry>> {
    let about = match fs::metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let may = |bit: u32| about.mode() & bit != 0;
    if may(libc::S_IWUSR) && is_over(about.accessed()?, limit) {
        if let Err(error) = fs::remove_file(path) {
            let text = errno::text(&error);
            warnings.push(format!("unable to unlink: {}: {text}", path.display()));
        }
        return Ok(None);
    }
    if !may(libc::S_IRUSR) && !may(libc::S_IXUSR) {
        return Ok(Some(Entry::Deny));
    }
    let mut data = fs::read(path)?;
    if data.last() == Some(&b'\n') {
        data.pop();
    }
    if may(libc::S_IXUSR) {
        return Ok(Some(Entry::Exec(data)));
    }
    data.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = 0);
    data.push(0);
    Ok(Some(Entry::Lines(data)))
}

fn is_over(since: SystemTime, limit: Duration) -> bool {
    let age = SystemTime::now().duration_since(since);
    // Whole seconds, as the file has them. One of the future has no age.
    !limit.is_zero() && age.is_ok_and(|age| age >= limit)
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Place(error) | Trouble::Entry(error) => f.write_str(&errno::text(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_entry_comes_first() {
        let expected = ["10.1.2.3", "10.1.2", "10.1", "10", "a.b.org", "b.org", "org", "0"];
        assert_eq!(keys("10.1.2.3", Some("a.b.org")), expected);
        assert_eq!(keys("::1", None), ["::1", "0"]);
        assert_eq!(keys("10", Some("../x")), ["10", "0"]);
        assert_eq!(keys("10", Some("a/../../x")), ["10", "0"]);
    }

    #[test]
    fn a_message_has_escapes() {
        assert_eq!(message(b"a\\nb\\r\\\\c\\d\\"), b"a\nb\r\\c\\d");
    }

    fn obeyed(lines: &str) -> (Verdict, bool) {
        let mut verdict = Verdict { matched: b"10".to_vec(), ..Verdict::default() };
        let lines = lines.replace('\n', "\0").into_bytes();
        let end = verdict.obey(lines, Some("127.0.0.1".parse().expect("an address")));
        (verdict, matches!(end, End::Start))
    }

    #[test]
    fn lines_are_obeyed_one_after_the_other() {
        let (verdict, start) = obeyed("+A=1\n\n# note\n+B\n+=x\nC3:no\\n\nC2\nhm\n");
        assert!(start);
        let variables = [("A".into(), Some("1".into())), ("B".into(), None)];
        assert_eq!(verdict.variables, variables);
        assert_eq!(verdict.concurrency, Some((2, Some(b"no\n".to_vec()))));
        assert_eq!(verdict.warnings, ["bad instruction: 10: hm"]);
    }

    #[test]
    fn a_host_ends_the_lines_or_none_is_served() {
        let (verdict, start) = obeyed("+A=1\n=127.0.0.2\n=127.0.0.1\n+B=1\n");
        assert!(start);
        assert_eq!(verdict.variables.len(), 1);
        assert_eq!(verdict.text, b"+A=1\0=127.0.0.2\0=127.0.0.1\0");
        let (_, start) = obeyed("=127.0.0.2\n+B=1\n");
        assert!(!start);
    }
}
