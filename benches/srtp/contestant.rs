// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Whoever takes part: ours and its peers.

use crate::pool::Pool;

/// An implementation, set up for one suite, one direction and some streams.
pub(crate) trait Contestant {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Its version; where it has several ways to do the same, the chosen one too.
    fn version(&self) -> String;

    /// Whether it does all of SRTP, and so is no peer of a bare kernel.
    fn is_full(&self) -> bool {
        false
    }

    /// How many streams it is set up for.
    fn streams(&self) -> usize;

    /// In how many ways it can do the same.
    fn variants(&self) -> usize {
        1
    }

    /// Chooses one of them.
    fn choose(&mut self, _variant: usize) {}

    /// Gets ready for the packets of the pool. Not timed.
    fn prepare(&mut self, _pool: &Pool) {}

    /// Processes all packets of the pool, in place, so many at once; answers how many it refused.
    fn run(&mut self, pool: &mut Pool, burst: usize) -> usize;
}
