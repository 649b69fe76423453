//! Keyword arguments to the options of the core.
//!
//! A value of the wrong type is a TypeError, one out of its range a ValueError;
//! both name the option and show the value. Times are seconds.

use crate::tls::Tls;
use forkserve::{Amount, Choice, CidrList, Options};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyInt, PyString};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// The longest time, in milliseconds.
const MAX_TIME: u64 = 1_000_000_000_000;

/// Default of `handshake_timeout`.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// An argument that was given, with the name that errors show.
pub(crate) struct Argument<'a, 'py>(pub(crate) &'a str, pub(crate) &'a Bound<'py, PyAny>);

/// What the keyword arguments of `Server` say.
pub(crate) struct Settings {
    pub(crate) core: Options,
    pub(crate) observer: Option<Py<PyAny>>,
    pub(crate) tls: Option<Tls>,
    pub(crate) gc_freeze: bool,
}

impl Argument<'_, '_> {
    /// A TypeError: what was wanted, and what the value is instead.
    fn wrong_type(&self, wanted: &str) -> PyErr {
        let got = self.1.get_type().name().map_or_else(|_| "?".into(), |name| name.to_string());
        PyTypeError::new_err(format!("{}: expected {wanted}, got {got}", self.0))
    }

    /// A ValueError: the value, and what it is not.
    fn wrong_value(&self, wanted: &str) -> PyErr {
        let got = self.1.repr().map_or_else(|_| "?".into(), |repr| repr.to_string());
        PyValueError::new_err(format!("{}: {got} is not {wanted}", self.0))
    }

    pub(crate) fn number(&self, least: u32, most: u32) -> PyResult<u32> {
        if !self.1.is_instance_of::<PyInt>() || self.1.is_instance_of::<PyBool>() {
            return Err(self.wrong_type("an int"));
        }
        match self.1.extract::<u32>() {
            Ok(value) if (least..=most).contains(&value) => Ok(value),
            _ => Err(self.wrong_value(&format!("in the range {least} to {most}"))),
        }
    }

    /// A number that can be negative.
    fn signed(&self, least: i32, most: i32) -> PyResult<i32> {
        self.integer(least, most, "an int")
    }

    /// Such a number or None.
    fn setting(&self, least: i32, most: i32) -> PyResult<Option<i32>> {
        if self.1.is_none() {
            return Ok(None);
        }
        self.integer(least, most, "an int or None").map(Some)
    }

    fn integer(&self, least: i32, most: i32, wanted: &str) -> PyResult<i32> {
        if !self.1.is_instance_of::<PyInt>() || self.1.is_instance_of::<PyBool>() {
            return Err(self.wrong_type(wanted));
        }
        match self.1.extract::<i32>() {
            Ok(value) if (least..=most).contains(&value) => Ok(value),
            _ => Err(self.wrong_value(&format!("in the range {least} to {most}"))),
        }
    }

    /// A text that stands for a value.
    fn text<T: FromStr<Err = forkserve::Error>>(&self) -> PyResult<T> {
        let text = self.1.cast::<PyString>().map_err(|_| self.wrong_type("a str"))?;
        let parsed = text.to_cow()?.parse();
        parsed.map_err(|error: T::Err| PyValueError::new_err(format!("{}: {error}", self.0)))
    }

    /// Several paths, or a text with colons between them, as PATH has it.
    fn paths(&self) -> PyResult<Vec<PathBuf>> {
        const WANTED: &str = "paths as a str, or several of them";
        if let Ok(text) = self.1.cast::<PyString>() {
            let parts = text.call_method1("split", (":",))?;
            let parts = parts
                .try_iter()?
                .filter(|p| p.as_ref().map_or(true, |p| p.is_truthy().unwrap_or(true)));
            return parts
                .map(|part| Ok(Argument(self.0, &part?).path()?.unwrap_or_default()))
                .collect();
        }
        if self.1.is_instance_of::<PyBytes>() {
            return Err(self.wrong_type(WANTED));
        }
        let mut paths = Vec::new();
        for path in self.1.try_iter().map_err(|_| self.wrong_type(WANTED))? {
            let path = path?;
            let path = Argument(self.0, &path);
            paths.push(path.path()?.ok_or_else(|| path.wrong_type("a path"))?);
        }
        Ok(paths)
    }

    /// A path as `open` takes it, or None.
    fn path(&self) -> PyResult<Option<PathBuf>> {
        if self.1.is_none() {
            return Ok(None);
        }
        let encoded = self.1.py().import("os")?.call_method1("fsencode", (self.1,));
        let encoded = encoded.map_err(|_| self.wrong_type("a path or None"))?;
        let bytes = encoded.cast::<PyBytes>().map_err(|_| self.wrong_type("a path or None"))?;
        let bytes = bytes.as_bytes();
        if bytes.is_empty() || bytes.contains(&0) {
            return Err(self.wrong_value("a path"));
        }
        Ok(Some(OsStr::from_bytes(bytes).into()))
    }

    pub(crate) fn flag(&self) -> PyResult<bool> {
        self.1.cast::<PyBool>().map(|flag| flag.is_true()).map_err(|_| self.wrong_type("a bool"))
    }

    /// A time, in seconds; `least` and `most` in milliseconds.
    fn time(&self, least: u64, most: u64) -> PyResult<Duration> {
        self.duration(least, most, "seconds")
    }

    /// Seconds, or None for no limit.
    pub(crate) fn seconds_or_none(&self) -> PyResult<Option<Duration>> {
        self.limit(-1, MAX_TIME)
    }

    /// Some time, or None. Where that is 0 in C, there is no time of 0.
    fn limit(&self, none: i64, most: u64) -> PyResult<Option<Duration>> {
        if self.1.is_none() {
            return Ok(None);
        }
        match self.duration(0, most, "seconds, or None for no limit")? {
            Duration::ZERO if none == 0 => Err(self.wrong_value("more than 0 seconds, or None")),
            time => Ok(Some(time)),
        }
    }

    fn duration(&self, least: u64, most: u64, wanted: &str) -> PyResult<Duration> {
        let number = self.1.is_instance_of::<PyInt>() || self.1.is_instance_of::<PyFloat>();
        if !number || self.1.is_instance_of::<PyBool>() {
            return Err(self.wrong_type(wanted));
        }
        let [least, most] = [least, most].map(|ms| ms as f64 / 1000.0);
        // An int too large for a float is too large for us as well.
        match self.1.extract::<f64>().ok().filter(|seconds| (least..=most).contains(seconds)) {
            Some(seconds) => Ok(Duration::from_secs_f64(seconds)),
            None => Err(self.wrong_value(&format!("in the range {least} to {most} {wanted}"))),
        }
    }

    /// One text, or several, also as objects of the module `ipaddress`.
    fn networks(&self) -> PyResult<CidrList> {
        const WANTED: &str = "networks as a str, or several of them";
        let list = if let Ok(text) = self.1.cast::<PyString>() {
            text.to_cow()?.parse()
        } else {
            let mut entries = Vec::new();
            for entry in self.1.try_iter().map_err(|_| self.wrong_type(WANTED))? {
                let entry = entry?;
                let class = entry.get_type();
                if !entry.is_instance_of::<PyString>() && class.module()? != "ipaddress" {
                    return Err(Argument(self.0, &entry).wrong_type(WANTED));
                }
                entries.push(entry.str()?.to_cow()?.into_owned());
            }
            CidrList::new(entries)
        };
        list.map_err(|error| PyValueError::new_err(format!("{}: {error}", self.0)))
    }

    fn exit_statuses(&self) -> PyResult<Vec<u8>> {
        let entries = self.1.try_iter().map_err(|_| self.wrong_type("ints from 0 to 255"))?;
        let status = |entry: PyResult<Bound<'_, PyAny>>| {
            Argument(self.0, &entry?).number(0, 255).map(|status| status as u8)
        };
        entries.map(status).collect()
    }

    fn bytes(&self, most: usize) -> PyResult<Vec<u8>> {
        let bytes = if let Ok(bytes) = self.1.cast::<PyBytes>() {
            bytes.as_bytes().to_vec()
        } else if let Ok(bytes) = self.1.cast::<PyByteArray>() {
            bytes.to_vec()
        } else {
            return Err(self.wrong_type("bytes"));
        };
        if bytes.len() > most {
            let text = format!("{}: {} bytes are more than {most}", self.0, bytes.len());
            return Err(PyValueError::new_err(text));
        }
        Ok(bytes)
    }

    /// The permissions of a file, or None.
    fn mode(&self) -> PyResult<Option<u32>> {
        if self.1.is_none() {
            return Ok(None);
        }
        if !self.1.is_instance_of::<PyInt>() || self.1.is_instance_of::<PyBool>() {
            return Err(self.wrong_type("an int or None"));
        }
        match self.1.extract::<u32>() {
            Ok(mode @ 0..=0o777) => Ok(Some(mode)),
            // Commonly 660 in the place of 0o660.
            Ok(mode) => {
                let text = format!("{}: {mode:#o} is not in the range 0 to 0o777", self.0);
                Err(PyValueError::new_err(text))
            }
            Err(_) => Err(self.wrong_value("in the range 0 to 0o777")),
        }
    }

    /// A user or a group by name or number, or None.
    fn account(&self) -> PyResult<Option<String>> {
        if self.1.is_none() {
            return Ok(None);
        }
        if let Ok(name) = self.1.cast::<PyString>() {
            let name = name.to_cow()?.into_owned();
            return match name.is_empty() {
                true => Err(self.wrong_value("a name")),
                false => Ok(Some(name)),
            };
        }
        if !self.1.is_instance_of::<PyInt>() || self.1.is_instance_of::<PyBool>() {
            return Err(self.wrong_type("a str, an int or None"));
        }
        // The highest stands for none in chown(2).
        self.number(0, u32::MAX - 1).map(|number| Some(number.to_string()))
    }

    /// One of a few words.
    fn choice<T: Choice>(&self) -> PyResult<T> {
        let words: Vec<String> = T::ALL.iter().map(|(_, word)| format!("{word:?}")).collect();
        let words = words.join(" or ");
        let Ok(given) = self.1.cast::<PyString>() else {
            return Err(self.wrong_type(&words));
        };
        let given = given.to_cow();
        let found = T::ALL.iter().find(|(_, word)| given.as_ref().is_ok_and(|g| g == word));
        found.map(|(choice, _)| *choice).ok_or_else(|| self.wrong_value(&words))
    }

    /// An `ssl.SSLContext` for servers, or a function that makes one, or None.
    fn context(&self) -> PyResult<Option<Py<PyAny>>> {
        if self.1.is_none() {
            return Ok(None);
        }
        let ssl = self.1.py().import("ssl")?;
        let class = ssl.getattr("SSLContext")?;
        if self.1.is_callable() && !self.1.is(&class) {
            let made = self.1.call0()?;
            return match made.is_instance(&class)? {
                true => Argument(self.0, &made).context(),
                false => {
                    Err(Argument(self.0, &made)
                        .wrong_type("a function that returns an ssl.SSLContext"))
                }
            };
        }
        if !self.1.is_instance(&class)? {
            return Err(self.wrong_type("an ssl.SSLContext or None"));
        }
        if self.1.getattr("protocol")?.eq(ssl.getattr("PROTOCOL_TLS_CLIENT")?)? {
            return Err(self.wrong_value("for servers: its protocol is PROTOCOL_TLS_CLIENT"));
        }
        Ok(Some(self.1.clone().unbind()))
    }

    /// A function of one argument, or the name of one, which is imported when it is needed.
    pub(crate) fn handler(&self) -> PyResult<Py<PyAny>> {
        if !self.1.is_instance_of::<PyString>() {
            return self.callable();
        }
        self.1.py().import("forkserve._handler")?.call_method1("check_name", (self.0, self.1))?;
        Ok(self.1.clone().unbind())
    }

    /// A function of one argument, which is called later.
    pub(crate) fn callable(&self) -> PyResult<Py<PyAny>> {
        if !self.1.is_callable() {
            return Err(self.wrong_type("a callable"));
        }
        self.1.py().import("forkserve._handler")?.call_method1("check", (self.0, self.1))?;
        Ok(self.1.clone().unbind())
    }
}

