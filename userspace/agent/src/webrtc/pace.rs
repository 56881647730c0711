// SPDX-License-Identifier: Apache-2.0 OR MIT

//! How often a socket is read: as often as peers need it, and not as often as a flood wants it.

use tokio::time::{Duration, Instant};

/// How many datagrams may come at once: a handshake has some ten, and so may have the checks of a
/// peer with many addresses.
const BURST: u32 = 100;

/// How long each takes to be forgotten. Of more the kernel's buffer has room for some, and drops
/// the rest.
const SPACING: Duration = Duration::from_millis(5);

/// What is left to be read now.
#[derive(Debug)]
pub(super) struct Pace {
    left: u32,
    since: Instant,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            since: now,
        }
    }

    /// Counts a datagram. Returns when the next may be read, if that is not yet.
    pub(super) fn count(&mut self, now: Instant) -> Option<Instant> {
        while self.left < BURST && now.duration_since(self.since) >= SPACING {
            self.left += 1;
            self.since += SPACING;
        }
        if self.left == BURST {
            self.since = now;
        }
        self.left = self.left.saturating_sub(1);
        (self.left == 0).then(|| self.since + SPACING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_read_at_once_and_a_flood_at_its_pace() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        for _ in 1..BURST {
            assert_eq!(pace.count(start), None);
        }
        let mut now = start;
        for _ in 0..10 {
            let next = pace.count(now).unwrap();
            assert_eq!(next, now + SPACING);
            now = next;
        }
        let later = now + SPACING * 1000;
        for _ in 1..BURST {
            assert_eq!(pace.count(later), None);
        }
        assert!(pace.count(later).is_some());
    }
}
