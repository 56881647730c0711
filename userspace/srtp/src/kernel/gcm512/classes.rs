// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Packets sorted by the number of their vectors.

use core::arch::x86_64::{_mm512_cmpeq_epi8_mask, _mm512_loadu_si512, _mm512_set1_epi8};

use super::super::block::GcmKey;
use super::super::lane::{IN_ORDER, Lane, List, MAX_TEXT};
use super::{long, short};
use crate::MAX_BURST;

/// Vectors of a short packet, at the most.
const MAX_SHORT: usize = 3;

/// The class of the shortest long packet.
const LONG: usize = MAX_SHORT + 1;
const _: () = assert!(LONG + MAX_TEXT / 64 < u8::MAX as usize);

/// The numbers of the lanes of a burst in the order of their classes: short packets, by their
/// vectors, then long ones, by theirs.
pub(super) struct Classes {
    order: [u8; MAX_BURST],
    /// Where the short packets of each number of vectors end; the first number is zero.
    short_ends: [u8; LONG],
    /// Where each run of long packets with as many vectors ends, counted from the first long one.
    long_ends: List<u8>,
    len: usize,
}

impl Classes {
    /// Sorts a burst of at least one packet.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn of<const ROUNDS: usize>(lanes: &[Lane<'_, GcmKey<ROUNDS>>]) -> Self {
        let mut classes = [0; MAX_BURST];
        let mut present = 0u64;
        for (class, lane) in classes.iter_mut().zip(lanes) {
            let number = short::vectors(lane).unwrap_or_else(|| LONG + long::vectors(lane));
            *class = narrow(number);
            present |= 1 << (number % 64);
        }
        let mut all = Self {
            order: [0; MAX_BURST],
            short_ends: [0; LONG],
            long_ends: List::new(),
            len: 0,
        };
        for class in 1..LONG {
            all.take(same(&classes, narrow(class)));
            all.short_ends[class] = narrow(all.len);
        }
        let first_long = all.len;
        let mut left = present >> LONG << LONG;
        while left != 0 {
            all.take(same(&classes, narrow(left.trailing_zeros() as usize)));
            all.long_ends.push(narrow(all.len - first_long));
            left &= left - 1;
        }
        all
    }

    /// Appends the numbers of these bits.
    #[inline]
    fn take(&mut self, bits: u64) {
        if bits & bits.wrapping_add(1) == 0 && self.len == 0 {
            // All of a burst, most of the time: their numbers are in order already.
            self.order = IN_ORDER;
            self.len = bits.trailing_ones() as usize;
            return;
        }
        let mut left = bits;
        while left != 0 {
            self.order[self.len % MAX_BURST] = narrow(left.trailing_zeros() as usize);
            left &= left - 1;
            self.len += 1;
        }
    }

    /// The short packets of so many vectors.
    #[inline]
    pub(super) fn short(&self, vectors: usize) -> &[u8] {
        let end = |vectors: usize| usize::from(self.short_ends[vectors]);
        &self.order[end(vectors - 1)..end(vectors)]
    }

    /// The long packets, and where each run of them with as many vectors ends.
    #[inline]
    pub(super) fn long(&self) -> (&[u8], &[u8]) {
        let start = usize::from(self.short_ends[MAX_SHORT]);
        (&self.order[start..self.len], &self.long_ends)
    }
}

/// A bit for each that is in this class.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn same(classes: &[u8; MAX_BURST], class: u8) -> u64 {
    const { assert!(MAX_BURST == 64) }
    // SAFETY: they are a vector.
    let classes = unsafe { _mm512_loadu_si512(classes.as_ptr().cast()) };
    _mm512_cmpeq_epi8_mask(classes, _mm512_set1_epi8(class.cast_signed()))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "numbers of lanes and classes are small"
)]
#[inline]
const fn narrow(number: usize) -> u8 {
    number as u8
}
