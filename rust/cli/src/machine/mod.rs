//! What the kernel says about the processes and sockets of this machine: /proc, and
//! sock_diag(7). Nothing here changes anything.

pub(crate) mod activity;
pub(crate) mod descriptors;
pub(crate) mod diag;
pub(crate) mod memory;
pub(crate) mod processes;
pub(crate) mod socket;
pub(crate) mod target;
