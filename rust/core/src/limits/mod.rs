//! Which clients are served, and how fast: the limits beside `max_children`.
//!
//! One value that the supervisor and the children share, so that the process that
//! has accepted a connection judges it alone: the lists of networks, the rates, and
//! what is remembered of sources. Where no such limit is set there is no such
//! value, and a connection meets no code and no memory of it.
//!
//! The order is: deny, allow, penalty, then `max_children`, `max_per_source` and
//! `max_per_network`, then the limits on handshakes, then the rates, so that a connection that is refused for another reason takes
//! no token.

pub(crate) mod handshakes;
pub(crate) mod penalty;
pub(crate) mod places;
pub(crate) mod rate;
pub(crate) mod sources;
pub(crate) mod table;

use crate::cidr::{ip_of, CidrList};
use crate::counters::Counter;
use crate::error::Error;
use crate::event::Refusal;
use crate::limits::handshakes::Handshakes;
use crate::limits::penalty::Tariff;
use crate::limits::places::Places;
use crate::limits::rate::Pace;
use crate::limits::sources::Sources;
use crate::limits::table::Table;
use crate::options::{AtCapacity, AtRate, Options};
use crate::shared::board::{Before, Board, Origin};
use crate::sys::clock::monotonic_us;
use crate::sys::process::Exit;
use crate::sys::socket::RawAddress;
use std::sync::atomic::fence;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

pub(crate) struct Limits {
    allow: CidrList,
    deny: CidrList,
    /// If any limit is for single sources.
    sources: Option<Sources>,
    places: Places,
    handshakes: Option<Handshakes>,
    rate: Option<Pace>,
    /// Whether connections above `rate` wait in the kernel's queue.
    queue: bool,
    rate_per_source: Option<Pace>,
    tariff: Option<Tariff>,
    /// One bit for each exit status that is as bad as a crash.
    statuses: [u64; 4],
    table: Option<Table>,
    /// Times are counted from here.
    since_us: u64,
}

impl Limits {
    /// `None`: no limit of this kind is set.
    pub(crate) fn new(options: &Options) -> Result<Option<Limits>, Error> {
        let interval = options.rate_interval.as_micros() as u64;
        let pace = |rate, burst| (rate > 0).then(|| Pace::new(rate, interval, burst));
        let rate = pace(options.rate, options.rate_burst);
        let rate_per_source = pace(options.rate_per_source, options.rate_per_source_burst);
        let (first, longest) = (options.penalty.unwrap_or_default(), options.penalty_max);
        let tariff = (!first.is_zero()).then(|| Tariff::new(first, longest));
        let remembers = rate_per_source.is_some() || tariff.is_some();
        let listed = !options.allow.is_empty() || !options.deny.is_empty();
        let handshakes = Handshakes::new(options)?;
        let evicts = options.at_capacity == AtCapacity::EvictSource;
        let limits_source = options.max_per_source > 0 || options.max_handshakes_per_source > 0;
        let by_source = remembers || limits_source || evicts;
        let by_network = options.max_per_network > 0;
        let counts = by_source || by_network || handshakes.is_some();
        if rate.is_none() && !counts && !listed {
            return Ok(None);
        }
        let mut statuses = [0; 4];
        options
            .penalty_statuses
            .iter()
            .for_each(|s| statuses[usize::from(s / 64)] |= 1 << (s % 64));
        let table = remembers.then(|| Table::new(tariff)).transpose();
        Ok(Some(Limits {
            allow: options.allow.clone(),
            deny: options.deny.clone(),
            sources: by_source.then(|| Sources::new(options)).transpose()?,
            places: Places::new(options)?,
            handshakes,
            rate,
            queue: options.at_rate == AtRate::Queue,
            rate_per_source,
            tariff,
            statuses,
            table: table.map_err(|errno| Error::os("mmap", "", errno))?,
            since_us: monotonic_us(),
        }))
    }

    fn now_us(&self) -> u64 {
        monotonic_us().saturating_sub(self.since_us)
    }

    /// What a connection counts for.
    pub(crate) fn origin(&self, peer: &RawAddress) -> Origin {
        let source = self.sources.as_ref().map_or(0, |sources| sources.of(peer));
        Origin { source, network: self.places.network(peer) }
    }

    /// Why there is no place for a connection.
    pub(crate) fn crowds(&self, board: &Board, origin: Origin, before: Before) -> Option<Refusal> {
        let shakes = |handshakes: &Handshakes| handshakes.bars(board, origin, before);
        let full = self.places.bars(board, origin, before);
        full.or_else(|| self.handshakes.as_ref().and_then(shakes))
    }

