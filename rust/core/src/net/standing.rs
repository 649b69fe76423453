//! How a connection says that it is established.
//!
//! It has the way to its slot of the scoreboard beside its addresses, in memory that is
//! written for each connection anyway.

use crate::net::conn::{Connection, Ends};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

/// What a connection says it to.
pub(crate) trait Standing: Send + Sync {
    fn establish(self: Arc<Self>, slot: usize, connection: u64);
}

/// The slot of a connection; none where no server has accepted it.
#[derive(Default)]
pub(crate) struct Place {
    standing: Option<Arc<dyn Standing>>,
    slot: AtomicUsize,
}

impl Place {
    pub(crate) fn new(standing: Arc<dyn Standing>) -> Place {
        Place { standing: Some(standing), slot: AtomicUsize::new(0) }
    }

    /// The same, of other memory.
    pub(crate) fn again(&self) -> Place {
        Place { standing: self.standing.clone(), slot: AtomicUsize::new(0) }
    }

    pub(crate) fn set_slot(&self, slot: usize) {
        self.slot.store(slot, Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn establish_for_test(&self, connection: u64) {
        self.establish(connection);
    }

    fn establish(&self, connection: u64) {
        if let Some(standing) = &self.standing {
            Arc::clone(standing).establish(self.slot.load(Relaxed), connection);
        }
    }
}

impl Connection {
    /// Says that its handshake is over: the client has shown who it is, perhaps, or has
    /// sent its first request. From here on neither
    /// [`Options::handshake`](crate::Options::handshake) nor
    /// [`AtCapacity::Evict`](crate::AtCapacity::Evict) ends it, and the limits on handshakes
    /// do not count it.
    ///
    /// Async-signal-safe. Saying it again changes nothing, nor does it without such options
    /// but for what [`Server::connections`](crate::Server::connections) shows.
    pub fn established(&self) {
        self.ends().place.establish(self.id());
    }

    /// The same for a binding that takes the connection apart.
    #[doc(hidden)]
    pub fn handshake(&self) -> Handshake {
        Handshake { ends: Arc::clone(self.ends()), connection: self.id() }
    }
}

/// The handshake of a connection, which may have been taken apart since.
#[doc(hidden)]
pub struct Handshake {
    ends: Arc<Ends>,
    connection: u64,
}

impl Handshake {
    /// [`Connection::established`].
    pub fn end(&self) {
        self.ends.place.establish(self.connection);
    }
}
