//! When each connection is due. Pure: it is told the time and keeps no clock.
//!
//! Closed loop: a new connection is due whenever fewer than `clients` are in
//! flight. Open loop: connection k is due at start + k / rate, whatever the
//! server does. Invariant: in the open loop every due time inside the run is
//! handed out exactly once, late if need be, never left out; latency counted
//! from it therefore has no coordinated omission.

use std::time::{Duration, Instant};

/// How connections arrive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrivals {
    /// This many clients, each starting again when it is done.
    Closed {
        /// Connections in flight at any time.
        clients: usize,
    },
    /// A fixed number a second.
    Open {
        /// Connections a second.
        rate: f64,
    },
}

/// When a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// No connection starts after this long; those in flight may finish.
    Elapsed(Duration),
    /// After this many connections were started, failed ones included.
    Count(u64),
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Start one now; its latency counts from this time.
    Start(Instant),
    /// The next one is due at this time.
    At(Instant),
    /// Nothing to start before one in flight has ended.
    Busy,
    /// Nothing to start any more.
    Done,
}

/// In flight at most in the open loop, to bound descriptors. A later start is a longer latency.
const OPEN_IN_FLIGHT: usize = 4096;

pub(crate) struct Schedule {
    arrivals: Arrivals,
    until: Until,
    begin: Instant,
    started: u64,
}

impl Schedule {
    pub(crate) fn new(arrivals: Arrivals, until: Until, begin: Instant) -> Schedule {
        Schedule { arrivals, until, begin, started: 0 }
    }

    /// The last moment that belongs to the run, if it is bounded by time.
    pub(crate) fn end(&self) -> Option<Instant> {
        match self.until {
            Until::Elapsed(d) => Some(self.begin + d),
            Until::Count(_) => None,
        }
    }

    /// Connections handed out so far.
    pub(crate) fn started(&self) -> u64 {
        self.started
    }

    /// What is due at `now` with `in_flight` connections open.
    pub(crate) fn next(&mut self, now: Instant, in_flight: usize) -> Next {
        let (due, room) = match self.arrivals {
            Arrivals::Closed { clients } => (now, clients),
            Arrivals::Open { rate } => {
                let after = Duration::from_secs_f64(self.started as f64 / rate);
                (self.begin + after, OPEN_IN_FLIGHT)
            }
        };
        let over = match self.until {
            Until::Elapsed(d) => due >= self.begin + d,
            Until::Count(n) => self.started >= n,
        };
        if over {
            Next::Done
        } else if in_flight >= room {
            Next::Busy
        } else if due > now {
            Next::At(due)
        } else {
            self.started += 1;
            Next::Start(due)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn open_loop_hands_out_each_due_time_once_however_late() {
        let begin = Instant::now();
        let mut s = Schedule::new(Arrivals::Open { rate: 10.0 }, Until::Elapsed(SECOND), begin);
        assert_eq!(s.next(begin, 0), Next::Start(begin));
        assert_eq!(s.next(begin, 1), Next::At(begin + SECOND / 10));
        // The generator was away for a minute: the other nine are due in the past.
        let late = begin + 60 * SECOND;
        for k in 1..10 {
            let Next::Start(due) = s.next(late, 0) else { panic!("arrival {k} was left out") };
            let expected = begin + SECOND * k / 10;
            assert!(due.max(expected) - due.min(expected) < Duration::from_micros(1));
        }
        assert_eq!(s.next(late, 0), Next::Done);
        assert_eq!(s.started(), 10);
    }

    #[test]
    fn closed_loop_keeps_the_number_of_clients_and_ends() {
        let begin = Instant::now();
        let mut s = Schedule::new(Arrivals::Closed { clients: 2 }, Until::Elapsed(SECOND), begin);
        assert_eq!(s.next(begin, 1), Next::Start(begin));
        assert_eq!(s.next(begin, 2), Next::Busy);
        assert_eq!(s.next(begin + SECOND, 0), Next::Done);
        let mut s = Schedule::new(Arrivals::Closed { clients: 2 }, Until::Count(1), begin);
        assert_eq!(s.next(begin, 0), Next::Start(begin));
        assert_eq!(s.next(begin, 0), Next::Done);
    }
}
