//! One look at a server: its processes, their descriptors and what they are doing.

use crate::failure::Failure;
use crate::machine::activity::{Activity, Certainty};
use crate::machine::descriptors::{io_error, Descriptors};
use crate::machine::diag;
use crate::machine::processes::{Process, Processes};
use crate::machine::socket::Socket;
use crate::machine::target::Target;
use rustix::thread::{move_into_link_name_space, LinkNameSpaceType};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::os::fd::AsFd;

/// A process of the server.
pub(crate) struct Member {
    pub(crate) process: Process,
    /// Its depth in the tree.
    pub(crate) depth: usize,
    /// None if the caller may not see them.
    pub(crate) descriptors: Option<Descriptors>,
    pub(crate) activity: Activity,
}

pub(crate) struct Look {
    pub(crate) processes: Processes,
    pub(crate) sockets: HashMap<u64, Socket>,
    /// The members of each tree, a parent before its children.
    pub(crate) members: Vec<Member>,
    places: BTreeMap<i32, usize>,
    pub(crate) roots: Vec<i32>,
    /// What the caller could not see, a sentence each.
    pub(crate) not_seen: Vec<String>,
}

impl Look {
    pub(crate) fn at(target: &Target) -> Result<Look, Failure> {
        let failed = |error| Failure::of("/proc", io_error(error));
        let processes = Processes::read().map_err(failed)?;
        if let Target::Pid(pid) = target {
            if processes.get(*pid).is_none() {
                return Err(Failure::of(target, "no such process"));
            }
            enter_network_of(*pid)?;
        }
        let (sockets, missing) =
            diag::sockets().map_err(|error| Failure::of("sock_diag", error))?;
        let mut not_seen = Vec::new();
        if let Some(error) = missing {
            not_seen.push(format!("Unix sockets: the kernel does not list them ({error})"));
        }
        let (roots, mut descriptors) = match target {
            Target::Pid(pid) => (vec![*pid], HashMap::new()),
            _ => holders(target, &processes, &sockets)?,
        };
        let mut look = Look {
            processes,
            sockets,
            members: Vec::new(),
            places: BTreeMap::new(),
            roots,
            not_seen,
        };
        look.add_members(&mut descriptors);
        Ok(look)
    }

    fn add_members(&mut self, known: &mut HashMap<i32, Descriptors>) {
        let (mut hidden, mut calls_hidden) = (Vec::new(), 0);
        for root in self.roots.clone() {
            for pid in self.processes.tree(root) {
                let Some(process) = self.processes.get(pid) else { continue };
                let depth = match self.places.get(&process.parent) {
                    Some(place) if pid != root => self.members[*place].depth + 1,
                    _ => 0,
                };
                let descriptors = if process.is_zombie() {
                    Some(Descriptors::default())
                } else {
                    match known.remove(&pid).map_or_else(|| Descriptors::of(pid), Ok) {
                        Ok(descriptors) => Some(descriptors),
                        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => continue,
                        Err(_) => None,
                    }
                };
                if descriptors.is_none() {
                    hidden.push(pid);
                }
                let activity = Activity::of(pid, process.threads);
                calls_hidden += usize::from(!process.is_zombie() && activity.is_hidden());
                let process = process.clone();
                self.places.insert(pid, self.members.len());
                self.members.push(Member { process, depth, descriptors, activity });
            }
        }
        if let Some(first) = hidden.first() {
            self.not_seen.push(format!(
                "descriptors of {}: they belong to another user; look as root, or as that user",
                several(*first, hidden.len())
            ));
        }
        if calls_hidden > 0 {
            self.not_seen.push(format!(
                "the system calls in which {} wait: only root may see them here, so a listener or \
                 a lock that is held in vain may have been missed",
                crate::output::count(calls_hidden as u64, "process", "processes")
            ));
        }
    }

    pub(crate) fn member(&self, pid: i32) -> Option<&Member> {
        self.places.get(&pid).map(|place| &self.members[*place])
    }

    /// The children of a member that are members.
    pub(crate) fn children(&self, pid: i32) -> impl Iterator<Item = &Member> {
        self.processes.children(pid).iter().filter_map(|pid| self.member(*pid))
    }

    /// Each socket that members hold, with these members.
    pub(crate) fn held(&self) -> BTreeMap<u64, Vec<&Member>> {
        let mut held: BTreeMap<u64, Vec<&Member>> = BTreeMap::new();
        for member in &self.members {
            let sockets = member.descriptors.iter().flat_map(|descriptors| &descriptors.sockets);
            let inodes: BTreeSet<u64> = sockets.map(|(_, inode)| *inode).collect();
            for inode in inodes {
                held.entry(inode).or_default().push(member);
            }
        }
        held
    }

