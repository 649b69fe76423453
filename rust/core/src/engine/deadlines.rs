//! What is due: the end of pauses, children that must be polled, and signals to those
//! whose time is over.

use crate::counters::Counter;
use crate::engine::children::alarms::Signal;
use crate::engine::children::reaper::AGAIN;
use crate::engine::notes::BURIAL;
use crate::engine::Engine;
use crate::event::Event;
use crate::shared::child_id::ChildId;
use nix::errno::Errno;

impl Engine {
    /// Deadlines that have passed.
    pub(super) fn expire(&mut self) {
        self.shortage.expire(self.common.now);
        self.eviction.expire(self.common.now);
        if self.throttle.expire(self.common.now) {
            // With children that accept, the token may have gone again.
            self.check_gate();
        }
        self.poll_unwatched();
        self.sweep_if_due();
        self.look_at_groups();
        self.look_at_leaves();
        self.ring_alarms();
        self.tell_due();
        self.leave_if_vacant();
        self.look_at_answerer();
    }

    /// The deadlines of a connection that has begun.
    pub(super) fn set_deadlines(&mut self, id: ChildId, connection: u64) {
        let (now, options) = (self.common.now, &self.common.options);
        if let Some(lifetime) = options.lifetime {
            self.alarms.set_term(id, connection, now + lifetime);
        }
        if let Some(handshake) = options.handshake {
            self.alarms.set_handshake(id, connection, now + handshake);
        }
    }

    /// Sends the signals whose time has come.
    pub(super) fn ring_alarms(&mut self) {
        let (now, kill_after) = (self.common.now, self.common.options.kill_after);
        while let Some(alarm) = self.alarms.take_due(now) {
            let (id, connection) = (alarm.child, alarm.connection);
            let of_handshake = alarm.signal == Signal::Handshake;
            if of_handshake && self.common.board.is_established(id.slot(), connection) {
                continue;
            }
            let serves = self.still_serves(id, connection);
            let Some(child) = self.children.get(id) else {
                continue;
            };
            match (serves, alarm.signal) {
                (Some(false), _) => continue,
                (None, _) => self.alarms.put_off(alarm, now + AGAIN),
                (Some(true), Signal::Term | Signal::Handshake) => {
                    let pid = child.pid();
                    let _ = child.signal(libc::SIGTERM);
                    if of_handshake {
                        self.common.board.add(Counter::HandshakeTimeouts);
                        let name = self.common.board.peer(id.slot()).unwrap_or_default();
                        let peer = name.as_str();
                        self.common.emit(&Event::HandshakeTimeout { id: connection, peer, pid });
                    }
                    self.alarms.set_kill(id, connection, now + kill_after);
                }
                (Some(true), Signal::Kill) => {
                    // Once more later, unless it has ended: nothing else would end it.
                    let sent = self.kill(id);
                    if !matches!(sent, Ok(()) | Err(Errno::ESRCH)) {
                        self.alarms.set_kill(id, connection, now + kill_after.max(AGAIN));
                    }
                }
            }
            self.common.count();
        }
    }

    /// Whether this child still serves that connection; if so, it takes no other from
    /// here on. It may serve another by now, which has a time of its own. `None`: the
    /// note that would say so has yet to be read.
    pub(super) fn still_serves(&mut self, id: ChildId, connection: u64) -> Option<bool> {
        let condemned = self.common.board.condemn(id.slot(), connection);
        let Some(child) = self.children.get(id) else { return Some(false) };
        let told = child.connection() == connection;
        // One that has a single connection has no other, whatever the scoreboard says.
        let single = self.common.options.connections_per_child <= 1;
        let certain = condemned || child.is_distrusted() || (single && told);
        if certain || !told {
            return Some(certain);
        }
        // A child sends the note of the end before it changes the scoreboard. If all notes
        // have been read and this one is missing, some process has overwritten the scoreboard.
        let heard = self.take_notes(BURIAL);
        let told = self.children.get(id).is_some_and(|child| child.connection() == connection);
        (heard || !told).then_some(told)
    }

    /// Drops the alarms of connections that have ended.
    pub(super) fn prune_alarms(&mut self) {
        let children = &self.children;
        self.alarms.prune(children.len(), |id, connection| {
            let child = children.get(id);
            child.is_some_and(|child| child.connection() == connection || child.is_distrusted())
        });
    }
}
