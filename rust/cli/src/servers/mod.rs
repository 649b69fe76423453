//! The servers of this library on this machine.
//!
//! Each keeps the memfd of its scoreboard open, and `/proc` shows it to those who may look
//! into the process. What is read there is the work of another program, and each of its
//! children may have written over it: numbers of processes are believed only where `/proc`
//! agrees.

mod connection;
mod find;
mod scoreboard;
mod server;

pub(crate) use connection::Connection;
pub(crate) use find::{find, Found};
pub(crate) use server::Server;
