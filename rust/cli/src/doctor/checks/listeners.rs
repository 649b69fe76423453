//! Listeners: who holds them without accepting, and which have a full queue.

use super::about_socket;
use crate::doctor::finding::{Finding, Kind};
use crate::doctor::look::{Look, Member};
use crate::machine::activity::{Activity, Certainty};
use crate::machine::socket::Socket;
use std::time::Duration;

/// A server that is at work is looked at again, so often and after so long.
const SAMPLES: usize = 4;
const SAMPLE_AFTER: Duration = Duration::from_millis(10);

pub(super) fn check(look: &Look, found: &mut Vec<Finding>) {
    for (listener, holders) in look.listeners() {
        let tops = look.topmost(&holders);
        for server in &tops {
            let below: Vec<&Member> = holders
                .iter()
                .copied()
                .filter(|holder| {
                    look.processes.ancestors(holder.pid()).any(|pid| pid == server.pid())
                })
                .collect();
            if below.is_empty() {
                check_orphan(look, listener, server, &tops, found);
            } else {
                check_children(listener, server, &below, found);
            }
        }
        check_queue(look, listener, &tops, &holders, found);
    }
}

/// Where the parent accepts and none of the children does, those that have the listener
/// got it by the fork. Where children accept, they are made ahead of their connections.
fn check_children(listener: &Socket, server: &Member, below: &[&Member], found: &mut Vec<Finding>) {
    let accepting = below.iter().any(|child| child.accepts(listener.inode) == Certainty::Yes);
    if accepting || sampled(listener, server) != Certainty::Yes {
        return;
    }
    for child in below {
        if child.accepts(listener.inode) == Certainty::Unknown && child.activity.is_hidden() {
            continue;
        }
        let what = format!("a child holds the listener {}", listener.local);
        let cause = format!(
            "it got it by fork and does not accept: if the parent {} ends, the address stays \
             taken (\"Address already in use\"), and clients that connect wait in vain",
            server.pid()
        );
        found.push(about_socket(Kind::ListenerInChild, child, listener.inode, what, cause));
    }
}

/// One that serves a connection, whose parent has gone: nobody will accept here.
fn check_orphan(
    look: &Look,
    listener: &Socket,
    holder: &Member,
    tops: &[&Member],
    found: &mut Vec<Finding>,
) {
    let accepted = tops
        .iter()
        .any(|top| top.pid() != holder.pid() && top.accepts(listener.inode) == Certainty::Yes);
    // One that is stopped is in the same place when it goes on.
    if accepted || !left_behind(look, holder) || sampled(listener, holder) != Certainty::No {
        return;
    }
    let held = holder.descriptors.iter().flat_map(|descriptors| &descriptors.sockets);
    let mut sockets = held.filter_map(|(_, inode)| look.sockets.get(inode));
    if !sockets.any(|socket| look.came_in_at(socket, holder)) {
        return;
    }
    let what = format!("an orphan holds the listener {}, and does not accept", listener.local);
    let cause = format!(
        "it is a child of {}, which has ended, and got the listener from it by fork: the server \
         cannot be started again (\"Address already in use\"), and clients that connect wait \
         in vain",
        lost_parent(look, holder)
    );
    found.push(about_socket(Kind::ListenerInOrphan, holder, listener.inode, what, cause));
}

/// Whether it was forked, has executed no program since, and its parent is not the
/// process that it is a copy of: that one has ended.
fn left_behind(look: &Look, holder: &Member) -> bool {
    let parent = look.processes.get(holder.process.parent);
    holder.process.forked
        && parent.is_none_or(|parent| parent.pid == 1 || !holder.process.is_copy_of(parent))
}

/// Its parent that has ended, if that is known: the first of its process group.
fn lost_parent(look: &Look, holder: &Member) -> String {
    match holder.process.group {
        group if look.processes.get(group).is_none() => format!("process {group}"),
        _ => "a process".to_owned(),
    }
}

/// Whether a process accepts: one that was running is looked at again.
fn sampled(listener: &Socket, member: &Member) -> Certainty {
    let mut certainty = member.accepts(listener.inode);
    let Some(descriptors) = &member.descriptors else { return certainty };
    for _ in 1..SAMPLES {
        if certainty == Certainty::Yes {
            break;
        }
        std::thread::sleep(SAMPLE_AFTER);
        certainty =
            Activity::of(member.pid(), member.process.threads).accepts(listener.inode, descriptors);
    }
    certainty
}

fn check_queue(
    look: &Look,
    listener: &Socket,
    tops: &[&Member],
    holders: &[&Member],
    found: &mut Vec<Finding>,
) {
    let (waiting, most) = (listener.receive_queue, listener.send_queue);
    let Some(top) = tops.first().filter(|_| waiting > 0 && waiting >= most) else { return };
    let what = format!(
        "the accept queue of {} is full: {waiting} connections wait, and the backlog is {most}",
        listener.local
    );
    let serving = |member: &&&Member| {
        let held = member.descriptors.iter().flat_map(|descriptors| &descriptors.sockets);
        let mut sockets = held.filter_map(|(_, inode)| look.sockets.get(inode));
        sockets.any(|socket| !socket.listens() && socket.local.came_in_at(&listener.local))
    };
    let busy = holders.iter().filter(serving).count();
    let stopped = holders.iter().filter(|member| matches!(member.process.state, 'T' | 't')).count();
    let cause = if stopped > 0 {
        format!("{stopped} of the {} processes that hold the listener are stopped", holders.len())
    } else if busy > 0 {
        format!(
            "{busy} of the {} processes that hold the listener serve a connection and do not \
             accept meanwhile",
            holders.len()
        )
    } else {
        format!("process {} {}", top.pid(), top.activity.describe())
    };
    let cause = format!("{cause}; clients that connect now are made to wait, or turned away");
    found.push(about_socket(Kind::AcceptQueueFull, top, listener.inode, what, cause));
}
