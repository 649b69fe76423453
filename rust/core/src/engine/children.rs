//! The table of the children that this server made.
//!
//! A child is found by its id, which comes back from epoll with its pidfd.
//! Slots are reused; a number that counts up tells a slot's successive children
//! apart, so that a deadline set for one never strikes the next. The slot is
//! also the child's place on the scoreboard.

use crate::shared::child_id::ChildId;
use std::os::fd::OwnedFd;

/// What the parent keeps of a child.
pub(crate) struct Record {
    pub(crate) pid: libc::pid_t,
    /// `None`: none could be had; the child is then polled by its number.
    pub(crate) pidfd: Option<OwnedFd>,
    /// Whether its end will be reported. If not, the child is polled.
    pub(crate) watched: bool,
    /// The connection that the observer believes it to serve; 0: none.
    pub(crate) connection: u64,
    /// The last connection that the observer believes it to have served.
    pub(crate) ended: u64,
    /// How many connections it has told of.
    pub(crate) taken: u32,
    /// It has told what cannot be true: see `note`.
    pub(crate) false_witness: bool,
    /// By which kit it was made: see `pool`.
    pub(crate) generation: u32,
}

#[derive(Default)]
pub(crate) struct Children {
    slots: Vec<(u32, Option<Record>)>,
    free: Vec<u32>,
    births: u32,
}

/// Births count within 31 bits; the bit above marks other ids in the epoll.
const BIRTHS: u32 = u32::MAX >> 1;

impl Children {
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The id that the next child will get: a child must know it before it
    /// is born.
    pub(crate) fn next_id(&self) -> ChildId {
        let slot = self.free.last().copied().unwrap_or(self.slots.len() as u32);
        ChildId::new(slot, (self.births + 1) & BIRTHS)
    }

    pub(crate) fn insert(&mut self, record: Record) -> ChildId {
        let id = self.next_id();
        self.births = id.birth();
        let entry = (id.birth(), Some(record));
        match self.free.pop() {
            Some(slot) => self.slots[slot as usize] = entry,
            None => self.slots.push(entry),
        }
        id
    }

    pub(crate) fn get_mut(&mut self, id: ChildId) -> Option<&mut Record> {
        match self.slots.get_mut(id.slot()) {
            Some((birth, child)) if *birth == id.birth() => child.as_mut(),
            _ => None,
        }
    }

    /// The id of the child in this slot.
    pub(crate) fn at(&self, slot: usize) -> Option<ChildId> {
        let (birth, child) = self.slots.get(slot)?;
        child.as_ref().map(|_| ChildId::new(slot as u32, *birth))
    }

    /// The id of the child with this number.
    pub(crate) fn find(&self, pid: libc::pid_t) -> Option<ChildId> {
        self.iter().find(|(_, child)| child.pid == pid).map(|(id, _)| id)
    }

    pub(crate) fn remove(&mut self, id: ChildId) -> Option<Record> {
        let (birth, child) = self.slots.get_mut(id.slot())?;
        if *birth != id.birth() {
            return None;
        }
        let child = child.take()?;
        self.free.push(id.slot() as u32);
        Some(child)
    }

    /// All children, with their ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ChildId, &Record)> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(slot, (birth, child))| {
            let id = ChildId::new(slot as u32, *birth);
            child.as_ref().map(|child| (id, child))
        })
    }

    /// Takes all pidfds out of the table.
    pub(crate) fn take_pidfds(&mut self) -> impl Iterator<Item = OwnedFd> + '_ {
        let children = self.slots.iter_mut().filter_map(|(_, child)| child.as_mut());
        children.filter_map(|child| child.pidfd.take())
    }

    /// Children whose end will not be reported.
    pub(crate) fn unwatched(&self) -> Vec<ChildId> {
        let unwatched = self.iter().filter(|(_, child)| !child.watched);
        unwatched.map(|(id, _)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(pid: i32) -> Record {
        Record {
            pid,
            pidfd: None,
            watched: false,
            connection: 1,
            ended: 0,
            taken: 0,
            false_witness: false,
            generation: 0,
        }
    }

    #[test]
    fn an_id_never_names_a_later_child() {
        let mut table = Children::default();
        let expected = table.next_id();
        let first = table.insert(child(1));
        assert_eq!(first, expected);
        assert_eq!(table.at(first.slot()), Some(first));
        assert_eq!(table.remove(first).map(|c| c.pid), Some(1));
        assert_eq!(table.at(first.slot()), None);
        let expected = table.next_id();
        let second = table.insert(child(2));
        assert_eq!(second, expected);
        assert_eq!(first.slot(), second.slot(), "slots are reused");
        assert!(table.get_mut(first).is_none());
        assert!(table.remove(first).is_none());
        assert_eq!(table.len(), 1);
        assert_eq!(ChildId::from_bits(second.to_bits()), second);
        assert_eq!(table.unwatched(), [second]);
    }
}
