//! Connections of proxies, which begin with a header: the child reads it and judges the
//! client that is named there, and the loop learns of it.

use crate::child::Child;
use crate::engine::children::record::Record;
use crate::engine::Engine;
use crate::event::Event;
use crate::hooks::Hooks;
use crate::shared::board::State;

impl Engine {
    /// In a new child that has a connection of a proxy. Ends the process if its client may not
    /// be served.
    #[cold]
    #[inline(never)]
    pub(super) fn greet(&mut self, mut child: Child, hooks: &mut dyn Hooks) -> Child {
        // The ends of the connection are this child's alone: what the proxy says is put there.
        self.room = None;
        let received = child.receive(&self.common.options, self.common.limits.as_deref());
        if let Some(herald) = self.herald.as_ref().filter(|_| self.common.is_observed()) {
            herald.leave(received == Ok(true));
        }
        match received {
            Ok(_) => child,
            Err(reason) => child.refuse(reason, &self.common.options.refuse_message, hooks),
        }
    }

    /// Children have rung: tells of the clients that have been named. False: none has rung.
    pub(super) fn take_names(&mut self) -> bool {
        if !self.herald.as_ref().is_some_and(|herald| herald.take_rings()) {
            return false;
        }
        let mut named = Vec::new();
        for (id, child) in self.children.iter_mut() {
            let slot = id.slot();
            let state = self.common.board.state(slot);
            if state.busy() && state.named && child.hear_name() {
                named.push((child.connection(), slot));
            }
        }
        for (id, slot) in named {
            self.tell_name(id, slot);
        }
        true
    }

    /// A child has ended: tells of its client now, if nobody has.
    pub(super) fn tell_name_late(&mut self, child: &mut Record, slot: usize, state: State) {
        if self.common.is_observed() && state.named && child.hear_name() {
            self.tell_name(child.connection(), slot);
        }
    }

    fn tell_name(&mut self, id: u64, slot: usize) {
        let name = self.common.board.peer(slot).unwrap_or_default();
        self.common.emit(&Event::Announced { id, peer: name.as_str() });
    }
}
