//! The children that this server made: the table of them here, what is known of each,
//! how their ends are found, and when each is to end.
//!
//! A child is found by its id, which comes back from epoll with its pidfd.
//! Slots are reused; a number that counts up distinguishes the children that
//! have a slot one after the other, so that a deadline set for one never strikes the next. The slot is
//! also the child's place on the scoreboard.

pub(crate) mod alarms;
pub(crate) mod groups;
pub(crate) mod reaper;
pub(crate) mod record;

use crate::engine::children::record::Record;
use crate::shared::board::{Board, Doing};
use crate::shared::child_id::ChildId;
use std::os::fd::OwnedFd;

/// From so many children on, the supervisor does not ask for any that ended.
const CROWD: usize = 256;

#[derive(Default)]
pub(crate) struct Children {
    slots: Vec<(u32, Option<Record>)>,
    free: Vec<u32>,
    /// How many slots have no child and may get none.
    withheld: usize,
    births: u32,
}

/// Births count within 31 bits; the bit above is for other keys of the epoll.
const BIRTHS: u32 = u32::MAX >> 1;

impl Children {
    /// With the slots that are withheld.
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

    pub(crate) fn get(&self, id: ChildId) -> Option<&Record> {
        match self.slots.get(id.slot()) {
            Some((birth, child)) if *birth == id.birth() => child.as_ref(),
            _ => None,
        }
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
        self.iter().find(|(_, child)| child.pid() == pid).map(|(id, _)| id)
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

    /// The same, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (ChildId, &mut Record)> {
        let slots = self.slots.iter_mut().enumerate();
        slots.filter_map(|(slot, (birth, child))| {
            let id = ChildId::new(slot as u32, *birth);
            child.as_mut().map(|child| (id, child))
        })
    }

    /// Takes all descriptors out of the table.
    pub(crate) fn take_descriptors(&mut self) -> impl Iterator<Item = OwnedFd> + '_ {
        let children = self.slots.iter_mut().filter_map(|(_, child)| child.as_mut());
        children.flat_map(|child| [child.take_pidfd(), child.take_ear()]).flatten()
    }

    /// The ids of all children.
    pub(crate) fn ids(&self) -> Vec<ChildId> {
        self.iter().map(|(id, _)| id).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == self.withheld
    }

    /// This slot, whose child has been removed, gets no other for now.
    pub(crate) fn withhold(&mut self, slot: usize) {
        if let Some(place) = self.free.iter().rposition(|free| *free as usize == slot) {
            self.free.remove(place);
            self.withheld += 1;
        }
    }

    /// It may have one again.
    pub(crate) fn release(&mut self, slot: usize) {
        self.free.push(slot as u32);
        self.withheld -= 1;
    }

    /// For the supervisor: whether its children are so many that they are to say
    /// when they leave.
    pub(crate) fn are_numerous(&self) -> bool {
        self.len() >= CROWD
    }

    /// How many wait for a connection. Only of children that there are: what the
    /// scoreboard says of others, a child may have written.
    pub(crate) fn idle(&self, board: &Board) -> u32 {
        let slots = self.iter().map(|(id, _)| id.slot());
        slots.filter(|slot| board.state(*slot).doing == Doing::Waiting).count() as u32
    }

    /// Children whose end will not be reported.
    pub(crate) fn unwatched(&self) -> Vec<ChildId> {
        let unwatched = self.iter().filter(|(_, child)| !child.is_watched());
        unwatched.map(|(id, _)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(pid: i32) -> Record {
        Record::new(pid, 1, 0, false)
    }

    #[test]
    fn an_id_never_names_a_later_child() {
        let mut table = Children::default();
        let expected = table.next_id();
        let first = table.insert(child(1));
        assert_eq!(first, expected);
        assert_eq!(table.at(first.slot()), Some(first));
        assert_eq!(table.remove(first).map(|c| c.pid()), Some(1));
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

    #[test]
    fn a_slot_that_is_withheld_counts_and_gets_no_child() {
        let mut table = Children::default();
        let first = table.insert(child(1));
        table.remove(first);
        table.withhold(first.slot());
        assert!(table.is_empty() && table.len() == 1);
        let second = table.insert(child(2));
        assert!(second.slot() != first.slot() && table.len() == 2);
        table.remove(second);
        table.release(first.slot());
        assert!(table.is_empty());
        assert_eq!(table.len(), 0);
        assert_eq!(table.next_id().slot(), first.slot());
    }
}
