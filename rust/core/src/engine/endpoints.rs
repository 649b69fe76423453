//! The addresses that the server listens at, and which of them have connections.
//!
//! An endpoint is one address. It stays in the table, by its name, after its
//! listener has closed.

use crate::child::Unusable;
use crate::descriptors::owned::Owned;
use crate::engine::common::Common;
use crate::engine::key::Key;
use crate::error::Error;
use crate::event::Event;
use crate::metrics::Listening;
use crate::net::accept::MANY;
use crate::net::listener::Listener;
use crate::net::name::Name;
use crate::net::place::Place;
use crate::net::socket_file::SocketFile;
use crate::retry::failing::Failing;
use crate::sys::epoll::{self, Epoll};
use crate::sys::sock_diag::SocketId;
use crate::sys::socket;
use nix::errno::Errno;
use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd};
use std::time::Instant;

#[derive(Default)]
pub(crate) struct Endpoints {
    table: Vec<Endpoint>,
    /// Those that were reported to have a connection and are yet to be asked.
    ready: VecDeque<usize>,
    /// Whether connections are not reported for now.
    disarmed: bool,
}

struct Endpoint {
    name: Name,
    /// By which the kernel is asked for its queue.
    id: SocketId,
    listener: Option<Listener>,
    /// In the host of a supervisor: the socket's file, which is the
    /// supervisor's to remove unless it is killed.
    file: Option<SocketFile>,
    /// A process has shut the socket down: `accept` says how.
    broken: bool,
    /// The failures of `accept` that are about one connection each.
    failing: Option<Failing>,
    /// During a drain: how many more connections its queue may give.
    quota: u32,
}

/// What failures of `accept` come to that are about one connection each.
pub(crate) enum Failures {
    Few,
    /// So many in a row are not about their connections.
    Many,
    /// That has been so for too long.
    Hopeless,
}

impl Endpoints {
    /// Adds one for each listener; all of them or none.
    pub(crate) fn add(
        &mut self,
        place: &Place<'_>,
        listeners: Vec<Listener>,
        epoll: &Epoll,
        owned: &mut Owned,
    ) -> Result<(), Error> {
        if let Err(error) = self.register(place, &listeners, epoll) {
            listeners.into_iter().for_each(Listener::give_back);
            return Err(error);
        }
        listeners.into_iter().for_each(|listener| self.push(listener, owned));
        Ok(())
    }

    /// Adds one that is not in an epoll yet.
    pub(crate) fn push(&mut self, listener: Listener, owned: &mut Owned) {
        owned.add_lasting(&listener);
        self.table.push(Endpoint {
            name: listener.info().name,
            id: listener.id(),
            listener: Some(listener),
            file: None,
            broken: false,
            failing: None,
            quota: 0,
        });
    }

    /// Adds them to the epoll; all of them or none.
    fn register(
        &self,
        place: &Place<'_>,
        listeners: &[Listener],
        epoll: &Epoll,
    ) -> Result<(), Error> {
        // One that came from outside may be here already, by this or another descriptor.
        for listener in listeners.iter().filter(|listener| listener.info().adopted) {
            if let Some(known) = self.listeners().find(|known| known.is_same(listener)) {
                let name = known.info().name;
                let text = format!(
                    "listen {place}: the server listens at this socket already, {}",
                    name.as_str()
                );
                return Err(Error::new(Errno::EEXIST, text));
            }
        }
        let first = self.table.len();
        for (listener, index) in listeners.iter().zip(first..) {
            let key = Key::Endpoint(index).to_bits();
            if let Err(errno) = epoll.add(listener.as_fd(), epoll::IN, key) {
                for added in &listeners[..index - first] {
                    let _ = epoll.remove(added.as_fd());
                }
                return Err(Error::os("epoll_ctl", &place.to_string(), errno));
            }
        }
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    pub(crate) fn name(&self, index: usize) -> Name {
        self.table[index].name
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.table.iter().map(|endpoint| endpoint.name.as_str())
    }

    /// What the metrics tell of them.
    pub(crate) fn listening(&self) -> impl Iterator<Item = Listening> + '_ {
        let name = |endpoint: &Endpoint| endpoint.name.as_str().to_owned();
        self.table.iter().map(move |one| Listening { name: name(one), id: one.id })
    }

    /// The listener of endpoint `index`, if it is open.
    pub(crate) fn listener(&self, index: usize) -> Option<&Listener> {
        self.table[index].listener.as_ref()
    }

    /// All open listeners.
    pub(crate) fn listeners(&self) -> impl Iterator<Item = &Listener> + Clone {
        self.table.iter().filter_map(|endpoint| endpoint.listener.as_ref())
    }

