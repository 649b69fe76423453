//! The connections that are being served.

use crate::shared::board::layout::{CONNECTION, PID, SINCE_US};
use crate::shared::board::Board;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// A connection that is being served, as the scoreboard has it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Live {
    /// The child that serves it.
    pub pid: i32,
    /// Number of the connection.
    pub id: u64,
    /// The client as text; empty if the child was killed while it wrote it.
    pub peer: String,
    /// How long it has been served: since the fork, or since a spare took it.
    pub age: Duration,
    /// Connections that the child has served before.
    pub served: u64,
    /// Whether the handler has said that it is established: see
    /// [`Connection::established`](crate::Connection::established).
    pub established: bool,
}

impl Live {
    /// `"handshake"`, or `"established"` once the handler has said so.
    pub fn state(&self) -> &'static str {
        if self.established {
            "established"
        } else {
            "handshake"
        }
    }
}

impl Board {
    /// The connections that are being served now.
    pub(crate) fn live(&self, now_us: u64) -> Vec<Live> {
        let busy = self.states().filter(|(_, state)| state.busy());
        busy.map(|(slot, state)| {
            let words = self.slot(slot);
            let age = now_us.saturating_sub(words[SINCE_US].load(Relaxed));
            Live {
                pid: words[PID].load(Relaxed) as i32,
                id: words[CONNECTION].load(Relaxed),
                peer: self.peer(slot).map_or(String::new(), |name| name.as_str().to_owned()),
                age: Duration::from_micros(age),
                served: state.served,
                established: state.established,
            }
        })
        .collect()
    }
}
