//! The table of children that this server made and nobody else.
//!
//! A child is found by its token, which comes back from epoll with its pidfd.
//! Slots are reused; a number that counts up tells a slot's successive children
//! apart, so that a deadline set for one never strikes the next.

use crate::name::Name;
use crate::sources::Source;
use std::os::fd::OwnedFd;
use std::time::Instant;

pub(crate) struct Child {
    pub(crate) pid: libc::pid_t,
    /// `None`: none could be had; the child is then polled by its number.
    pub(crate) pidfd: Option<OwnedFd>,
    /// Whether the pidfd is in the epoll. If not, the child is polled.
    pub(crate) watched: bool,
    pub(crate) connection: u64,
    pub(crate) peer: Name,
    pub(crate) source: Option<Source>,
    pub(crate) born: Instant,
}

/// Names one child of the table, and no later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Token {
    slot: u32,
    birth: u32,
}

impl Token {
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.birth) << 32 | u64::from(self.slot)
    }

    pub(crate) fn from_bits(bits: u64) -> Token {
        Token { slot: bits as u32, birth: (bits >> 32) as u32 }
    }
}

#[derive(Default)]
pub(crate) struct Children {
    slots: Vec<(u32, Option<Child>)>,
    free: Vec<u32>,
    births: u32,
}

/// Births count within 31 bits; the bit above marks other tokens in the epoll.
const BIRTHS: u32 = u32::MAX >> 1;

impl Children {
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn insert(&mut self, child: Child) -> Token {
        self.births = (self.births + 1) & BIRTHS;
        let entry = (self.births, Some(child));
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = entry;
                slot
            }
            None => {
                self.slots.push(entry);
                self.slots.len() as u32 - 1
            }
        };
        Token { slot, birth: self.births }
    }

    pub(crate) fn get_mut(&mut self, token: Token) -> Option<&mut Child> {
        match self.slots.get_mut(token.slot as usize) {
            Some((birth, child)) if *birth == token.birth => child.as_mut(),
            _ => None,
        }
    }

    pub(crate) fn remove(&mut self, token: Token) -> Option<Child> {
        let (birth, child) = self.slots.get_mut(token.slot as usize)?;
        if *birth != token.birth {
            return None;
        }
        let child = child.take()?;
        self.free.push(token.slot);
        Some(child)
    }

    /// All children, with their tokens.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Token, &Child)> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(slot, (birth, child))| {
            let token = Token { slot: slot as u32, birth: *birth };
            child.as_ref().map(|child| (token, child))
        })
    }

    /// Takes all pidfds out of the table.
    pub(crate) fn take_pidfds(&mut self) -> impl Iterator<Item = OwnedFd> + '_ {
        let children = self.slots.iter_mut().filter_map(|(_, child)| child.as_mut());
        children.filter_map(|child| child.pidfd.take())
    }

    /// Children that epoll does not tell about.
    pub(crate) fn unwatched(&self) -> Vec<Token> {
        let unwatched = self.iter().filter(|(_, child)| !child.watched);
        unwatched.map(|(token, _)| token).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::socket::RawAddress;

    fn child(pid: i32) -> Child {
        Child {
            pid,
            pidfd: None,
            watched: false,
            connection: 1,
            peer: Name::of(&RawAddress::from_unix(b"").expect("fits")),
            source: None,
            born: Instant::now(),
        }
    }

    #[test]
    fn a_token_never_names_a_later_child() {
        let mut table = Children::default();
        let first = table.insert(child(1));
        assert_eq!(table.remove(first).map(|c| c.pid), Some(1));
        let second = table.insert(child(2));
        assert_eq!(first.slot, second.slot, "slots are reused");
        assert!(table.get_mut(first).is_none());
        assert!(table.remove(first).is_none());
        assert_eq!(table.len(), 1);
        assert_eq!(Token::from_bits(second.to_bits()), second);
        assert_eq!(table.unwatched(), [second]);
    }
}
