// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Which indices were already used (RFC 3711 section 3.3.2).
//!
//! A stream's replay list is a number and some bits. The number, `end`, is one above the highest
//! index seen, so that 0 says "none yet". The bits are a ring: the bit of an index is its number
//! modulo the size of the window, and bits are cleared when the window moves over them.

use core::cell::Cell;
use core::fmt;
use core::ops::Range;

use crate::Refusal;

/// How many packets a replay list looks back, the highest one included.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReplayWindow(u32);

impl ReplayWindow {
    /// 128 packets, as libsrtp has.
    pub const DEFAULT: Self = Self(128);

    /// A power of two from 64, which RFC 3711 demands, to 32768, above which sequence numbers are
    /// ambiguous.
    pub fn new(packets: u32) -> Result<Self, WindowError> {
        if !packets.is_power_of_two() || !(64..=32768).contains(&packets) {
            return Err(WindowError { found: packets });
        }
        Ok(Self(packets))
    }

    /// The size in packets.
    pub fn packets(self) -> u32 {
        self.0
    }

    /// How many words of bits a replay list takes.
    pub(crate) const fn words(self) -> usize {
        self.0 as usize / 64
    }
}

impl Default for ReplayWindow {
    /// [`ReplayWindow::DEFAULT`].
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The size of a replay window is not one of those that exist.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WindowError {
    /// The size asked for, in packets.
    pub found: u32,
}

impl fmt::Display for WindowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a replay window of {} packets does not exist; take a power of two from 64 to 32768",
            self.found
        )
    }
}

impl core::error::Error for WindowError {}

/// Says whether `index` may be used; changes nothing.
pub(crate) fn check(end: u64, seen: &[Cell<u64>], index: u64) -> Result<(), Refusal> {
    if index >= end {
        return Ok(());
    }
    if end - index > 64 * seen.len() as u64 {
        return Err(Refusal::TooOld);
    }
    if word(seen, index).get() & bit(index) != 0 {
        return Err(Refusal::Replayed);
    }
    Ok(())
}

/// Takes note of indices that [`check`] let pass, and returns the new end.
#[must_use]
pub(crate) fn mark(end: u64, seen: &[Cell<u64>], indices: Range<u64>) -> u64 {
    if indices.start > end {
        // The bits were those of indices now out of the window.
        change(seen, end..indices.start, |word, bits| word & !bits);
    }
    let end = end.max(indices.end);
    change(seen, indices, |word, bits| word | bits);
    end
}

/// Changes the bits of some indices, a word at a time.
fn change(seen: &[Cell<u64>], indices: Range<u64>, change: impl Fn(u64, u64) -> u64) {
    // At most one turn of the ring.
    let size = 64 * seen.len() as u64;
    let mut at = indices.start.max(indices.end.saturating_sub(size));
    while at < indices.end {
        let first = at % 64;
        let count = (64 - first).min(indices.end - at);
        let word = word(seen, at);
        word.set(change(word.get(), (u64::MAX >> (64 - count)) << first));
        at += count;
    }
}

#[inline]
fn word(seen: &[Cell<u64>], index: u64) -> &Cell<u64> {
    // The number of words is a power of two.
    &seen[(index / 64) as usize & (seen.len() - 1)]
}

fn bit(index: u64) -> u64 {
    1 << (index % 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const SIZES: [u32; 10] = [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768];

    struct List {
        end: u64,
        seen: Vec<Cell<u64>>,
    }

    impl List {
        fn new(packets: u32) -> Self {
            let window = ReplayWindow::new(packets).unwrap();
            Self {
                end: 0,
                seen: vec![Cell::new(0); window.words()],
            }
        }

        fn take(&mut self, index: u64) -> Result<(), Refusal> {
            check(self.end, &self.seen, index)?;
            self.end = mark(self.end, &self.seen, index..index + 1);
            Ok(())
        }
    }

    #[test]
    fn only_powers_of_two_from_64_to_32768_are_windows() {
        for packets in 0..70_000 {
            assert_eq!(
                ReplayWindow::new(packets).is_ok(),
                SIZES.contains(&packets),
                "{packets}"
            );
        }
        assert_eq!(ReplayWindow::default().packets(), 128);
    }

    #[test]
    fn the_window_ends_exactly_where_its_size_says() {
        for packets in SIZES {
            let size = u64::from(packets);
            let top = 10 * size + 17;
            let mut list = List::new(packets);
            assert_eq!(list.take(top), Ok(()));
            assert_eq!(list.take(top), Err(Refusal::Replayed), "{packets}");
            assert_eq!(list.take(top - size), Err(Refusal::TooOld), "{packets}");
            assert_eq!(list.take(top - size + 1), Ok(()), "{packets}");
            assert_eq!(list.take(top - size + 1), Err(Refusal::Replayed));
            assert_eq!(list.take(top + 1), Ok(()));
            assert_eq!(list.take(top - size + 1), Err(Refusal::TooOld), "{packets}");
            assert_eq!(list.take(top - size + 2), Ok(()), "{packets}");
        }
    }

    #[test]
    fn the_first_index_may_be_any() {
        for first in [0, 1, 63, 64, 127, 128, 65535, (1 << 48) - 1] {
            let mut list = List::new(64);
            assert_eq!(list.take(first), Ok(()), "{first}");
            assert_eq!(list.take(first), Err(Refusal::Replayed), "{first}");
            assert_eq!(list.end, first + 1);
        }
    }

    proptest! {
        /// The oracle remembers every index there ever was.
        #[test]
        fn the_ring_says_what_a_set_of_all_indices_says(
            size in prop::sample::select(&SIZES[..4]),
            start in 0u64..1_000_000,
            steps in prop::collection::vec(
                prop_oneof![6 => -3i64..4, 3 => -140i64..140, 1 => -1100i64..1100], 1..400),
        ) {
            let mut list = List::new(size);
            let mut all = BTreeSet::new();
            let mut at = start;
            for step in steps {
                at = at.saturating_add_signed(step);
                let highest = all.last().copied();
                let expected = match highest {
                    Some(top) if at + u64::from(size) <= top => Err(Refusal::TooOld),
                    _ if all.contains(&at) => Err(Refusal::Replayed),
                    _ => Ok(()),
                };
                prop_assert_eq!(list.take(at), expected);
                if expected.is_ok() {
                    all.insert(at);
                }
            }
        }
    }
}
