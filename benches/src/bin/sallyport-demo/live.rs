// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A line each second, on standard error.

use std::thread;
use std::time::Duration;

use sallyport_benches::load::{Snapshot, Tallies, Tally};

use crate::reading::Reading;
use crate::summary::microseconds;

/// What was shown last.
pub(crate) struct Live<'a> {
    tallies: &'a Tallies,
    /// The latencies up to the last line.
    latency: Snapshot,
}

impl<'a> Live<'a> {
    /// Nothing shown yet.
    pub(crate) fn new(tallies: &'a Tallies) -> Self {
        Self {
            tallies,
            latency: Snapshot::default(),
        }
    }

    /// Shows how things stand after so many seconds.
    pub(crate) fn print(&mut self, second: u32, reading: &Reading) {
        let tallies = self.tallies;
        let missing = missing(tallies);
        let latency = latency(tallies);
        let recent = latency.since(&self.latency);
        let [p50, p99, p999] = [500, 990, 999].map(|per_mille| recent.quantile(per_mille));
        eprintln!(
            "{second:>4} s   sent {:>8}   intact {:>8}   missing {missing:>3}   refused {}   \
             latency µs: p50 {}  p99 {}  p99.9 {}  max {}",
            tallies.total(Tally::sent),
            tallies.total(Tally::intact),
            reading.refusals(),
            microseconds(p50),
            microseconds(p99),
            microseconds(p999),
            microseconds(recent.max()),
        );
        self.latency = latency;
    }
}

/// The latencies of all packets.
pub(crate) fn latency(tallies: &Tallies) -> Snapshot {
    let mut sum = Snapshot::default();
    for line in tallies.lines() {
        sum.add(&line.tally.latency.snapshot());
    }
    sum
}

/// How many packets are missing that are not just under way: at some moment all those arrive.
fn missing(tallies: &Tallies) -> u64 {
    let now = || tallies.total(Tally::missing);
    let again = || {
        thread::sleep(Duration::from_millis(1));
        now()
    };
    (0..10).fold(
        now(),
        |least, _| if least == 0 { 0 } else { least.min(again()) },
    )
}
