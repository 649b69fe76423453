//! Options as a struct that may grow.
#![allow(unsafe_code)]

use crate::failure::{failure, Failure};
use crate::generated::{forkserve_options, OPTIONS_FIRST};
use crate::sized::read_sized;
use core::{Choice, Options};
use libc::c_char;
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// What an option is called in C.
macro_rules! c_name {
    ($name:ident) => {
        stringify!($name)
    };
    ($name:ident $c_name:ident) => {
        stringify!($c_name)
    };
}

/// Its field.
macro_rules! field {
    ($o:ident $name:ident) => {
        $o.$name
    };
    ($o:ident $name:ident $c_name:ident) => {
        $o.$c_name
    };
}

/// Sets it to the default that is not all zeroes.
macro_rules! set {
    ($o:ident $name:ident = $value:expr) => {
        $o.$name = $value
    };
    ($o:ident $name:ident $c_name:ident = $value:expr) => {
        $o.$c_name = $value
    };
}

macro_rules! default_value {
    (number $arguments:tt $default:tt) => {
        $default
    };
    (flag $arguments:tt $default:tt) => {
        $default as i32
    };
    (time $arguments:tt $default:tt) => {
        $default
    };
    (limit ($none:expr, $most:tt, $meaning:tt) None) => {
        $none
    };
    (limit $arguments:tt $default:tt) => {
        $default
    };
    (choice $arguments:tt $default:tt) => {
        0
    };
    (signed $arguments:tt $default:tt) => {
        $default
    };
    (setting ($none:literal, $least:literal, $most:literal, $meaning:tt) none) => {
        $none
    };
    (mode $arguments:tt $default:tt) => {
        -1
    };
    ($kind:ident $arguments:tt $default:tt) => {
        std::ptr::null()
    };
}

macro_rules! value {
    (number $arguments:tt $name:expr, $value:expr) => {
        $value
    };
    (flag $arguments:tt $name:expr, $value:expr) => {
        flag($name, $value)?
    };
    (time ($least:tt, $most:tt) $name:expr, $value:expr) => {
        time($name, $value, $least, $most)?
    };
    (limit ($none:expr, $most:tt, $meaning:tt) $name:expr, $value:expr) => {
        match $value {
            $none => None,
            ms => Some(time($name, ms, $none, $most)?),
        }
    };
    (bytes $arguments:tt $name:expr, $value:expr) => {
        // SAFETY: by contract NULL or a C string.
        unsafe { text($value) }.to_vec()
    };
    (choice $arguments:tt $name:expr, $value:expr) => {
        choice($name, $value)?
    };
    (networks $arguments:tt $name:expr, $value:expr) => {
        // SAFETY: by contract NULL or a C string.
        parsed($name, unsafe { text($value) })?
    };
    (statuses $arguments:tt $name:expr, $value:expr) => {
        // SAFETY: by contract NULL or a C string.
        exit_statuses($name, unsafe { text($value) })?
    };
    (mode $arguments:tt $name:expr, $value:expr) => {
        match $value {
            -1 => None,
            mode => Some(file_mode($name, mode)?),
        }
    };
    (signed $arguments:tt $name:expr, $value:expr) => {
        $value
    };
    (setting ($none:literal, $least:literal, $most:literal, $meaning:tt) $name:expr, $value:expr) => {
        match $value {
            $none => None,
            value => Some(value),
        }
    };
    (text $arguments:tt $name:expr, $value:expr) => {
        // SAFETY: by contract NULL or a C string.
        parsed($name, unsafe { text($value) })?
    };
    (paths $arguments:tt $name:expr, $value:expr) => {
        // SAFETY: by contract NULL or a C string.
        unsafe { text($value) }.split(|byte| *byte == b':').filter_map(path).collect()
    };
    (path $arguments:tt $name:expr, $value:expr) => {
        // SAFETY: by contract NULL or a C string.
        path(unsafe { text($value) })
    };
    (account $arguments:tt $name:expr, $value:expr) => {
        // SAFETY: by contract NULL or a C string.
        account(unsafe { text($value) })
    };
}