macro_rules! value {
    ($given:ident number($least:tt, $most:tt)) => {
        $given.number($least, $most)?
    };
    ($given:ident flag()) => {
        $given.flag()?
    };
    ($given:ident time($least:tt, $most:tt)) => {
        $given.time($least, $most)?
    };
    ($given:ident limit($none:expr, $most:tt, $meaning:tt)) => {
        $given.limit($none, $most)?
    };
    ($given:ident bytes($most:tt)) => {
        $given.bytes($most)?
    };
    ($given:ident choice($choice:ident)) => {
        $given.choice()?
    };
    ($given:ident networks()) => {
        $given.networks()?
    };
    ($given:ident statuses()) => {
        $given.exit_statuses()?
    };
    ($given:ident mode()) => {
        $given.mode()?
    };
    ($given:ident signed($least:literal, $most:literal)) => {
        $given.signed($least, $most)?
    };
    ($given:ident setting($none:literal, $least:literal, $most:literal, $meaning:tt)) => {
        $given.setting($least, $most)?
    };
    ($given:ident text($type:ident, $example:tt)) => {
        $given.text()?
    };
    ($given:ident paths()) => {
        $given.paths()?
    };
    ($given:ident path()) => {
        $given.path()?
    };
    ($given:ident account()) => {
        $given.account()?
    };
}

