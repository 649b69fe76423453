//! What a handler of a drop-in says that its connection is established by.

use pyo3::prelude::*;

/// The handshake of the connection that a child of a drop-in serves.
#[pyclass(frozen, module = "forkserve._forkserve")]
pub(crate) struct Handshake(pub(crate) forkserve::Handshake);

#[pymethods]
impl Handshake {
    /// The connection is established.
    fn end(&self) {
        self.0.end();
    }
}
