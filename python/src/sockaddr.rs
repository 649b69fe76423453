//! A `struct sockaddr` as Python has it.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use pyo3::IntoPyObjectExt;
use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt;

pub(crate) fn family(sockaddr: &[u8]) -> u16 {
    sockaddr.first_chunk().map_or(0, |family| u16::from_ne_bytes(*family))
}

/// The address of `struct sockaddr_in` or `sockaddr_in6`.
pub(crate) fn ip(raw: &[u8]) -> Option<IpAddr> {
    match i32::from(family(raw)) {
        libc::AF_INET => raw.get(4..8)?.first_chunk::<4>().map(|ip| IpAddr::from(*ip)),
        libc::AF_INET6 => raw.get(8..24)?.first_chunk::<16>().map(|ip| IpAddr::from(*ip)),
        _ => None,
    }
}

/// `struct sockaddr_in`, `sockaddr_in6` or `sockaddr_un`, as `makesockaddr` of
/// CPython's socketmodule.c turns them into objects.
pub(crate) fn address<'py>(py: Python<'py>, raw: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let part = |range: std::ops::Range<usize>| raw.get(range).unwrap_or_default();
    let port = part(2..4).first_chunk().map_or(0, |port| u16::from_be_bytes(*port));
    match i32::from(family(raw)) {
        libc::AF_INET => {
            let ip = part(4..8).first_chunk::<4>().map(|ip| Ipv4Addr::from(*ip));
            let ip = ip.unwrap_or(Ipv4Addr::UNSPECIFIED);
            (ip.to_string(), port).into_bound_py_any(py)
        }
        libc::AF_INET6 => {
            let flow = part(4..8).first_chunk().map_or(0, |flow| u32::from_be_bytes(*flow));
            let ip = part(8..24).first_chunk::<16>().map(|ip| Ipv6Addr::from(*ip));
            let ip = ip.unwrap_or(Ipv6Addr::UNSPECIFIED);
            let scope = part(24..28).first_chunk().map_or(0, |scope| u32::from_ne_bytes(*scope));
            (ip.to_string(), port, flow, scope).into_bound_py_any(py)
        }
        libc::AF_UNIX => match raw.get(2..).unwrap_or_default() {
            [0, ..] => PyBytes::new(py, &raw[2..]).into_bound_py_any(py),
            path => {
                let end = path.iter().position(|&byte| byte == 0).unwrap_or(path.len());
                OsStr::from_bytes(&path[..end]).into_bound_py_any(py)
            }
        },
        other => Err(PyRuntimeError::new_err(format!("unknown address family {other}"))),
    }
}
