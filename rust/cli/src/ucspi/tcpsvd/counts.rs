//! How many connections each address has.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Filled by the server; a child has it as it was
/// when that was made.
#[derive(Clone, Default)]
pub(super) struct Counts(Arc<Mutex<HashMap<IpAddr, u32>>>);

impl Counts {
    pub(super) fn of(&self, ip: IpAddr) -> u32 {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(&ip).copied().unwrap_or(0)
    }

    pub(super) fn change(&self, ip: IpAddr, by: i32) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(ip).or_default();
        *count = count.saturating_add_signed(by);
        if *count == 0 {
            counts.remove(&ip);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_by_address() {
        let (counts, ip) = (Counts::default(), IpAddr::from([10, 0, 0, 1]));
        counts.change(ip, 1);
        counts.change(ip, 1);
        assert_eq!((counts.of(ip), counts.of([10, 0, 0, 2].into())), (2, 0));
        counts.change(ip, -1);
        counts.change(ip, -1);
        counts.change(ip, -1);
        assert_eq!(counts.of(ip), 0);
    }
}
