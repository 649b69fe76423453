//! A finding: what is wrong, where, and why.

use serde::Serialize;

/// The kinds of findings, with the word for each and what helps.
macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident = $word:literal, $help:literal;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub(crate) enum Kind {
            $($(#[doc = $doc])+ $kind,)*
        }

        impl Kind {
            /// As in `--json` and in the headings of docs/doctor.md.
            pub(crate) fn word(self) -> &'static str {
                match self {
                    $(Kind::$kind => $word,)*
                }
            }

            /// What to do about it.
            pub(crate) fn help(self) -> &'static str {
                match self {
                    $(Kind::$kind => $help,)*
                }
            }
        }

        #[cfg(test)]
        pub(crate) const KINDS: &[Kind] = &[$(Kind::$kind,)*];
    };
}

kinds! {
    /// The parent holds a connection whose client has left.
    CloseWait = "close-wait",
        "close the connection in the parent right after fork";
    /// A child holds a listener that it does not accept from.
    ListenerInChild = "listener-in-child",
        "close the listener in the child right after fork, and open it with SOCK_CLOEXEC";
    /// The server has ended, and a child of it holds the listener.
    ListenerInOrphan = "listener-in-orphan",
        "end that process, and close the listener in children right after fork";
    /// Processes of different connections hold the same one.
    SharedConnection = "shared-connection",
        "close the connection in the parent right after fork";
    /// An ended child that has not been waited for.
    Zombie = "zombie",
        "on SIGCHLD call waitpid with WNOHANG until it returns 0 or -1, or watch each child \
         by a pidfd";
    /// Clients wait, and the next ones are turned away.
    AcceptQueueFull = "accept-queue-full",
        "find out why the server does not accept; then a longer backlog (listen(2) and \
         net.core.somaxconn) or more children";
    /// `accept`, `open` and others are about to fail with EMFILE.
    Descriptors = "descriptors",
        "raise RLIMIT_NOFILE, or find what is not closed";
    /// What the other threads held locked stays locked in a child.
    Threads = "threads",
        "fork before threads are made (forkserve: start), or keep the child to \
         async-signal-safe calls until it executes a program";
    /// A process that does not run because a signal or a debugger has stopped it.
    Stopped = "stopped",
        "kill -CONT continues it, unless a debugger has it";
    /// A process that waits for something that will not come, or not soon.
    Stuck = "stuck",
        "end it with SIGKILL, and give each connection a time limit";
    /// What each fork has to copy.
    ForkCost = "fork-cost",
        "fork from a small process (forkserve: start before the host grows), use fewer \
         mappings, or huge pages";
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) kind: Kind,
    pub(crate) pid: i32,
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fd: Option<i32>,
    /// The socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) inode: Option<u64>,
    /// What is the case.
    pub(crate) what: String,
    /// Why, or what follows from it.
    pub(crate) cause: String,
    pub(crate) help: &'static str,
    /// Tells a process from a later one with its number.
    #[serde(skip)]
    pub(crate) started: u64,
}

/// By what a finding is recognised in another look.
pub(crate) type Key = (Kind, i32, u64, Option<u64>);

impl Finding {
    pub(crate) fn key(&self) -> Key {
        (self.kind, self.pid, self.started, self.inode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_section_on_each_kind() {
        let page = include_str!("../../../../docs/doctor.md");
        for kind in KINDS {
            let json = serde_json::to_string(kind).expect("json");
            assert_eq!(json, format!("{:?}", kind.word()));
            let word = format!("`{}`", kind.word());
            let mut headings = page.lines().filter(|line| line.starts_with("## "));
            assert!(headings.any(|heading| heading.contains(&word)), "{kind:?}");
        }
    }
}
