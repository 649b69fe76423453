//! What the scoreboard says: counters, and the connections of the moment.

use forkserve::DURATIONS;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

/// The class, its text form and its dict, from one list of names.
macro_rules! stats {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters of a server, since it was made; a snapshot.
        ///
        /// While nothing is going on, accepted is the sum of live, held, ended and
        /// refused.
        #[pyclass(frozen, eq, hash, module = "forkserve")]
        #[derive(Clone, PartialEq, Hash)]
        pub(crate) struct Stats {
            $($(#[$doc])* #[pyo3(get)] $name: u64,)*
            durations: [u64; DURATIONS],
        }

        impl From<forkserve::Stats> for Stats {
            fn from(stats: forkserve::Stats) -> Stats {
                Stats { $($name: stats.$name,)* durations: stats.durations }
            }
        }

        #[pymethods]
        impl Stats {
            /// How long the connections of ended lasted: entry i counts those of less than
            /// 2**i microseconds that entry i - 1 does not count; the last one counts all
            /// that are longer.
            #[getter]
            fn durations<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
                PyTuple::new(py, self.durations)
            }

            /// The counters as a new dict.
            fn asdict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
                let dict = PyDict::new(py);
                $(dict.set_item(stringify!($name), self.$name)?;)*
                dict.set_item("durations", self.durations(py)?)?;
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
    /// Connections that are being served now.
    live,
    /// Children that wait for a connection now.
    idle,
    /// Connections held now, for want of a child: 0 or 1.
    held,
    /// Connections that have been served to their end.
    ended,
    /// Of ended: because a signal ended the child.
    crashed,
    /// Of ended: with a status that someone else took.
    unknown,
    /// Connections closed without being served, for whatever reason.
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
    /// Times that accepting paused for want of descriptors or memory, or because it
    /// failed for one connection after the other.
    starvations,
    /// After start(): the supervisor's number while it lives; else 0.
    supervisor,
    /// Of refused: because of rate, with at_rate="refuse".
    refused_rate,
    /// Of refused: because of rate_per_source.
    refused_source_rate,
    /// Of refused: because of a penalty.
    refused_penalty,
    /// Of refused: because of deny or allow.
    refused_denied,
    /// Connections whose source was given a penalty for them.
    penalties,
}

/// A connection that is being served now.
#[pyclass(frozen, eq, get_all, module = "forkserve")]
#[derive(PartialEq)]
pub(crate) struct Live {
    /// The child that serves it.
    pid: i32,
    /// Number of the connection.
    id: u64,
    /// The client, as text; empty if its child was killed while it wrote it down.
    peer: String,
    /// Seconds that it has lasted.
    age: f64,
    /// Connections that the child has served before.
    served: u64,
}

#[pymethods]
impl Live {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let Live { pid, id, peer, age, served } = self;
        let peer = PyString::new(py, peer).repr()?;
        Ok(format!("Live(pid={pid}, id={id}, peer={peer}, age={age:.3}, served={served})"))
    }
}

impl From<forkserve::Live> for Live {
    fn from(live: forkserve::Live) -> Live {
        let forkserve::Live { pid, id, peer, age, served, .. } = live;
        Live { pid, id, peer, age: age.as_secs_f64(), served }
    }
}
