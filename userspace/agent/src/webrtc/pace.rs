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

    /// The same at all ports together: there may be many, and one thread reads them.
    pub(super) const ALL_STRANGERS: Self = Self {
        burst: 1000,
        spacing: Duration::from_micros(50),
    };
}

/// What is left to be read now.
#[derive(Debug)]
pub(super) struct Pace {
    rate: Rate,
    /// When all that came is forgotten.
    due: Instant,
}

impl Pace {
    pub(super) const fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, due: now }
    }

    /// Counts a datagram. Returns when whoever read it may read the next, if that is not yet. Of
    /// several that read, each has a time of its own.
    pub(super) fn count(&mut self, now: Instant) -> Option<Instant> {
        let Rate { burst, spacing } = self.rate;
        self.due = self.due.max(now) + spacing;
        let full = now + spacing * (burst - 1);
        (self.due > full).then(|| now + (self.due - full))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_read_at_once_and_a_flood_at_its_pace() {
        for rate in [Rate::PEER, Rate::STRANGERS, Rate::ALL_STRANGERS] {
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

    #[test]
    fn a_flood_at_many_ports_is_read_no_faster_than_all_may_be() {
        let rate = Rate::ALL_STRANGERS;
        let start = Instant::now();
        let mut pace = Pace::new(rate, start);
        let mut ports = [start; 100];
        let mut read = 0;
        // As often as a timer looks.
        for now in (0..1000).map(|millis| start + Duration::from_millis(millis)) {
            for may_read in &mut ports {
                while *may_read <= now {
                    read += 1;
                    *may_read = pace.count(now).unwrap_or(*may_read);
                }
            }
        }
        let most = rate.burst + 20_000 + u32::try_from(ports.len()).unwrap();
        assert!((15_000..=most).contains(&read), "{read}");
    }
}
