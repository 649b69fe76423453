//! An accepted connection on its way to a child, a hold or a refusal.

use crate::limits::Limits;
use crate::net::conn::Connection;
use crate::net::name::Name;
use crate::shared::board::Origin;

pub(crate) struct Arrival {
    pub(crate) connection: Connection,
    /// What it counts for. Looked up once.
    pub(crate) origin: Origin,
}

impl Arrival {
    pub(crate) fn new(connection: Connection, limits: Option<&Limits>) -> Arrival {
        let origin = limits.map_or(Origin::default(), |l| l.origin(connection.peer()));
        Arrival { connection, origin }
    }

    pub(crate) fn id(&self) -> u64 {
        self.connection.id()
    }

    pub(crate) fn peer(&self) -> Name {
        self.connection.peer_label()
    }
}
