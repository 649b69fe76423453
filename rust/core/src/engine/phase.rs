//! Where the server is in its life, and what each call may do there: one table.

use crate::error::Error;
use crate::net::place::Place;
use nix::errno::Errno;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Addresses may be added.
    Setup,
    Running,
    Draining,
    Stopped,
    /// A supervisor runs the server; this is its host.
    Hosting,
    /// The same, and the supervisor has ended.
    Deserted,
}

/// What a call does.
#[derive(Clone, Copy)]
enum Call {
    Works,
    /// There is nothing left to do.
    Done,
    Fails(Errno, &'static str),
}

/// What a call of `stop` does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The drain begins.
    Drain,
    /// The next stage of the drain begins.
    Hasten,
    Nothing,
}

/// What, beside reports, ends `wait`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// With spares, and in a service: at once, to make them, or to say that it serves. A loop
    /// of the host's that waits before its first turn would wait for the first client, and
    /// that one for the first spare.
    ToBegin,
    /// The time to make spares.
    ForSpares,
    /// The next stage of the drain.
    ForStage,
    /// Only what is left of earlier phases.
    ForTheRest,
}

/// What `turn` returns once nothing is left to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Idle,
    Drained,
}

/// Which process accepts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accept {
    /// This one.
    Here,
    /// The spares, if there are any.
    Spares,
    Nowhere,
}

/// One row of the table.
pub(crate) struct Rules {
    listen: Call,
    begin: Call,
    start: Call,
    pub(crate) stop: Stop,
    pub(crate) wait: Wait,
    pub(crate) turn: Outcome,
    pub(crate) accept: Accept,
    /// Whether only the connections that were queued at its beginning are accepted.
    pub(crate) only_queued: bool,
    /// Whether spares are made, and what they share is looked after.
    pub(crate) spares: bool,
    /// Whether the loop ends with an error when a call that it cannot do without
    /// keeps failing. A drain goes on without it.
    pub(crate) fails: bool,
}

const RUNS: &str = "the server is running or has been stopped";
const NOT_LISTENING: Call = Call::Fails(Errno::EBUSY, RUNS);
const STARTED: Call = Call::Fails(Errno::EBUSY, "the server runs already");
const SUPERVISED: Call = Call::Fails(Errno::EBUSY, "a supervisor runs the server");
const STOPPED: Call = Call::Fails(Errno::ESHUTDOWN, "the server has been stopped");
const DESERTED: Call = Call::Fails(Errno::ESHUTDOWN, "the server's supervisor has ended");

impl Phase {
    #[rustfmt::skip]
    pub(crate) fn rules(self) -> &'static Rules {
        use Call::{Done, Works};
        match self {
            Phase::Setup => &Rules {
                listen: Works, begin: Works, start: Works, stop: Stop::Drain,
                wait: Wait::ToBegin, turn: Outcome::Idle, accept: Accept::Here,
                only_queued: false, spares: false, fails: false,
            },
            Phase::Running => &Rules {
                listen: NOT_LISTENING, begin: Done, start: STARTED, stop: Stop::Drain,
                wait: Wait::ForSpares, turn: Outcome::Idle, accept: Accept::Spares,
                only_queued: false, spares: true, fails: true,
            },
            Phase::Draining => &Rules {
                listen: NOT_LISTENING, begin: Done, start: STARTED, stop: Stop::Hasten,
                wait: Wait::ForStage, turn: Outcome::Idle, accept: Accept::Here,
                only_queued: true, spares: false, fails: false,
            },
            Phase::Stopped => &Rules {
                listen: NOT_LISTENING, begin: STOPPED, start: STOPPED, stop: Stop::Nothing,
                wait: Wait::ForTheRest, turn: Outcome::Drained, accept: Accept::Nowhere,
                only_queued: false, spares: false, fails: false,
            },
            Phase::Hosting => &Rules {
                listen: NOT_LISTENING, begin: SUPERVISED, start: STARTED, stop: Stop::Nothing,
                wait: Wait::ForTheRest, turn: Outcome::Idle, accept: Accept::Nowhere,
                only_queued: false, spares: false, fails: false,
            },
            Phase::Deserted => &Rules {
                listen: NOT_LISTENING, begin: DESERTED, start: DESERTED, stop: Stop::Nothing,
                wait: Wait::ForTheRest, turn: Outcome::Idle, accept: Accept::Nowhere,
                only_queued: false, spares: false, fails: false,
            },
        }
    }

    /// Fails where no address can be added.
    pub(crate) fn check_listen(self, place: &Place<'_>) -> Result<(), Error> {
        match self.rules().listen {
            Call::Fails(errno, text) => Err(Error::new(errno, format!("listen {place}: {text}"))),
            Call::Works | Call::Done => Ok(()),
        }
    }

    /// Whether `begin` has something to do.
    pub(crate) fn check_begin(self, no_address: bool) -> Result<bool, Error> {
        self.rules().begin.check(no_address)
    }

    /// Fails where no supervisor can be started.
    pub(crate) fn check_start(self, no_address: bool) -> Result<(), Error> {
        self.rules().start.check(no_address).map(drop)
    }
}

impl Call {
    fn check(self, no_address: bool) -> Result<bool, Error> {
        match self {
            Call::Works if no_address => {
                let text = "no address to listen on: call listen first";
                Err(Error::new(Errno::EDESTADDRREQ, text))
            }
            Call::Works => Ok(true),
            Call::Done => Ok(false),
            Call::Fails(errno, text) => Err(Error::new(errno, text)),
        }
    }
}