    /// Why a client at this address is not served.
    pub(crate) fn bars(&self, peer: &RawAddress, source: u64) -> Option<Refusal> {
        if let Some(ip) = ip_of(peer) {
            if self.deny.contains(ip) || !(self.allow.is_empty() || self.allow.contains(ip)) {
                return Some(Refusal::Denied);
            }
        }
        let table = self.table.as_ref().filter(|_| source != 0 && self.tariff.is_some())?;
        table.pays(source, self.now_us()).then_some(Refusal::Penalty)
    }

    /// Why a connection that the scoreboard shows is not served. Takes its tokens otherwise.
    pub(crate) fn judge(
        &self,
        board: &Board,
        peer: &RawAddress,
        origin: Origin,
        before: Before,
    ) -> Option<Refusal> {
        self.bars(peer, origin.source)
            .or_else(|| self.crowds(board, origin, before))
            .or_else(|| self.spend(board, origin.source))
    }

    /// Takes the tokens for one connection, or tells whose there is none. Where
    /// clients wait for that of `rate`, it was there before the accept.
    pub(crate) fn spend(&self, board: &Board, source: u64) -> Option<Refusal> {
        if let (Some(pace), Some(table)) = (&self.rate_per_source, &self.table) {
            if source != 0 && !table.take(source, pace, self.now_us()) {
                return Some(Refusal::SourceRate);
            }
        }
        (!self.queue && !self.take(board)).then_some(Refusal::Rate)
    }

    /// Takes a token of `rate`; false: there is none.
    fn take(&self, board: &Board) -> bool {
        let Some(pace) = &self.rate else { return true };
        let now = self.now_us();
        let next = |full_at| (pace.wait(full_at, now) == 0).then(|| pace.take(full_at, now));
        board.word(Counter::RateFullAt).fetch_update(Relaxed, Relaxed, next).is_ok()
    }

    /// Before an accept, where clients wait for a token: takes it; false: there is
    /// none, and no client may be accepted.
    pub(crate) fn reserve(&self, board: &Board) -> bool {
        !self.queue || self.take(board)
    }

    /// No client came for the token. Whether another child may have missed it
    /// meanwhile.
    pub(crate) fn put_back(&self, board: &Board) -> bool {
        let Some(pace) = self.rate.as_ref().filter(|_| self.queue) else { return false };
        let back = |full_at| Some(pace.put_back(full_at));
        let _ = board.word(Counter::RateFullAt).fetch_update(Relaxed, Relaxed, back);
        // Behind that, or the other one shuts the gate unseen.
        fence(SeqCst);
        board.get(Counter::GateShut) != 0
    }

    /// Whether clients above the rate wait in the kernel's queue.
    pub(crate) fn queues(&self) -> bool {
        self.queue && self.rate.is_some()
    }

    /// Microseconds until a connection may be accepted; 0: now.
    pub(crate) fn wait_us(&self, board: &Board) -> u64 {
        match &self.rate {
            Some(pace) if self.queue => pace.wait(board.get(Counter::RateFullAt), self.now_us()),
            _ => 0,
        }
    }

    /// Whether this end of a child is the fault of its client. `ours`: the child
    /// was ended by the server.
    pub(crate) fn is_crash(&self, exit: Exit, ours: bool) -> bool {
        match exit {
            // Sent by people, by timers, and to a child whose client has left.
            Exit::Signal(
                libc::SIGHUP | libc::SIGINT | libc::SIGPIPE | libc::SIGALRM | libc::SIGTERM,
            ) => false,
            Exit::Signal(libc::SIGKILL) => !ours,
            Exit::Signal(_) => true,
            Exit::Code(status) => self.is_bad(status),
            Exit::Unknown => false,
        }
    }

    /// Whether the host has named this status.
    pub(crate) fn is_bad(&self, status: i32) -> bool {
        let status = (status & 0xff) as usize;
        self.statuses[status / 64] >> (status % 64) & 1 == 1
    }

