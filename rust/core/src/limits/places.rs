//! How many connections may be served at once: those of one source, and those of
//! one network, which is larger.
//!
//! A source with many addresses, such as a rented /24, has as many places as
//! addresses; the limit on networks is for that.

use crate::error::Error;
use crate::event::Refusal;
use crate::limits::sources::Sources;
use crate::options::Options;
use crate::shared::board::{Before, Board, Origin};
use crate::sys::socket::RawAddress;

pub(crate) struct Places {
    /// 0: no limit, for both.
    per_source: u32,
    per_network: u32,
    networks: Option<Sources>,
}

impl Places {
    pub(crate) fn new(options: &Options) -> Result<Places, Error> {
        let per_network = options.max_per_network;
        Ok(Places {
            per_source: options.max_per_source,
            per_network,
            networks: (per_network > 0).then(|| Sources::networks(options)).transpose()?,
        })
    }

    /// The network that a connection counts for; 0: none.
    pub(crate) fn network(&self, peer: &RawAddress) -> u64 {
        self.networks.as_ref().map_or(0, |networks| networks.of(peer))
    }

    /// Why there is no place for a connection. A child shows its own connection
    /// first: of those that come at once each sees all earlier ones, and the later ones
    /// give way.
    pub(crate) fn bars(&self, board: &Board, origin: Origin, before: Before) -> Option<Refusal> {
        let (limits_source, limits_network) =
            (self.per_source > 0 && origin.source != 0, origin.network != 0);
        if !limits_source && !limits_network {
            return None;
        }
        let (source, network) = board.count_origin(origin, before);
        if limits_source && source >= self.per_source {
            return Some(Refusal::Source);
        }
        (limits_network && network >= self.per_network).then_some(Refusal::Network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::name::Name;
    use crate::shared::board::Serving;

    fn peer(text: &str) -> RawAddress {
        RawAddress::from_ip(&text.parse().expect("an address"))
    }

    #[test]
    fn the_network_is_larger_than_the_source() {
        let options = Options { max_per_source: 1, max_per_network: 2, ..Options::default() };
        let places = Places::new(&options).expect("a key");
        let network = |text| places.network(&peer(text));
        assert_eq!(network("10.0.0.1:1"), network("[::ffff:10.0.0.200]:1"));
        assert_ne!(network("10.0.0.1:1"), network("10.0.1.1:1"));
        assert_eq!(network("[2001:db8:0:1::]:1"), network("[2001:db8:0:ff::]:1"));
        assert_ne!(network("[2001:db8:0::]:1"), network("[2001:db8:1::]:1"));
        let board = Board::new(3).expect("mapped");
        let origin = |source| Origin { source, network: 7 };
        for (slot, source) in [(0, 1), (1, 2)] {
            let id = slot as u64 + 1;
            assert_eq!(places.bars(&board, origin(source), Before::Number(id)), None);
            board.open(slot);
            let peer = Name::default();
            board.serve(slot, &Serving { id, since_us: 0, origin: origin(source), peer: &peer });
        }
        assert_eq!(
            places.bars(&board, origin(1), Before::Number(3)),
            Some(Refusal::Source),
            "this comes first"
        );
        assert_eq!(places.bars(&board, origin(3), Before::Number(3)), Some(Refusal::Network));
        assert_eq!(
            places.bars(&board, origin(3), Before::Number(2)),
            None,
            "only earlier ones count"
        );
        assert_eq!(places.bars(&board, Origin { source: 3, network: 8 }, Before::Number(3)), None);
        assert_eq!(places.bars(&board, Origin::default(), Before::Number(3)), None);
    }
}
