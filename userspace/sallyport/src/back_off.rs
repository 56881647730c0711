// SPDX-License-Identifier: Apache-2.0 OR MIT

//! How long to wait before a dead process is started again: not at all, then longer and longer.

use std::time::Duration;

/// The first wait that is one.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(5);
/// Who lived this long did not die of its start.
pub(crate) const GOOD_LIFE: Duration = Duration::from_secs(10);

/// How long the next wait is.
#[derive(Debug, Default)]
pub(crate) struct BackOff {
    next: Duration,
}

impl BackOff {
    /// The wait after a process that lived this long.
    pub(crate) fn after(&mut self, life: Duration) -> Duration {
        let wait = if life >= GOOD_LIFE {
            Duration::ZERO
        } else {
            self.next
        };
        self.next = (wait * 2).clamp(FIRST, LONGEST);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_five_seconds_and_a_good_life_starts_over() {
        let mut back_off = BackOff::default();
        let short = 100;
        for (life, wait) in [
            (short, 0),
            (short, 100),
            (short, 200),
            (short, 400),
            (short, 800),
            (short, 1600),
            (short, 3200),
            (short, 5000),
            (short, 5000),
            (9_999, 5000),
            (10_000, 0),
            (short, 100),
            (60_000, 0),
            (60_000, 0),
        ] {
            let waited = back_off.after(Duration::from_millis(life));
            assert_eq!(waited, Duration::from_millis(wait), "after {life} ms");
        }
    }
}
