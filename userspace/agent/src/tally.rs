// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What is counted since the agent started.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What is counted since the agent started.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Calls that were set up.
    pub(crate) managed: Count,
    /// Calls that were refused for a limit.
    pub(crate) rejected: Count,
    /// Calls that ended because nobody answered.
    pub(crate) unanswered: Count,
    /// Calls that ended because media stopped.
    pub(crate) inactive: Count,
    /// Calls that ended because they were on hold for too long.
    pub(crate) held: Count,
    /// Calls that ended because they lasted too long.
    pub(crate) total: Count,
    /// Calls that ended as signalling said.
    pub(crate) ended: Count,
    /// Calls that ended because the data plane no longer had them.
    pub(crate) lost: Count,
    /// How long the calls that ended lasted, in milliseconds.
    duration: Count,
}

/// A number that grows.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Tally {
    /// A call has ended after so long.
    pub(crate) fn end(&self, why: &Count, lasted: Duration) {
        why.add(1);
        self.duration
            .add(u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX));
    }

    /// How long the calls that ended lasted.
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_millis(self.duration.get())
    }
}
