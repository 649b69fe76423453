//! What a spare says of a connection that it has served.

use crate::child::slot::Slot;
use crate::child::spare::Spare;
use crate::counters::Counter;
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
        let source = slot.source();
        if kit.notes.is_some() {
            // Whoever hears of the end may have the client connect again at once.
            slot.set_source(0);
            let usage = slot.used_since(&process::usage_of_self());
            // Unheard, it must end: its parent then accounts for the connection
            // by that. A handler that closes all descriptors brings this about.
            if !self.send(slot, &Note::Served { status: status & 0xff, duration, usage }) {
                slot.set_source(source);
                return false;
            }
        }
        // Counted before it shows: a count that is too low calls early, one that
        // is too high not at all.
        kit.board.add(Counter::SparesLeft);
        if !slot.served() {
            kit.board.subtract(Counter::SparesLeft);
            return false;
        }
        kit.board.count_duration(duration);
        if let Some(limits) = kit.limits.as_ref().filter(|limits| limits.is_bad(status)) {
            limits.punish(&kit.board, source);
        }
        true
    }

    /// About the connection that it has, or had last. False if nobody hears it.
    pub(super) fn send(&self, slot: &Slot, note: &Note) -> bool {
        let Some(notes) = self.kit.notes else { return false };
        channel::send(
            notes,
            &note.encode(slot.id().to_bits(), self.connection, self.ends.peer_name()),
        )
    }
}
