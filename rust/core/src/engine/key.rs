//! What a report of the epoll is about, as the 64 bits that it carries.

use crate::shared::child_id::ChildId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// `stop` was called.
    Stop,
    /// The connection that is held.
    Held,
    /// A descriptor of the binding's.
    Extra,
    /// Spares have run low.
    Bell,
    /// Children have sent notes.
    Notes,
    /// Proxies have named clients.
    Herald,
    /// In the supervisor: signals have come.
    Signals,
    /// In the supervisor: the host has ended.
    Host,
    /// The child that answers scrapers has ended.
    Answerer,
    /// The listener of this endpoint.
    Endpoint(usize),
    /// The program that the child in this slot has executed says something.
    Voice(usize),
    /// A child has ended.
    Child(ChildId),
}

/// A child's births have 31 bits: the highest is free for the others.
const OTHER: u64 = 1 << 63;
const ENDPOINT: u64 = 1 << 63 | 1 << 62;
const VOICE: u64 = 1 << 63 | 1 << 61;
const OTHERS: [Key; 9] = [
    Key::Stop,
    Key::Held,
    Key::Extra,
    Key::Bell,
    Key::Notes,
    Key::Signals,
    Key::Host,
    Key::Answerer,
    Key::Herald,
];

impl Key {
    pub(crate) fn to_bits(self) -> u64 {
        match self {
            Key::Stop => OTHER,
            Key::Held => OTHER | 1,
            Key::Extra => OTHER | 2,
            Key::Bell => OTHER | 3,
            Key::Notes => OTHER | 4,
            Key::Signals => OTHER | 5,
            Key::Host => OTHER | 6,
            Key::Answerer => OTHER | 7,
            Key::Herald => OTHER | 8,
            Key::Endpoint(index) => ENDPOINT | index as u64,
            Key::Voice(slot) => VOICE | slot as u64,
            Key::Child(id) => id.to_bits(),
        }
    }

    pub(crate) fn from_bits(bits: u64) -> Key {
        if bits & ENDPOINT == ENDPOINT {
            Key::Endpoint((bits & !ENDPOINT) as usize)
        } else if bits & VOICE == VOICE {
            Key::Voice((bits & !VOICE) as usize)
        } else if bits & OTHER == OTHER {
            OTHERS[(bits & !OTHER) as usize % OTHERS.len()]
        } else {
            Key::Child(ChildId::from_bits(bits))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_as_it_went() {
        let child = Key::Child(ChildId::new(u32::MAX, u32::MAX >> 1));
        let (first, last) = (Key::Voice(0), Key::Voice(u32::MAX as usize));
        let more = [Key::Endpoint(0), Key::Endpoint(7), first, last, child];
        for key in OTHERS.into_iter().chain(more) {
            assert_eq!(Key::from_bits(key.to_bits()), key);
        }
    }
}
