//! Mode and owners of the socket file of a drop-in server, which socketserver binds.

use crate::{error, options};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::ffi::OsString;
use std::path::Path;

/// Sets what socket_mode, socket_user and socket_group say for the socket that has been
/// bound at path and does not listen yet.
#[pyfunction]
#[pyo3(signature = (path, **options))]
pub(crate) fn _set_socket_access(
    py: Python<'_>,
    path: OsString,
    options: Option<&Bound<'_, PyDict>>,
) -> PyResult<()> {
    let options = options::parse(options)?.core;
    forkserve::set_socket_access(Path::new(&path), &options)
        .map_err(|error| error::from_core(py, &error))
}
