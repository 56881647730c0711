// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What was sent and what arrived.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sallyport_srtp::{Kind, Suite};

use crate::load::{Call, Histogram};

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// From the user equipment, protected, to the core network, plain.
    ToCore,
    /// From the core network, plain, to the user equipment, protected.
    ToAccess,
}

impl Direction {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::ToCore, Self::ToAccess];

    /// The other way.
    #[must_use]
    pub const fn reverse(self) -> Self {
        match self {
            Self::ToCore => Self::ToAccess,
            Self::ToAccess => Self::ToCore,
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::ToCore => "access to core",
            Self::ToAccess => "core to access",
        })
    }
}

/// Counts of one line of the table. Two threads count, others may read meanwhile.
#[derive(Debug, Default)]
pub struct Tally {
    sent: AtomicU64,
    unsent: AtomicU64,
    intact: AtomicU64,
    corrupt: AtomicU64,
    duplicate: AtomicU64,
    /// One way, from just before protection to the arrival at the receiver's socket.
    pub latency: Histogram,
}

impl Tally {
    /// Packets that were sent.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Packets that the generator could not send.
    pub fn unsent(&self) -> u64 {
        self.unsent.load(Ordering::Relaxed)
    }

    /// Packets that arrived, authenticated where protected, every byte as it was sent.
    pub fn intact(&self) -> u64 {
        self.intact.load(Ordering::Relaxed)
    }

    /// Packets that arrived otherwise.
    pub fn corrupt(&self) -> u64 {
        self.corrupt.load(Ordering::Relaxed)
    }

    /// Packets that arrived intact once more.
    pub fn duplicate(&self) -> u64 {
        self.duplicate.load(Ordering::Relaxed)
    }

    /// Packets that were sent and did not arrive, or not yet.
    pub fn missing(&self) -> u64 {
        self.sent().saturating_sub(self.intact() + self.corrupt())
    }

    /// Whether everything was sent and arrived intact, once.
    pub fn is_perfect(&self) -> bool {
        self.sent() == self.intact()
            && self.unsent() == 0
            && self.corrupt() == 0
            && self.duplicate() == 0
    }

    pub(super) fn count_sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_unsent(&self) {
        self.unsent.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_intact(&self, latency: u64) {
        self.intact.fetch_add(1, Ordering::Relaxed);
        self.latency.count(latency);
    }

    pub(super) fn count_corrupt(&self) {
        self.corrupt.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_duplicate(&self) {
        self.duplicate.fetch_add(1, Ordering::Relaxed);
    }
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Line {
    /// The crypto suite on the access side.
    pub suite: Suite,
    /// Which way.
    pub direction: Direction,
    /// RTP or RTCP.
    pub kind: Kind,
    /// The counts.
    pub tally: Arc<Tally>,
}

/// The whole table: a line for each suite, direction and kind.
#[derive(Clone, Debug)]
pub struct Tallies(Vec<Line>);

impl Tallies {
    /// Nothing counted yet.
    pub fn new() -> Self {
        let line = |suite, direction, kind| Line {
            suite,
            direction,
            kind,
            tally: Arc::default(),
        };
        let lines = Call::SUITES.into_iter().flat_map(|suite| {
            [Kind::Rtp, Kind::Rtcp].into_iter().flat_map(move |kind| {
                Direction::BOTH.map(move |direction| line(suite, direction, kind))
            })
        });
        Self(lines.collect())
    }

    /// The lines in the order of the table.
    pub fn lines(&self) -> &[Line] {
        &self.0
    }

    /// A sum over all lines.
    pub fn total(&self, count: impl Fn(&Tally) -> u64) -> u64 {
        self.0.iter().map(|line| count(&line.tally)).sum()
    }

    /// The counts of the RTP and the RTCP packets of this suite in this direction.
    pub(super) fn of(&self, suite: Suite, direction: Direction) -> [Arc<Tally>; 2] {
        [Kind::Rtp, Kind::Rtcp].map(|kind| {
            let is_it =
                |line: &&Line| (line.suite, line.direction, line.kind) == (suite, direction, kind);
            Arc::clone(
                &self
                    .0
                    .iter()
                    .find(is_it)
                    .expect("a call has one of Call::SUITES")
                    .tally,
            )
        })
    }
}

impl Default for Tallies {
    fn default() -> Self {
        Self::new()
    }
}