macro_rules! options {
    ($($topic:literal {$(
        $(#[doc = $doc:literal])+
        $name:ident $(as $c_name:ident)?: $kind:ident $arguments:tt = $default:tt
            $(, $word:ident $text:literal)*;
    )*})*) => {
        /// Sets an option of the core; whether there is one of this name.
        fn set(options: &mut Options, name: &str, given: &Argument<'_, '_>) -> PyResult<bool> {
            match name {
                $($(stringify!($name) => options.$name = value!(given $kind $arguments),)*)*
                _ => return Ok(false),
            }
            Ok(true)
        }
    };
}

forkserve::options_table!(options);

/// The keyword arguments of `Server`.
pub(crate) fn parse(keywords: Option<&Bound<'_, PyDict>>) -> PyResult<Settings> {
    let mut options = Options::default();
    let (mut observer, mut context, mut gc_freeze) = (None, None, false);
    let mut handshake_timeout = Some(HANDSHAKE_TIMEOUT);
    for (key, value) in keywords.into_iter().flatten() {
        let key = key.cast_into::<PyString>()?;
        let name = key.to_cow()?;
        let given = Argument(&name, &value);
        match &*name {
            "ssl" => context = given.context()?,
            "handshake_timeout" => handshake_timeout = given.limit(0, MAX_TIME)?,
            "gc_freeze" => gc_freeze = given.flag()?,
            "observer" if value.is_none() => observer = None,
            "observer" => observer = Some(given.callable()?),
            other if set(&mut options, other, &given)? => {}
            other => {
                let text = format!("Server() got an unexpected keyword argument '{other}'");
                return Err(PyTypeError::new_err(text));
            }
        }
    }
    if let Some(misfit) = options.misfit() {
        return Err(PyValueError::new_err(misfit.describe("", shown)));
    }
    options.check_networks().map_err(|error| PyValueError::new_err(error.to_string()))?;
    let tls = context.map(|context| Tls { context, timeout: handshake_timeout });
    Ok(Settings { core: options, observer, tls, gc_freeze })
}

/// In the units of Python.
fn shown(amount: Amount) -> String {
    match amount {
        Amount::Time(time) => time.as_secs_f64().to_string(),
        other => other.to_string(),
    }
}
