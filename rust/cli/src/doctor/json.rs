//! A look as JSON. docs/doctor.md describes it.

use super::checks::costs;
use super::finding::Finding;
use super::look::{Look, Member};
use crate::machine::memory::ForkCost;
use crate::machine::socket::Socket;
use crate::machine::target::Target;
use crate::output::printable;
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct Report<'a> {
    target: String,
    findings: &'a [Finding],
    processes: Vec<ProcessRow>,
    not_seen: &'a [String],
}

#[derive(Serialize)]
struct ProcessRow {
    pid: i32,
    parent: i32,
    name: String,
    state: char,
    threads: i64,
    doing: String,
    descriptors: Option<usize>,
    descriptor_limit: Option<u64>,
    sockets: Vec<SocketRow>,
    /// Of the processes that children come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    fork_cost: Option<CostRow>,
}

#[derive(Serialize)]
struct SocketRow {
    fd: i32,
    inode: u64,
    state: &'static str,
    local: String,
    peer: Option<String>,
    receive_queue: u32,
    send_queue: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped: Option<u32>,
}

#[derive(Serialize)]
struct CostRow {
    mappings: u64,
    private_kib: u64,
    page_tables_kib: u64,
    threads: u64,
    text: String,
}

impl<'a> Report<'a> {
    pub(super) fn of(target: &Target, look: &'a Look, findings: &'a [Finding]) -> Report<'a> {
        let servers: Vec<i32> = look.servers().iter().map(|server| server.pid()).collect();
        let row = |member: &Member| {
            let cost = servers.contains(&member.pid()).then(|| ForkCost::of(member.pid()));
            ProcessRow::of(look, member, cost.flatten())
        };
        Report {
            target: target.to_string(),
            findings,
            processes: look.members.iter().map(row).collect(),
            not_seen: &look.not_seen,
        }
    }
}

impl ProcessRow {
    fn of(look: &Look, member: &Member, cost: Option<ForkCost>) -> ProcessRow {
        let process = &member.process;
        let descriptors = member.descriptors.as_ref();
        let held = descriptors.iter().flat_map(|descriptors| &descriptors.sockets);
        let sockets =
            held.filter_map(|(fd, inode)| Some(SocketRow::of(*fd, look.sockets.get(inode)?)));
        ProcessRow {
            pid: process.pid,
            parent: process.parent,
            name: printable(&process.name),
            state: process.state,
            threads: process.threads,
            doing: member.activity.describe(),
            descriptors: descriptors.map(|descriptors| descriptors.count),
            descriptor_limit: descriptors.and_then(|descriptors| descriptors.limit),
            sockets: sockets.collect(),
            fork_cost: cost.map(CostRow::of),
        }
    }
}

impl SocketRow {
    fn of(fd: i32, socket: &Socket) -> SocketRow {
        SocketRow {
            fd,
            inode: socket.inode,
            state: socket.state.name(),
            local: socket.local.to_string(),
            peer: socket.peer.as_ref().map(ToString::to_string),
            receive_queue: socket.receive_queue,
            send_queue: socket.send_queue,
            dropped: socket.drops,
        }
    }
}

impl CostRow {
    fn of(cost: ForkCost) -> CostRow {
        CostRow {
            mappings: cost.mappings,
            private_kib: cost.private_kib,
            page_tables_kib: cost.page_tables_kib,
            threads: cost.threads,
            text: costs::describe(&cost),
        }
    }
}
