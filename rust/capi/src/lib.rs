//! libforkserve: the C interface of the crate `forkserve`.
//!
//! Wrapping only: arguments are checked, results become 0, a positive value or
//! `-errno`, and texts go into the caller's struct. What the server does is in
//! the core crate. One noun a file; `guard` is the way in for all of them.
//!
//! The doc comments of everything public are the manual in `forkserve.h`, made
//! by cbindgen, so they speak to C programmers.
#![allow(non_camel_case_types)]
// What a caller must guarantee stands in each comment, in the header's words.
#![allow(clippy::missing_safety_doc)]

mod conn;
mod cost;
mod error;
mod event;
mod exec;
mod failure;
mod generated;
mod guard;
mod handle;
mod heap;
mod io;
mod layout;
mod listen;
mod live;
mod metrics;
mod options;
mod program;
mod proxy;
mod server;
mod sized;
mod stats;
mod watch;

pub use conn::*;
pub use cost::*;
pub use error::*;
pub use event::*;
pub use exec::*;
pub use generated::*;
pub use handle::forkserve_server;
pub use heap::*;
pub use io::*;
pub use listen::*;
pub use live::*;
pub use metrics::*;
pub use program::*;
pub use proxy::*;
pub use server::*;
pub use stats::*;
pub use watch::*;
