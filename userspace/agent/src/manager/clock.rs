// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The clock of the manager.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// The time since the UNIX epoch, which goes on evenly, whatever becomes of the system's clock.
#[derive(Debug)]
pub(super) struct Clock {
    pub(super) at: Duration,
    start: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            at: now.unwrap_or_default(),
            start: Instant::now(),
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.at + self.start.elapsed()
    }
}
