//! What a child is given by its parent, and what the parent has back.

use crate::child::enter::Progress;
use crate::child::kit::Kit;
use crate::child::slot::Slot;
use crate::net::conn::{Connection, Ends};
use crate::sandbox::Sandbox;
use crate::shared::board::Board;
use crate::shared::child_id::ChildId;
use std::sync::Arc;

/// Which child it is, and how it is to end.
pub(crate) struct Setup {
    pub(super) slot: Slot,
    /// How many more connections it may take; 0: it exits after the one it has.
    pub(super) left: u32,
    /// For how many milliseconds to read on after the handler.
    pub(super) linger_ms: u16,
    /// Whether to say on the scoreboard that it is about to exit.
    pub(super) announce: bool,
    /// How far it is in its sandbox.
    pub(super) progress: Progress,
    pub(super) sandbox: Option<Arc<Sandbox>>,
}

impl Setup {
    pub(crate) fn new(
        board: Board,
        id: ChildId,
        left: u32,
        linger_ms: u16,
        announce: bool,
        sandbox: Option<Arc<Sandbox>>,
    ) -> Setup {
        let (slot, progress) = (Slot::new(board, id), Progress::OUTSIDE);
        Setup { slot, left, linger_ms, announce, progress, sandbox }
    }
}

/// What the parent has back of what it gave to a child. It is moved and not
/// shared: counting references would write to pages that the child before has a
/// copy of, and each such page is a fault.
pub(crate) struct Returned {
    pub(crate) board: Board,
    pub(crate) connection: Option<Connection>,
    pub(crate) spare: Option<(Arc<Kit>, Arc<Ends>)>,
    pub(crate) sandbox: Option<Arc<Sandbox>>,
}
