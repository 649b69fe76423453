//! Sockets and their names: addresses, listeners, connections.

pub(crate) mod accept;
pub(crate) mod access;
pub(crate) mod address;
pub(crate) mod advice;
pub(crate) mod announced;
pub(crate) mod conn;
pub(crate) mod listener;
pub(crate) mod name;
pub(crate) mod passed;
pub(crate) mod peer;
pub(crate) mod place;
pub(crate) mod socket_file;
pub(crate) mod standing;
