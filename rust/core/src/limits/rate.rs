//! A token bucket as one word.
//!
//! A bucket of `burst` tokens that fills by one each `step` is the same as a
//! time: the one at which it would be full (GCRA, ITU-T I.371). To take a token
//! moves that time on by a step; there is a token as long as it is less than a
//! full bucket's time ahead. One word can be changed by any process at any time
//! without a lock, and there is nothing to fill up in the background.

/// Times that fit here and are never reached: two years.
const LONGEST_US: u64 = 1 << 46;
/// How long before another process has written a word this one may have looked at
/// the clock.
const LATE_US: u64 = 60_000_000;

/// How fast a bucket fills, and how much it holds. Times are microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    step: u64,
    slack: u64,
}

impl Pace {
    /// `rate` tokens in `interval_us`, not 0, and at most `burst` at once (0: as
    /// many as `rate`).
    pub(crate) fn new(rate: u32, interval_us: u64, burst: u32) -> Pace {
        let step = interval_us.div_ceil(u64::from(rate.max(1))).clamp(1, LONGEST_US);
        let burst = if burst == 0 { rate } else { burst };
        let slack = step.saturating_mul(u64::from(burst.max(1)) - 1).min(LONGEST_US);
        Pace { step, slack }
    }

    /// How long until there is a token; 0: there is one.
    pub(crate) fn wait(&self, full_at: u64, now: u64) -> u64 {
        self.possible(full_at, now).saturating_sub(now.saturating_add(self.slack))
    }

    /// The word after a token has been taken.
    pub(crate) fn take(&self, full_at: u64, now: u64) -> u64 {
        self.possible(full_at, now).max(now).saturating_add(self.step)
    }

    /// The word, if tokens can have made it so. A child may have written anything
    /// there, and no client may wait for years: that is a full bucket.
    fn possible(&self, full_at: u64, now: u64) -> u64 {
        let most = self.slack.saturating_add(self.step).saturating_add(LATE_US);
        if full_at > now.saturating_add(most) {
            0
        } else {
            full_at
        }
    }

    /// The word after a token has been put back.
    pub(crate) fn put_back(&self, full_at: u64) -> u64 {
        full_at.saturating_sub(self.step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many tokens a bucket gives to a client that asks each `every` until `end`.
    fn given(pace: Pace, every: u64, end: u64) -> u64 {
        let (mut word, mut count) = (0, 0);
        for now in (1_000_000..1_000_000 + end).step_by(every as usize) {
            if pace.wait(word, now) == 0 {
                word = pace.take(word, now);
                count += 1;
            }
        }
        count
    }

    #[test]
    #[cfg_attr(miri, ignore = "safe code, which takes long there")]
    fn a_full_bucket_gives_a_burst_and_then_the_rate() {
        let pace = Pace::new(10, 1_000_000, 5);
        assert_eq!(given(pace, 10, 1_000), 5, "at once");
        assert_eq!(given(pace, 10, 1_000_000), 5 + 9);
        assert_eq!(given(pace, 10, 10_000_000), 5 + 99);
        assert_eq!(given(pace, 200_000, 10_000_000), 50, "slower than the rate: all");
    }

    #[test]
    fn a_word_that_tokens_cannot_have_made_is_a_full_bucket() {
        let pace = Pace::new(10, 1_000_000, 5);
        let now = 1_000_000;
        for word in [u64::MAX, 1 << 63, now + 1_000_000_000] {
            assert_eq!(pace.wait(word, now), 0);
            assert_eq!(pace.take(word, now), now + 100_000);
        }
        // What another process wrote while this one was on its way from the clock.
        assert!(pace.wait(now + 30_000_000, now) > 0);
    }

    #[test]
    fn without_a_burst_it_holds_as_many_as_come_in_an_interval() {
        assert_eq!(given(Pace::new(7, 1_000_000, 0), 1, 1_000), 7);
        assert_eq!(given(Pace::new(6, 60_000_000, 1), 1_000_000, 60_000_000), 6);
    }

    #[test]
    fn it_tells_when_the_next_token_is_there() {
        let pace = Pace::new(4, 1_000_000, 2);
        let mut word = 0;
        for _ in 0..2 {
            assert_eq!(pace.wait(word, 5_000_000), 0);
            word = pace.take(word, 5_000_000);
        }
        assert_eq!(pace.wait(word, 5_000_000), 250_000);
        assert_eq!(pace.wait(word, 5_249_999), 1);
        assert_eq!(pace.wait(word, 5_250_000), 0);
        assert_eq!(pace.wait(word, u64::MAX), 0);
    }

    #[test]
    fn what_is_taken_from_an_empty_bucket_is_owed() {
        let pace = Pace::new(10, 1_000_000, 1);
        let word = (0..3).fold(0, |word, _| pace.take(word, 1_000_000));
        assert_eq!(pace.wait(word, 1_000_000), 300_000);
    }

    #[test]
    fn a_token_that_was_put_back_can_be_taken_again() {
        let pace = Pace::new(1, 1_000_000, 1);
        let word = pace.take(0, 1_000_000);
        assert!(pace.wait(word, 1_400_000) > 0);
        assert_eq!(pace.wait(pace.put_back(word), 1_400_000), 0);
        assert_eq!(pace.put_back(5), 0);
    }

    #[test]
    fn no_pace_is_faster_than_it_says_nor_overflows() {
        assert_eq!(Pace::new(3, 1_000_000, 1).step, 333_334);
        let slow = Pace::new(1, 86_400_000_000, 100_000);
        assert_eq!(slow.wait(slow.take(0, 5), 5), 0);
        assert!(slow.slack <= LONGEST_US);
        assert_eq!(slow.take(5, u64::MAX), u64::MAX);
    }
}