macro_rules! options {
    ($($topic:literal {$(
        $(#[doc = $doc:literal])+
        $name:ident $(as $c_name:ident)?: $kind:ident $arguments:tt = $default:tt
            $(, $word:ident $text:literal)*;
    )*})*) => {
        /// The defaults, which FORKSERVE_OPTIONS_INIT repeats for C; `tests/abi`
        /// compares the two.
        fn defaults() -> forkserve_options {
            // SAFETY: numbers and pointers, all of which can be zero.
            let mut o: forkserve_options = unsafe { std::mem::zeroed() };
            o.size = size_of::<forkserve_options>();
            $($(set!(o $name $($c_name)? = default_value!($kind $arguments $default));)*)*
            o
        }

        /// The options of the core, checked as far as the core cannot see them.
        unsafe fn convert(o: &forkserve_options) -> Result<Options, Failure> {
            let mut options = Options::default();
            $($(options.$name = value!(
                $kind $arguments c_name!($name $($c_name)?), field!(o $name $($c_name)?)
            );)*)*
            Ok(options)
        }
    };
}

core::options_table!(options);

/// The options behind `from`.
pub(crate) unsafe fn read(from: *const forkserve_options) -> Result<Options, Failure> {
    if from.is_null() {
        return Ok(Options::default());
    }
    // SAFETY: by contract a struct that begins with its size.
    let o = unsafe { read_sized(from, OPTIONS_FIRST, defaults(), "options") }?;
    // SAFETY: handed through from the caller.
    let options = unsafe { convert(&o) }?;
    match options.misfit() {
        Some(misfit) => failure(libc::EINVAL, misfit.describe("_ms", |amount| amount.to_string())),
        None => Ok(options),
    }
}

/// The bytes of a C string; none for NULL.
unsafe fn text<'a>(from: *const c_char) -> &'a [u8] {
    if from.is_null() {
        return &[];
    }
    // SAFETY: not NULL, so by the caller's contract a C string.
    unsafe { CStr::from_ptr(from) }.to_bytes()
}

/// None for an empty text.
fn path(text: &[u8]) -> Option<PathBuf> {
    Some(text).filter(|text| !text.is_empty()).map(|text| OsStr::from_bytes(text).into())
}

fn parsed<T: FromStr<Err = core::Error>>(name: &str, text: &[u8]) -> Result<T, Failure> {
    let parsed = String::from_utf8_lossy(text).parse();
    parsed.or_else(|error: core::Error| failure(error.errno(), format!("{name}: {error}")))
}

fn exit_statuses(name: &str, list: &[u8]) -> Result<Vec<u8>, Failure> {
    let list = String::from_utf8_lossy(list);
    let between = |c: char| c == ',' || c.is_ascii_whitespace();
    let entries = list.split(between).filter(|entry| !entry.is_empty());
    let status = |(index, entry): (usize, &str)| {
        let digits = Some(entry).filter(|e| e.len() <= 3 && e.bytes().all(|b| b.is_ascii_digit()));
        match digits.and_then(|digits| digits.parse().ok()) {
            Some(status) => Ok(status),
            None => {
                let shown: String = entry.chars().take(60).collect();
                let text = format!(
                    "{name}: entry {}, {}, is not in the range 0 to 255",
                    index + 1,
                    core::quoted(&shown)
                );
                failure(libc::EINVAL, text)
            }
        }
    };
    entries.enumerate().map(status).collect()
}

/// A user or a group; none where the text is empty.
fn account(name: &[u8]) -> Option<String> {
    (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
}

fn file_mode(name: &str, mode: i32) -> Result<u32, Failure> {
    // The core would refuse it too, with a number as Rust writes it.
    match u32::try_from(mode) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        Ok(mode) => {
            failure(libc::EINVAL, format!("{name}: 0{mode:o} is not in the range 0 to 0777"))
        }
        Err(_) => out_of_range(name, mode.into(), -1, 0o777),
    }
}

fn time(name: &str, ms: i64, least: i64, most: i64) -> Result<Duration, Failure> {
    match u64::try_from(ms) {
        Ok(ms) => Ok(Duration::from_millis(ms)),
        Err(_) => out_of_range(name, ms, least, most),
    }
}

fn flag(name: &str, value: i32) -> Result<bool, Failure> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        other => out_of_range(name, other.into(), 0, 1),
    }
}

fn choice<T: Choice>(name: &str, value: i32) -> Result<T, Failure> {
    Ok(T::ALL[choice_of(name, value, T::ALL.len())?].0)
}

fn choice_of(name: &str, value: i32, count: usize) -> Result<usize, Failure> {
    match usize::try_from(value) {
        Ok(index) if index < count => Ok(index),
        _ => out_of_range(name, value.into(), 0, count as i64 - 1),
    }
}

fn out_of_range<T>(name: &str, value: i64, least: i64, most: i64) -> Result<T, Failure> {
    Err(beyond(name, value, least, most))
}

#[inline(never)]
fn beyond(name: &str, value: i64, least: i64, most: i64) -> Failure {
    let text = format!("{name}: {value} is not in the range {least} to {most}");
    Failure::new(libc::EINVAL, text)
}
