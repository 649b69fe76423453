//! What the parent knows of one child.

use crate::engine::common::Common;
use crate::engine::key::Key;
use crate::shared::child_id::ChildId;
use crate::shared::note::Note;
use crate::sys::epoll;
use crate::sys::group;
use crate::sys::process::{self, Target};
use crate::sys::voice::Ear;
use nix::errno::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

pub(crate) struct Record {
    pid: libc::pid_t,
    /// `None`: none could be had; the child is then polled by its number.
    pidfd: Option<OwnedFd>,
    /// Where its program says that its connection is established.
    ear: Option<Ear>,
    /// Whether its end will be reported. If not, the child is polled.
    watched: bool,
    /// The connection that the observer believes it to serve; 0: none.
    connection: u64,
    /// The last connection that the observer believes it to have served.
    ended: u64,
    /// Whether the observer knows the client that a proxy has named for that connection.
    named: bool,
    /// How many connections it has sent notes of.
    taken: u32,
    /// It has sent a false note: see `notes`.
    distrusted: bool,
    /// By which kit it was made: see `pool`.
    generation: u32,
    /// Whether it leads a process group.
    grouped: bool,
}

/// What a note of a child means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// It cannot be true.
    False,
    /// It is true or false, but this child is not believed any more.
    Ignored,
    Began,
    /// A proxy has named its client.
    Named,
    /// Its connection has been turned away. `unannounced`: the note of its beginning is missing.
    Refused {
        unannounced: bool,
    },
    /// Its connection has ended. `unannounced`: the note of its beginning is missing.
    Ended {
        unannounced: bool,
    },
}

impl Record {
    pub(crate) fn new(pid: libc::pid_t, connection: u64, generation: u32, grouped: bool) -> Record {
        Record {
            pid,
            pidfd: None,
            ear: None,
            watched: false,
            connection,
            ended: 0,
            named: false,
            taken: 0,
            distrusted: false,
            generation,
            grouped,
        }
    }

    /// Its end is reported by a signal, and it needs no pidfd.
    pub(crate) fn with_signal(mut self) -> Record {
        self.watched = true;
        self
    }

    pub(crate) fn with_pidfd(mut self, pidfd: Option<OwnedFd>) -> Record {
        self.pidfd = pidfd;
        self
    }

    pub(crate) fn with_ear(mut self, ear: Option<Ear>) -> Record {
        self.ear = ear;
        self
    }

    pub(crate) fn pid(&self) -> libc::pid_t {
        self.pid
    }

    pub(crate) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    pub(crate) fn leads_group(&self) -> bool {
        self.grouped
    }

    /// It is about to be waited for: from then on only a pidfd is sure to name its group.
    pub(crate) fn pin_group(&mut self) {
        if self.grouped {
            self.open_pidfd();
        }
    }

    /// Sends it `signal`, and its group if it leads one.
    pub(crate) fn signal(&self, signal: libc::c_int) -> Result<(), Errno> {
        match self.grouped {
            true => group::signal_with_leader(self.target(), self.pid, signal),
            false => process::send_signal(self.target(), signal),
        }
    }

