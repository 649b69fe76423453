//! The counters of a server, as an object with named numbers.

use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The class, its text form and its dict, from one list of names.
macro_rules! stats {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters of a server, since it was made; a snapshot.
        ///
        /// While nothing is going on, accepted is the sum of live, held, ended and
        /// refused.
        #[pyclass(frozen, eq, get_all, module = "forkserve")]
        #[derive(Clone, PartialEq)]
        pub(crate) struct Stats { $($(#[$doc])* $name: u64,)* }

        impl From<forkserve::Stats> for Stats {
            fn from(stats: forkserve::Stats) -> Stats {
                Stats { $($name: stats.$name,)* }
            }
        }

        #[pymethods]
        impl Stats {
            /// The counters as a new dict.
            fn asdict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
                let dict = PyDict::new(py);
                $(dict.set_item(stringify!($name), self.$name)?;)*
                Ok(dict)
            }

            fn __repr__(&self) -> String {
                let fields = [$(format!("{}={}", stringify!($name), self.$name)),*];
                format!("Stats({})", fields.join(", "))
            }
        }
    };
}

stats! {
    /// Connections taken from the kernel.
    accepted,
    /// Children that live now.
    live,
    /// Connections held now, for want of a child: 0 or 1.
    held,
    /// Children that have ended, each with its connection.
    ended,
    /// Of ended: by a signal.
    crashed,
    /// Of ended: with a status that someone else took.
    unknown,
    /// Connections closed without a child, for whatever reason.
    refused,
    /// Of refused: because of max_children.
    refused_capacity,
    /// Of refused: because of max_per_source.
    refused_source,
    /// Of refused: because fork kept failing.
    refused_fork,
    /// Failed calls of fork.
    fork_failures,
    /// Failed calls of accept that concern one connection only.
    accept_errors,
    /// Times that accepting paused for want of descriptors or memory.
    starvations,
}
