// SPDX-License-Identifier: Apache-2.0 OR MIT

//! How long packets were under way.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of durations in nanoseconds, in buckets that are at most 1/32 wide relative to their
/// value. One thread counts, others may read meanwhile.
#[derive(Debug)]
pub struct Histogram {
    buckets: Box<[AtomicU64]>,
    max: AtomicU64,
}

/// A histogram as it was at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    buckets: Vec<u64>,
    max: u64,
}

impl Histogram {
    /// Counts one duration.
    pub fn count(&self, nanoseconds: u64) {
        self.buckets[bucket(nanoseconds)].fetch_add(1, Ordering::Relaxed);
        self.max.fetch_max(nanoseconds, Ordering::Relaxed);
    }

    /// What has been counted so far.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            buckets: self
                .buckets
                .iter()
                .map(|count| count.load(Ordering::Relaxed))
                .collect(),
            max: self.max.load(Ordering::Relaxed),
        }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            max: AtomicU64::new(0),
        }
    }
}

impl Snapshot {
    /// The duration that `per_mille` of all stay at or below, in nanoseconds; `None` if nothing
    /// was counted.
    pub fn quantile(&self, per_mille: u64) -> Option<u64> {
        let total: u64 = self.buckets.iter().sum();
        if total == 0 {
            return None;
        }
        let rank = (total * per_mille).div_ceil(1000).max(1);
        let mut below = 0;
        let bucket = self.buckets.iter().position(|count| {
            below += count;
            below >= rank
        })?;
        Some(upper_bound(bucket).min(self.max))
    }

    /// The longest duration, in nanoseconds; `None` if nothing was counted.
    pub fn max(&self) -> Option<u64> {
        self.buckets
            .iter()
            .any(|&count| count != 0)
            .then_some(self.max)
    }

    /// Adds the counts of another.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.max = self.max.max(other.max);
    }

    /// What was counted since `earlier`. The longest duration becomes that of its bucket.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let buckets: Vec<u64> = self
            .buckets
            .iter()
            .zip(&earlier.buckets)
            .map(|(now, then)| now - then)
            .collect();
        let longest = buckets.iter().rposition(|&count| count != 0);
        Self {
            max: longest.map_or(0, upper_bound).min(self.max),
            buckets,
        }
    }
}

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            buckets: vec![0; BUCKETS],
            max: 0,
        }
    }
}

/// Bits of a value that choose the bucket within its power of two.
const FINE_BITS: u32 = 5;
const FINE: usize = 1 << FINE_BITS;
const BUCKETS: usize = FINE * (u64::BITS - FINE_BITS + 1) as usize;

/// Values below 32 have a bucket each; above, each power of two has 32 buckets.
#[expect(
    clippy::cast_possible_truncation,
    reason = "what is left of the value is below 64"
)]
const fn bucket(value: u64) -> usize {
    if value < FINE as u64 {
        return value as usize;
    }
    let shift = value.ilog2() - FINE_BITS;
    // The leading bit of the value counts as one step to the next power of two.
    FINE * shift as usize + (value >> shift) as usize
}

/// The largest value in a bucket.
#[expect(
    clippy::cast_possible_truncation,
    reason = "there are fewer than 2^11 buckets"
)]
const fn upper_bound(bucket: usize) -> u64 {
    if bucket < FINE {
        return bucket as u64;
    }
    let shift = (bucket / FINE - 1) as u32;
    let fine = (bucket % FINE + FINE) as u64;
    (fine << shift) + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_at_most_one_part_in_32_below_the_bound_of_its_bucket() {
        let powers = (0..64).map(|power| 1_u64 << power);
        let values = powers.flat_map(|power| [power - 1, power, power + power / 3]);
        for value in values.chain([u64::MAX]) {
            let bound = upper_bound(bucket(value));
            assert!(value <= bound, "{value} {bound}");
            assert!(bound - value <= value / 32, "{value} {bound}");
            assert_eq!(bucket(bound), bucket(value), "{value}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_those_of_what_was_counted() {
        let histogram = Histogram::default();
        assert_eq!(histogram.snapshot().quantile(500), None);
        assert_eq!(histogram.snapshot().max(), None);
        for value in 1..=1000 {
            histogram.count(value * 1000);
        }
        let snapshot = histogram.snapshot();
        for (per_mille, expected) in [(500, 500_000), (990, 990_000), (999, 999_000)] {
            let found = snapshot.quantile(per_mille).unwrap();
            assert!(
                found >= expected && found <= expected + expected / 32,
                "{per_mille} {found}"
            );
        }
        assert_eq!(snapshot.max(), Some(1_000_000));
    }

    #[test]
    fn a_later_snapshot_tells_what_came_since_an_earlier() {
        let histogram = Histogram::default();
        histogram.count(1_000_000);
        let earlier = histogram.snapshot();
        histogram.count(10);
        let since = histogram.snapshot().since(&earlier);
        assert_eq!((since.quantile(999), since.max()), (Some(10), Some(10)));
    }
}
