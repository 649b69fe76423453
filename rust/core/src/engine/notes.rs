//! The notes of children, as the supervisor reads them.
//!
//! A handler of a child that serves several connections can send any note, as often
//! as it likes. So a note is believed about its sender only, which the kernel names,
//! and only if it can be true: a child has one connection at a time, and a limited
//! number in all. A child that sends a false note is ended, and its later notes are
//! ignored. What a child says of its own connection (number, client, end) cannot be
//! checked.
//!
//! One turn reads a limited number of notes, because other things wait meanwhile.

use crate::engine::children::reaper::AGAIN;
use crate::engine::children::record::News;
use crate::engine::Engine;
use crate::event::{Event, Renewal};
use crate::shared::child_id::ChildId;
use crate::shared::note::Note;
use crate::sys::channel::{Message, Received, MESSAGE_WORDS};
use crate::sys::process::Exit;
use nix::errno::Errno;

/// The most notes read in a turn.
pub(crate) const TURN: usize = 64;
/// The most notes read before a child is buried. All of its own are among them: the
/// kernel queues fewer (`net.unix.max_dgram_qlen`, and the buffer of the channel).
pub(crate) const BURIAL: usize = 1024;

impl Engine {
    /// Reads up to `most` notes and passes them to the observer. True: none is left.
    pub(super) fn take_notes(&mut self, most: usize) -> bool {
        let mut message: Message = [0; MESSAGE_WORDS];
        for _ in 0..most {
            let pool = self.pool.as_ref();
            let Some(received) = pool.and_then(|pool| pool.equipment.receive(&mut message)) else {
                return true;
            };
            match received {
                Received::Message(sender) => self.hear(&message, sender),
                Received::Garbage(sender) => self.distrust_process(sender),
                Received::Nothing | Received::Refused(_) => return true,
                Received::End => {
                    self.lose_channel();
                    return true;
                }
            }
            self.common.count();
        }
        false
    }

    fn hear(&mut self, message: &Message, sender: libc::pid_t) {
        let Some((note, child, id, name)) = Note::decode(message) else {
            return self.distrust_process(sender);
        };
        let child_id = ChildId::from_bits(child);
        let child = self.children.get_mut(child_id).filter(|child| child.pid() == sender);
        let Some(child) = child else {
            return self.distrust_process(sender);
        };
        let news = child.hear(&note, id, self.common.options.connections_per_child);
        let (common, pid, peer) = (&mut self.common, sender, name.as_str());
        match (news, note) {
            (News::Ignored, _) => {}
            (News::Began, _) => {
                common.emit(&Event::Accepted { id, peer });
                common.emit(&Event::Forked { id, peer, pid });
                self.set_deadlines(child_id, id);
            }
            (News::Named, _) => common.emit(&Event::Announced { id, peer }),
            (News::Refused { unannounced }, Note::Refused(reason)) => {
                if unannounced {
                    common.emit(&Event::Accepted { id, peer });
                }
                common.emit(&Event::Refused { id, peer, reason });
                self.prune_alarms();
            }
            (News::Ended { unannounced }, Note::Served { status, duration, usage }) => {
                if unannounced {
                    common.emit(&Event::Accepted { id, peer });
                    common.emit(&Event::Forked { id, peer, pid });
                }
                let exit = Exit::Code(status);
                common.emit(&Event::Ended { id, peer, pid, exit, duration, usage });
                self.prune_alarms();
            }
            (News::False | News::Refused { .. } | News::Ended { .. }, _) => self.distrust(child_id),
        }
    }

    /// This process has sent a false note. It may have been left behind by a handler,
    /// and so be no child of the server's, or it may have been waited for already.
    fn distrust_process(&mut self, pid: libc::pid_t) {
        if let Some(id) = self.children.find(pid) {
            self.distrust(id);
        }
    }

    fn distrust(&mut self, id: ChildId) {
        let Some(child) = self.children.get_mut(id) else { return };
        if !child.distrust() {
            return;
        }
        let (pid, connection) = (child.pid(), child.connection());
        let sent = self.kill(id);
        self.common.emit(&Event::ChildDistrusted { pid });
        if !matches!(sent, Ok(()) | Err(Errno::ESRCH)) {
            // It may belong to another user by now. It must not drown out the others, and
            // is signalled again later.
            let again = self.common.now + self.common.options.kill_after.max(AGAIN);
            self.alarms.set_kill(id, connection, again);
            self.lose_channel();
        }
    }

    /// Closes the channel, of which nothing good can be expected any more.
    fn lose_channel(&mut self) {
        let Some(pool) = &mut self.pool else { return };
        if pool.equipment.close_channel(&mut self.common) && self.phase.rules().spares {
            self.renew(Some(Renewal::Channel));
        }
    }
}