    /// The endpoint whose listener a spare has found unusable.
    pub(crate) fn find(&self, unusable: Unusable) -> Option<usize> {
        let is_it = |listener: &Listener| unusable.is(listener.as_fd().as_raw_fd());
        self.table.iter().position(|endpoint| endpoint.listener.as_ref().is_some_and(is_it))
    }

    /// Puts the open listeners into another epoll.
    pub(crate) fn watch(&self, epoll: &Epoll) -> Result<(), Errno> {
        for (index, endpoint) in self.table.iter().enumerate() {
            if let Some(listener) = &endpoint.listener {
                epoll.add(listener.as_fd(), epoll::IN, Key::Endpoint(index).to_bits())?;
            }
        }
        Ok(())
    }

    /// Endpoint `index` has been reported with these events.
    pub(crate) fn reported(&mut self, index: usize, events: u32) {
        self.table[index].broken |= events & (epoll::HUP | epoll::ERR) != 0;
        self.ready.push_back(index);
    }

    /// Whether nothing can be done about a report of endpoint `index`.
    pub(crate) fn is_deaf(&self, index: usize) -> bool {
        self.table[index].listener.is_none() || self.disarmed
    }

    pub(crate) fn is_broken(&self, index: usize) -> bool {
        self.table[index].broken
    }

    /// The next one that is to be asked for a connection.
    pub(crate) fn next_ready(&mut self) -> Option<usize> {
        self.ready.pop_front()
    }

    pub(crate) fn any_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(crate) fn forget_ready(&mut self) {
        self.ready.clear();
    }

    /// Whether connections are to be reported.
    pub(crate) fn arm(&mut self, arm: bool, epoll: &Epoll) -> Result<(), Error> {
        if self.disarmed != arm {
            return Ok(());
        }
        let mut result = Ok(());
        let events = if arm { epoll::IN } else { 0 };
        for (index, endpoint) in self.table.iter().enumerate() {
            if let Some(listener) = &endpoint.listener {
                // It takes no memory for a registered descriptor. Where it is refused
                // all the same, clients would wait for ever at one that is not armed.
                let key = Key::Endpoint(index).to_bits();
                let modify = || epoll.modify(listener.as_fd(), events, key);
                if let Err(errno) = modify().or_else(|_| modify()) {
                    result = Err(Error::os("epoll_ctl", endpoint.name.as_str(), errno));
                }
            }
        }
        if result.is_ok() {
            self.disarmed = !arm;
        }
        result
    }

    /// Endpoint `index` has given a connection.
    pub(crate) fn accepted(&mut self, index: usize) {
        self.table[index].failing = None;
        self.spend(index);
    }

    /// Endpoint `index` has no connection.
    pub(crate) fn found_empty(&mut self, index: usize) {
        self.table[index].failing = None;
        self.table[index].quota = 0;
    }

    /// During a drain each gives only what was queued at its start.
    pub(crate) fn spend(&mut self, index: usize) {
        let quota = &mut self.table[index].quota;
        *quota = quota.saturating_sub(1);
    }

    /// `accept` has failed at endpoint `index` as it does for one connection.
    pub(crate) fn failed(&mut self, index: usize, errno: Errno, now: Instant) -> Failures {
        let failing = Failing::again(self.table[index].failing, errno, MANY, now);
        self.table[index].failing = Some(failing);
        if failing.is_hopeless(MANY, now) {
            Failures::Hopeless
        } else if failing.lasts(MANY) {
            Failures::Many
        } else {
            Failures::Few
        }
    }

    /// Whether a client waits at one of them.
    pub(crate) fn any_waits(&self) -> bool {
        let waits = |listener: &Listener| {
            socket::wait_readable([listener.as_fd().as_raw_fd()], 0).unwrap_or(false)
        };
        self.listeners().any(waits)
    }

    /// A drain begins: from here on only what is queued now is accepted. `vacant`: also what
    /// comes until the queue is found empty, which is soon.
    pub(crate) fn begin_drain(&mut self, vacant: bool, common: &mut Common) {
        for endpoint in &mut self.table {
            // Clients in the queue are connected as far as they know, and are
            // served. Those that come later are not waited for, or a busy server
            // would never stop. Where the kernel gives no number (Unix sockets) the
            // queue is at most this long.
            let Some(listener) = &mut endpoint.listener else { continue };
            let queued = socket::queue_length(listener.as_fd());
            let queued = queued.filter(|_| !vacant || listener.info().adopted);
            endpoint.quota = queued.unwrap_or(common.options.backlog);
            if listener.is_own_unix() {
                // First the file: behind a closed queue there could be a dead server.
                let removed = listener.unlink();
                report_left(&endpoint.name, removed, common);
                socket::close_queue(listener.as_fd());
            }
        }
    }

