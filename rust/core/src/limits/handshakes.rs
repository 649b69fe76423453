//! How many connections may be in their handshake at once: in all, and of one source.
//!
//! Early drop is that of OpenSSH's MaxStartups: a full table refuses everybody, the
//! attacker and the others alike; a table that refuses by chance before it is full leaves a
//! client that tries again a way in.

#![allow(deprecated)] // SipHasher: std's only hash whose key can be given.

use crate::error::Error;
use crate::event::Refusal;
use crate::options::Options;
use crate::shared::board::{Before, Board, Origin};
use crate::sys::random;
use std::hash::{Hash, Hasher, SipHasher};

pub(crate) struct Handshakes {
    /// 0: no limit, for all three.
    most: u32,
    drop_from: u32,
    most_of_source: u32,
    drop_percent: u32,
    /// What a connection draws is the hash of its number: no client can know it.
    lots: SipHasher,
}

impl Handshakes {
    /// `None`: no limit of this kind is set.
    pub(crate) fn new(options: &Options) -> Result<Option<Handshakes>, Error> {
        if options.max_handshakes == 0 && options.max_handshakes_per_source == 0 {
            return Ok(None);
        }
        let key = random::key().map_err(|errno| Error::os("getrandom", "", errno))?;
        Ok(Some(Handshakes {
            most: options.max_handshakes,
            drop_from: options.early_drop_from,
            most_of_source: options.max_handshakes_per_source,
            drop_percent: options.early_drop_percent,
            lots: SipHasher::new_with_keys(key[0], key[1]),
        }))
    }

    /// Why a connection may not begin a handshake.
    pub(crate) fn bars(&self, board: &Board, origin: Origin, before: Before) -> Option<Refusal> {
        let (all, of_source) = board.count_handshakes(origin, before);
        let source_is_full = self.most_of_source > 0 && of_source >= self.most_of_source;
        let bars = source_is_full || self.most > 0 && self.draws(all, before.number());
        bars.then_some(Refusal::Handshake)
    }

    /// Whether connection `id` is refused where there are so many handshakes.
    fn draws(&self, all: u32, id: u64) -> bool {
        if all >= self.most {
            return true;
        }
        if self.drop_from == 0 || all < self.drop_from {
            return false;
        }
        let mut hasher = self.lots.clone();
        id.hash(&mut hasher);
        hasher.finish() % 100 < self.percent(all)
    }

    /// Between `drop_from`, where it is `drop_percent`, and `most`.
    fn percent(&self, all: u32) -> u64 {
        let [from, all, most, percent] =
            [self.drop_from, all, self.most, self.drop_percent].map(u64::from);
        percent + (100 - percent) * (all - from) / (most - from).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::name::Name;
    use crate::shared::board::Serving;

    fn handshakes(options: Options) -> Handshakes {
        options.validate().expect("valid");
        Handshakes::new(&options).expect("a key").expect("a limit is set")
    }

    #[test]
    fn the_share_that_is_refused_rises_as_in_openssh() {
        let limit = handshakes(Options {
            max_handshakes: 100,
            early_drop_from: 10,
            early_drop_percent: 30,
            ..Options::default()
        });
        assert_eq!([10, 55, 99].map(|all| limit.percent(all)), [30, 65, 99]);
        let refused = |all| (1..=10_000).filter(|id| limit.draws(all, *id)).count();
        assert_eq!((refused(9), refused(100)), (0, 10_000));
        assert!((2_500..3_500).contains(&refused(10)), "{}", refused(10));
        assert!((6_000..7_000).contains(&refused(55)), "{}", refused(55));
        let plain = handshakes(Options { max_handshakes: 5, ..Options::default() });
        assert!(!plain.draws(4, 1) && plain.draws(5, 1));
    }

    #[test]
    fn only_connections_in_their_handshake_count() {
        let limit = handshakes(Options {
            max_handshakes: 3,
            max_handshakes_per_source: 2,
            ..Options::default()
        });
        let board = Board::new(4).expect("mapped");
        let origin = |source| Origin { source, network: 0 };
        let peer = Name::default();
        let begin = |slot: usize, source| {
            let id = slot as u64 + 1;
            board.open(slot);
            let origin = origin(source);
            board.serve(slot, &Serving { id, since_us: 0, origin, peer: &peer });
        };
        begin(0, 7);
        begin(1, 7);
        assert_eq!(limit.bars(&board, origin(7), Before::Number(9)), Some(Refusal::Handshake));
        assert_eq!(limit.bars(&board, origin(8), Before::Number(9)), None);
        assert_eq!(
            limit.bars(&board, origin(7), Before::Number(2)),
            None,
            "only earlier ones count"
        );
        begin(2, 0);
        assert_eq!(limit.bars(&board, origin(8), Before::Number(9)), Some(Refusal::Handshake));
        let establish = |slot, connection| {
            let place = board.place();
            place.set_slot(slot);
            place.establish_for_test(connection);
        };
        establish(0, 2);
        assert!(!board.is_established(0, 1), "it was said of another connection");
        establish(0, 1);
        assert!(board.is_established(0, 1) && board.live(9)[0].established);
        assert_eq!(limit.bars(&board, origin(7), Before::Number(9)), None);
        assert!(board.served(0), "a child whose connection is established goes on");
        begin(0, 7);
        assert!(!board.is_established(0, 1), "the next one begins anew");
    }
}
