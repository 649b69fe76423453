//! The few statistics the benchmarks use: medians, and ratios of pairs.
//!
//! Owns no data. Invariant: a ratio is always that of the two members of one
//! pair, measured one after the other; the median is taken over the pairs. A
//! slow phase of the machine then touches both sides of a pair, not one side.

use serde::{Deserialize, Serialize};

/// A median with the extremes it was taken from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The middle value.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

/// Median and extremes; `None` without values.
pub fn spread(values: &[f64]) -> Option<Spread> {
    let mut v = values.to_vec();
    v.sort_by(f64::total_cmp);
    let (min, max) = (*v.first()?, *v.last()?);
    let mid = v.len() / 2;
    let median = if v.len() % 2 == 1 { v[mid] } else { (v[mid - 1] + v[mid]) / 2.0 };
    Some(Spread { median, min, max })
}

/// The spread of a / b over pairs; pairs without a positive b are left out.
pub fn ratios(pairs: &[(f64, f64)]) -> Option<Spread> {
    let quotients: Vec<f64> = pairs.iter().filter(|(_, b)| *b > 0.0).map(|(a, b)| a / b).collect();
    spread(&quotients)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_odd_even_and_none() {
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]).map(|s| s.median), Some(2.5));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn ratios_are_taken_pair_by_pair() {
        // The machine halved its speed between the pairs: the ratio does not see it.
        let r = ratios(&[(100.0, 50.0), (50.0, 25.0), (52.0, 25.0), (1.0, 0.0)]);
        assert_eq!(r, Some(Spread { median: 2.0, min: 2.0, max: 2.08 }));
    }
}
