//! Resource limits as text: `nofile=64, as=256M, cpu=10`.

use crate::error::Error;
use crate::escape::quoted;
use nix::errno::Errno;
use std::fmt;
use std::str::FromStr;

/// The limits of setrlimit(2) by their names there, in lower case and without RLIMIT_.
const RESOURCES: [(&str, u32); 16] = [
    ("as", libc::RLIMIT_AS),
    ("core", libc::RLIMIT_CORE),
    ("cpu", libc::RLIMIT_CPU),
    ("data", libc::RLIMIT_DATA),
    ("fsize", libc::RLIMIT_FSIZE),
    ("locks", libc::RLIMIT_LOCKS),
    ("memlock", libc::RLIMIT_MEMLOCK),
    ("msgqueue", libc::RLIMIT_MSGQUEUE),
    ("nice", libc::RLIMIT_NICE),
    ("nofile", libc::RLIMIT_NOFILE),
    ("nproc", libc::RLIMIT_NPROC),
    ("rss", libc::RLIMIT_RSS),
    ("rtprio", libc::RLIMIT_RTPRIO),
    ("rttime", libc::RLIMIT_RTTIME),
    ("sigpending", libc::RLIMIT_SIGPENDING),
    ("stack", libc::RLIMIT_STACK),
];

/// Resource limits of a child.
///
/// As text, entries `NAME=VALUE` or `NAME=SOFT:HARD`, separated by commas or white
/// space. The names are those of `setrlimit(2)` in lower case: `as`, `core`, `cpu`,
/// `data`, `fsize`, `locks`, `memlock`, `msgqueue`, `nice`, `nofile`, `nproc`, `rss`,
/// `rtprio`, `rttime`, `sigpending`, `stack`. A value is a number in the unit of
/// `setrlimit(2)`, with K, M, G or T behind it for powers of 1024, or `unlimited`. One
/// value is both limits, the soft and the hard one.
///
/// ```
/// let limits: forkserve::Rlimits = "nofile=64, as=256M, cpu=10:12".parse()?;
/// assert!("nofiles=64".parse::<forkserve::Rlimits>().is_err());
/// # Ok::<(), forkserve::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rlimits(Vec<Rlimit>);

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rlimit {
    pub(crate) name: &'static str,
    pub(crate) resource: u32,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

impl fmt::Display for Rlimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |value| match value {
            libc::RLIM_INFINITY => "unlimited".to_owned(),
            number => number.to_string(),
        };
        let (soft, hard) = (show(self.soft), show(self.hard));
        match self.soft == self.hard {
            true => write!(f, "{}={hard}", self.name),
            false => write!(f, "{}={soft}:{hard}", self.name),
        }
    }
}

impl Rlimits {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Rlimit> {
        self.0.iter()
    }
}

impl FromStr for Rlimits {
    type Err = Error;

    fn from_str(text: &str) -> Result<Rlimits, Error> {
        let between = |c: char| c == ',' || c.is_ascii_whitespace();
        let entries = text.split(between).filter(|entry| !entry.is_empty());
        let mut limits: Vec<Rlimit> = Vec::new();
        for (index, entry) in entries.enumerate() {
            let wrong = |why: &str| {
                let shown: String = entry.chars().take(60).collect();
                let text = format!("entry {}, {}, {why}", index + 1, quoted(&shown));
                Error::new(Errno::EINVAL, text)
            };
            let limit = parse(entry).map_err(|why| wrong(&why))?;
            if limits.iter().any(|other| other.name == limit.name) {
                return Err(wrong("is there twice"));
            }
            limits.push(limit);
        }
        Ok(Rlimits(limits))
    }
}

fn parse(entry: &str) -> Result<Rlimit, String> {
    let (word, values) = entry.split_once('=').ok_or("is not NAME=VALUE")?;
    let known = RESOURCES.iter().find(|(name, _)| *name == word);
    let (name, resource) = known.ok_or("does not begin with the name of a limit")?;
    let (soft, hard) = match values.split_once(':') {
        Some((soft, hard)) => (value(soft)?, value(hard)?),
        None => (value(values)?, value(values)?),
    };
    if soft > hard {
        return Err("has a soft limit above the hard one".to_owned());
    }
    Ok(Rlimit { name, resource: *resource, soft, hard })
}

/// `unlimited` is the largest number, as in `setrlimit(2)`.
fn value(text: &str) -> Result<u64, String> {
    if text == "unlimited" {
        return Ok(libc::RLIM_INFINITY);
    }
    let shift = match text.bytes().last() {
        Some(b'K') => 10,
        Some(b'M') => 20,
        Some(b'G') => 30,
        Some(b'T') => 40,
        _ => 0,
    };
    let digits = if shift > 0 { &text[..text.len() - 1] } else { text };
    let digits = Some(digits).filter(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()));
    let number: Option<u64> = digits.and_then(|digits| digits.parse().ok());
    let value = number.and_then(|number| number.checked_mul(1 << shift));
    value.filter(|value| *value != libc::RLIM_INFINITY).ok_or_else(|| {
        "has a value that is not a number, with K, M, G or T behind it perhaps, or unlimited"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_has_one_value_or_two() {
        let limits: Rlimits =
            "nofile=64, as=256M\tcpu=10:12,core=0 stack=8K:unlimited".parse().unwrap();
        let found: Vec<_> = limits.iter().map(|l| (l.name, l.soft, l.hard)).collect();
        assert_eq!(
            found,
            [
                ("nofile", 64, 64),
                ("as", 256 << 20, 256 << 20),
                ("cpu", 10, 12),
                ("core", 0, 0),
                ("stack", 8192, libc::RLIM_INFINITY),
            ]
        );
        assert_eq!(" , ".parse::<Rlimits>().unwrap(), Rlimits::default());
    }

    #[test]
    fn what_is_wrong_is_shown_with_its_place() {
        let wrong = [
            ("nofile", "entry 1, 'nofile', is not NAME=VALUE"),
            ("core=0 files=3", "entry 2, 'files=3', does not begin with the name of a limit"),
            ("NOFILE=3", "entry 1, 'NOFILE=3', does not begin"),
            ("cpu=2:1", "entry 1, 'cpu=2:1', has a soft limit above the hard one"),
            ("cpu=1, cpu=2", "entry 2, 'cpu=2', is there twice"),
            ("as=16Q", "has a value that is not a number"),
            ("as=-1", "has a value"),
            ("as=", "has a value"),
            ("as=M", "has a value"),
            ("as=18446744073709551615", "has a value"),
            ("as=99999999999999T", "has a value"),
        ];
        for (text, why) in wrong {
            let error = text.parse::<Rlimits>().unwrap_err().to_string();
            assert!(error.contains(&why.replace('\'', "\"")), "{error}");
        }
    }
}
