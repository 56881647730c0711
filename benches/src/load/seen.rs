// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Which packets of a stream have arrived.

/// A set of packet numbers below a limit.
#[derive(Debug)]
pub(super) struct Seen(Vec<u64>);

impl Seen {
    /// Nothing seen yet of `packets` packets.
    pub(super) fn new(packets: u32) -> Self {
        Self(vec![0; packets.div_ceil(64) as usize])
    }

    /// Adds a number. `None` if it is none that was sent, otherwise whether it is new.
    pub(super) fn add(&mut self, number: u32) -> Option<bool> {
        let word = self.0.get_mut(number as usize / 64)?;
        let bit = 1 << (number % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        Some(is_new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_new_once() {
        let mut seen = Seen::new(100);
        for number in [0, 63, 64, 99] {
            assert_eq!(seen.add(number), Some(true), "{number}");
            assert_eq!(seen.add(number), Some(false), "{number}");
        }
        assert_eq!(seen.add(128), None);
    }
}
