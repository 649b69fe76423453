//! The text of a configuration of xinetd: entries, and the settings in them.
//!
//! ```text
//! defaults
//! {
//!     instances = 60
//! }
//!
//! service ftp
//! {
//!     server    = /usr/sbin/in.ftpd
//!     only_from += 192.0.2.0
//! }
//!
//! includedir /etc/xinetd.d
//! ```

use crate::failure::Failure;
use crate::output::printable;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What a file may have: a configuration is small, and a device has no end.
const MOST: u64 = 4 << 20;

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    file: Rc<Path>,
    pub(super) line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", printable(&self.file.to_string_lossy()), self.line)
    }
}

impl Place {
    /// What is wrong there. `why` names its subject.
    pub(super) fn wrong(&self, why: impl fmt::Display) -> Failure {
        Failure::usage(format!("{self}: {}", printable(&why.to_string())))
    }

    /// What the system says of `subject`.
    pub(super) fn fails(&self, key: &str, subject: &str, error: &io::Error) -> Failure {
        Failure::of(format!("{self}: {key}: {}", printable(subject)), reason(error))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Set,
    Add,
    Remove,
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operator::Set => "=",
            Operator::Add => "+=",
            Operator::Remove => "-=",
        })
    }
}

/// `key = value value`.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) place: Place,
    pub(super) key: String,
    pub(super) operator: Operator,
    pub(super) values: Vec<String>,
}

impl Setting {
    pub(super) fn wrong(&self, why: impl fmt::Display) -> Failure {
        self.place.wrong(format!("{}: {why}", self.key))
    }

    /// What the system says of `subject`.
    pub(super) fn fails(&self, subject: &str, error: &io::Error) -> Failure {
        self.place.fails(&self.key, subject, error)
    }

    /// The same, with the operator that adds to a list.
    pub(super) fn adding(&self) -> Setting {
        let operator = match self.operator {
            Operator::Remove => Operator::Remove,
            Operator::Set | Operator::Add => Operator::Add,
        };
        Setting { operator, ..self.clone() }
    }
}

/// A service, or the defaults.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) place: Place,
    /// `None`: the defaults.
    pub(super) service: Option<String>,
    pub(super) settings: Vec<Setting>,
}

/// The entries of a file, or of each file of a folder, and of what they include.
pub(super) fn read(path: &Path) -> Result<Vec<Entry>, Failure> {
    let mut reader = Reader::default();
    match path.is_dir() {
        true => reader.folder(path)?,
        false => reader.file(path)?,
    }
    Ok(reader.entries)
}

#[derive(Default)]
struct Reader {
    entries: Vec<Entry>,
    /// The files that are being read, each included by the one before it.
    open: Vec<PathBuf>,
}

impl Reader {
    /// As xinetd: in the order of their names, without those that have a dot or end with
    /// `~`, and regular files only.
    fn folder(&mut self, folder: &Path) -> Result<(), Failure> {
        let fail = |error| cannot_read(folder, &error);
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).map_err(fail)? {
            names.push(entry.map_err(fail)?.file_name());
        }
        names.sort();
        for name in names {
            let text = name.to_string_lossy();
            let path = folder.join(&name);
            if !text.contains('.') && !text.ends_with('~') && path.is_file() {
                self.file(&path)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) -> Result<(), Failure> {
        let fail = |error| cannot_read(path, &error);
        let whole = path.canonicalize().map_err(fail)?;
        if self.open.contains(&whole) {
            let shown = printable(&path.to_string_lossy());
            return Err(Failure::usage(format!("{shown}: includes itself")));
        }
        let mut bytes = Vec::new();
        File::open(path).map_err(fail)?.take(MOST + 1).read_to_end(&mut bytes).map_err(fail)?;
        if bytes.len() as u64 > MOST {
            let shown = printable(&path.to_string_lossy());
            return Err(Failure::usage(format!("{shown}: larger than {} MiB", MOST >> 20)));
        }
        self.open.push(whole);
        self.parse(path, &bytes)?;
        self.open.pop();
        Ok(())
    }

    fn parse(&mut self, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
        let lines = lines(path, bytes)?;
        let mut lines = lines.iter();
        while let Some(line) = lines.next() {
            let mut words = line.text.split_ascii_whitespace();
            let word = words.next().unwrap_or_default();
            let mut name = || match (words.next(), words.next()) {
                (Some(name), None) => Ok(name),
                _ => Err(line.place.wrong(format!("{word} takes one name"))),
            };
            match word {
                "include" => self.file(Path::new(name()?))?,
                "includedir" => self.folder(Path::new(name()?))?,
                "defaults" if line.text == word => {
                    self.entries.push(entry(line, None, &mut lines)?);
                }
                "service" => {
                    let service = Some(name()?.to_owned());
                    self.entries.push(entry(line, service, &mut lines)?);
                }
                _ => {
                    let expected = "service NAME, defaults, include FILE or includedir FOLDER";
                    return Err(line.place.wrong(format!("{word}: not one of {expected}")));
                }
            }
        }
        Ok(())
    }
}

/// What is between the braces.
fn entry<'a>(
    head: &Line<'_>,
    service: Option<String>,
    lines: &mut impl Iterator<Item = &'a Line<'a>>,
) -> Result<Entry, Failure> {
    let word = if service.is_some() { "service" } else { "defaults" };
    match lines.next() {
        Some(brace) if brace.text == "{" => {}
        other => {
            let place = other.map_or(&head.place, |line| &line.place);
            return Err(place.wrong(format!("{word}: needs a line with {{ alone after it")));
        }
    }
    let mut settings = Vec::new();
    loop {
        match lines.next() {
            Some(brace) if brace.text == "}" => break,
            Some(line) => settings.push(setting(line)?),
            None => return Err(head.place.wrong(format!("{word}: no line with }} ends it"))),
        }
    }
    Ok(Entry { place: head.place.clone(), service, settings })
}

