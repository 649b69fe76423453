//! Counters as a struct that may grow.

use crate::generated::forkserve_stats;

/// How many entries duration_us_log2 has.
pub const FORKSERVE_DURATIONS: usize = 32;

macro_rules! stats {
    (
        $($(#[doc = $doc:literal])+ $name:ident $(= $word:ident)?, since $since:literal;)*
        histogram $(#[doc = $about:literal])+ $durations:ident as $c_name:ident, since $first:literal;
    ) => {
        impl forkserve_stats {
            /// For a caller whose struct has `size` bytes.
            pub(crate) fn new(stats: core::Stats, size: usize) -> forkserve_stats {
                forkserve_stats { size, $($name: stats.$name,)* $c_name: stats.$durations }
            }
        }
    };
}

core::counters_table!(stats);
