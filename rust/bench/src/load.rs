//! The load generator: runs clients against one address until a bound is met.
//!
//! One thread, non-blocking sockets, one epoll. On a machine of few cores a
//! thread per client would compete with the server's processes for the
//! scheduler, and what is measured would be the generator; this one makes nine
//! system calls a connection and sleeps otherwise.
//! Invariant: every connection started ends as exactly one of answered or
//! error, and `run` returns: no later than the bound, plus `timeout` for those
//! then in flight.

use std::collections::BTreeMap;
use std::io::{Error, Result};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::client::{error_name, Client, Finish};
use crate::schedule::{Arrivals, Next, Schedule, Until};

/// How often connections are looked at for their time limit.
const SWEEP: Duration = Duration::from_millis(50);
/// The timer's mark in the epoll; clients are marked by their slot.
const TIMER: u64 = u64::MAX;

/// What to do to which server.
#[derive(Clone, Debug)]
pub struct Load {
    /// The server.
    pub addr: SocketAddr,
    /// How connections arrive.
    pub arrivals: Arrivals,
    /// When to stop starting them.
    pub until: Until,
    /// What each does once answered.
    pub finish: Finish,
    /// How long each may take before it counts as the error "timeout".
    pub timeout: Duration,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// Connections answered.
    pub answered: u64,
    /// Those of them answered before the time bound.
    pub in_time: u64,
    /// Connections that failed, by errno name or reason.
    pub errors: BTreeMap<String, u64>,
    /// The bound, or with a count the time until the last connection ended.
    pub seconds: f64,
    /// Latency of those answered, in nanoseconds.
    pub latency: Histogram<u64>,
    /// The sockets of `Finish::Keep`.
    pub held: Vec<TcpStream>,
}

impl Outcome {
    /// Answered connections a second.
    pub fn rate(&self) -> f64 {
        self.in_time as f64 / self.seconds
    }

    /// Failed connections of all kinds.
    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    /// A latency percentile in microseconds; 100 is the maximum.
    pub fn micros(&self, percentile: f64) -> f64 {
        self.latency.value_at_percentile(percentile) as f64 / 1e3
    }
}

struct Run<'a> {
    load: &'a Load,
    epoll: Epoll,
    slots: Vec<Option<Client>>,
    free: Vec<usize>,
    end: Option<Instant>,
    out: Outcome,
}

/// Runs the load to its end.
pub fn run(load: &Load) -> Result<Outcome> {
    let begin = Instant::now();
    let mut schedule = Schedule::new(load.arrivals, load.until, begin);
    let timer =
        TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
    let mut run = Run {
        load,
        epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
        slots: Vec::new(),
        free: Vec::new(),
        end: schedule.end(),
        out: Outcome {
            answered: 0,
            in_time: 0,
            errors: BTreeMap::new(),
            seconds: 0.0,
            latency: Histogram::new_with_bounds(1, 3_600_000_000_000, 3).map_err(Error::other)?,
            held: Vec::new(),
        },
    };
    run.epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
    let mut events = [EpollEvent::empty(); 256];
    let mut swept = begin;
    loop {
        let now = loop {
            let now = Instant::now();
            match schedule.next(now, run.in_flight()) {
                Next::Start(due) => run.start(schedule.started(), due)?,
                Next::At(due) => {
                    // A timer, not the wait's time-out: that one counts in milliseconds.
                    let after = (due - now).max(Duration::from_nanos(1));
                    let once = Expiration::OneShot(TimeSpec::from(after));
                    timer.set(once, TimerSetTimeFlags::empty())?;
                    break now;
                }
                Next::Busy => break now,
                Next::Done if run.in_flight() == 0 => {
                    let last = run.end.unwrap_or(now);
                    run.out.seconds = (last - begin).as_secs_f64();
                    return Ok(run.out);
                }
                Next::Done => break now,
            }
        };
        if now - swept >= SWEEP {
            run.sweep(now);
            swept = now;
        }
        let timeout = EpollTimeout::try_from(SWEEP).map_err(Error::other)?;
        let ready = match run.epoll.wait(&mut events, timeout) {
            Err(Errno::EINTR) => 0,
            other => other?,
        };
        for event in &events[..ready] {
            match event.data() {
                TIMER => match timer.wait() {
                    Ok(()) | Err(Errno::EAGAIN) => {}
                    Err(e) => return Err(e.into()),
                },
                slot => run.advance(slot as usize)?,
            }
        }
    }
}

impl Run<'_> {
    fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn start(&mut self, number: u64, due: Instant) -> Result<()> {
        let client = match Client::start(self.load.addr, number, due) {
            Ok(client) => client,
            Err(e) => {
                self.fail(&e);
                return Ok(());
            }
        };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let mut wanted = EpollFlags::EPOLLIN;
        wanted.set(EpollFlags::EPOLLOUT, client.wants_write());
        self.epoll.add(&client.stream, EpollEvent::new(wanted, slot as u64))?;
        self.slots[slot] = Some(client);
        Ok(())
    }

    fn advance(&mut self, slot: usize) -> Result<()> {
        let Some(client) = self.slots[slot].as_mut() else {
            return Ok(());
        };
        let waited = client.wants_write();
        match client.advance(self.load.finish) {
            Ok(true) => self.answered(slot)?,
            Ok(false) if waited && !client.wants_write() => {
                let mut event = EpollEvent::new(EpollFlags::EPOLLIN, slot as u64);
                self.epoll.modify(&client.stream, &mut event)?;
            }
            Ok(false) => {}
            Err(e) => {
                self.fail(&e);
                self.release(slot);
            }
        }
        Ok(())
    }

    fn answered(&mut self, slot: usize) -> Result<()> {
        let now = Instant::now();
        let Some(client) = self.release(slot) else {
            return Ok(());
        };
        let nanos = u64::try_from((now - client.due).as_nanos()).unwrap_or(u64::MAX);
        self.out.latency.saturating_record(nanos);
        self.out.answered += 1;
        self.out.in_time += u64::from(self.end.is_none_or(|end| now <= end));
        if self.load.finish == Finish::Keep {
            self.epoll.delete(&client.stream)?;
            self.out.held.push(client.stream);
        }
        Ok(())
    }

    /// Takes the client out of its slot; dropping it closes the socket.
    fn release(&mut self, slot: usize) -> Option<Client> {
        self.free.push(slot);
        self.slots[slot].take()
    }

    fn fail(&mut self, e: &Error) {
        *self.out.errors.entry(error_name(e)).or_default() += 1;
    }

    fn sweep(&mut self, now: Instant) {
        for slot in 0..self.slots.len() {
            if self.slots[slot].as_ref().is_some_and(|c| now - c.began >= self.load.timeout) {
                self.fail(&Error::other("timeout"));
                self.release(slot);
            }
        }
    }
}
