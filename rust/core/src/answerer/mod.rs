//! `--metrics`: HTTP for scrapers, in a child of the process that serves.
//!
//! The loop has no part in it but to start the child, and to tell it of the drain. So a
//! scraper that is slow or hostile costs no client anything, and whatever becomes of this
//! child, the next one begins anew. There are few places for scrapers, and the one that
//! has had its place longest makes room: one that asks at once is answered, whoever else
//! is there.
//!
//! The child is a copy of a process that may have threads: nothing here allocates or takes
//! a lock, and all memory is made by the parent ([`Room`]).

mod request;
mod response;

use crate::metrics::MetricsReader;
use crate::net::accept::{classify, Failure};
use crate::sys::epoll::{self, Epoll, Reports};
use crate::sys::socket::{self, RawAddress};
use nix::errno::Errno;
use request::Asked;
use std::array;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// How many scrapers are answered at once.
const PLACES: usize = 16;
/// How long one may take, for everything.
const LIMIT: Duration = Duration::from_secs(5);
/// A longer head of a request is not read.
const LONGEST: usize = 4096;
/// What of a request's body is read before the connection closes: what is left unread
/// would reset it.
const IGNORED: usize = 1 << 16;
/// So many connections of one listener are accepted before others are looked after.
const AT_ONCE: usize = 8;
/// Without descriptors or memory, or where the listener is broken: when accepting is tried
/// again.
const PAUSE_MS: u32 = 100;

/// A listener's report, the leash's, and below them those of places.
const LISTENER: u64 = 1 << 32;
const LEASH: u64 = 1 << 33;

/// The memory of the child.
pub(crate) struct Room {
    places: [Place; PLACES],
}

/// Where a scraper is answered.
struct Place {
    /// Of the one that is being answered.
    caller: Option<Caller>,
    request: Box<[u8]>,
    response: Box<[u8]>,
}

struct Caller {
    connection: OwnedFd,
    since: Instant,
    read: usize,
    stage: Stage,
}

enum Stage {
    /// The request has not come to its end.
    Reads,
    /// This part of the response has yet to be sent.
    Writes(Range<usize>),
    /// All was sent; the caller has yet to close.
    Ends(usize),
}

impl Room {
    /// For texts of this length and somewhat more.
    pub(crate) fn new(text: usize) -> Room {
        let place = |_| Place {
            caller: None,
            request: vec![0; LONGEST].into(),
            response: vec![0; response::room(2 * text + LONGEST)].into(),
        };
        Room { places: array::from_fn(place) }
    }
}

/// What the child does until its parent has gone or dropped the other end of `leash`.
/// Whatever is said there means that a drain has begun.
pub(crate) fn answer(
    listeners: &[BorrowedFd<'_>],
    leash: BorrowedFd<'_>,
    metrics: &MetricsReader,
    room: &mut Room,
) -> Result<(), Errno> {
    let epoll = Epoll::new()?;
    epoll.add(leash, epoll::IN, LEASH)?;
    for (index, listener) in listeners.iter().enumerate() {
        epoll.add(*listener, epoll::IN, LISTENER | index as u64)?;
    }
    let mut answerer = Answerer { epoll, metrics, places: &mut room.places, draining: false };
    let mut reports = Reports::<PLACES>::new();
    loop {
        let now = Instant::now();
        let timeout = answerer.end_overdue(now);
        match answerer.epoll.wait(&mut reports, timeout) {
            Ok(()) => {}
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno),
        }
        let mut index = 0;
        while let Some(report) = reports.get(index) {
            index += 1;
            match report.key {
                LEASH => {
                    let mut said = [0; 8];
                    match socket::receive_now(leash, &mut said) {
                        Ok(0) => return Ok(()),
                        Ok(_) => answerer.draining = true,
                        Err(Errno::EAGAIN | Errno::EINTR) => {}
                        Err(errno) => return Err(errno),
                    }
                }
                key if key & LISTENER != 0 => {
                    if let Some(listener) = listeners.get((key & !LISTENER) as usize) {
                        answerer.accept(listener.as_raw_fd());
                    }
                }
                place => answerer.go_on(place as usize),
            }
        }
    }
}

