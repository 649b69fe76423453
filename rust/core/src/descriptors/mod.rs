//! Which descriptors belong to the library, so that a child can close them.

pub(crate) mod neighbours;
pub(crate) mod owned;
