//! Why the listeners are not asked for a while, one reason a file: a connection that is
//! held, a shortage, a rate.

pub(crate) mod eviction;
pub(crate) mod hold;
pub(crate) mod shortage;
pub(crate) mod throttle;
