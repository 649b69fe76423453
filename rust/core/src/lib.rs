//! One connection, one process.
//!
//! `forkserve` serves each connection of a stream socket in a child process of
//! its own, and takes care of everything around the handler: accepting,
//! forking, closing the right descriptors on both sides, reaping, limits,
//! overload, deadlines and draining. Linux 5.10 or newer, with glibc.
//!
//! ```no_run
//! use std::io::{self, Write};
//!
//! fn main() -> Result<(), forkserve::Error> {
//!     let mut server = forkserve::Server::new(forkserve::Options {
//!         max_children: 100,
//!         ..Default::default()
//!     })?;
//!     server.listen("127.0.0.1:7000")?;
//!     server.run(|mut connection| -> io::Result<()> {
//!         writeln!(connection, "hello, {}", connection.peer_name())?;
//!         io::copy(&mut { connection }, &mut connection)?; // until its end
//!         Ok(())
//!     })
//! }
//! ```
//!
//! # What a handler may do
//! It runs in a copy of the host, made by `fork(2)`. If the host has one
//! thread, everything. If it has more, the other threads are not there, and
//! what they held locked stays locked: then a handler should keep to
//! async-signal-safe calls (signal-safety(7)), `malloc` (glibc takes care of
//! it), and the connection. So fork first and make threads afterwards.

#![deny(missing_docs)]

mod address;
mod admit;
mod advice;
mod backoff;
mod board;
mod child;
mod children;
mod cidr;
mod conn;
mod drain;
mod engine;
mod error;
mod escape;
mod event;
mod exit;
mod failing;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod heap;
mod hooks;
mod host;
mod limits;
mod listener;
mod name;
mod neighbours;
mod note;
mod notes;
mod options;
mod owned;
mod owner;
mod penalty;
mod pool;
mod procfs;
mod rate;
mod reap;
mod reasons;
mod recall;
mod renew;
mod server;
mod socket_file;
mod sources;
mod spawn;
mod stats;
mod supervisor;
mod sys;
mod table;
mod throttle;

pub use board::{Live, DURATIONS};
pub use child::{Child, Ending};
pub use cidr::CidrList;
pub use conn::{read, write_all, Connection};
pub use engine::Turn;
pub use error::{strerror, Error};
pub use escape::quoted;
pub use event::{Event, Pause, Refusal, Renewal};
pub use exit::{serve, ExitStatus, EXIT_PANIC};
pub use heap::prepare_heap;
pub use hooks::{Hooks, StdioHooks};
#[doc(hidden)]
pub use options::{Amount, Choice, Misfit};
pub use options::{AtCapacity, AtRate, Options, Orphans};
pub use server::{Fork, Server, Stopper};
pub use stats::{Stats, StatsReader};
pub use supervisor::Start;
pub use sys::process::{Exit, Usage};
