//! What all spares of a server share, made before the first is born. Each takes along
//! a list of it, the kit.

use crate::child::Kit;
use crate::counters::Counter;
use crate::descriptors::owned::Owned;
use crate::engine::common::Common;
use crate::engine::endpoints::Endpoints;
use crate::engine::key::Key;
use crate::error::Error;
use crate::net::conn::Ends;
use crate::net::listener::Listener;
use crate::options::Proxy;
use crate::sys::channel::{Channel, Message, Received};
use crate::sys::epoll::{self, Epoll};
use crate::sys::leave::Leave;
use crate::sys::process;
use crate::sys::wake::Wake;
use nix::errno::Errno;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

pub(crate) struct Equipment {
    bell: Wake,
    leave: Leave,
    /// Where the spares wait: see `Kit`.
    gate: Option<Epoll>,
    /// This process, for the spares to see its end.
    parent: OwnedFd,
    channel: Option<Channel>,
    /// Away only while a spare is being made.
    kit: Option<Arc<Kit>>,
    /// Memory for the next spare's connection.
    room: Option<Arc<Ends>>,
    /// Counts up when it is made anew.
    generation: u32,
}

impl Equipment {
    pub(crate) fn new(endpoints: &Endpoints, common: &mut Common) -> Result<Equipment, Error> {
        let fail = |operation: &'static str| move |errno| Error::os(operation, "", errno);
        let named = |(operation, errno)| Error::os(operation, "", errno);
        let bell = Wake::new().map_err(fail("eventfd"))?;
        let leave = Leave::new().map_err(named)?;
        let parent = process::pidfd_open(common.owner).map_err(fail("pidfd_open"))?;
        // Where no handler ever has it, one for all costs a spare nothing.
        let alone = common.options.connections_per_child <= 1;
        let gate = alone.then(Epoll::new).transpose().map_err(fail("epoll_create1"))?;
        let channel = is_chatty(common).then(Channel::new).transpose().map_err(named)?;
        let (kit, room) = (None, None);
        let mut made = Equipment { bell, leave, gate, parent, channel, kit, room, generation: 0 };
        let kit = made.list(endpoints, common);
        made.fill_gate(&kit).map_err(fail("epoll_ctl"))?;
        made.kit = Some(Arc::new(kit));
        made.register(common).map_err(fail("epoll_ctl"))?;
        Ok(made)
    }

    fn register(&self, common: &mut Common) -> Result<(), Errno> {
        // Each ring is reported once, also where it cannot be read.
        common.epoll.add(self.bell.as_fd(), epoll::IN | epoll::EDGE, Key::Bell.to_bits())?;
        self.channel.iter().try_for_each(|channel| watch_channel(channel, common))?;
        common.owned.add_lasting(&self.bell);
        own_leave(&self.leave, &mut common.owned);
        common.owned.add_lasting(&self.parent);
        self.gate.iter().for_each(|gate| common.owned.add_lasting(gate));
        self.channel.iter().for_each(|channel| own_channel(channel, &mut common.owned));
        Ok(())
    }

    fn fill_gate(&self, kit: &Kit) -> Result<(), Errno> {
        let Some(gate) = &self.gate else { return Ok(()) };
        kit.gate_entries().try_for_each(|(fd, events, key)| gate.add(fd, events, key))
    }

    /// What spares take along from now on.
    fn list(&self, endpoints: &Endpoints, common: &Common) -> Kit {
        let mut lasting = Owned::default();
        endpoints.listeners().for_each(|listener| lasting.add(listener));
        lasting.add(&self.bell);
        lasting.add(self.leave.spares());
        lasting.add(&self.parent);
        self.gate.iter().for_each(|gate| lasting.add(gate));
        self.channel.iter().for_each(|channel| lasting.add(channel.sender()));
        let mut kept = lasting.clone();
        common.ruleset.iter().for_each(|ruleset| kept.add_raw(*ruleset));
        let open = endpoints.listeners();
        let listeners = open.map(|listener| (listener.as_fd().as_raw_fd(), *listener.info()));
        Kit {
            board: common.board.clone(),
            options: (*common.options).clone(),
            limits: common.limits.clone(),
            listeners: listeners.collect(),
            bell: self.bell.as_fd().as_raw_fd(),
            leave: self.leave.spares().as_raw_fd(),
            parent: self.parent.as_raw_fd(),
            parent_pid: common.owner,
            gate: self.gate.as_ref().map(|gate| gate.as_fd().as_raw_fd()),
            notes: self.channel.as_ref().map(|channel| channel.sender().as_raw_fd()),
            kept,
            lasting,
        }
    }

