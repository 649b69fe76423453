//! A connection, as the scoreboard and `/proc` have it.

use crate::machine::processes::Process;
use crate::output::printable;
use forkserve::Live;
use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Connection {
    pub(crate) id: u64,
    pub(crate) pid: i32,
    /// The client; empty where the child was ended while it wrote the name.
    pub(crate) peer: String,
    /// What its process is doing.
    pub(crate) state: &'static str,
    pub(crate) age_seconds: f64,
    /// Connections that its process has served before.
    pub(crate) served: u64,
    /// Of its process since that was made; none if it has ended.
    pub(crate) cpu_seconds: Option<f64>,
    /// With what it shares with its parent.
    pub(crate) resident_kib: Option<u64>,
    /// Tells its process from a later one with that number.
    #[serde(skip)]
    pub(crate) started: Option<u64>,
}

impl Connection {
    /// `process` is the one with this number, if it is a child of that server.
    pub(super) fn of(live: Live, process: Option<&Process>) -> Connection {
        Connection {
            id: live.id,
            pid: live.pid,
            peer: printable(&live.peer),
            state: process.map_or("ended", state),
            age_seconds: live.age.as_secs_f64(),
            served: live.served,
            cpu_seconds: process.map(|process| process.cpu.as_secs_f64()),
            resident_kib: process.map(|process| process.resident_kib),
            started: process.map(|process| process.started),
        }
    }
}

fn state(process: &Process) -> &'static str {
    match process.state {
        'R' => "running",
        'T' => "stopped",
        't' => "traced",
        'D' => "disk",
        'Z' | 'X' => "ended",
        _ => "sleeping",
    }
}
