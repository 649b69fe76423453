//! This child's slot on the scoreboard.

use crate::event::Refusal;
use crate::limits::Limits;
use crate::net::name::Name;
use crate::shared::board::{Before, Board, Doing, Origin, Serving};
use crate::shared::child_id::ChildId;
use crate::sys::process::Usage;
use crate::sys::socket::RawAddress;
use nix::errno::Errno;

pub(crate) struct Slot {
    board: Board,
    id: ChildId,
}

impl Slot {
    pub(super) fn new(board: Board, id: ChildId) -> Slot {
        Slot { board, id }
    }

    pub(super) fn into_board(self) -> Board {
        self.board
    }

    /// Which child this is.
    pub(super) fn id(&self) -> ChildId {
        self.id
    }

    /// Touches what it will write to when a client waits.
    pub(super) fn touch(&self) {
        self.board.touch(self.id.slot());
    }

    /// How many connections it has served.
    pub(super) fn count_served(&self) -> u64 {
        self.board.state(self.id.slot()).served
    }

    /// It begins to serve a connection.
    pub(super) fn serve(&self, connection: &Serving<'_>) {
        self.board.serve(self.id.slot(), connection);
    }

    /// It did not take the connection after all.
    pub(super) fn wait(&self) {
        self.board.wait(self.id.slot());
    }

    /// It has turned its connection away and would take another: false if it must not.
    pub(super) fn turned_away(&self) -> bool {
        self.board.turned_away(self.id.slot())
    }

    /// A proxy has said whose its connection is. Returns when.
    pub(super) fn announce(&self, origin: Origin, client: Option<&Name>) -> u64 {
        self.board.announce(self.id.slot(), origin, client)
    }

    /// Why its connection, which it shows, may not be served.
    pub(super) fn judge(
        &self,
        limits: &Limits,
        peer: &RawAddress,
        origin: Origin,
        before: Before,
    ) -> Option<Refusal> {
        limits.judge(&self.board, peer, origin, before)
    }

    /// It puts back a token that was taken for its connection. Whether another child may have
    /// missed it.
    pub(super) fn put_back(&self, limits: &Limits) -> bool {
        limits.put_back(&self.board)
    }

    /// It has served its connection and would take another: false if it must not.
    pub(super) fn served(&self) -> bool {
        self.board.served(self.id.slot())
    }

    /// When its connection began.
    pub(super) fn since_us(&self) -> u64 {
        self.board.since_us(self.id.slot())
    }

    /// What its connection is counted by.
    pub(super) fn origin(&self) -> Origin {
        self.board.origin(self.id.slot())
    }

    pub(super) fn set_origin(&self, origin: Origin) {
        self.board.set_origin(self.id.slot(), origin);
    }

    /// What it had used when its connection began.
    pub(super) fn set_used(&self, used: &Usage) {
        self.board.set_used(self.id.slot(), used);
    }

    /// What it has used since then, of the `now` that it has used in all.
    pub(super) fn used_since(&self, now: &Usage) -> Usage {
        self.board.used_since(self.id.slot(), now)
    }

    /// It has closed its connection, for want of a sandbox, and is about to exit.
    pub(super) fn cast_out(&self, errno: Errno) {
        self.board.cast_out(self.id.slot(), errno as i32);
    }

    /// It has closed its connection, for want of a program, and is about to exit.
    pub(super) fn remain_unexecuted(&self, errno: Errno) {
        self.board.give_up(self.id.slot(), Doing::Unexecuted, errno as i32);
    }

    /// It has closed its connection, which may not be served, and is about to exit.
    pub(super) fn refuse(&self, reason: Refusal) {
        self.board.refuse(self.id.slot(), reason);
    }

    /// It is about to exit.
    pub(super) fn leave(&self) {
        self.board.leave(self.id.slot());
    }
}
