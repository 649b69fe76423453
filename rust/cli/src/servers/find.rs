//! All servers that the caller may see.

use super::connection::Connection;
use super::scoreboard::{kept_by, mapped_by, Place};
use super::server::{counters, Limits, Server};
use crate::failure::Failure;
use crate::machine::descriptors::{io_error, Descriptors};
use crate::machine::diag;
use crate::machine::processes::{Process, Processes};
use crate::machine::socket::{Name, Socket};
use crate::machine::target::Target;
use crate::output::{count, printable};
use forkserve::StatsReader;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;

#[derive(Serialize)]
pub(crate) struct Found {
    pub(crate) servers: Vec<Server>,
    /// What the caller could not see, a sentence each.
    pub(crate) not_seen: Vec<String>,
}

/// A scoreboard, and the processes that have it.
struct Holding {
    place: Place,
    pids: Vec<i32>,
}

struct Machine {
    processes: Processes,
    sockets: HashMap<u64, Socket>,
}

pub(crate) fn find(target: Option<&Target>) -> Result<Found, Failure> {
    let failed = |error| Failure::of("/proc", io_error(error));
    let processes = Processes::read().map_err(failed)?;
    // Without them there are no addresses, and all else is there.
    let sockets = diag::sockets().map_or(HashMap::new(), |(sockets, _)| sockets);
    let machine = Machine { processes, sockets };
    let (kept, hidden) = machine.kept();
    let lost = machine.lost(&kept);
    let mut found = Found { servers: Vec::new(), not_seen: Vec::new() };
    for (holding, killed) in
        kept.values().map(|one| (one, false)).chain(lost.values().map(|one| (one, true)))
    {
        match holding.place.read() {
            Ok(Some((head, reader))) => {
                let limits = Limits::of(&head);
                let server = machine.server(holding, limits, &head, &reader, killed);
                if target.is_none_or(|target| machine.is_meant(target, &server, holding)) {
                    found.servers.push(server);
                }
            }
            Ok(None) => found.not_seen.push(format!(
                "the server of process {}: its scoreboard is of another version",
                holding.pids[0]
            )),
            Err(error) => found
                .not_seen
                .push(format!("the scoreboard of process {}: {error}", holding.pids[0])),
        }
    }
    if hidden > 0 {
        found.not_seen.push(format!(
            "{} of other users; root sees them all",
            count(hidden, "process", "processes")
        ));
    }
    found.servers.sort_by_key(|server| server.pid.or(server.host));
    Ok(found)
}

impl Machine {
    /// The scoreboards that processes keep open, and how many may not be looked into.
    fn kept(&self) -> (BTreeMap<u64, Holding>, u64) {
        let (mut found, mut hidden) = (BTreeMap::new(), 0);
        for process in self.processes.all().filter(|process| !process.is_zombie()) {
            match kept_by(process.pid) {
                Ok(places) => note(&mut found, places, process.pid),
                Err(error) => {
                    hidden += u64::from(error.kind() == io::ErrorKind::PermissionDenied);
                }
            }
        }
        (found, hidden)
    }

    /// Those that only children have: their server was killed. They are copies of it, so
    /// nothing but copies need be asked.
    fn lost(&self, kept: &BTreeMap<u64, Holding>) -> BTreeMap<u64, Holding> {
        let holders: HashSet<i32> =
            kept.values().flat_map(|holding| &holding.pids).copied().collect();
        let mut found = BTreeMap::new();
        for process in self.processes.all().filter(|process| process.forked && !process.is_zombie())
        {
            if self.processes.ancestors(process.pid).all(|above| !holders.contains(&above)) {
                let mut places = mapped_by(process.pid);
                places.retain(|place| !kept.contains_key(&place.inode));
                note(&mut found, places, process.pid);
            }
        }
        found
    }

    fn server(
        &self,
        holding: &Holding,
        limits: Limits,
        head: &forkserve::Head,
        reader: &StatsReader,
        killed: bool,
    ) -> Server {
        let (root, host) = self.loop_of(holding);
        let stats = reader.read();
        // Its supervisor was killed while the host, which has the scoreboard too, goes on.
        let deserted = !killed && host.is_none() && reader.was_supervised();
        let orphans = killed || deserted;
        let ours = |pid: i32| self.child(pid, holding, root, orphans);
        let mut connections = reader.connections();
        if orphans {
            // Those that live are all that is left of it.
            connections.retain(|live| ours(live.pid).is_some());
        }
        Server {
            pid: (!killed && !deserted).then_some(root),
            host: if deserted { Some(root) } else { host },
            name: self.processes.get(root).map_or(String::new(), |root| printable(&root.name)),
            state: match self.processes.get(root).map(|root| root.state) {
                _ if orphans => "killed",
                Some('T' | 't') => "stopped",
                _ => "running",
            },
            model: limits.model(),
            addresses: self.addresses(root),
            up_seconds: up_seconds(head.made_us),
            limits,
            counters: counters(&stats),
            connections: connections
                .into_iter()
                .map(|live| {
                    let process = ours(live.pid);
                    Connection::of(live, process)
                })
                .collect(),
        }
    }

    /// The process that runs the loop: the one that has another one above it which has
    /// the scoreboard as well, its host.
    fn loop_of(&self, holding: &Holding) -> (i32, Option<i32>) {
        for pid in &holding.pids {
            let mut above = self.processes.ancestors(*pid);
            if let Some(host) = above.find(|above| holding.pids.contains(above)) {
                return (*pid, Some(host));
            }
        }
        (holding.pids[0], None)
    }

    /// A child of this server by that number: the scoreboard alone is not believed.
    fn child(&self, pid: i32, holding: &Holding, root: i32, orphan: bool) -> Option<&Process> {
        let process = self.processes.get(pid)?;
        let its = match orphan {
            true => mapped_by(pid).iter().any(|place| place.inode == holding.place.inode),
            false => process.parent == root,
        };
        its.then_some(process)
    }

    fn addresses(&self, pid: i32) -> Vec<String> {
        self.names(pid)
            .iter()
            .map(|name| match name {
                Name::Ip(_) => name.to_string(),
                _ => format!("unix:{name}"),
            })
            .collect()
    }

    fn names(&self, pid: i32) -> Vec<&Name> {
        let descriptors = Descriptors::of(pid).unwrap_or_default();
        let held = descriptors.sockets.iter().filter_map(|(_, inode)| self.sockets.get(inode));
        held.filter(|socket| socket.listens()).map(|socket| &socket.local).collect()
    }

    fn is_meant(&self, target: &Target, server: &Server, holding: &Holding) -> bool {
        match target {
            Target::Pid(pid) => {
                holding.pids.contains(pid)
                    || server.connections.iter().any(|connection| connection.pid == *pid)
            }
            _ => holding
                .pids
                .iter()
                .any(|pid| self.names(*pid).iter().any(|name| target.names(name))),
        }
    }
}

fn note(found: &mut BTreeMap<u64, Holding>, places: Vec<Place>, pid: i32) {
    for place in places {
        let inode = place.inode;
        let holding = found.entry(inode).or_insert(Holding { place, pids: Vec::new() });
        holding.pids.push(pid);
    }
}

fn up_seconds(made_us: u64) -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let now_us = now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000;
    now_us.saturating_sub(made_us) as f64 / 1e6
}