    /// A connection of `source` has ended so.
    pub(crate) fn punish(&self, board: &Board, source: u64) {
        if let (Some(tariff), Some(table), true) = (&self.tariff, &self.table, source != 0) {
            table.punish(source, tariff, self.now_us());
            board.add(Counter::Penalties);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn limits(options: Options) -> Limits {
        options.validate().expect("valid");
        Limits::new(&options).expect("mapped").expect("a limit is set")
    }

    fn peer(text: &str) -> RawAddress {
        RawAddress::from_ip(&text.parse().expect("an address"))
    }

    fn lists(allow: &str, deny: &str) -> Limits {
        let parse = |text: &str| text.parse().expect("a list");
        limits(Options { allow: parse(allow), deny: parse(deny), ..Options::default() })
    }

    #[test]
    fn without_such_limits_there_is_nothing() {
        assert!(Limits::new(&Options::default()).expect("mapped").is_none());
        let options = Options {
            source_prefix_v4: 24,
            rate_burst: 5,
            penalty_statuses: vec![1],
            ..Options::default()
        };
        assert!(Limits::new(&options).expect("mapped").is_none());
    }

    #[test]
    fn deny_comes_before_allow_and_a_list_of_the_allowed_is_complete() {
        let barred = |limits: &Limits, address| limits.bars(&peer(address), 0).is_some();
        let both = lists("10.0.0.0/8, ::1", "10.6.0.0/16, ::/0");
        assert!(!barred(&both, "10.5.0.1:1"));
        assert!(!barred(&both, "[::ffff:10.5.0.1]:1"));
        assert!(barred(&both, "10.6.0.1:1"), "denied, however it is allowed");
        assert!(barred(&both, "[::1]:1"));
        assert!(barred(&both, "192.0.2.1:1"), "not in the list of the allowed");
        let denied = lists("", "10.0.0.0/8");
        assert!(barred(&denied, "10.1.1.1:1"));
        assert!(!barred(&denied, "[2001:db8::1]:1"), "without such a list all others may");
        let allowed = lists("10.0.0.0/8", "");
        assert!(barred(&allowed, "[2001:db8::1]:1"));
        let unix = RawAddress::from_unix(b"/x").expect("fits");
        assert_eq!(both.bars(&unix, 0), None, "no address, no list");
    }

    #[test]
    fn crashes_are_told_from_other_ends() {
        let penalty = Duration::from_secs(1);
        let with = limits(Options {
            penalty: Some(penalty),
            penalty_statuses: vec![0, 70, 255],
            ..Options::default()
        });
        for signal in [libc::SIGSEGV, libc::SIGABRT, libc::SIGBUS, libc::SIGILL, libc::SIGKILL] {
            assert!(with.is_crash(Exit::Signal(signal), false), "{signal}");
        }
        assert!(!with.is_crash(Exit::Signal(libc::SIGKILL), true));
        assert!(with.is_crash(Exit::Signal(libc::SIGSEGV), true));
        for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGPIPE, libc::SIGALRM, libc::SIGTERM] {
            assert!(!with.is_crash(Exit::Signal(signal), false), "{signal}");
        }
        let bad: Vec<i32> =
            (0..256).filter(|code| with.is_crash(Exit::Code(*code), false)).collect();
        assert_eq!(bad, [0, 70, 255]);
        assert!(!with.is_crash(Exit::Unknown, false));
    }

    #[test]
    fn a_crash_bars_its_source_and_no_other() {
        let board = Board::new(1).expect("mapped");
        let limits =
            limits(Options { penalty: Some(Duration::from_secs(3600)), ..Options::default() });
        let source = limits.origin(&peer("10.0.0.1:1")).source;
        limits.punish(&board, source);
        limits.punish(&board, 0);
        assert_eq!(limits.bars(&peer("10.0.0.1:2"), source), Some(Refusal::Penalty));
        let other = peer("10.0.0.2:2");
        assert_eq!(limits.bars(&other, limits.origin(&other).source), None);
        assert_eq!(board.get(Counter::Penalties), 1);
    }

    #[test]
    fn the_rate_refuses_or_is_waited_for() {
        let hour = Duration::from_secs(3600);
        let with = |at_rate| {
            limits(Options { rate: 2, rate_interval: hour, at_rate, ..Options::default() })
        };
        let (board, refuse) = (Board::new(1).expect("mapped"), with(AtRate::Refuse));
        let results = [(); 3].map(|()| refuse.spend(&board, 0));
        assert_eq!(results, [None, None, Some(Refusal::Rate)]);
        assert_eq!(refuse.wait_us(&board), 0, "no client waits");
        let (board, queue) = (Board::new(1).expect("mapped"), with(AtRate::Queue));
        assert_eq!([(); 3].map(|()| queue.reserve(&board)), [true, true, false]);
        let wait = queue.wait_us(&board);
        assert!((1_700_000_000..=1_800_000_000).contains(&wait), "{wait}");
        assert_eq!(queue.spend(&board, 0), None, "it was taken before");
        queue.put_back(&board);
        assert_eq!([(); 2].map(|()| queue.reserve(&board)), [true, false]);
    }

    #[test]
    fn a_source_above_its_rate_takes_no_token_from_the_others() {
        let board = Board::new(1).expect("mapped");
        let limits = limits(Options {
            rate: 2,
            rate_per_source: 1,
            rate_interval: Duration::from_secs(3600),
            at_rate: AtRate::Refuse,
            ..Options::default()
        });
        assert_eq!(limits.spend(&board, 1), None);
        assert_eq!(limits.spend(&board, 1), Some(Refusal::SourceRate));
        assert_eq!(limits.spend(&board, 2), None);
        assert_eq!(limits.spend(&board, 3), Some(Refusal::Rate));
    }
}