    /// The listeners among them.
    pub(crate) fn listeners(&self) -> Vec<(&Socket, Vec<&Member>)> {
        let held = self.held().into_iter();
        let sockets = held.filter_map(|(inode, by)| Some((self.sockets.get(&inode)?, by)));
        sockets.filter(|(socket, _)| socket.listens()).collect()
    }

    /// The processes that a server's children come from: those with a listener that none
    /// of their ancestors has.
    pub(crate) fn servers(&self) -> Vec<&Member> {
        let mut found: BTreeMap<i32, &Member> = BTreeMap::new();
        for (_, holders) in self.listeners() {
            for holder in self.topmost(&holders) {
                found.insert(holder.process.pid, holder);
            }
        }
        found.into_values().collect()
    }

    /// Those of these that are not below another of them.
    pub(crate) fn topmost<'a>(&self, of: &[&'a Member]) -> Vec<&'a Member> {
        let pids: BTreeSet<i32> = of.iter().map(|member| member.process.pid).collect();
        let below = |pid| self.processes.ancestors(pid).any(|above| pids.contains(&above));
        of.iter().copied().filter(|member| !below(member.process.pid)).collect()
    }

    /// Whether a socket is a connection that came in at a listener of this member.
    pub(crate) fn came_in_at(&self, socket: &Socket, member: &Member) -> bool {
        let held = member.descriptors.iter().flat_map(|descriptors| &descriptors.sockets);
        let mut sockets = held.filter_map(|(_, inode)| self.sockets.get(inode));
        !socket.listens()
            && sockets.any(|other| other.listens() && socket.local.came_in_at(&other.local))
    }
}

impl Member {
    pub(crate) fn pid(&self) -> i32 {
        self.process.pid
    }

    pub(crate) fn accepts(&self, listener: u64) -> Certainty {
        match &self.descriptors {
            Some(descriptors) => self.activity.accepts(listener, descriptors),
            None => Certainty::Unknown,
        }
    }

    /// The first descriptor of a socket.
    pub(crate) fn fd_of(&self, inode: u64) -> Option<i32> {
        self.descriptors.as_ref()?.of_socket(inode).next()
    }
}

/// The processes that hold a listener which the target names, without those below
/// another one, and the descriptors that were read on the way.
fn holders(
    target: &Target,
    processes: &Processes,
    sockets: &HashMap<u64, Socket>,
) -> Result<(Vec<i32>, HashMap<i32, Descriptors>), Failure> {
    let named: Vec<&Socket> =
        sockets.values().filter(|socket| socket.listens() && target.names(&socket.local)).collect();
    if named.is_empty() {
        return Err(Failure::of(target, "nothing listens there"));
    }
    let (mut holders, mut known) = (BTreeSet::new(), HashMap::new());
    for process in processes.all() {
        let Ok(descriptors) = Descriptors::of(process.pid) else { continue };
        if named.iter().any(|socket| descriptors.has(socket.inode)) {
            holders.insert(process.pid);
        }
        known.insert(process.pid, descriptors);
    }
    // With socket activation the service manager holds the listener as well.
    let managers = |pid: &i32| {
        *pid == 1 || processes.get(*pid).is_some_and(|process| process.name == "systemd")
    };
    if !holders.iter().all(managers) {
        holders.retain(|pid| !managers(pid));
    }
    let above = |pid: &i32| processes.ancestors(*pid).any(|above| holders.contains(&above));
    let roots: Vec<i32> = holders.iter().copied().filter(|pid| !above(pid)).collect();
    if roots.is_empty() {
        let owner = named.iter().find_map(|socket| socket.uid);
        let owner = owner.map_or(String::new(), |uid| format!(" (user {uid})"));
        return Err(Failure::of(
            target,
            format!("the processes that listen there belong to another user{owner}; look as root"),
        ));
    }
    Ok((roots, known))
}

/// Sockets are those of a network namespace: a server in a container has its own.
fn enter_network_of(pid: i32) -> Result<(), Failure> {
    let path = format!("/proc/{pid}/ns/net");
    let (Ok(theirs), Ok(ours)) =
        (std::fs::read_link(&path), std::fs::read_link("/proc/self/ns/net"))
    else {
        return Ok(());
    };
    if theirs == ours {
        return Ok(());
    }
    let entered = std::fs::File::open(&path).and_then(|file| {
        let kind = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(file.as_fd(), kind).map_err(io::Error::from)
    });
    entered.map_err(|error| {
        Failure::of(
            format!("process {pid}"),
            format!("is in another network namespace, which only root may enter: {error}"),
        )
    })
}

fn several(first: i32, all: usize) -> String {
    if all == 1 {
        format!("process {first}")
    } else {
        format!("{all} processes ({first} and others)")
    }
}
