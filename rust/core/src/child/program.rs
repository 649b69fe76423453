//! A child that becomes a program.

use crate::child::Child;
use crate::net::accept::turn_away;
use crate::net::conn::Connection;
use nix::errno::Errno;

impl Child {
    /// Takes its connection, and gives it to `become_it`, which comes back with what has
    /// kept it from that. Then the client is turned away, and the parent tells of it.
    pub(crate) fn become_program(
        mut self,
        refuse_message: &[u8],
        become_it: impl FnOnce(&Connection) -> Errno,
    ) -> ! {
        let Some(connection) = self.next_connection() else {
            self.leave(0);
        };
        let errno = become_it(&connection);
        turn_away(connection, refuse_message);
        self.setup.slot.remain_unexecuted(errno);
        self.leave(1)
    }
}