fn cannot_read(path: &Path, error: &io::Error) -> Failure {
    Failure::of(printable(&path.to_string_lossy()), reason(error))
}

fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(errno) => forkserve::strerror(errno).to_owned(),
        None => error.to_string(),
    }
}

/// A line that is neither empty nor a comment.
struct Line<'a> {
    place: Place,
    text: &'a str,
}

fn lines<'a>(path: &Path, bytes: &'a [u8]) -> Result<Vec<Line<'a>>, Failure> {
    let file: Rc<Path> = path.into();
    let mut found = Vec::new();
    for (index, bytes) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let place = Place { file: Rc::clone(&file), line: index + 1 };
        let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
        if matches!(first, None | Some(b'#')) {
            continue;
        }
        let text = match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => text.trim_ascii(),
            Ok(_) => return Err(place.wrong("a NUL byte")),
            Err(_) => return Err(place.wrong("not UTF-8")),
        };
        found.push(Line { place, text });
    }
    Ok(found)
}

/// As in xinetd there is a space before the operator, and need not be one after it.
fn setting(line: &Line<'_>) -> Result<Setting, Failure> {
    let wrong = |key: &str| line.place.wrong(format!("{key}: needs a space and =, += or -="));
    let Some((key, rest)) = line.text.split_once(|c: char| c.is_ascii_whitespace()) else {
        return Err(wrong(line.text.split('=').next().unwrap_or_default()));
    };
    let rest = rest.trim_ascii_start();
    let operators =
        [("=", Operator::Set), ("+=", Operator::Add), ("-=", Operator::Remove)].into_iter();
    let mut found = operators.filter_map(|(text, op)| Some((op, rest.strip_prefix(text)?)));
    let (operator, values) = found.next().ok_or_else(|| wrong(key))?;
    if key.contains('=') {
        return Err(wrong(key));
    }
    Ok(Setting {
        place: line.place.clone(),
        key: key.to_owned(),
        operator,
        values: values.split_ascii_whitespace().map(str::to_owned).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<Entry>, String> {
        let mut reader = Reader::default();
        match reader.parse(Path::new("conf"), text.as_bytes()) {
            Ok(()) => Ok(reader.entries),
            Err(Failure::Usage(line) | Failure::System(line)) => Err(line),
            Err(Failure::Closed) => Err(String::new()),
        }
    }

    #[test]
    fn an_entry_has_settings_with_their_lines() {
        let text = "# x\n\ndefaults\n{\n  # y\n\tcps = 25 30\r\n}\nservice a\n{\nenv +=A=1 B=\n}\n";
        let entries = parsed(text).expect("entries");
        assert_eq!(entries.len(), 2);
        let cps = &entries[0].settings[0];
        assert_eq!((cps.key.as_str(), cps.operator, cps.place.line), ("cps", Operator::Set, 6));
        assert_eq!(cps.values, ["25", "30"]);
        assert_eq!(entries[1].service.as_deref(), Some("a"));
        let env = &entries[1].settings[0];
        assert_eq!((env.operator, env.place.to_string()), (Operator::Add, "conf:10".to_owned()));
        assert_eq!(env.values, ["A=1", "B="]);
    }

    #[test]
    fn what_is_no_entry_is_named_with_its_line() {
        for (text, wrong) in [
            ("port = 1\n", "conf:1: port: not one of service NAME"),
            ("service\n{\n}\n", "conf:1: service takes one name"),
            ("service a b\n{\n}\n", "conf:1: service takes one name"),
            ("service a {\n}\n", "conf:1: service takes one name"),
            ("service a\nport = 1\n}\n", "conf:2: service: needs a line with { alone"),
            ("\nservice a\n", "conf:2: service: needs a line with { alone"),
            ("service a\n{\nport = 1\n", "conf:1: service: no line with } ends it"),
            ("service a\n{\nport 1\n}\n", "conf:3: port: needs a space and ="),
            ("service a\n{\nport=1\n}\n", "conf:3: port: needs a space and ="),
            ("service a\n{\nport\n}\n", "conf:3: port: needs a space and ="),
            ("include /nowhere/x\n", "/nowhere/x: No such file or directory"),
            ("include\n", "conf:1: include takes one name"),
            ("service a\0\n", "conf:1: a NUL byte"),
        ] {
            let line = parsed(text).expect_err(text);
            assert!(line.starts_with(wrong), "{line}");
        }
    }
}
