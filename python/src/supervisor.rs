//! The supervisor of `start`: its life, and waiting for it in its host.
//!
//! It runs inside the host's call of `start`, into whose frames it must not
//! return. The core waits for the supervisor alone; here signals are waited for too, so
//! that Ctrl-C comes out at once.

use crate::child;
use crate::error;
use crate::hooks::PythonHooks;
use crate::server::Server;
use crate::wakeup::Wakeup;
use crate::work::Work;
use forkserve::{Server as Core, Start};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use pyo3::prelude::*;
use std::convert::Infallible;
use std::os::fd::BorrowedFd;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How often the core has to be asked about a supervisor that must end.
const LOOK: Duration = Duration::from_secs(1);

impl Server {
    /// `start`; returns in the host only.
    pub(crate) fn start_supervisor(&self, py: Python<'_>, core: &mut Core) -> PyResult<i32> {
        let work = self.work(py)?;
        let mut hooks = PythonHooks::new(py, &self.callbacks, Wakeup::Deaf)?;
        self.callbacks.set_supervised(true);
        let started = core.start_with(&mut hooks);
        if !matches!(started, Ok(Start::Supervisor)) {
            self.callbacks.set_supervised(false);
        }
        match started {
            Ok(Start::Host(pid)) => Ok(pid),
            Ok(Start::Supervisor) => self.live(py, core, &mut hooks, &work),
            Err(error) => {
                let forbidden = hooks.forbidden.take();
                Err(forbidden.unwrap_or_else(|| error::from_core(py, &error)))
            }
        }
    }

    /// The life of a supervisor.
    pub(crate) fn live(
        &self,
        py: Python<'_>,
        core: &mut Core,
        hooks: &mut PythonHooks<'_, '_>,
        work: &Work<'_>,
    ) -> ! {
        let life = AssertUnwindSafe(|| -> Infallible {
            core.supervise(hooks, |child, hooks| child::serve(py, child, work, hooks))
        });
        let _ = catch_unwind(life);
        std::process::abort()
    }

    /// `wait`, with signals heard of.
    pub(crate) fn await_supervisor(
        &self,
        py: Python<'_>,
        core: &mut Core,
        limit: Option<Duration>,
    ) -> PyResult<bool> {
        let deadline = limit.map(|limit| Instant::now() + limit);
        // Without descriptors for it, it looks for signals now and then.
        let mut wakeup = Wakeup::new(py).unwrap_or(Wakeup::Polled);
        let result = loop {
            match core.wait_supervisor(Some(Duration::ZERO)) {
                Ok(false) => {}
                Ok(true) => break Ok(true),
                Err(error) => break Err(error::from_core(py, &error)),
            }
            // Also one that came right before the wake-up was set.
            if let Err(error) = py.check_signals() {
                break Err(error);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                break Ok(false);
            }
            let supervisor = core.supervisor_fd();
            py.detach(|| sleep(supervisor, &wakeup, left));
            wakeup.drain();
        };
        wakeup.remove(py, core)?;
        match self.callbacks.take_interrupt() {
            Some(interrupt) => Err(interrupt),
            None => result,
        }
    }

    /// `close`, where a supervisor runs the server. One that cannot drain is ended.
    pub(crate) fn end_supervisor(&self, py: Python<'_>, core: &mut Core) -> PyResult<()> {
        if self.stops.load(Relaxed) == 0 {
            self.request_stop(py)?;
        }
        let mut raised = None;
        while core.supervisor_runs() == Some(true) {
            let looked = match self.await_supervisor(py, core, Some(LOOK)) {
                Ok(false) => core.look_after_supervisor().map_err(|e| error::from_core(py, &e)),
                other => other.map(drop),
            };
            if let Err(error) = looked {
                self.request_stop(py)?;
                raised.get_or_insert(error);
            }
        }
        raised.map_or(Ok(()), Err)
    }
}

/// Until the supervisor has ended, a signal has come, or `limit` is over.
fn sleep(supervisor: Option<BorrowedFd<'_>>, wakeup: &Wakeup, limit: Option<Duration>) {
    let fds = [supervisor, wakeup.fd()];
    let mut fds: Vec<PollFd<'_>> =
        fds.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    let limit = [limit, wakeup.limit()].into_iter().flatten().min();
    // Rounded up, or the last millisecond would be spent spinning.
    let limit = limit.map_or(PollTimeout::NONE, |limit| {
        let ms = limit.as_micros().div_ceil(1000);
        PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX)
    });
    // EINTR: a signal has come. Other errors have no cause here, and the caller
    // looks by itself.
    let _ = poll(&mut fds, limit);
}
