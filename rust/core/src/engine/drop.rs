//! The end of a server's copy, in whichever process it is dropped.

use crate::descriptors::neighbours;
use crate::engine::owner::Standing;
use crate::engine::Engine;
use crate::sys::process;
use std::os::fd::IntoRawFd;

impl Drop for Engine {
    fn drop(&mut self) {
        let standing = self.rights.standing();
        let idle = standing == Standing::Idle;
        match standing {
            Standing::Serves => {
                self.end_supervisor();
                self.notifier.iter().for_each(|notifier| notifier.release());
                self.end_children();
                drop(self.hold.take(&self.common));
                self.end_answerer();
                neighbours::leave(self.common.owned.words());
                (0..self.endpoints.len()).for_each(|index| self.close_endpoint(index));
            }
            // The process that made it. Another may serve, or may yet begin: the
            // descriptors here go, and nothing is done to what they stand for.
            Standing::Idle | Standing::Lost if process::getpid() == self.common.owner => {
                neighbours::leave(self.common.owned.words());
                self.endpoints.let_go(idle, &mut self.common);
                self.answerer.iter_mut().for_each(|answerer| answerer.let_go(idle));
            }
            Standing::Idle | Standing::Lost | Standing::Child => self.abandon(idle),
        }
    }
}

impl Engine {
    /// A child has closed its copies at its birth, and the numbers may mean
    /// other files by now. Memory is given back, descriptors are let be.
    fn abandon(&mut self, idle: bool) {
        self.common.epoll.abandon();
        self.stops.wake().abandon();
        std::mem::forget(self.board_file.take());
        self.endpoints.abandon(idle);
        for descriptor in self.children.take_descriptors() {
            let _ = descriptor.into_raw_fd();
        }
        self.groups.abandon();
        self.notifier.iter_mut().for_each(|notifier| notifier.abandon());
        self.leaves.abandon();
        self.hold.abandon();
        self.answerer.iter_mut().for_each(|answerer| answerer.abandon());
        std::mem::forget(self.herald.take());
        std::mem::forget(self.pool.take());
        std::mem::forget(self.tie.take());
        std::mem::forget(self.remote.take());
    }
}
