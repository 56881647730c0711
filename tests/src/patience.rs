// SPDX-License-Identifier: Apache-2.0 OR MIT

//! How long tests wait. None fails because the machine is slow: what has to happen is waited for
//! until it does, and what must not is looked for once the gateway has counted what would cause it.

use std::thread;
use std::time::{Duration, Instant};

/// For what has to happen: so long that only what never happens takes longer.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// For what must not happen. A slow machine makes a test see less, never fail.
pub const SILENCE: Duration = Duration::from_millis(300);

/// For what may be lost before it is sent again.
pub const SOON: Duration = Duration::from_millis(50);

/// Asks `done` every few milliseconds, for as long as [`PATIENCE`] is; whether it said yes.
pub fn wait_until(done: impl FnMut() -> bool) -> bool {
    wait_within(PATIENCE, done)
}

/// Asks `done` every few milliseconds, for at most `limit`; whether it said yes.
pub fn wait_within(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if done() {
            return true;
        }
        if start.elapsed() > limit {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
}
