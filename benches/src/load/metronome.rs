// SPDX-License-Identifier: Apache-2.0 OR MIT

//! When the next packet is due.

use std::time::{Duration, Instant};

/// Says when each of many streams sends, all at the same rate and evenly spread over the interval,
/// so that the load is as smooth as that of callers who know nothing of each other.
#[derive(Debug)]
pub(super) struct Metronome {
    start: Instant,
    /// Between two packets of one stream.
    interval: Duration,
    streams: u32,
    /// Packets of one stream.
    packets: u32,
    /// The next packet, and whose.
    number: u32,
    stream: u32,
}

impl Metronome {
    /// `packets` packets of each of `streams` streams, each stream's packets `interval` apart.
    pub(super) const fn new(
        start: Instant,
        interval: Duration,
        streams: u32,
        packets: u32,
    ) -> Self {
        let packets = if streams == 0 { 0 } else { packets };
        Self {
            start,
            interval,
            streams,
            packets,
            number: 0,
            stream: 0,
        }
    }

    /// Stream and number of the next packet if it is due.
    pub(super) fn due(&mut self, now: Instant) -> Option<(usize, u32)> {
        if now < self.next()? {
            return None;
        }
        let due = (self.stream as usize, self.number);
        self.stream += 1;
        if self.stream == self.streams {
            self.stream = 0;
            self.number += 1;
        }
        Some(due)
    }

    /// When the next packet is due; `None` after the last.
    pub(super) fn next(&self) -> Option<Instant> {
        if self.number == self.packets {
            return None;
        }
        let offset = self.interval * self.stream / self.streams;
        Some(self.start + self.interval * self.number + offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_take_turns_evenly_until_each_has_sent_all() {
        let start = Instant::now();
        let mut metronome = Metronome::new(start, Duration::from_millis(20), 2, 2);
        for (expected, milliseconds) in [((0, 0), 0), ((1, 0), 10), ((0, 1), 20), ((1, 1), 30)] {
            let time = start + Duration::from_millis(milliseconds);
            assert_eq!(metronome.next(), Some(time));
            assert_eq!(metronome.due(time), Some(expected));
            assert_eq!(metronome.due(time), None);
        }
        assert_eq!(metronome.next(), None);
    }

    #[test]
    fn no_streams_send_nothing() {
        let start = Instant::now();
        assert_eq!(
            Metronome::new(start, Duration::from_millis(20), 0, 9).due(start),
            None
        );
    }
}