struct Answerer<'a> {
    epoll: Epoll,
    metrics: &'a MetricsReader,
    places: &'a mut [Place; PLACES],
    draining: bool,
}

impl Answerer<'_> {
    fn accept(&mut self, listener: RawFd) {
        let mut peer = RawAddress::empty();
        for _ in 0..AT_ONCE {
            match socket::accept(listener, &mut peer) {
                Ok(Some(connection)) => self.take(connection),
                Ok(None) | Err(Errno::EINTR) => return,
                Err(errno) if classify(errno) == Failure::OneLess => {}
                // It would be reported without end.
                Err(_) => return socket::pause(PAUSE_MS),
            }
        }
    }

    /// Gives a connection a place: a free one, or that of the oldest.
    fn take(&mut self, connection: OwnedFd) {
        let since = |place: &Place| place.caller.as_ref().map(|caller| caller.since);
        let all = self.places.iter().enumerate();
        let Some((index, _)) = all.min_by_key(|(_, place)| since(place)) else { return };
        if self.epoll.add(connection.as_fd(), epoll::IN, index as u64).is_err() {
            return;
        }
        let caller = Caller { connection, since: Instant::now(), read: 0, stage: Stage::Reads };
        self.places[index].caller = Some(caller);
        // Commonly the request is there already.
        self.go_on(index);
    }

    fn go_on(&mut self, index: usize) {
        let Some(place) = self.places.get_mut(index) else { return };
        let Some(caller) = &mut place.caller else { return };
        let fd = caller.connection.as_fd();
        if let Stage::Reads = caller.stage {
            let room = &mut place.request[caller.read..];
            match socket::receive_now(fd, room) {
                Ok(0) => return place.caller = None,
                Ok(length) => caller.read += length,
                Err(Errno::EAGAIN | Errno::EINTR) => return,
                Err(_) => return place.caller = None,
            }
            let (asked, only_head) = request::read(&place.request[..caller.read]);
            if asked == Asked::More && caller.read < place.request.len() {
                return;
            }
            let (to, draining) = (&mut place.response, self.draining);
            let part = response::write(to, asked, only_head, draining, self.metrics);
            caller.stage = Stage::Writes(part);
        }
        if let Stage::Writes(part) = &mut caller.stage {
            match socket::send_now(fd, &place.response[part.clone()]) {
                Ok(length) => part.start += length,
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(_) => return place.caller = None,
            }
            let (next, events) = match part.start == part.end {
                true => (Stage::Ends(IGNORED), epoll::IN),
                false => (Stage::Writes(part.clone()), epoll::OUT),
            };
            if let Stage::Ends(_) = next {
                socket::shutdown_write(fd);
            }
            caller.stage = next;
            if self.epoll.modify(fd, events, index as u64).is_err() {
                return place.caller = None;
            }
        }
        if let Stage::Ends(left) = &mut caller.stage {
            loop {
                match socket::receive_now(fd, &mut place.request) {
                    Ok(length) if length > 0 && length <= *left => *left -= length,
                    Err(Errno::EAGAIN | Errno::EINTR) => return,
                    _ => return place.caller = None,
                }
            }
        }
    }

    /// Ends those that have had their time; the milliseconds until the next one has.
    fn end_overdue(&mut self, now: Instant) -> Option<u32> {
        let mut next: Option<Instant> = None;
        for place in self.places.iter_mut() {
            let Some(caller) = &place.caller else { continue };
            let end = caller.since + LIMIT;
            if end <= now {
                place.caller = None;
            } else {
                next = Some(next.map_or(end, |next| next.min(end)));
            }
        }
        next.map(|next| crate::sys::clock::millis_until(next, now))
    }
}
