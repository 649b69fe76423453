//! An accepted connection on its way to a child, a hold or a refusal.

use crate::limits::Limits;
use crate::net::conn::Connection;
use crate::net::name::Name;
use crate::options::Options;
use crate::shared::board::Origin;

pub(crate) struct Arrival {
    pub(crate) connection: Connection,
    /// What it counts for. Looked up once.
    pub(crate) origin: Origin,
    /// Whether it comes from a proxy, which says whose it is. It counts for nothing until then.
    pub(crate) proxied: bool,
}

impl Arrival {
    pub(crate) fn new(
        connection: Connection,
        options: &Options,
        limits: Option<&Limits>,
    ) -> Arrival {
        let proxied = options.is_proxy(connection.peer());
        let limits = limits.filter(|_| !proxied);
        let origin = limits.map_or(Origin::default(), |l| l.origin(connection.peer()));
        Arrival { connection, origin, proxied }
    }

    pub(crate) fn id(&self) -> u64 {
        self.connection.id()
    }

    pub(crate) fn peer(&self) -> Name {
        self.connection.peer_label()
    }
}
