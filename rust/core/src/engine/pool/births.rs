//! Whether spares can be made, and live.

use crate::retry::backoff::Backoff;
use std::time::Instant;

/// Set while making spares keeps failing.
#[derive(Default)]
pub(crate) struct Births(Option<Trouble>);

struct Trouble {
    /// When the next spare may be made.
    retry: Backoff,
    /// The last one was born, and ended before it had served a client.
    still: bool,
    /// How many in a row have found a listener unusable.
    deaf: u32,
}

/// After so many it is not the fault of a single child.
const DEAF: u32 = 3;

impl Births {
    /// When the next one may be made; `None`: at any time.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.0.as_ref().map(|trouble| trouble.retry.due())
    }

    pub(crate) fn go_well(&self) -> bool {
        self.0.is_none()
    }

    /// Whether one new spare after the other has found a listener unusable.
    pub(crate) fn are_deaf(&self) -> bool {
        self.0.as_ref().is_some_and(|trouble| trouble.deaf >= DEAF)
    }

    /// A spare could not be made, or (`still`) ended before it had served a client.
    pub(crate) fn failed(&mut self, still: bool, now: Instant) {
        self.0 = Some(match self.0.take() {
            Some(Trouble { mut retry, deaf, .. }) => {
                retry.again(now);
                Trouble { retry, still, deaf }
            }
            None => Trouble { retry: Backoff::start(now), still, deaf: 0 },
        });
    }

    /// The one that failed has found a listener unusable.
    pub(crate) fn was_deaf(&mut self) {
        if let Some(trouble) = &mut self.0 {
            trouble.deaf += 1;
        }
    }

    /// A spare has been made. While they end before they have served a client,
    /// that proves nothing, and the next one is made later still.
    pub(crate) fn made(&mut self, now: Instant) {
        match &mut self.0 {
            Some(Trouble { retry, still: true, .. }) => retry.again(now),
            trouble => *trouble = None,
        }
    }

    /// A spare has served a connection, or what kept them from it has gone.
    pub(crate) fn trust(&mut self) {
        self.0 = None;
    }

    /// `accept` was refused at one listener. It may be at the others: the next spare that
    /// is deaf is enough.
    pub(crate) fn suspect(&mut self, now: Instant) {
        self.0 = Some(Trouble { retry: Backoff::start(now), still: true, deaf: DEAF - 1 });
    }

    /// A process or memory has become free: a failed fork may be tried again.
    pub(crate) fn hasten(&mut self, now: Instant) {
        if let Some(Trouble { retry, still: false, .. }) = &mut self.0 {
            retry.hasten(now);
        }
    }
}