    /// Makes anew what a handler can have spoilt.
    pub(crate) fn remake(
        &mut self,
        endpoints: &Endpoints,
        common: &mut Common,
    ) -> Result<(), Error> {
        let fail = |(operation, errno)| Error::os(operation, "", errno);
        // First the old ones: descriptors may be short.
        self.leave.dismiss_all();
        let leave = Leave::new().map_err(fail)?;
        let missing = is_chatty(common) && self.channel.is_none();
        let channel = missing.then(Channel::new).transpose().map_err(fail)?;
        if let Some(channel) = &channel {
            watch_channel(channel, common).map_err(|errno| fail(("epoll_ctl", errno)))?;
            own_channel(channel, &mut common.owned);
        }
        own_leave(&leave, &mut common.owned);
        let old = std::mem::replace(&mut self.leave, leave);
        common.owned.remove(old.supervisor());
        common.owned.remove(old.spares());
        if channel.is_some() {
            self.channel = channel;
        }
        self.kit = Some(Arc::new(self.list(endpoints, common)));
        self.generation = self.generation.wrapping_add(1);
        Ok(())
    }

    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// Whether handlers can get at it.
    pub(crate) fn is_exposed(&self) -> bool {
        self.gate.is_none()
    }

    /// What a spare takes along, and memory for its connection: it must not allocate.
    pub(crate) fn lend(&mut self) -> Option<(Arc<Kit>, Arc<Ends>)> {
        let kit = self.kit.take()?;
        let room = self.room.take().unwrap_or_else(|| {
            let proxies = kit.options.proxy != Proxy::Off;
            let mut ends = Ends::at(kit.board.place()).with_proxies(proxies);
            if let Some((listener, info)) = kit.listeners.first() {
                ends.prepare(*listener, info);
            }
            Arc::new(ends)
        });
        Some((kit, room))
    }

    /// In the parent, after the fork: the same, back again.
    pub(crate) fn take_back(&mut self, (kit, room): (Arc<Kit>, Arc<Ends>)) {
        (self.kit, self.room) = (Some(kit), Some(room));
    }

    /// Whether there is a listener for spares to wait at.
    pub(crate) fn has_listener(&self) -> bool {
        self.kit.as_ref().is_none_or(|kit| !kit.listeners.is_empty())
    }

    /// This listener is about to close. The spares' copies would keep it at the gate,
    /// and those to come would look for it.
    pub(crate) fn remove(&mut self, listener: &Listener) {
        let _ = self.gate.as_ref().map(|gate| gate.remove(listener.as_fd()));
        // No other process has it between two forks.
        if let Some(kit) = self.kit.as_mut().and_then(Arc::get_mut) {
            kit.listeners.retain(|(number, _)| *number != listener.as_fd().as_raw_fd());
            kit.lasting.remove(listener);
            kit.kept.remove(listener);
        }
    }

    /// Puts the listeners back into the gate.
    pub(crate) fn open_gate(&self, common: &Common) -> Result<(), Errno> {
        let Some(kit) = &self.kit else { return Ok(()) };
        // First this: a child that shuts the gate meanwhile says so behind it.
        common.board.set(Counter::GateShut, 0);
        let Some(gate) = &self.gate else { return Ok(()) };
        // All of them, also if one fails.
        let mut result = Ok(());
        for (listener, key) in kit.keyed_listeners() {
            result = result.and(gate.modify(listener, kit.listener_events(), key));
        }
        result
    }

    /// Takes the rings of the bell; false: there was none.
    pub(crate) fn take_rings(&self) -> bool {
        self.bell.take() > 0
    }

    /// Tells `count` spares to leave; returns how many it has told.
    pub(crate) fn dismiss(&self, count: u32) -> u32 {
        self.leave.dismiss(count)
    }

    /// Tells all spares to leave, also those that are yet to be made.
    pub(crate) fn dismiss_all(&self) {
        self.leave.dismiss_all();
    }

    /// Whether all have been told to leave, by any process.
    pub(crate) fn is_shut(&self) -> bool {
        self.leave.is_shut()
    }

    /// The next note of a child; `None`: there is no channel.
    pub(crate) fn receive(&self, message: &mut Message) -> Option<Received> {
        Some(self.channel.as_ref()?.receive(message))
    }

    /// Nothing more is to be heard by the channel; false: there is none.
    pub(crate) fn close_channel(&mut self, common: &mut Common) -> bool {
        let Some(channel) = self.channel.take() else { return false };
        let _ = common.epoll.remove(channel.receiver());
        common.owned.remove(channel.receiver());
        common.owned.remove(channel.sender());
        true
    }
}

/// Only an observer and deadlines need to know of single connections.
fn is_chatty(common: &Common) -> bool {
    common.is_observed() || common.options.has_deadlines()
}

fn watch_channel(channel: &Channel, common: &Common) -> Result<(), Errno> {
    common.epoll.add(channel.receiver(), epoll::IN, Key::Notes.to_bits())
}

fn own_channel(channel: &Channel, owned: &mut Owned) {
    owned.add_lasting(channel.receiver());
    owned.add_lasting(channel.sender());
}

fn own_leave(leave: &Leave, owned: &mut Owned) {
    owned.add_lasting(leave.supervisor());
    owned.add_lasting(leave.spares());
}
