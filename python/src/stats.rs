//! What the scoreboard says: counters, and the connections of the moment.

use forkserve::DURATIONS;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

/// The class, its text form and its dict.
macro_rules! stats {
    (
        $($(#[doc = $doc:literal])+ $name:ident $(= $word:ident)?, since $since:literal;)*
        histogram $(#[doc = $about:literal])+ $durations:ident as $c_name:ident, since $first:literal;
    ) => {
        /// The counters of a server, since it was made; a snapshot.
        ///
        /// While nothing is going on, accepted is the sum of live, held, ended and
        /// refused.
        #[pyclass(frozen, eq, hash, module = "forkserve")]
        #[derive(Clone, PartialEq, Hash)]
        pub(crate) struct Stats {
            $($(#[doc = $doc])+ #[pyo3(get)] $name: u64,)*
            durations: [u64; DURATIONS],
        }

        impl From<forkserve::Stats> for Stats {
            fn from(stats: forkserve::Stats) -> Stats {
                Stats { $($name: stats.$name,)* durations: stats.durations }
            }
        }

        #[pymethods]
        impl Stats {
            $(#[doc = $about])+
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

forkserve::counters_table!(stats);

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
    /// Seconds since the fork, or since a spare took it.
    age: f64,
    /// Connections that the child has served before.
    served: u64,
    /// "handshake", or "established" once the handler has called conn.established().
    state: &'static str,
}

#[pymethods]
impl Live {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let Live { pid, id, peer, age, served, state } = self;
        let peer = PyString::new(py, peer).repr()?;
        let rest = format!("age={age:.3}, served={served}, state={state:?}");
        Ok(format!("Live(pid={pid}, id={id}, peer={peer}, {rest})"))
    }
}

impl From<forkserve::Live> for Live {
    fn from(live: forkserve::Live) -> Live {
        let state = live.state();
        let forkserve::Live { pid, id, peer, age, served, .. } = live;
        Live { pid, id, peer, age: age.as_secs_f64(), served, state }
    }
}
