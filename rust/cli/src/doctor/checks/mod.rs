//! What can be wrong, one concern a file. Each check looks at one `Look`; that a finding
//! lasts is seen by a second one.

mod connections;
pub(crate) mod costs;
mod listeners;
mod states;

use crate::doctor::finding::{Finding, Kind};
use crate::doctor::look::{Look, Member};

/// All findings of a look, by kind and process.
pub(crate) fn findings(look: &Look) -> Vec<Finding> {
    let mut found = Vec::new();
    connections::check(look, &mut found);
    listeners::check(look, &mut found);
    states::check(look, &mut found);
    costs::check(look, &mut found);
    found.sort_by_key(|finding| (finding.kind, finding.pid, finding.fd, finding.inode));
    found
}

/// A finding about a process.
fn about(kind: Kind, member: &Member, what: String, cause: String) -> Finding {
    Finding {
        kind,
        pid: member.pid(),
        name: crate::output::printable(&member.process.name),
        fd: None,
        inode: None,
        what,
        cause,
        help: kind.help(),
        started: member.process.started,
    }
}

/// A finding about a socket of a process.
fn about_socket(kind: Kind, member: &Member, inode: u64, what: String, cause: String) -> Finding {
    let fd = member.fd_of(inode);
    Finding { fd, inode: Some(inode), ..about(kind, member, what, cause) }
}