    /// In a drain: whether endpoint `index` has given all that was queued.
    pub(crate) fn is_done(&self, index: usize) -> bool {
        self.table[index].quota == 0
    }

    /// Asks endpoint `index` for a connection in this turn.
    pub(crate) fn ask(&mut self, index: usize) {
        self.ready.push_back(index);
    }

    /// Takes the listener out, which is not reported any more and is to be closed by
    /// [`close`].
    pub(crate) fn take(&mut self, index: usize, common: &mut Common) -> Option<Listener> {
        let endpoint = &mut self.table[index];
        let mut listener = endpoint.listener.take()?;
        // The file of a Unix socket is removed while the socket is open.
        report_left(&endpoint.name, listener.unlink(), common);
        let _ = common.epoll.remove(listener.as_fd());
        Some(listener)
    }

    /// Keeps the inodes of the files of Unix sockets taken.
    pub(crate) fn pin_files(&mut self) {
        self.files().for_each(SocketFile::pin);
    }

    /// The listeners are open here, and do the same.
    pub(crate) fn unpin_files(&mut self) {
        self.files().for_each(|file| drop(file.unpin()));
    }

    fn files(&mut self) -> impl Iterator<Item = &mut SocketFile> {
        self.table.iter_mut().filter_map(|endpoint| endpoint.listener.as_mut()?.file_mut())
    }

    /// In the host: from here on the supervisor has the listeners.
    pub(crate) fn hand_over(&mut self, epoll: &Epoll, owned: &mut Owned) {
        for endpoint in &mut self.table {
            if let Some(listener) = &mut endpoint.listener {
                let _ = epoll.remove(listener.as_fd());
                owned.remove(&*listener);
                endpoint.file = listener.take_file();
                if let Some(pin) = endpoint.file.as_ref().and_then(SocketFile::pinned) {
                    owned.add_lasting(pin);
                }
            }
            endpoint.listener = None;
        }
    }

    /// In the host: the supervisor has ended, and if it was killed it has left its files.
    /// `drained`: it has removed them, or said why not. In another root that cannot be seen.
    pub(crate) fn remove_files(&mut self, drained: bool, common: &mut Common) {
        for endpoint in &mut self.table {
            let Some(file) = endpoint.file.take() else { continue };
            if let Some(pin) = file.pinned() {
                common.owned.remove(pin);
            }
            let removed = file.remove(false);
            if !drained {
                report_left(&endpoint.name, removed, common);
            }
        }
    }

    /// In the process that made the server and in which it has not begun: closes the
    /// listeners, and does nothing to what they stand for. `idle`: nor has it elsewhere.
    pub(crate) fn let_go(&mut self, idle: bool, common: &mut Common) {
        for endpoint in &mut self.table {
            if let Some(listener) = endpoint.listener.take() {
                report_left(&endpoint.name, listener.let_go(idle), common);
            }
        }
    }

    /// In a process that did not make the server: leaves the descriptors alone. `idle`:
    /// the server has begun nowhere.
    pub(crate) fn abandon(&mut self, idle: bool) {
        for endpoint in &mut self.table {
            if let Some(listener) = endpoint.listener.take() {
                // But in a daemon that does not come to serve, no other
                // process may remove the file.
                let own = !listener.info().adopted && listener.is_still_there();
                match idle && own {
                    // The observer may not be what it was, in a child.
                    true => drop(listener.let_go(true)),
                    false => listener.abandon(),
                }
            }
            let pin = endpoint.file.as_mut().and_then(SocketFile::unpin);
            let _ = pin.map(IntoRawFd::into_raw_fd);
        }
    }
}

/// Reports the file of a Unix socket that could not be removed.
fn report_left(name: &Name, removed: Result<(), Errno>, common: &mut Common) {
    if let Err(errno) = removed {
        common.emit(&Event::SocketFileLeft { address: name.as_str(), errno: errno as i32 });
    }
}

/// Closes a listener that serves no more.
pub(crate) fn close(listener: Listener, owned: &mut Owned) {
    // Children that serve several connections have copies of it, and so
    // has whatever else the host has forked: closed here alone, it would
    // let clients in that are never served. One that came from outside may
    // be in use elsewhere.
    if !listener.info().adopted {
        socket::stop_listening(listener.as_fd());
    }
    owned.remove(&listener);
}
