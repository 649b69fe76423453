//! Keyword arguments to the options of the core.
//!
//! A value of the wrong type is a TypeError, one out of its range a ValueError;
//! both name the option and show the value. Times are seconds.

use crate::tls::Tls;
use forkserve::{AtCapacity, AtRate, CidrList, Options, Orphans};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyInt, PyString};
use std::time::Duration;

/// The ranges are the core's, which checks them too; here they are checked so
/// that an error names the option as Python spells it, in Python's units.
const MAX_CHILDREN: u32 = 1_000_000;
const MAX_SPARES: u32 = 10_000;
const MAX_SECONDS: f64 = 1e9;
const MAX_REFUSE_MESSAGE: usize = 4096;
const MAX_LINGER: f64 = 60.0;
const MAX_RATE: u32 = 100_000;
const RATE_INTERVALS: [f64; 2] = [1.0, 86400.0];

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

    pub(crate) fn flag(&self) -> PyResult<bool> {
        self.1.cast::<PyBool>().map(|flag| flag.is_true()).map_err(|_| self.wrong_type("a bool"))
    }

    /// Seconds.
    fn seconds(&self) -> PyResult<Duration> {
        self.duration("seconds")
    }

    /// Seconds, or None for no limit.
    pub(crate) fn seconds_or_none(&self) -> PyResult<Option<Duration>> {
        if self.1.is_none() {
            return Ok(None);
        }
        self.duration("seconds, or None for no limit").map(Some)
    }

    /// Some time, or None for no limit.
    fn positive_or_none(&self) -> PyResult<Option<Duration>> {
        match self.seconds_or_none()? {
            Some(Duration::ZERO) => Err(self.wrong_value("more than 0 seconds, or None")),
            other => Ok(other),
        }
    }

    fn duration(&self, wanted: &str) -> PyResult<Duration> {
        let number = self.1.is_instance_of::<PyInt>() || self.1.is_instance_of::<PyFloat>();
        if !number || self.1.is_instance_of::<PyBool>() {
            return Err(self.wrong_type(wanted));
        }
        // An int too large for a float is too large for us as well.
        match self.1.extract::<f64>().ok().filter(|s| (0.0..=MAX_SECONDS).contains(s)) {
            Some(seconds) => Ok(Duration::from_secs_f64(seconds)),
            None => Err(self.wrong_value(&format!("in the range 0 to {MAX_SECONDS:.0} {wanted}"))),
        }
    }

    fn seconds_up_to(&self, most: f64) -> PyResult<Duration> {
        let time = self.seconds()?;
        match time.as_secs_f64() <= most {
            true => Ok(time),
            false => Err(self.wrong_value(&format!("in the range 0 to {most} seconds"))),
        }
    }

    fn interval(&self) -> PyResult<Duration> {
        let [least, most] = RATE_INTERVALS;
        let interval = self.seconds()?;
        match (least..=most).contains(&interval.as_secs_f64()) {
            true => Ok(interval),
            false => Err(self.wrong_value(&format!("in the range {least} to {most} seconds"))),
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

    /// One of two words: false for the first.
    fn choice(&self, words: [&str; 2]) -> PyResult<bool> {
        let [first, second] = words;
        let Ok(word) = self.1.cast::<PyString>() else {
            return Err(self.wrong_type(&format!("{first:?} or {second:?}")));
        };
        match word.to_cow() {
            Ok(word) if word == first => Ok(false),
            Ok(word) if word == second => Ok(true),
            _ => Err(self.wrong_value(&format!("{first:?} or {second:?}"))),
        }
    }

    /// An `ssl.SSLContext` for servers, or None.
    fn context(&self) -> PyResult<Option<Py<PyAny>>> {
        if self.1.is_none() {
            return Ok(None);
        }
        let ssl = self.1.py().import("ssl")?;
        if !self.1.is_instance(&ssl.getattr("SSLContext")?)? {
            return Err(self.wrong_type("an ssl.SSLContext or None"));
        }
        if self.1.getattr("protocol")?.eq(ssl.getattr("PROTOCOL_TLS_CLIENT")?)? {
            return Err(self.wrong_value("for servers: its protocol is PROTOCOL_TLS_CLIENT"));
        }
        Ok(Some(self.1.clone().unbind()))
    }

    /// A function of one argument, which is called with it by somebody later.
    pub(crate) fn callable(&self) -> PyResult<Py<PyAny>> {
        if !self.1.is_callable() {
            return Err(self.wrong_type("a callable"));
        }
        self.1.py().import("forkserve._handler")?.call_method1("check", (self.0, self.1))?;
        Ok(self.1.clone().unbind())
    }
}

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
            "max_children" => options.max_children = given.number(1, MAX_CHILDREN)?,
            "max_per_source" => options.max_per_source = given.number(0, MAX_CHILDREN)?,
            "spares" => options.spares = given.number(0, MAX_SPARES)?,
            "connections_per_child" => options.connections_per_child = given.number(1, u32::MAX)?,
            "backlog" => options.backlog = given.number(1, i32::MAX as u32)?,
            "lifetime" => options.lifetime = given.positive_or_none()?,
            "grace" => options.grace = given.seconds_or_none()?,
            "kill_after" => options.kill_after = given.seconds()?,
            "fork_retry" => options.fork_retry = given.seconds()?,
            "linger" => options.linger = given.seconds_up_to(MAX_LINGER)?,
            "refuse_message" => options.refuse_message = given.bytes(MAX_REFUSE_MESSAGE)?,
            "at_capacity" => {
                let refuse = given.choice(["queue", "refuse"])?;
                options.at_capacity = if refuse { AtCapacity::Refuse } else { AtCapacity::Queue };
            }
            "orphans" => {
                let end = given.choice(["finish", "terminate"])?;
                options.orphans = if end { Orphans::Terminate } else { Orphans::Finish };
            }
            "nodelay" => options.nodelay = given.flag()?,
            "keepalive" => options.keepalive = given.flag()?,
            "reuse_port" => options.reuse_port = given.flag()?,
            "source_prefix_v4" => options.source_prefix_v4 = given.number(0, 32)?,
            "source_prefix_v6" => options.source_prefix_v6 = given.number(0, 128)?,
            "source_exempt" => options.source_exempt = given.networks()?,
            "rate" => options.rate = given.number(0, MAX_RATE)?,
            "rate_burst" => options.rate_burst = given.number(0, MAX_RATE)?,
            "rate_per_source" => options.rate_per_source = given.number(0, MAX_RATE)?,
            "rate_per_source_burst" => options.rate_per_source_burst = given.number(0, MAX_RATE)?,
            "rate_interval" => options.rate_interval = given.interval()?,
            "at_rate" => {
                let refuse = given.choice(["queue", "refuse"])?;
                options.at_rate = if refuse { AtRate::Refuse } else { AtRate::Queue };
            }
            "penalty" => options.penalty = given.positive_or_none()?.unwrap_or_default(),
            "penalty_max" => options.penalty_max = given.seconds()?,
            "penalty_statuses" => options.penalty_statuses = given.exit_statuses()?,
            "allow" => options.allow = given.networks()?,
            "deny" => options.deny = given.networks()?,
            "ssl" => context = given.context()?,
            "handshake_timeout" => handshake_timeout = given.positive_or_none()?,
            "gc_freeze" => gc_freeze = given.flag()?,
            "observer" if value.is_none() => observer = None,
            "observer" => observer = Some(given.callable()?),
            other => {
                let text = format!("Server() got an unexpected keyword argument '{other}'");
                return Err(PyTypeError::new_err(text));
            }
        }
    }
    if options.spares > options.max_children {
        let (spares, most) = (options.spares, options.max_children);
        let text = format!("spares: {spares} is more than max_children, {most}");
        return Err(PyValueError::new_err(text));
    }
    if options.penalty > options.penalty_max {
        let (penalty, most) = (options.penalty.as_secs_f64(), options.penalty_max.as_secs_f64());
        let text = format!("penalty: {penalty} is more than penalty_max, {most}");
        return Err(PyValueError::new_err(text));
    }
    let tls = context.map(|context| Tls { context, timeout: handshake_timeout });
    Ok(Settings { core: options, observer, tls, gc_freeze })
}
