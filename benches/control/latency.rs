// SPDX-License-Identifier: Apache-2.0 OR MIT

//! How long requests took.

use std::time::Duration;

use crate::call::Command;

/// The time of every single request, by command.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    by_command: [Vec<Duration>; 3],
}

impl Latencies {
    pub(crate) fn add(&mut self, command: Command, latency: Duration) {
        self.by_command[command as usize].push(latency);
    }

    pub(crate) fn merge(&mut self, other: Self) {
        for (all, more) in self.by_command.iter_mut().zip(other.by_command) {
            all.extend(more);
        }
    }

    /// How many requests there were.
    pub(crate) fn count(&self, command: Command) -> usize {
        self.by_command[command as usize].len()
    }

    /// Those of one command.
    pub(crate) fn of(&self, command: Command) -> Distribution {
        Distribution::new(self.by_command[command as usize].clone())
    }

    /// All of them.
    pub(crate) fn all(&self) -> Distribution {
        Distribution::new(self.by_command.concat())
    }
}

/// Times in their order.
#[derive(Debug)]
pub(crate) struct Distribution(Vec<Duration>);

impl Distribution {
    fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// What so many of a thousand do not exceed, in microseconds; 0 without any.
    pub(crate) fn permille(&self, permille: usize) -> f64 {
        let index = (self.0.len() * permille / 1000).min(self.0.len().saturating_sub(1));
        self.0
            .get(index)
            .map_or(0.0, |time| time.as_secs_f64() * 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_times() {
        let times = (1..=1000).rev().map(Duration::from_micros).collect();
        let distribution = Distribution::new(times);
        for (permille, expected) in [(0, 1.0), (500, 501.0), (990, 991.0), (1000, 1000.0)] {
            let found = distribution.permille(permille);
            assert!((found - expected).abs() < 1e-6, "{permille}: {found}");
        }
        assert!(Distribution::new(Vec::new()).permille(500).abs() < 1e-6);
    }
}
