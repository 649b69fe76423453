//! What a client does, by the seed and its number.

/// What a client does. The names of handlers are the test server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Manner {
    /// Asks, checks the echo, half-closes, waits for the end.
    Polite,
    /// Closes without a word.
    Silent,
    /// Half-closes without a word, and waits for the end.
    Mute,
    /// Sends, and resets.
    Reset,
    /// Its handler crashes.
    Crash,
    /// Its handler calls `_exit`.
    Exit,
    /// Its handler closes all descriptors.
    CloseAll,
    /// Says nothing until SIGTERM ends its child.
    Hang,
    /// The same with a handler that ignores SIGTERM: SIGKILL.
    Stubborn,
}

use Manner::{CloseAll, Crash, Exit, Hang, Mute, Polite, Reset, Silent, Stubborn};

impl Manner {
    /// Of connection number `number`: of 10,000, how many do what.
    pub fn of(seed: u64, number: u64) -> Manner {
        let shares = [
            (Silent, 400),
            (Mute, 300),
            (Reset, 400),
            (Crash, 300),
            (Exit, 300),
            (CloseAll, 100),
            (Hang, 4),
            (Stubborn, 1),
        ];
        let mut left = split_mix(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) % 10_000;
        for (manner, share) in shares {
            if left < share {
                return manner;
            }
            left -= share;
        }
        Polite
    }

    /// What it tells the server to do.
    pub(super) fn order(self) -> &'static [u8] {
        match self {
            Polite | Reset => b"echo\n",
            Crash => b"crash\n",
            Exit => b"_exit=3\n",
            CloseAll => b"close-all\n",
            Hang => b"hold\n",
            Stubborn => b"ignore-term\n",
            Silent | Mute => b"",
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
pub(super) fn split_mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn manners_come_from_seed_and_number_and_all_occur() {
        let manners = |seed| (0..100_000).map(move |n| Manner::of(seed, n));
        let mut counts = BTreeMap::<Manner, u64>::new();
        manners(1).for_each(|m| *counts.entry(m).or_default() += 1);
        assert_eq!(counts.len(), 9, "{counts:?}");
        assert!(counts[&Polite] > 80_000 && counts[&Polite] < 84_000, "{counts:?}");
        assert!(manners(1).eq(manners(1)));
        assert!(!manners(1).eq(manners(2)));
    }
}
