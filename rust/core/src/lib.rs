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

mod answerer;
mod cgroup;
mod child;
mod cidr;
mod cost;
mod counters;
mod descriptors;
mod engine;
mod error;
mod escape;
mod event;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod heap;
mod hooks;
mod limits;
mod metrics;
mod net;
mod options;
mod program;
mod proxy;
mod reasons;
mod retry;
mod sandbox;
mod server;
mod shared;
mod stats;
mod sys;
mod systemd;

pub use child::exit::{ExitStatus, EXIT_PANIC};
pub use cidr::CidrList;
pub use cost::{fork_cost, ForkCost, ForkCostPart};
pub use error::{strerror, Error};
pub use escape::quoted;
pub use event::{Event, Pause, Reduction, Refusal, Renewal};
pub use heap::prepare_heap;
pub use metrics::MetricsReader;
pub use net::conn::{read, write_all, Connection};
#[doc(hidden)]
pub use net::standing::Handshake;
pub use options::{
    AtCapacity, AtRate, Cgroup, Landlock, Namespaces, Notify, Options, Orphans, ProcessGroup,
    Proxy, Rlimits, Syscalls,
};
pub use program::{Program, Variables};
pub use proxy::{ProxyCommand, ProxyHeader, ProxyTls, Tlvs as ProxyTlvs};
pub use server::{Fork, Server, Stopper};
#[doc(hidden)]
pub use shared::board::Head;
pub use shared::board::{Live, DURATIONS};
pub use stats::{Stats, StatsReader};
pub use sys::exec::Io;
pub use sys::process::{Exit, Usage};

// For the bindings to other languages, which ship with this crate: no part of the
// interface that is promised to Rust programs.
#[doc(hidden)]
pub use child::{exit::serve, Child, Ending};
#[doc(hidden)]
pub use engine::{fresh::Handed, fresh::Standing, supervisor::Start, Turn};
#[doc(hidden)]
pub use hooks::{Hooks, StdioHooks};
#[doc(hidden)]
pub use metrics::{families, Family};
#[doc(hidden)]
pub use net::{access::set_socket_access, passed::take_passed_socket, peer::PeerSockaddr};
#[doc(hidden)]
pub use options::{Amount, Choice, Misfit};
#[doc(hidden)]
pub use sys::exec::exec_pointers;
