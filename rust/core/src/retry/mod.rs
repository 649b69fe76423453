//! When to try again what has failed, and when to give it up.

pub(crate) mod backoff;
pub(crate) mod failing;
