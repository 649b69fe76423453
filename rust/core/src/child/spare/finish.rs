//! The end of a connection that a spare has served, as the supervisor and the scoreboard have it.

use crate::child::slot::Slot;
use crate::child::spare::Spare;
use crate::counters::Counter;
use crate::shared::board::Origin;
use crate::shared::note::Note;
use crate::sys::clock::monotonic_us;
use crate::sys::{channel, process};
use std::time::Duration;

impl Spare {
    /// The connection is served; false if this child must not take another.
    pub(in crate::child) fn finish(&mut self, slot: &Slot, status: i32) -> bool {
        let kit = &self.kit;
        let began = slot.since_us();
        let duration = Duration::from_micros(monotonic_us().saturating_sub(began));
        let origin = slot.origin();
        if kit.notes.is_some() {
            // The client may be told of the end, and connect again at once.
            slot.set_origin(Origin::default());
            let usage = slot.used_since(&process::usage_of_self());
            // If the note cannot be sent the child must end, and its parent accounts
            // for the connection by that: after a handler that closes all descriptors.
            if !self.send(slot, &Note::Served { status: status & 0xff, duration, usage }) {
                slot.set_origin(origin);
                return false;
            }
        }
        // Counted before it shows: if the count is too low the supervisor is called
        // early, if it is too high it is not called at all.
        kit.board.add(Counter::SparesLeft);
        // Before `ended`, of which it is a part: see `metrics`.
        let failed = status & 0xff != 0;
        if failed {
            kit.board.add(Counter::Failed);
        }
        if !slot.served() {
            if failed {
                kit.board.subtract(Counter::Failed);
            }
            kit.board.subtract(Counter::SparesLeft);
            return false;
        }
        kit.board.count_duration(duration);
        if let Some(limits) = kit.limits.as_ref().filter(|limits| limits.is_bad(status)) {
            limits.punish(&kit.board, origin.source);
        }
        true
    }

    /// Sends a note about the connection that it has, or had last. False if it failed.
    pub(super) fn send(&self, slot: &Slot, note: &Note) -> bool {
        let Some(notes) = self.kit.notes else { return false };
        channel::send(
            notes,
            &note.encode(slot.id().to_bits(), self.connection, self.ends.peer_name()),
        )
    }
}
