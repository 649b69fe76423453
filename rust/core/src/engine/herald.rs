//! How children that were born with their connection call the loop, once a proxy has named
//! its client: for the observer, and only where there is one.
//!
//! They ring a bell and close it before their handler is called. Which client it is they have
//! written on the scoreboard.

use crate::descriptors::owned::Owned;
use crate::engine::key::Key;
use crate::options::{Options, Proxy};
use crate::sys::epoll::{self, Epoll};
use crate::sys::process;
use crate::sys::wake::{self, Wake};
use nix::errno::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

pub(crate) struct Herald {
    bell: Wake,
    /// What such a child does not close at its birth.
    kept: Owned,
}

impl Herald {
    /// None where proxies say nothing, and where children send notes.
    pub(crate) fn of(options: &Options) -> Result<Option<Box<Herald>>, Errno> {
        if options.proxy == Proxy::Off || options.spares > 0 || options.connections_per_child > 1 {
            return Ok(None);
        }
        let bell = Wake::new()?;
        let mut kept = Owned::default();
        kept.add(&bell);
        Ok(Some(Box::new(Herald { bell, kept })))
    }

    /// What is rung is reported there.
    pub(crate) fn watch(&self, epoll: &Epoll) -> Result<(), Errno> {
        epoll.add(self.bell.as_fd(), epoll::IN | epoll::EDGE, Key::Herald.to_bits())
    }

    /// Its children do not close this one either.
    pub(crate) fn keep(&mut self, ruleset: RawFd) {
        self.kept.add_raw(ruleset);
    }

    pub(crate) fn kept(&self) -> &Owned {
        &self.kept
    }

    /// In a child: calls the loop, if there is something to tell, and lets go of the bell.
    pub(crate) fn leave(&self, named: bool) {
        let bell = self.bell.as_fd().as_raw_fd();
        if named {
            // Where that fails, it is told of at the end of the connection.
            let _ = wake::add(bell, 1);
        }
        process::close(bell);
    }

    /// Whether it has been rung.
    pub(crate) fn take_rings(&self) -> bool {
        self.bell.take() > 0
    }
}

impl AsFd for Herald {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
