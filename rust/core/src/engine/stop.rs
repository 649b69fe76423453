//! The way from running to stopped.

use crate::engine::children::reaper::AGAIN;
use crate::engine::phase::{Phase, Stop};
use crate::engine::stops::Called;
use crate::engine::{drain::Drain, endpoints, Engine};
use crate::error::Error;
use crate::event::{Event, Refusal};
use nix::errno::Errno;

impl Engine {
    /// `stop` was called, perhaps more than once, or `detach`.
    pub(super) fn take_stops(&mut self) {
        match self.stops.take() {
            Called::Detach => self.take_detach(),
            Called::Stop(calls) => (0..calls).for_each(|_| {
                self.common.count();
                self.take_stop();
            }),
        }
    }

    /// One step towards the end.
    pub(super) fn take_stop(&mut self) {
        match self.phase.rules().stop {
            Stop::Drain => self.begin_drain(false),
            Stop::Hasten => self.escalate(),
            Stop::Nothing => {}
        }
    }

    /// `vacant`: no client is connected, and those that come while the listeners close are
    /// few.
    pub(super) fn begin_drain(&mut self, vacant: bool) {
        self.vacancy = None;
        self.endpoints.begin_drain(vacant, &mut self.common);
        self.dismiss_spares();
        self.drain = Drain::begin(self.common.now, self.common.options.grace);
        self.phase = Phase::Draining;
        self.answerer.iter_mut().for_each(|answerer| answerer.drain());
        let live = self.busy();
        self.common.emit(&Event::Draining { live });
        self.tell_stopping(live);
    }

    /// To the next stage, because its time has come or because of `stop`.
    fn escalate(&mut self) {
        let (now, kill_after) = (self.common.now, self.common.options.kill_after);
        let step = self.drain.next_stage(now, kill_after);
        for index in 0..self.endpoints.len() {
            self.close_endpoint(index);
        }
        self.drop_held(Refusal::Draining);
        let all = self.signal_children(step.signal);
        if step.signal == libc::SIGKILL {
            self.groups.kill(now);
        }
        if step.give_up {
            self.give_up_children();
        }
        if !all {
            self.drain.not_all_signalled(now + kill_after.max(AGAIN));
        }
    }

    /// Moves a drain on: listeners whose queue is empty close; without
    /// listeners and children the server has stopped.
    pub(super) fn advance_drain(&mut self) {
        if self.phase != Phase::Draining {
            return;
        }
        while self.drain.is_due(self.common.now) {
            self.escalate();
        }
        let free = self.obstacle().is_none();
        let mut open = false;
        for index in 0..self.endpoints.len() {
            if self.endpoints.is_done(index) {
                self.close_endpoint(index);
            } else if self.endpoints.listener(index).is_some() {
                open = true;
                if free {
                    self.endpoints.ask(index);
                }
            }
        }
        if self.drain.is_leaving() && !self.endpoints.any_ready() {
            return self.leave();
        }
        let none_left = self.children.is_empty() && self.groups.is_empty();
        if !open && self.hold.is_empty() && none_left && self.leaves.are_vacant() {
            self.leaves.remove();
            self.phase = Phase::Stopped;
            self.end_answerer();
            self.common.emit(&Event::Stopped);
        }
    }

    /// Whether a drain has come to where all children are sent signals.
    pub(super) fn signals_all(&self) -> bool {
        self.phase == Phase::Draining && self.drain.signals_all()
    }

    /// In the supervisor: a listener has failed, perhaps. Without one left there is
    /// nothing to wait for but the children, and then the host hears `why`.
    pub(crate) fn drain_if_deaf(&mut self, why: Error) {
        let deaf = self.endpoints.listeners().next().is_none();
        if deaf && self.phase == Phase::Running {
            if let Some(tie) = &mut self.tie {
                tie.set_failure(why);
            }
            self.take_stop();
        }
    }

    /// The listener of endpoint `index` is of no use any more.
    pub(super) fn fail_endpoint(&mut self, index: usize, operation: &str, errno: Errno) -> Error {
        let name = self.endpoints.name(index);
        self.close_endpoint(index);
        let address = name.as_str();
        self.common.emit(&Event::ListenerFailed { address, errno: errno as i32 });
        Error::os(operation, address, errno)
    }

    /// Closes the listener of endpoint `index`; its name stays.
    pub(super) fn close_endpoint(&mut self, index: usize) {
        if let Some(listener) = self.endpoints.take(index, &mut self.common) {
            self.shut_gate(&listener);
            endpoints::close(listener, &mut self.common.owned);
        }
    }
}
