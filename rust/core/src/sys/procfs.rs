//! What `/proc` says of other processes. Where it is missing, or hides them, they
//! are as if they were not there.

use std::fs;

/// The state of a process, as in `ps`, its parent, and its process group.
fn stat(pid: libc::pid_t) -> Option<(u8, libc::pid_t, libc::pid_t)> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // Behind the name, which may have any byte in it.
    let end = text.iter().rposition(|&byte| byte == b')')?;
    let mut words = text[end + 1..].split(|&byte| byte == b' ').filter(|word| !word.is_empty());
    let state = *words.next()?.first()?;
    let mut number = || std::str::from_utf8(words.next()?).ok()?.parse().ok();
    Some((state, number()?, number()?))
}

/// Whether a process is stopped, by SIGSTOP or by a debugger.
pub(crate) fn is_stopped(pid: libc::pid_t) -> bool {
    stat(pid).is_some_and(|(state, ..)| matches!(state, b'T' | b't'))
}

/// Whether a process has this parent, and has not ended.
pub(crate) fn is_child(pid: libc::pid_t, parent: libc::pid_t) -> bool {
    stat(pid).is_some_and(|(state, of, _)| of == parent && !matches!(state, b'Z' | b'X'))
}

/// The numbers of the children of `parent` that have not ended.
pub(crate) fn children(parent: libc::pid_t) -> Vec<libc::pid_t> {
    processes().filter(|pid| is_child(*pid, parent)).collect()
}

/// Of the process groups that are wanted: those that have a process, and those that have
/// one that is no zombie.
pub(crate) fn groups(wanted: impl Fn(libc::pid_t) -> bool) -> (Vec<libc::pid_t>, Vec<libc::pid_t>) {
    let (mut seen, mut living) = (Vec::new(), Vec::new());
    for (state, _, group) in processes().filter_map(stat).filter(|stat| wanted(stat.2)) {
        seen.push(group);
        if !matches!(state, b'Z' | b'X') {
            living.push(group);
        }
    }
    (seen, living)
}

fn processes() -> impl Iterator<Item = libc::pid_t> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| name.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    #[cfg_attr(miri, ignore = "makes a process")]
    fn a_child_is_seen_and_whether_it_is_stopped() {
        let me = std::process::id() as libc::pid_t;
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().expect("cat");
        let pid = child.id() as libc::pid_t;
        assert!(children(me).contains(&pid));
        assert!(is_child(pid, me) && !is_child(pid, pid) && !is_child(me, me));
        assert!(!is_stopped(pid));
        child.kill().expect("killed");
        while is_child(pid, me) {}
        let (_, _, group) = stat(pid).expect("a zombie");
        assert_eq!(stat(me).map(|stat| stat.2), Some(group));
        let (seen, living) = groups(|one| one == group);
        assert!(seen.len() > living.len() && !living.is_empty());
        assert!(!children(me).contains(&pid), "a zombie is none");
        child.wait().expect("waited for");
        assert_eq!(stat(pid), None);
    }
}
