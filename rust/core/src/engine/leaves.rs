//! The cgroups of the children, and what ended children have left in them.
//!
//! A child has the leaf of its slot. When it has ended, all that is left there is killed,
//! and until the kernel has ended it the slot is withheld: it counts among `max_children`,
//! and no other child gets it.

use crate::cgroup::Folder;
use crate::engine::remote::MARGIN;
use crate::sys::socket;
use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// The first look at what is left, and the longest time between two.
const FIRST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(100);

// Boxed: it is rare, and is not to take room where it is scarce.
#[derive(Default)]
pub(crate) struct Leaves(Option<Box<Used>>);

struct Used {
    folder: Folder,
    /// Slots whose child has ended, and since when.
    rests: Vec<(usize, Instant)>,
    step: Duration,
    due: Option<Instant>,
}

impl Leaves {
    pub(crate) fn of(folder: Folder) -> Leaves {
        Leaves(Some(Box::new(Used { folder, rests: Vec::new(), step: FIRST, due: None })))
    }

    /// Whether children have cgroups of their own.
    pub(crate) fn are_used(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn path(&self) -> Option<&CStr> {
        self.0.as_ref().map(|used| used.folder.path())
    }

    /// Makes a leaf for this slot, unless there is one.
    pub(crate) fn ready(&mut self, slot: usize) -> Result<(), Errno> {
        self.0.as_mut().map_or(Ok(()), |used| used.folder.ready(slot))
    }

    /// The same, to be born in.
    pub(crate) fn open(&mut self, slot: usize) -> Result<Option<OwnedFd>, Errno> {
        self.0.as_mut().map(|used| used.folder.open(slot)).transpose()
    }

    pub(crate) fn doubt(&self, slot: usize) {
        self.0.iter().for_each(|used| used.folder.doubt(slot));
    }

    /// SIGKILL to all in the leaf of this slot.
    pub(crate) fn kill(&self, slot: usize) {
        let _ = self.0.as_ref().map(|used| used.folder.kill(slot));
    }

    /// The child of this slot has ended. False: it has left something, which is killed.
    pub(crate) fn vacate(&mut self, slot: usize, now: Instant) -> bool {
        let Some(used) = &mut self.0 else { return true };
        if !used.folder.is_populated(slot) {
            return true;
        }
        let _ = used.folder.kill(slot);
        used.rests.push((slot, now));
        (used.step, used.due) = (FIRST, Some(now + FIRST));
        false
    }

    pub(crate) fn due(&self) -> Option<Instant> {
        self.0.as_ref()?.due
    }

    /// Whether nothing is left in a leaf whose child has ended.
    pub(crate) fn are_vacant(&self) -> bool {
        self.0.as_ref().is_none_or(|used| used.rests.is_empty())
    }

    /// Looks at what is left, if it is time to. The slots that are free again. What SIGKILL
    /// does not end keeps its slot; with `give_up` it is forgotten after a time.
    pub(crate) fn look(&mut self, now: Instant, give_up: bool) -> Vec<usize> {
        let Some(used) = self.0.as_mut().filter(|used| used.due.is_some_and(|due| due <= now))
        else {
            return Vec::new();
        };
        let Used { folder, rests, step, due } = &mut **used;
        let mut freed = Vec::new();
        rests.retain(|(slot, since)| {
            if !folder.is_populated(*slot) {
                freed.push(*slot);
                return false;
            }
            let _ = folder.kill(*slot);
            !(give_up && now >= *since + MARGIN)
        });
        *step = if freed.is_empty() { (*step * 2).min(LONGEST) } else { FIRST };
        *due = (!rests.is_empty()).then_some(now + *step);
        freed
    }

    /// For a server that is freed: waits until it is time to look again.
    pub(crate) fn pause(&self) {
        let pause = self.due().map_or(FIRST, |due| due.saturating_duration_since(Instant::now()));
        socket::pause(pause.as_millis() as u32 + 1);
    }

    /// The end: removes what is empty.
    pub(crate) fn remove(&mut self) {
        self.0.take().into_iter().for_each(|used| used.folder.remove());
    }

    /// In a child of this process: its descriptors are not to be closed.
    pub(crate) fn abandon(&mut self) {
        self.0.take().into_iter().for_each(|used| used.folder.abandon());
    }
}
