//! One turn of the loop: what is done, and in which order.
//!
//! The numbers are those of "The order of a turn" in docs/design.md.

use crate::engine::key::Key;
use crate::engine::notes::TURN;
use crate::engine::phase::{Accept, Outcome};
use crate::engine::{Engine, Turn};
use crate::error::Error;
use crate::event::{Event, Pause};
use crate::hooks::Hooks;
use crate::options::AtCapacity;
use std::time::Instant;

impl Engine {
    /// Works until the next fork, or until there is nothing left to do.
    pub(crate) fn turn(&mut self, hooks: &mut dyn Hooks) -> Result<Turn, Error> {
        match self.work(hooks)? {
            Turn::Child(child) if self.serves_program() => self.become_program(child),
            turn => Ok(turn),
        }
    }

    fn work(&mut self, hooks: &mut dyn Hooks) -> Result<Turn, Error> {
        self.common.now = Instant::now();
        // 1. What was reported: stop requests, ended children, endpoints that have
        //    connections. Children are reaped before new ones are made, so that places
        //    and descriptors are free first.
        if self.reports.take_up() {
            self.take_reports();
        }
        // 2. Deadlines: the end of a pause, children that must be polled, lifetimes, and
        //    calls that have failed for too long.
        self.expire();
        self.check_calls()?;
        // 3. The held connection, if its time has come. It was first in the queue.
        if let Some(turn) = self.retry_held(hooks)? {
            return Ok(turn);
        }
        loop {
            // 4. New connections, one from each endpoint that is ready, while fewer than
            //    `max_children` live and nothing else is in the way. Then the next report,
            //    so that one busy endpoint does not keep the others waiting.
            while let Some(index) = self.endpoints.next_ready() {
                if !self.may_accept(index) {
                    continue;
                }
                if self.must_evict() {
                    self.evict();
                    continue;
                }
                if let Some(turn) = self.accept_from(index, hooks)? {
                    return Ok(turn);
                }
            }
            // 5. The drain, if there is one. It asks for what is left in the queues.
            self.advance_drain();
            if !self.endpoints.any_ready() {
                break;
            }
        }
        // 6. One spare, if it is time for one and fewer than `max_children` live.
        if let Some(turn) = self.refill(hooks)? {
            return Ok(turn);
        }
        // 7. Whether to go on accepting: the listeners are armed or disarmed, and the
        //    observer is told.
        self.settle()?;
        match self.phase.rules().turn {
            Outcome::Drained => Ok(Turn::Drained),
            Outcome::Idle => Ok(Turn::Idle),
        }
    }

    pub(super) fn take_reports(&mut self) {
        let before = self.common.handled();
        let (mut index, mut in_vain) = (0, true);
        while let Some((key, events)) = self.reports.get(index) {
            index += 1;
            in_vain &= match key {
                Key::Stop => {
                    self.take_stops();
                    false
                }
                Key::Held => {
                    self.look_at_held(events);
                    true
                }
                // The binding's own; it looks at it after each wait.
                Key::Extra => false,
                Key::Bell => !self.take_bell(),
                Key::Notes => {
                    self.take_notes(TURN);
                    true
                }
                Key::Herald => !self.take_names(),
                Key::Signals => !self.take_signals(),
                Key::Answerer => !self.take_answerers_end(),
                Key::Host => {
                    self.host_is_gone();
                    false
                }
                Key::Endpoint(index) => {
                    self.endpoints.reported(index, events);
                    self.endpoints.is_deaf(index)
                }
                Key::Voice(slot) => {
                    self.hear_program(slot);
                    true
                }
                Key::Child(id) => {
                    self.reap(id);
                    true
                }
            };
        }
        // What has been handled was not reported in vain.
        self.reports.done(in_vain && index > 0 && self.common.handled() == before);
    }

    /// Whether `max_children` children live, or what they have left: no other may be made.
    pub(super) fn is_crowded(&self) -> bool {
        self.children.len() + self.groups.len() >= self.common.options.max_children as usize
    }

