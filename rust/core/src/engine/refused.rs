//! A call that the loop cannot do without, and that a sandbox may refuse.

use crate::retry::failing::Failing;
use nix::errno::Errno;
use std::time::Instant;

/// After so many failures it seems to be refused.
const FEW: u32 = 3;

/// Its failures in a row.
// Boxed: they are rare, and are not to take room where it is scarce.
#[derive(Default)]
pub(crate) struct RefusedCall(Option<Box<Failing>>);

impl RefusedCall {
    pub(crate) fn failed(&mut self, errno: Errno, now: Instant) {
        self.0 = Some(Failing::again_boxed(self.0.take(), errno, FEW, now));
    }

    pub(crate) fn worked(&mut self) {
        self.0 = None;
    }

    /// Whether it is refused, and not for a moment only.
    pub(crate) fn is_hopeless(&self, now: Instant) -> bool {
        self.0.as_ref().is_some_and(|failing| failing.is_hopeless(FEW, now))
    }

    /// What it fails with, if it is hopeless. From here on it is tried again.
    pub(crate) fn take_hopeless(&mut self, now: Instant) -> Option<Errno> {
        self.0.take_if(|failing| failing.is_hopeless(FEW, now)).map(|failing| failing.errno)
    }
}
