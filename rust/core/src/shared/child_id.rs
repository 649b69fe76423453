//! Which child: its slot, and which of the children that were there.

/// Names one child of the table, and no later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChildId {
    slot: u32,
    birth: u32,
}

impl ChildId {
    pub(crate) fn new(slot: u32, birth: u32) -> ChildId {
        ChildId { slot, birth }
    }

    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.birth) << 32 | u64::from(self.slot)
    }

    pub(crate) fn from_bits(bits: u64) -> ChildId {
        ChildId { slot: bits as u32, birth: (bits >> 32) as u32 }
    }

    /// Children count from 1; `to_bits` has 31 bits for it.
    pub(crate) fn birth(self) -> u32 {
        self.birth
    }

    pub(crate) fn slot(self) -> usize {
        self.slot as usize
    }
}
