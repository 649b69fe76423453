//! How a connection ends, and the child with it.

use crate::child::{at_exit, Child, Role};
use crate::hooks::Hooks;
use crate::net::conn::Connection;
use crate::sys::{identity, socket};
use std::os::fd::{AsRawFd, RawFd};

/// How a connection ends, in the words of a binding.
pub trait Ending {
    /// Says what is left to be said to the client. Returns the socket, or `None`
    /// where its end is not the library's: the handler has closed it, perhaps.
    fn farewell(&mut self) -> Option<RawFd>;

    /// Whether something lies unread that has been taken from the socket, as by
    /// TLS, which takes whole records.
    fn has_unread(&mut self) -> bool {
        false
    }

    /// Calls `wait`, which may take some time, after giving up locks.
    fn wait(&mut self, wait: impl FnOnce() + Send) {
        wait();
    }

    /// Closes the connection. `again`: this child is going to have another.
    fn close(self, again: bool);
}

impl Child {
    /// The connection has been served. The client sees the end of what was sent to
    /// it, whatever it has sent itself, and also if another process has the socket.
    /// Does not return if the child does not go on: the process ends with `status`.
    pub fn end(&mut self, status: i32, hooks: &mut dyn Hooks, mut ending: impl Ending) {
        // Output first: it is there for a reader that waits for the end of the connection.
        hooks.exit();
        let mut open = ending.farewell();
        let lingers = self.setup.linger_ms > 0;
        if let Some(fd) =
            open.filter(|fd| lingers && (socket::is_unread(*fd) || ending.has_unread()))
        {
            // Closed with bytes unread, it would be reset. This is a part of the
            // connection: the child is not free, and may be told to end.
            socket::finish_sending(fd);
            let ms = u32::from(self.setup.linger_ms);
            ending.wait(|| socket::discard_until_end(fd, ms));
            open = None;
        }
        let again = match &mut self.role {
            Role::Spare(spare) if self.setup.left > 0 => spare.finish(&self.setup.slot, status),
            _ => false,
        };
        // Then the connection: the client has its end of file before the kernel
        // takes the address space down, which takes long in a large host, and
        // also if a process that the handler has left behind has the socket.
        if let Some(fd) = open {
            socket::finish_sending(fd);
        }
        ending.close(again);
        if !again {
            self.finish(status, hooks);
        }
    }

    /// Ends the process, because its handler has done its work or because it was told
    /// to leave.
    pub fn finish(&self, status: i32, hooks: &mut dyn Hooks) -> ! {
        if at_exit::run() {
            // What these have printed.
            hooks.exit();
        }
        hooks.end(status & 0xff);
        self.leave(status)
    }
}

impl Ending for Connection {
    /// The number may mean another socket by now, which is not to be shut down.
    #[inline(always)]
    fn farewell(&mut self) -> Option<RawFd> {
        let fd = self.as_raw_fd();
        identity::has_address(fd, self.socket_local_sockaddr()).then_some(fd)
    }

    fn close(self, again: bool) {
        match again {
            // Its memory is for the next one.
            true => drop(self),
            false => self.close_in_child(),
        }
    }
}