    pub(crate) fn target(&self) -> Target<'_> {
        match &self.pidfd {
            Some(pidfd) => Target::Pidfd(pidfd.as_fd(), self.pid),
            None => Target::Pid(self.pid),
        }
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.watched
    }

    pub(crate) fn connection(&self) -> u64 {
        self.connection
    }

    pub(crate) fn is_distrusted(&self) -> bool {
        self.distrusted
    }

    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// Whether it has sent the note that this connection ended.
    pub(crate) fn told_end_of(&self, connection: u64) -> bool {
        self.ended == connection
    }

    /// Puts what is heard of its program into the epoll.
    pub(crate) fn begin_to_listen(&self, slot: usize, common: &mut Common) -> Result<(), Errno> {
        let Some(ear) = &self.ear else { return Ok(()) };
        common.owned.add(ear.fd());
        common.epoll.add(ear.fd().as_fd(), epoll::IN, Key::Voice(slot).to_bits())
    }

    /// Whether its program has said something. One word is listened to; what it writes after
    /// that stays where it is.
    pub(crate) fn listen(&self, common: &Common) -> bool {
        let Some(ear) = self.ear.as_ref().filter(|ear| ear.has_heard()) else { return false };
        let _ = common.epoll.remove(ear.fd().as_fd());
        true
    }

    /// Puts its pidfd into the epoll; false if it must be polled.
    pub(crate) fn watch(&mut self, id: ChildId, common: &mut Common) -> bool {
        if let Some(pidfd) = &self.pidfd {
            let key = Key::Child(id).to_bits();
            self.watched = common.epoll.add(pidfd.as_fd(), epoll::IN, key).is_ok();
            common.owned.add(pidfd);
        }
        self.watched
    }

    /// From here on it is polled.
    pub(crate) fn unwatch(&mut self, common: &Common) {
        if let Some(pidfd) = &self.pidfd {
            let _ = common.epoll.remove(pidfd.as_fd());
        }
        self.watched = false;
    }

    /// Looks for a pidfd, if it has none.
    pub(crate) fn open_pidfd(&mut self) {
        if self.pidfd.is_none() {
            self.pidfd = process::pidfd_open(self.pid).ok();
        }
    }

    /// Before it is dropped, and with it its pidfd closed: see `sys::epoll`.
    pub(crate) fn let_go(&self, common: &mut Common) {
        if let Some(ear) = &self.ear {
            let _ = common.epoll.remove(ear.fd().as_fd());
            common.owned.remove(ear.fd());
        }
        if let Some(pidfd) = &self.pidfd {
            if self.watched {
                let _ = common.epoll.remove(pidfd.as_fd());
            }
            common.owned.remove(pidfd);
        }
    }

    pub(crate) fn take_pidfd(&mut self) -> Option<OwnedFd> {
        self.pidfd.take()
    }

    pub(crate) fn take_ear(&mut self) -> Option<OwnedFd> {
        self.ear.take().map(Ear::into_fd)
    }

    /// Hears a note about connection `id` and compares it with what is known: a child has
    /// one connection at a time, and `most` in all.
    pub(crate) fn hear(&mut self, note: &Note, id: u64, most: u32) -> News {
        if self.distrusted {
            return News::Ignored;
        }
        let (idle, more) = (self.connection == 0, self.taken < most);
        let may_be = match note {
            Note::Accepted => idle && more,
            Note::Named => self.connection == id && !self.named,
            // Of one that a proxy has passed on, after it began.
            Note::Refused(_) => idle || self.connection == id,
            Note::Served { .. } => self.connection == id || idle && more,
        };
        if !may_be || id == 0 {
            return News::False;
        }
        match note {
            Note::Accepted => {
                (self.connection, self.named) = (id, false);
                self.taken += 1;
                News::Began
            }
            Note::Named => {
                self.named = true;
                News::Named
            }
            Note::Refused(_) if idle => News::Refused { unannounced: true },
            Note::Refused(_) => {
                (self.connection, self.ended) = (0, id);
                // It takes another in its place.
                self.taken -= 1;
                News::Refused { unannounced: false }
            }
            Note::Served { .. } => {
                (self.connection, self.ended) = (0, id);
                self.taken += u32::from(idle);
                News::Ended { unannounced: idle }
            }
        }
    }

    /// A proxy has named the client of its connection, as the scoreboard has it; false: the
    /// observer knows, or there is no such connection.
    pub(crate) fn hear_name(&mut self) -> bool {
        self.connection != 0 && !std::mem::replace(&mut self.named, true)
    }

    /// Ignores its notes from here on; false: they were ignored already.
    pub(crate) fn distrust(&mut self) -> bool {
        !std::mem::replace(&mut self.distrusted, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Refusal;
    use crate::sys::process::Usage;
    use std::time::Duration;

    const SERVED: Note = Note::Served {
        status: 0,
        duration: Duration::ZERO,
        usage: Usage { user: Duration::ZERO, system: Duration::ZERO, max_rss_kib: 0 },
    };

    const REFUSED: News = News::Refused { unannounced: true };

    #[test]
    fn a_connection_may_be_refused_once_its_client_is_known() {
        let mut child = Record::new(1, 0, 0, false);
        for id in [5, 7, 9] {
            assert_eq!(child.hear(&Note::Named, id, 1), News::False, "it has not begun");
            assert_eq!(child.hear(&Note::Accepted, id, 1), News::Began);
            assert_eq!(child.hear(&Note::Named, id + 1, 1), News::False);
            assert_eq!(child.hear(&Note::Named, id, 1), News::Named);
            assert_eq!(child.hear(&Note::Named, id, 1), News::False, "once");
            let refused = child.hear(&Note::Refused(Refusal::Proxy(71)), id, 1);
            assert_eq!(refused, News::Refused { unannounced: false });
            assert!(child.told_end_of(id) && child.connection() == 0);
        }
    }

    #[test]
    fn a_note_is_heard_only_if_it_can_be_true() {
        let mut child = Record::new(1, 0, 0, false);
        assert_eq!(child.hear(&Note::Accepted, 0, 2), News::False, "no connection is 0");
        assert_eq!(child.hear(&Note::Accepted, 5, 2), News::Began);
        assert_eq!(child.connection(), 5);
        assert_eq!(child.hear(&Note::Accepted, 6, 2), News::False, "one at a time");
        assert_eq!(child.hear(&Note::Refused(Refusal::Rate), 6, 2), News::False);
        assert_eq!(child.hear(&SERVED, 6, 2), News::False, "another's");
        assert_eq!(child.hear(&SERVED, 5, 2), News::Ended { unannounced: false });
        assert!(child.told_end_of(5));
        assert_eq!(child.hear(&Note::Refused(Refusal::Rate), 6, 2), REFUSED);
        assert_eq!(child.hear(&SERVED, 7, 2), News::Ended { unannounced: true });
        assert_eq!(child.hear(&Note::Accepted, 8, 2), News::False, "it has had its two");
        assert!(child.distrust());
        assert!(!child.distrust());
        assert_eq!(child.hear(&Note::Refused(Refusal::Rate), 9, 2), News::Ignored);
    }
}