    /// Whether `max_children` children live, and none of them waits for a
    /// connection. In a drain none does: those that had no connection leave.
    pub(super) fn is_full(&self) -> bool {
        let waiting = self.pool.is_some() && self.phase.rules().spares;
        self.is_crowded() && (!waiting || self.idle() == 0)
    }

    /// How many spares wait.
    pub(super) fn idle(&self) -> u32 {
        self.children.idle(&self.common.board)
    }

    /// How many connections are being served.
    pub(super) fn busy(&self) -> u64 {
        self.common.board.states().filter(|(_, state)| state.busy()).count() as u64
    }

    /// Whether endpoint `index` may be asked for a connection.
    fn may_accept(&mut self, index: usize) -> bool {
        self.check_rate();
        // A broken listener is asked all the same: accept says how it broke.
        self.obstacle().is_none() && self.accepts_here() || self.endpoints.is_broken(index)
    }

    /// Why no connection may be accepted now; `None`: one may.
    pub(super) fn obstacle(&self) -> Option<Pause> {
        if !self.hold.is_empty() {
            return Some(Pause::Fork);
        }
        if let Some(errno) = self.shortage.shuts() {
            return Some(Pause::Resources(errno as i32));
        }
        if self.throttle.is_shut() {
            return Some(Pause::Rate);
        }
        let wait = match self.common.options.at_capacity {
            AtCapacity::Queue => true,
            AtCapacity::Refuse => false,
            AtCapacity::Evict | AtCapacity::EvictSource => {
                self.eviction.is_on() || !self.may_evict()
            }
        };
        (wait && self.is_full()).then_some(Pause::Capacity)
    }

    /// Whether this process itself accepts: always without spares, and with
    /// them to refuse what no child is left for, or to make room for it.
    fn accepts_here(&self) -> bool {
        match self.phase.rules().accept {
            Accept::Here => true,
            Accept::Spares if self.pool.is_none() => true,
            Accept::Spares => {
                self.common.options.at_capacity != AtCapacity::Queue && self.is_full()
            }
            Accept::Nowhere => false,
        }
    }

    /// Arms or disarms the listeners as the obstacles come and go, and tells the observer.
    fn settle(&mut self) -> Result<(), Error> {
        let rules = self.phase.rules();
        if rules.turn == Outcome::Drained {
            return Ok(());
        }
        let obstacle = self.obstacle();
        let arm = obstacle.is_none() && self.accepts_here();
        let armed = self.endpoints.arm(arm, &self.common.epoll);
        // A shortage is over when an accept has worked, not when it is tried again.
        let shortage = self.shortage.lasts().map(|errno| Pause::Resources(errno as i32));
        let rate = self.throttle.lasts().then_some(Pause::Rate);
        let reason = obstacle.or(shortage).or(rate);
        // While a connection ends to make room, the observer need not know of a pause.
        if self.paused != reason && !self.eviction.has_victim() {
            self.paused = reason;
            match reason {
                Some(reason) => self.common.emit(&Event::Paused { reason }),
                None => self.common.emit(&Event::Resumed),
            }
        }
        match armed {
            Err(error) if rules.fails => self.lose(error),
            _ => Ok(()),
        }
    }

    /// Ends the loop with an error where a call without which no client is served has
    /// failed for too long. A drain goes on without it.
    fn check_calls(&mut self) -> Result<(), Error> {
        if !self.phase.rules().fails {
            return Ok(());
        }
        let now = self.common.now;
        let (call, errno) = if let Some(errno) = self.fork_call.take_hopeless(now) {
            ("fork", errno)
        } else if let Some(errno) = self.reaper.take_hopeless(now) {
            ("waitid", errno)
        } else if let Some(errno) = self.pool.as_mut().and_then(|pool| pool.take_hopeless(now)) {
            ("epoll_ctl", errno)
        } else {
            return Ok(());
        };
        self.lose(Error::os(call, "", errno))
    }

    /// The loop cannot go on as it is. A supervisor has no caller: it drains.
    fn lose(&mut self, why: Error) -> Result<(), Error> {
        let Some(tie) = &mut self.tie else { return Err(why) };
        tie.set_failure(why);
        self.take_stop();
        Ok(())
    }
}
