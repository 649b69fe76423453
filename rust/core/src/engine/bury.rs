//! What follows from the end of a child.

use crate::child::EXIT_OSERR;
use crate::counters::Counter;
use crate::engine::children::reaper::End;
use crate::engine::children::record::Record;
use crate::engine::notes::BURIAL;
use crate::engine::Engine;
use crate::event::{Event, Renewal};
use crate::shared::board::{Doing, State};
use crate::shared::child_id::ChildId;
use crate::sys::clock::monotonic_us;
use crate::sys::process::{Exit, Usage};
use std::time::Duration;

impl Engine {
    /// A child has ended. All that follows from it is here, in this order.
    pub(super) fn bury(&mut self, end: End) {
        let End { id, exit, usage } = end;
        let slot = id.slot();
        // The notes that it sent before it ended come first.
        self.take_notes(BURIAL);
        // Its record goes, and its pidfd.
        let Some(mut child) = self.take_child(id) else { return };
        let state = self.common.board.state(slot);
        self.common.count();
        // What it has started ends with it.
        if self.leaves.are_used() {
            self.vacate(slot);
        } else {
            let told = state.doing == Doing::Condemned || self.signals_all();
            self.groups.add(&mut child, told, &mut self.common);
        }
        // A process, a descriptor and memory have become free: what waits for them is
        // tried at once.
        let now = self.common.now;
        self.hold.hasten(now);
        self.shortage.hasten();
        self.eviction.end();
        // It may have shut the gate and not come to ring.
        self.look_at_gate(true);
        if let Some(pool) = &mut self.pool {
            pool.births.hasten(now);
            pool.stock.put_off(now);
        }
        // Deadlines of its connections go with the others that are over.
        self.prune_alarms();
        // Its connections are counted: those before the last one, and that one. A
        // connection that the record has counts whatever the scoreboard says.
        self.tell_name_late(&mut child, slot, state);
        let outcast = self.is_outcast(&child, slot, state);
        if !outcast {
            // Away from the slot first: of a reader in between no count is to go back.
            self.common.board.take_served(slot);
            self.common.board.add_many(Counter::Ended, state.served);
        }
        if outcast {
            // It has taken a client; the next one may fare no better, but takes another.
        } else if state.busy() || child.connection() != 0 {
            self.punish(slot, state, exit);
            self.close_account(&child, slot, exit, usage);
            self.pool.iter_mut().for_each(|pool| pool.births.trust());
        } else if state.served == 0 {
            self.count_stillborn(&child, exit);
        }
        // It may have been woken for a connection that it did not take.
        if !state.busy() {
            self.pass_on_for_the_dead();
        }
        // Its slot is free for the next one.
        self.common.board.close(slot);
        // What it shared may be spoilt, and a spare that was killed is replaced.
        self.look_after_pool(&child, !state.busy() && !outcast && exit != Exit::Code(0));
    }

    /// Takes a child out of the table, whose pidfd is to be closed.
    pub(super) fn take_child(&mut self, id: ChildId) -> Option<Record> {
        let child = self.children.remove(id)?;
        child.let_go(&mut self.common);
        Some(child)
    }

    /// A source whose connection crashes its child is refused for a time.
    fn punish(&self, slot: usize, state: State, exit: Exit) {
        let board = &self.common.board;
        if let Some(limits) = &self.common.limits {
            // Only where the server sent it SIGKILL, or may have.
            let ours = state.doing == Doing::Condemned || self.phase.rules().only_queued;
            if limits.is_crash(exit, ours) {
                limits.punish(board, board.origin(slot).source);
            }
        }
    }

    /// The child's last connection has ended with it.
    fn close_account(&mut self, child: &Record, slot: usize, exit: Exit, usage: Usage) {
        let board = &self.common.board;
        // Before `ended`, of which it is a part: see `metrics`.
        match exit {
            Exit::Code(0) => {}
            Exit::Code(_) => drop(board.add(Counter::Failed)),
            Exit::Signal(_) => drop(board.add(Counter::Crashed)),
            Exit::Unknown => drop(board.add(Counter::Unknown)),
        }
        board.add(Counter::Ended);
        let micros = monotonic_us().saturating_sub(board.since_us(slot));
        let duration = Duration::from_micros(micros);
        board.count_duration(duration);
        if !self.common.is_observed() {
            return;
        }
        let known = child.connection() != 0;
        let id = if known { child.connection() } else { board.connection(slot) };
        let pid = child.pid();
        if child.told_end_of(id) {
            // It ended before it could wait again.
            return;
        }
        let name = board.peer(slot).unwrap_or_default();
        let peer = name.as_str();
        if !known {
            // It was killed after it took the connection and before it sent the note.
            self.common.emit(&Event::Accepted { id, peer });
            self.common.emit(&Event::Forked { id, peer, pid });
        }
        // When the observer hears of the end, the scoreboard shows it.
        self.common.board.close(slot);
        self.common.emit(&Event::Ended { id, peer, pid, exit, duration, usage });
    }

    /// A spare has ended that had served no client. Unless it was dismissed, it could not
    /// even wait, and the next one may fare no better.
    fn count_stillborn(&mut self, child: &Record, exit: Exit) {
        let now = self.common.now;
        let Some(pool) = &mut self.pool else { return };
        if exit == Exit::Code(0) && (pool.was_dismissed(child) || !self.phase.rules().spares) {
            return;
        }
        pool.births.failed(true, now);
        if exit == Exit::Code(EXIT_OSERR) {
            pool.births.was_deaf();
        }
    }

    /// This child has ended. `abruptly`: without having left by itself, and without a
    /// connection.
    fn look_after_pool(&mut self, child: &Record, abruptly: bool) {
        let exposed = self.pool.as_ref().is_some_and(|pool| pool.equipment.is_exposed());
        if !exposed || !self.phase.rules().spares {
            return;
        }
        let (now, idle) = (self.common.now, self.idle());
        let Some(pool) = &mut self.pool else { return };
        if abruptly {
            pool.stock.replace(idle, self.common.options.max_children, now);
        }
        // No process of the library's has shut it.
        if pool.was_shut_by(child) {
            self.renew(Some(Renewal::Leave));
        }
    }
}
