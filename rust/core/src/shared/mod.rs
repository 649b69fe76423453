//! What all processes of a server share: the scoreboard, and the notes of children.

pub(crate) mod board;
pub(crate) mod child_id;
pub(crate) mod note;
