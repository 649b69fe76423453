//! Connections that a process holds which does not serve them.

use super::about_socket;
use crate::doctor::finding::{Finding, Kind};
use crate::doctor::look::{Look, Member};
use crate::machine::socket::{Socket, State};
use std::collections::BTreeMap;

pub(super) fn check(look: &Look, found: &mut Vec<Finding>) {
    let servers = look.servers();
    for (inode, holders) in look.held() {
        let Some(socket) = look.sockets.get(&inode) else { continue };
        let Some(server) = servers.iter().find(|server| look.came_in_at(socket, server)) else {
            continue;
        };
        if holders.iter().any(|holder| holder.pid() == server.pid()) {
            held_by_server(socket, server, &holders, found);
        } else {
            held_by_siblings(look, socket, server, &holders, found);
        }
    }
}

/// The parent has it: alone, or beside the child that serves it.
fn held_by_server(socket: &Socket, server: &Member, by: &[&Member], found: &mut Vec<Finding>) {
    let peer = peer(socket);
    let others: Vec<i32> =
        by.iter().map(|other| other.pid()).filter(|pid| *pid != server.pid()).collect();
    if socket.state == State::CloseWait {
        let left = match &others[..] {
            [] => String::new(),
            others => format!(", and so do {}", list(others)),
        };
        let what = format!("{peer} has left, and the parent still holds the connection{left}");
        let cause = "the parent has not closed its copy after the fork: the connection cannot \
                     end, and each client costs one more descriptor, until accept fails with \
                     EMFILE"
            .to_owned();
        found.push(about_socket(Kind::CloseWait, server, socket.inode, what, cause));
    } else if !others.is_empty() {
        let what =
            format!("the connection of {peer} is held by the parent and by {}", { list(&others) });
        let cause = "the parent has not closed its copy after the fork: the client will see no \
                     end of file when the child has ended, and later children inherit the copy"
            .to_owned();
        found.push(about_socket(Kind::SharedConnection, server, socket.inode, what, cause));
    }
}

/// Only children have it. Those below one child of the server are its own affair: it may
/// have started a program to serve the connection.
fn held_by_siblings(
    look: &Look,
    socket: &Socket,
    server: &Member,
    by: &[&Member],
    found: &mut Vec<Finding>,
) {
    let mut branches: BTreeMap<i32, &Member> = BTreeMap::new();
    for holder in by {
        let mut branch = holder.pid();
        for above in look.processes.ancestors(holder.pid()) {
            if above == server.pid() {
                branches.entry(branch).or_insert(holder);
            }
            branch = above;
        }
    }
    if branches.len() < 2 {
        return;
    }
    // The oldest is the one that it was made for.
    let mut holders: Vec<&Member> = branches.into_values().collect();
    holders.sort_by_key(|holder| (holder.process.started, holder.pid()));
    let pids: Vec<i32> = holders.iter().map(|holder| holder.pid()).collect();
    let what = format!("the connection of {} is held by {}", peer(socket), list(&pids));
    let cause = "children inherit what the parent has open at the fork; the client sees no end \
                 of file before all of them have closed it"
        .to_owned();
    found.push(about_socket(Kind::SharedConnection, holders[1], socket.inode, what, cause));
}

fn peer(socket: &Socket) -> String {
    match &socket.peer {
        Some(crate::machine::socket::Name::Unnamed(_)) | None => {
            format!("a client at {}", socket.local)
        }
        Some(name) => format!("the client {name}"),
    }
}

/// "processes 1, 2 and 3", the first of them if there are many.
fn list(pids: &[i32]) -> String {
    let words: Vec<String> = pids.iter().take(5).map(i32::to_string).collect();
    match &words[..] {
        [one] => format!("process {one}"),
        _ if pids.len() > words.len() => {
            format!("processes {} and {} more", words.join(", "), pids.len() - words.len())
        }
        [before @ .., last] => format!("processes {} and {last}", before.join(", ")),
        [] => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::list;

    #[test]
    fn a_list_reads_like_a_sentence() {
        assert_eq!(list(&[1]), "process 1");
        assert_eq!(list(&[1, 2, 3]), "processes 1, 2 and 3");
        assert_eq!(list(&[1, 2, 3, 4, 5, 6, 7]), "processes 1, 2, 3, 4, 5 and 2 more");
    }
}
