//! A value that an option cannot have.

use std::fmt;
use std::time::Duration;

/// How much of what. A binding shows it in its own unit.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// A number without a unit.
    Number(u64),
    /// A number that can be negative.
    Signed(i32),
    /// A time.
    Time(Duration),
    /// The length of a text.
    Bytes(usize),
    /// The permissions of a file.
    Mode(u32),
}

/// An option and the range that its value is out of.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The name of the option as [`Options`](crate::Options) has it.
    pub name: &'static str,
    /// Its value.
    pub value: Amount,
    /// The least that it can be.
    pub least: Amount,
    /// The most.
    pub most: Amount,
    /// The option that says what the most is, if another does.
    pub other: Option<&'static str>,
}

/// Looks at one option after the other, and keeps the first misfit. Its methods
/// are functions of their own: there are many options.
#[derive(Default)]
pub(super) struct Check(pub(super) Option<Misfit>);

impl Check {
    #[inline(never)]
    pub(super) fn number(&mut self, name: &'static str, value: u32, least: u32, most: u32) {
        if !(least..=most).contains(&value) {
            let [value, least, most] = [value, least, most].map(|n| Amount::Number(n.into()));
            self.keep(Misfit { name, value, least, most, other: None });
        }
    }

    /// The range in milliseconds.
    #[inline(never)]
    pub(super) fn time(&mut self, name: &'static str, value: Duration, least: u64, most: u64) {
        let [least, most] = [least, most].map(Duration::from_millis);
        if !(least..=most).contains(&value) {
            let [value, least, most] = [value, least, most].map(Amount::Time);
            self.keep(Misfit { name, value, least, most, other: None });
        }
    }

    #[inline(never)]
    pub(super) fn mode(&mut self, name: &'static str, value: Option<u32>) {
        if let Some(value @ 0o1000..) = value {
            let [value, least, most] = [value, 0, 0o777].map(Amount::Mode);
            self.keep(Misfit { name, value, least, most, other: None });
        }
    }

    #[inline(never)]
    pub(super) fn bytes(&mut self, name: &'static str, value: usize, most: usize) {
        if value > most {
            let [value, least, most] = [value, 0, most].map(Amount::Bytes);
            self.keep(Misfit { name, value, least, most, other: None });
        }
    }

    #[inline(never)]
    pub(super) fn signed(&mut self, name: &'static str, value: i32, least: i32, most: i32) {
        if !(least..=most).contains(&value) {
            let [value, least, most] = [value, least, most].map(Amount::Signed);
            self.keep(Misfit { name, value, least, most, other: None });
        }
    }

    fn keep(&mut self, misfit: Misfit) {
        self.0.get_or_insert(misfit);
    }
}

impl Misfit {
    /// The error's text, with the amounts as the caller writes them, and what the
    /// caller's names of times end with.
    pub fn describe(&self, times: &str, show: fn(Amount) -> String) -> String {
        let [value, least, most] = [self.value, self.least, self.most].map(show);
        let end = if matches!(self.value, Amount::Time(_)) { times } else { "" };
        let of = self.name;
        match (self.other, self.value) {
            (Some(other), _) => format!("{of}{end}: {value} is more than {other}{end}, {most}"),
            (None, Amount::Bytes(_)) => format!("{of}: {value} bytes are more than {most}"),
            _ => format!("{of}{end}: {value} is not in the range {least} to {most}"),
        }
    }
}

/// Without a unit, times in milliseconds.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = match *self {
            Amount::Signed(number) => return number.fmt(f),
            Amount::Number(number) => number,
            Amount::Time(time) => time.as_millis() as u64,
            Amount::Bytes(bytes) => bytes as u64,
            // As Rust and Python write it.
            Amount::Mode(mode) => return write!(f, "{mode:#o}"),
        };
        number.fmt(f)
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |amount| match amount {
            Amount::Time(_) => format!("{amount} ms"),
            _ => amount.to_string(),
        };
        f.write_str(&self.describe("", show))
    }
}
