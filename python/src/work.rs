//! What the children of a server work with.

use crate::conn::Room;
use crate::tls::Tls;
use pyo3::prelude::*;

/// What a child needs of its server.
pub(crate) struct Work<'py> {
    pub(crate) handler: Bound<'py, PyAny>,
    /// `socket.socket`, or what stands for it: see `patient`.
    pub(crate) class: Bound<'py, PyAny>,
    pub(crate) room: &'py Room,
    pub(crate) tls: Option<&'py Tls>,
    /// Seconds that a client may be idle.
    pub(crate) idle: Option<f64>,
}
