//! A look as text: the tree of processes with their sockets, and the findings.

use super::checks::costs;
use super::finding::{Finding, Kind};
use super::look::{Look, Member};
use crate::machine::memory::ForkCost;
use crate::machine::socket::{Name, Socket};
use crate::machine::target::Target;
use crate::output::{count, printable};
use std::collections::HashMap;

/// Children of one process, and sockets of one process, that are listed unless all are
/// asked for; findings of one kind.
const SHOWN: usize = 20;
const FINDINGS_SHOWN: usize = 10;

pub(super) fn text(target: &Target, look: &Look, findings: &[Finding], all: bool) -> String {
    let most = if all { usize::MAX } else { SHOWN };
    let mut text =
        format!("{target}: {}\n\n", { count(look.members.len() as u64, "process", "processes") });
    for root in &look.roots {
        tree(look, *root, most, &mut text);
    }
    for server in look.servers() {
        if let Some(cost) = ForkCost::of(server.pid()) {
            text += &format!("\nA fork of {} copies: {}.\n", server.pid(), costs::describe(&cost));
        }
    }
    if !look.not_seen.is_empty() {
        text += "\nNot seen:\n";
        for line in &look.not_seen {
            text += &format!("  {line}\n");
        }
    }
    text.push('\n');
    list(findings, all, &mut text);
    text
}

fn tree(look: &Look, pid: i32, most: usize, text: &mut String) {
    let Some(member) = look.member(pid) else { return };
    process(look, member, most, text);
    let children: Vec<i32> = look.children(pid).map(Member::pid).collect();
    for child in children.iter().take(most) {
        tree(look, *child, most, text);
    }
    if children.len() > most {
        let indent = "  ".repeat(member.depth + 1);
        *text += &format!("{indent}and {} more (--all lists them)\n", children.len() - most);
    }
}

fn process(look: &Look, member: &Member, most: usize, text: &mut String) {
    let indent = "  ".repeat(member.depth);
    let process = &member.process;
    *text += &format!("{indent}{} {}: {}", process.pid, printable(&process.name), state(member));
    if process.is_zombie() {
        text.push('\n');
        return;
    }
    *text += &format!(", {}", count(process.threads as u64, "thread", "threads"));
    let Some(descriptors) = &member.descriptors else {
        *text += ", descriptors not seen\n";
        return;
    };
    let limit = descriptors.limit.map_or("no limit".to_owned(), |most| most.to_string());
    *text += &format!(", {} of {limit} descriptors\n", descriptors.count);
    let sockets: Vec<(i32, &Socket)> = descriptors
        .sockets
        .iter()
        .filter_map(|(fd, inode)| Some((*fd, look.sockets.get(inode)?)))
        .collect();
    for (fd, shown) in sockets.iter().take(most) {
        *text += &format!("{indent}    fd {fd}: {}\n", socket(shown));
    }
    if sockets.len() > most {
        *text += &format!("{indent}    and {} more sockets\n", sockets.len() - most);
    }
}

fn state(member: &Member) -> String {
    match member.process.state {
        'Z' | 'X' => "a zombie".to_owned(),
        'T' => "stopped".to_owned(),
        't' => "stopped by a debugger".to_owned(),
        _ => member.activity.describe(),
    }
}

fn socket(socket: &Socket) -> String {
    let mut line = format!("{} {}", socket.state.name(), socket.local);
    match &socket.peer {
        Some(Name::Unnamed(0)) | None => {}
        Some(peer) => line += &format!(" <- {peer}"),
    }
    line += &format!(", inode {}", socket.inode);
    if socket.listens() {
        line += &format!(", queue {} of {}", socket.receive_queue, socket.send_queue);
        if let Some(drops) = socket.drops.filter(|drops| *drops > 0) {
            line += &format!(", {drops} dropped");
        }
    } else if socket.receive_queue > 0 || socket.send_queue > 0 {
        line += &format!(", {} bytes unread, {} unsent", socket.receive_queue, socket.send_queue);
    }
    line
}

fn list(findings: &[Finding], all: bool, text: &mut String) {
    if findings.is_empty() {
        *text += "Nothing found.\n";
        return;
    }
    *text += &format!("{}:\n", count(findings.len() as u64, "finding", "findings"));
    let mut shown: HashMap<Kind, usize> = HashMap::new();
    for (index, finding) in findings.iter().enumerate() {
        let number = shown.entry(finding.kind).or_default();
        *number += 1;
        if *number > FINDINGS_SHOWN && !all {
            let last = findings.get(index + 1).is_none_or(|next| next.kind != finding.kind);
            if last {
                *text += &format!(
                    "\n{}: {} more like these\n",
                    finding.kind.word(),
                    *number - FINDINGS_SHOWN
                );
            }
            continue;
        }
        *text += &format!("\n{}\n", line(finding));
        // The same for all of a kind.
        if *number == 1 {
            *text += &format!("    Cause: {}.\n    Help: {}.\n", finding.cause, finding.help);
        }
    }
}

/// A finding on one line.
pub(super) fn line(finding: &Finding) -> String {
    let mut line = format!("{}: {} {}", finding.kind.word(), finding.pid, finding.name);
    if let Some(fd) = finding.fd {
        line += &format!(", fd {fd}");
    }
    if let Some(inode) = finding.inode {
        line += &format!(", inode {inode}");
    }
    line + &format!(": {}", finding.what)
}
