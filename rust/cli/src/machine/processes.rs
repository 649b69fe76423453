//! The processes of this machine, and who is whose child.

use procfs::process::{all_processes, Stat};
use procfs::ProcResult;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

/// Of the flags in /proc/PID/stat, as in the kernel's sched.h.
const PF_FORKNOEXEC: u32 = 0x40;

#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) name: String,
    /// As in `ps`: R, S, D, T, Z and so on.
    pub(crate) state: char,
    pub(crate) threads: i64,
    /// When it was made, in ticks since the start of the machine: a number that is used
    /// again is another process.
    pub(crate) started: u64,
    pub(crate) group: i32,
    /// Processor time, and resident memory with what it shares.
    pub(crate) cpu: Duration,
    pub(crate) resident_kib: u64,
    /// Where its stack begins. That is random for each program, and the same in a copy
    /// that `fork` made; 0 if the caller may not see it.
    pub(crate) stack: u64,
    /// Whether it has executed no program since the fork that made it.
    pub(crate) forked: bool,
}

impl Process {
    fn of(stat: Stat) -> Process {
        Process {
            pid: stat.pid,
            parent: stat.ppid,
            name: stat.comm,
            state: stat.state,
            threads: stat.num_threads,
            started: stat.starttime,
            group: stat.pgrp,
            cpu: of_ticks(stat.utime.saturating_add(stat.stime)),
            resident_kib: stat.rss.saturating_mul(procfs::page_size() / 1024),
            stack: stat.startstack,
            forked: stat.flags & PF_FORKNOEXEC != 0,
        }
    }

    /// Whether it is a copy that `fork` made of this, its parent.
    pub(crate) fn is_copy_of(&self, parent: &Process) -> bool {
        let seen = self.stack != 0 && parent.stack != 0;
        self.forked && if seen { self.stack == parent.stack } else { self.name == parent.name }
    }

    pub(crate) fn is_zombie(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

fn of_ticks(ticks: u64) -> Duration {
    let second = procfs::ticks_per_second().max(1);
    Duration::from_millis(ticks.saturating_mul(1000) / second)
}

pub(crate) struct Processes {
    all: BTreeMap<i32, Process>,
    children: BTreeMap<i32, Vec<i32>>,
}

impl Processes {
    /// Those that are there now.
    pub(crate) fn read() -> ProcResult<Processes> {
        let mut all = BTreeMap::new();
        let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        // One that ends meanwhile is left out.
        for process in all_processes()?.flatten() {
            let Ok(stat) = process.stat() else { continue };
            children.entry(stat.ppid).or_default().push(stat.pid);
            all.insert(stat.pid, Process::of(stat));
        }
        Ok(Processes { all, children })
    }

    pub(crate) fn get(&self, pid: i32) -> Option<&Process> {
        self.all.get(&pid)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Process> {
        self.all.values()
    }

    pub(crate) fn children(&self, pid: i32) -> &[i32] {
        self.children.get(&pid).map_or(&[], Vec::as_slice)
    }

    /// A process and all below it, each behind its parent.
    pub(crate) fn tree(&self, root: i32) -> Vec<i32> {
        let mut found = Vec::new();
        let (mut seen, mut open) = (HashSet::new(), vec![root]);
        while let Some(pid) = open.pop() {
            if seen.insert(pid) && self.all.contains_key(&pid) {
                found.push(pid);
                open.extend(self.children(pid).iter().rev());
            }
        }
        found
    }

    /// Its parent, the parent of that, and so on.
    pub(crate) fn ancestors(&self, pid: i32) -> impl Iterator<Item = i32> + '_ {
        let above = move |pid: &i32| Some(self.all.get(pid)?.parent).filter(|parent| *parent > 0);
        // What was read at different moments could be a circle.
        std::iter::successors(above(&pid), above).take(1000)
    }
}
