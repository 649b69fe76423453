//! Programs that are executed, from Python's arguments.

use crate::error;
use forkserve::{Io, Program, Variables};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use std::ffi::OsString;

/// From the words of a command line, as subprocess.Popen takes them, a mapping of variables
/// and a word of `Io`.
pub(crate) fn program(
    argv: &Bound<'_, PyAny>,
    env: Option<&Bound<'_, PyAny>>,
    io: &str,
) -> PyResult<Program> {
    let py = argv.py();
    if argv.is_instance_of::<PyString>() || argv.is_instance_of::<PyBytes>() {
        return Err(PyTypeError::new_err("argv: a list of str, not one text"));
    }
    let Some((io, _)) = Io::ALL.into_iter().find(|(_, word)| *word == io) else {
        let words: Vec<_> = Io::ALL.iter().map(|(_, word)| format!("'{word}'")).collect();
        return Err(PyValueError::new_err(format!("io: not one of {}", words.join(", "))));
    };
    let words = argv.try_iter()?.map(|word| path(&word?)).collect::<PyResult<Vec<_>>>()?;
    let from_core = |error| error::from_core(py, &error);
    let program = Program::new(words).map_err(from_core)?.io(io);
    let Some(env) = env else { return Ok(program) };
    let mut variables = Vec::new();
    for pair in env.call_method0("items")?.try_iter()? {
        let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = pair?.extract()?;
        let mut variable = path(&name)?;
        variable.push("=");
        variable.push(path(&value)?);
        variables.push(variable);
    }
    program.environment(variables).map_err(from_core)
}

/// From the words for the kinds of variables.
pub(crate) fn variables(words: &[String]) -> PyResult<Variables> {
    let mut variables = Variables::default();
    for word in words {
        match word.as_str() {
            "ucspi" => variables.ucspi = true,
            "cgi" => variables.cgi = true,
            "systemd" => variables.systemd = true,
            "xinetd" => variables.xinetd = true,
            _ => {
                let text = "variables: not one of 'ucspi', 'cgi', 'systemd', 'xinetd'";
                return Err(PyValueError::new_err(text));
            }
        }
    }
    Ok(variables)
}

/// str, bytes or os.PathLike.
fn path(value: &Bound<'_, PyAny>) -> PyResult<OsString> {
    value.py().import("os")?.call_method1("fsdecode", (value,))?.extract()
}
