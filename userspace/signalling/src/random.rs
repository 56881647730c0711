// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Where new keys come from.

use core::fmt;

/// A source of random bytes, so that tests can have one that repeats itself.
pub trait Random {
    /// Fills all of `bytes`.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), RandomError>;
}

/// The randomness of the operating system: the only source fit for keys that protect anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), RandomError> {
        getrandom::fill(bytes).map_err(|_| RandomError)
    }
}

/// There are no random bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RandomError;

impl fmt::Display for RandomError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no random bytes for a new key; let the process call getrandom(2)")
    }
}

impl core::error::Error for RandomError {}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// Counts bytes instead of drawing them.
    #[derive(Default)]
    pub(crate) struct Counting(u8);

    impl Random for Counting {
        fn fill(&mut self, bytes: &mut [u8]) -> Result<(), RandomError> {
            for byte in bytes {
                self.0 = self.0.wrapping_add(1);
                *byte = self.0;
            }
            Ok(())
        }
    }
}
