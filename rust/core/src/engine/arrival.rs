//! An accepted connection on its way to a child, a hold or a refusal.

use crate::limits::Limits;
use crate::net::conn::Connection;
use crate::net::name::Name;

pub(crate) struct Arrival {
    pub(crate) connection: Connection,
    /// The source that it counts for; 0: none. Looked up once.
    pub(crate) source: u64,
}

impl Arrival {
    pub(crate) fn new(connection: Connection, limits: Option<&Limits>) -> Arrival {
        let source = limits.map_or(0, |limits| limits.source(connection.peer()));
        Arrival { connection, source }
    }

    pub(crate) fn id(&self) -> u64 {
        self.connection.id()
    }

    pub(crate) fn peer(&self) -> Name {
        self.connection.peer_label()
    }
}
