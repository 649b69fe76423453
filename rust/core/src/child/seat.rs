//! What a child is given by its parent, and what the parent has back.

use crate::child::kit::Kit;
use crate::net::conn::{Connection, Ends};
use crate::shared::board::Board;
use crate::shared::child_id::ChildId;
use std::sync::Arc;

/// The child's place on the scoreboard.
pub(crate) struct Seat {
    pub(crate) board: Board,
    pub(crate) id: ChildId,
    /// How many more connections it may take; 0: it exits after the one it has.
    pub(crate) left: u32,
    /// For how many milliseconds to read on after the handler.
    pub(crate) linger_ms: u16,
    /// Whether to say on the scoreboard that it is about to exit.
    pub(crate) announce: bool,
}

impl Seat {
    pub(super) fn slot(&self) -> usize {
        self.id.slot()
    }
}

/// What the parent has back of what it gave to a child. It is moved and not
/// shared: counting references would write to pages that the child before has a
/// copy of, and each such page is a fault.
pub(crate) struct Luggage {
    pub(crate) board: Board,
    pub(crate) connection: Option<Connection>,
    pub(crate) spare: Option<(Arc<Kit>, Arc<Ends>)>,
}
