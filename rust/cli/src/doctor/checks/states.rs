//! Processes that do not go on: zombies, stopped ones, stuck ones.

use super::about;
use crate::doctor::finding::{Finding, Kind};
use crate::doctor::look::{Look, Member};

pub(super) fn check(look: &Look, found: &mut Vec<Finding>) {
    for member in &look.members {
        match member.process.state {
            'Z' => found.push(zombie(look, member)),
            'T' | 't' => found.push(stopped(member)),
            'D' => found.push(uninterruptible(member)),
            _ if deadlocked(look, member) => found.push(deadlock(member)),
            _ => {}
        }
    }
}

fn zombie(look: &Look, member: &Member) -> Finding {
    let parent = member.process.parent;
    let doing = look
        .member(parent)
        .map_or(String::new(), |parent| format!(", which {}", parent.activity.describe()));
    let what = "the child has ended, and is a zombie".to_owned();
    let cause = format!(
        "its parent, process {parent}{doing}, has not waited for it; several children that end \
         at the same time raise one SIGCHLD"
    );
    about(Kind::Zombie, member, what, cause)
}

fn stopped(member: &Member) -> Finding {
    let (what, cause) = match member.process.state {
        't' => ("a debugger has stopped it", "gdb, strace or another tracer holds it"),
        _ => (
            "it is stopped",
            "it got SIGSTOP, SIGTSTP, or read from a terminal as a background job",
        ),
    };
    about(Kind::Stopped, member, what.to_owned(), cause.to_owned())
}

fn uninterruptible(member: &Member) -> Finding {
    let what = "it sleeps in the kernel and cannot be interrupted".to_owned();
    let cause = format!(
        "it waits for a disk or a file system: it {}; no signal reaches it until then",
        member.activity.describe()
    );
    about(Kind::Stuck, member, what, cause)
}

/// A copy of its parent, with one thread, which waits for a lock of its own memory.
fn deadlocked(look: &Look, member: &Member) -> bool {
    member.activity.waits_for_nobody()
        && look
            .member(member.process.parent)
            .is_some_and(|parent| member.process.is_copy_of(&parent.process))
}

fn deadlock(member: &Member) -> Finding {
    let what = "it waits for a lock that nothing can release".to_owned();
    let cause = "it has one thread, and the lock is private to the process: a thread of the \
                 parent held it at the fork, and that thread does not exist in the child"
        .to_owned();
    about(Kind::Stuck, member, what, cause)
}
