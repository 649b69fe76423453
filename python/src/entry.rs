//! What a call of a server's method checks and takes before it does its work.

use crate::error;
use crate::gate::{Guard, Pass};
use crate::hooks;
use crate::server::Server;
use crate::work::Work;
use forkserve::{Server as Core, Stopper};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::PoisonError;

impl Server {
    /// Fails in a process whose server it is not.
    pub(crate) fn own(&self, py: Python<'_>) -> PyResult<()> {
        let stopper = self.stopper.lock().unwrap_or_else(PoisonError::into_inner);
        // In a supervisor it is that process which owns the server.
        let owned = match &*stopper {
            Some(stopper) => stopper.check_owner().is_ok(),
            None => std::process::id() == self.owner,
        };
        if owned {
            return Ok(());
        }
        let text = "the server belongs to the process that serves, not to this one";
        Err(error::new(py, libc::ECHILD, text))
    }

    /// Whether another process serves, and this one has a copy from before it began.
    pub(crate) fn is_lost(&self) -> bool {
        let stopper = self.stopper.lock().unwrap_or_else(PoisonError::into_inner);
        stopper.as_ref().is_some_and(Stopper::is_lost)
    }

    /// The loop's state, for this process and this call alone.
    pub(crate) fn enter(&self, py: Python<'_>) -> PyResult<Guard<'_, Core>> {
        self.own(py)?;
        match self.gate.enter() {
            Pass::Mine(core) => Ok(core),
            Pass::Reentered | Pass::Others => {
                Err(error::new(py, libc::EBUSY, "the server is being run by another call"))
            }
        }
    }

    /// Whether it knows what to serve with.
    pub(crate) fn has_work(&self, py: Python<'_>, core: &Core) -> PyResult<()> {
        let idle = self.callbacks.handler(py).is_some_and(|handler| handler.is_none());
        if idle && !core.serves_program() {
            return Err(PyTypeError::new_err("handler: None, and no program has been set"));
        }
        Ok(())
    }

    /// Before the first turn of the loop in this process.
    pub(crate) fn prepare(&self, py: Python<'_>) -> PyResult<()> {
        if !self.begun.swap(true, Relaxed) && self.gc_freeze {
            hooks::freeze(py)?;
        }
        Ok(())
    }

    pub(crate) fn work<'a>(&'a self, py: Python<'a>) -> PyResult<Work<'a>> {
        let handler = self.callbacks.import_handler(py)?;
        crate::join::rehearse(py)?;
        let class = self.class.bind(py).clone();
        self.room.prepare(&class)?;
        crate::warmup::prepare(py);
        Ok(Work { handler, class, room: &self.room, tls: self.tls.as_ref(), idle: self.idle })
    }

    pub(crate) fn request_stop(&self, py: Python<'_>) -> PyResult<()> {
        self.stops.fetch_add(1, Relaxed);
        let stopper = self.stopper.lock().unwrap_or_else(PoisonError::into_inner);
        let stopped = stopper.as_ref().map_or(Ok(()), Stopper::stop);
        stopped.map_err(|errno| error::new(py, errno, forkserve::strerror(errno)))
    }

    pub(crate) fn request_detach(&self, py: Python<'_>) -> PyResult<()> {
        let stopper = self.stopper.lock().unwrap_or_else(PoisonError::into_inner);
        let detached = stopper.as_ref().map_or(Ok(()), Stopper::detach);
        detached.map_err(|errno| match errno {
            libc::EINVAL => {
                let text =
                    "detach: with orphans=\"terminate\" children do not outlive their parent";
                error::new(py, errno, text)
            }
            errno => error::new(py, errno, forkserve::strerror(errno)),
        })?;
        // A stop that comes later has nothing to hasten.
        self.stops.fetch_add(1, Relaxed);
        Ok(())
    }
}
