// SPDX-License-Identifier: Apache-2.0 OR MIT

//! How often a socket is read: as often as peers need it, and not as often as a flood wants it.

use tokio::time::{Duration, Instant};

/// How many datagrams may come, at once and in time. Of more the kernel's buffer has room for some,
/// and drops the rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// How many may come at once.
    burst: u32,
    /// How long each takes to be forgotten.
    spacing: Duration,
}

impl Rate {
    /// What may be the peer's: a handshake has some ten datagrams, and so may have the checks of a
    /// peer with many addresses. Each may take a hash, or more.
    pub(super) const PEER: Self = Self {
        burst: 100,
        spacing: Duration::from_millis(5),
    };

    /// What cannot be: it takes a look, and the peer's may stand behind it.
    pub(super) const STRANGERS: Self = Self {
        burst: 1000,
        spacing: Duration::from_micros(100),
    };
}

/// What is left to be read now.
#[derive(Debug)]
pub(super) struct Pace {
    rate: Rate,
    left: u32,
    since: Instant,
}

impl Pace {
    pub(super) const fn new(rate: Rate, now: Instant) -> Self {
        Self {
            rate,
            left: rate.burst,
            since: now,
        }
    }

    /// Counts a datagram. Returns when the next may be read, if that is not yet.
    pub(super) fn count(&mut self, now: Instant) -> Option<Instant> {
        let Rate { burst, spacing } = self.rate;
        while self.left < burst && now.duration_since(self.since) >= spacing {
            self.left += 1;
            self.since += spacing;
        }
        if self.left == burst {
            self.since = now;
        }
        self.left = self.left.saturating_sub(1);
        (self.left == 0).then(|| self.since + spacing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_read_at_once_and_a_flood_at_its_pace() {
        for rate in [Rate::PEER, Rate::STRANGERS] {
            let start = Instant::now();
            let mut pace = Pace::new(rate, start);
            for _ in 1..rate.burst {
                assert_eq!(pace.count(start), None);
            }
            let mut now = start;
            for _ in 0..10 {
                let next = pace.count(now).unwrap();
                assert_eq!(next, now + rate.spacing);
                now = next;
            }
            let later = now + rate.spacing * 10 * rate.burst;
            for _ in 1..rate.burst {
                assert_eq!(pace.count(later), None);
            }
            assert!(pace.count(later).is_some());
        }
    }
}
