//! The loop that `serve_forever` and `close` run, until the drain is complete.

use crate::child;
use crate::error;
use crate::hooks::PythonHooks;
use crate::server::Server;
use crate::wakeup::Wakeup;
use forkserve::{Server as Core, Turn};
use pyo3::prelude::*;
use std::sync::atomic::Ordering::Relaxed;

impl Server {
    /// From running to stopped, unless that is done.
    pub(crate) fn drain(&self, py: Python<'_>, core: &mut Core) -> PyResult<()> {
        if self.stops.load(Relaxed) == 0 {
            self.request_stop(py)?;
        }
        match core.begin() {
            Ok(()) => self.run(py, core),
            // Has been drained before.
            Err(_) => Ok(()),
        }
    }

    /// The loop, with signals heard of while it waits.
    pub(crate) fn run(&self, py: Python<'_>, core: &mut Core) -> PyResult<()> {
        let wakeup = Wakeup::install(py, core)?;
        let mut hooks = PythonHooks::new(py, &self.callbacks, wakeup)?;
        let result = self.turns(py, core, &mut hooks);
        let removed = hooks.wakeup.remove(py, core);
        result.and(removed)
    }

    fn turns(
        &self,
        py: Python<'_>,
        core: &mut Core,
        hooks: &mut PythonHooks<'_, '_>,
    ) -> PyResult<()> {
        let work = self.work(py)?;
        let mut raised: Option<PyErr> = None;
        let mut stops = self.stops.load(Relaxed);
        loop {
            let idle = match core.turn(hooks) {
                Ok(Turn::Child(child)) => child::serve(py, child, &work, hooks),
                Ok(Turn::Forked(_)) => false,
                Ok(Turn::Idle) => true,
                Ok(Turn::Drained) => {
                    let raised = raised.or_else(|| self.callbacks.take_interrupt());
                    return raised.map_or(Ok(()), Err);
                }
                // While draining because of an exception, that one is what is
                // to come out; but nothing else may keep the drain from its end.
                Err(_) if raised.is_some() => {
                    hooks.forbidden = None;
                    self.request_stop(py)?;
                    true
                }
                Err(error) => {
                    let forbidden = hooks.forbidden.take();
                    return Err(forbidden.unwrap_or_else(|| error::from_core(py, &error)));
                }
            };
            let interrupt = self.callbacks.take_interrupt();
            if let Some(error) = interrupt.or_else(|| py.check_signals().err()) {
                // Unless the program's own handler has called stop.
                if self.stops.load(Relaxed) == stops {
                    self.request_stop(py)?;
                }
                stops = self.stops.load(Relaxed);
                raised.get_or_insert(error);
            }
            if idle {
                let limit = hooks.wakeup.limit();
                let waited = py.detach(|| core.wait(limit));
                hooks.wakeup.drain();
                if let Err(error) = waited {
                    return Err(raised.unwrap_or_else(|| error::from_core(py, &error)));
                }
            }
        }
    }
}
