//! What children tell, taken by the supervisor.
//!
//! A handler of a child that serves several connections can tell anything, as often
//! as it likes. So a note is believed about its sender only, which the kernel names,
//! and only if it can be true: a child has one connection at a time, and so many in
//! all. One of which a note is false is ended, and not listened to any more. What a
//! child says of its own connection, its number and client and when it ended, is its
//! word alone.
//!
//! In one turn only so many are taken: other things wait meanwhile.

use crate::engine::groups;
use crate::engine::reap::AGAIN;
use crate::engine::{Engine, Phase};
use crate::event::{Event, Renewal};
use crate::shared::child_id::ChildId;
use crate::shared::note::Note;
use crate::sys::channel::{Message, Received, MESSAGE_WORDS};
use crate::sys::process;
use nix::errno::Errno;

/// So many are taken in a turn.
pub(crate) const TURN: usize = 64;
/// So many before a child is buried. What it has told is among them: the kernel lets
/// fewer wait (`net.unix.max_dgram_qlen`, and the buffer of the channel).
pub(crate) const BURIAL: usize = 1024;

impl Engine {
    /// Tells the observer what children have told. True: all has been heard.
    pub(crate) fn take_notes(&mut self, most: usize) -> bool {
        let mut message: Message = [0; MESSAGE_WORDS];
        for _ in 0..most {
            let channel = self.pool.as_ref().and_then(|pool| pool.channel.as_ref());
            let Some(received) = channel.map(|channel| channel.receive(&mut message)) else {
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
            self.handled += 1;
        }
        false
    }

    fn hear(&mut self, message: &Message, sender: libc::pid_t) {
        let Some((note, child, id, peer)) = Note::decode(message) else {
            return self.distrust_process(sender);
        };
        let child_id = ChildId::from_bits(child);
        let Some(child) = self.children.get_mut(child_id).filter(|child| child.pid == sender)
        else {
            return self.distrust_process(sender);
        };
        if child.false_witness {
            return;
        }
        let (idle, more) =
            (child.connection == 0, child.taken < self.options.connections_per_child);
        let may_be = match note {
            Note::Accepted => idle && more,
            Note::Refused(_) => idle,
            Note::Served { .. } => child.connection == id || idle && more,
        };
        if !may_be || id == 0 {
            return self.distrust(child_id);
        }
        let (pid, name) = (child.pid, peer.as_str());
        match note {
            Note::Accepted => {
                child.connection = id;
                child.taken += 1;
                self.emit(&Event::Accepted { id, peer: name });
                self.emit(&Event::Forked { id, peer: name, pid });
                if let Some(lifetime) = self.options.lifetime {
                    self.alarms.set_term(child_id, id, self.now + lifetime);
                }
            }
            Note::Refused(reason) => {
                self.emit(&Event::Accepted { id, peer: name });
                self.emit(&Event::Refused { id, peer: name, reason });
            }
            Note::Served { status, duration, usage } => {
                (child.connection, child.ended) = (0, id);
                if idle {
                    // The child could not tell of its beginning.
                    child.taken += 1;
                    self.emit(&Event::Accepted { id, peer: name });
                    self.emit(&Event::Forked { id, peer: name, pid });
                }
                let exit = process::Exit::Code(status);
                self.emit(&Event::Ended { id, peer: name, pid, exit, duration, usage });
                self.forget_alarms();
            }
        }
    }

    /// This process has told what is not true. It may be one that a handler has left
    /// behind, which is nobody's here, or have been waited for already.
    fn distrust_process(&mut self, pid: libc::pid_t) {
        if let Some(child_id) = self.children.find(pid) {
            self.distrust(child_id);
        }
    }

    fn distrust(&mut self, child_id: ChildId) {
        let grouped = self.grouped();
        let Some(child) = self.children.get_mut(child_id) else { return };
        if std::mem::replace(&mut child.false_witness, true) {
            return;
        }
        let (pid, connection) = (child.pid, child.connection);
        let sent = groups::signal(child, grouped, libc::SIGKILL);
        self.emit(&Event::ChildDistrusted { pid });
        if !matches!(sent, Ok(()) | Err(Errno::ESRCH)) {
            // It is another user's by now, perhaps. It is not to keep the others from
            // being heard, and not forgotten.
            let again = self.now + self.options.kill_after.max(AGAIN);
            self.alarms.set_kill(child_id, connection, again);
            self.lose_channel();
        }
    }

    /// Nothing more is to be heard by this channel.
    fn lose_channel(&mut self) {
        let Some(channel) = self.pool.as_mut().and_then(|pool| pool.channel.take()) else {
            return;
        };
        let _ = self.epoll.remove(channel.receiver());
        self.owned.remove(channel.receiver());
        self.owned.remove(channel.sender());
        if matches!(self.phase, Phase::Running) {
            self.renew(Some(Renewal::Channel));
        }
    }
}
