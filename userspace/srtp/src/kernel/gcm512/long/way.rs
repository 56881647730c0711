// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The way of the hash through a packet, a chunk at a time.

use core::arch::x86_64::{__m512i, _mm512_loadu_si512, _mm512_setzero_si512};

use super::super::super::block::POWERS;
use super::super::product::Factor;
use super::{CHUNK, MAX_VECTORS};

/// Vectors behind a reduction in the middle of a packet that needs one, but for the last chunk.
pub(super) const SECOND_HALF: usize = 18;
const _: () = assert!(SECOND_HALF <= POWERS && SECOND_HALF.is_multiple_of(CHUNK));
const _: () = assert!(MAX_VECTORS + 1 - CHUNK - SECOND_HALF <= POWERS);

/// The way of the hash through a packet.
pub(super) struct Way {
    /// Where its first vector is.
    pub(super) first: *const u8,
    /// The powers of the key by their distance, and those that are near.
    pub(super) powers: *const [i64; 2],
    pub(super) near: *const [u8; 16],
    /// Vectors that are taken.
    pub(super) taken: usize,
    /// Vectors in front of the last chunk, or of a reduction.
    pub(super) distance: usize,
}

impl Way {
    /// Takes the next vectors.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn take<const N: usize>(&mut self) -> [__m512i; N] {
        let mut data = [_mm512_setzero_si512(); N];
        for (i, data) in data.iter_mut().enumerate() {
            // SAFETY: all vectors are between 48 bytes in front of the text, which are in the
            // headroom, and 31 bytes behind it.
            *data = unsafe { _mm512_loadu_si512(self.first.add(64 * (self.taken + i)).cast()) };
        }
        self.taken += N;
        data
    }

    /// What the next vectors are multiplied by.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn powers<const N: usize, const IS_LAST: bool>(&mut self) -> [Factor; N] {
        let mut factors = [Factor::ZERO; N];
        if IS_LAST {
            for (i, factor) in factors.iter_mut().enumerate() {
                // SAFETY: there are those of CHUNK vectors, four to each.
                let powers = unsafe {
                    let near = self.near.add(4 * (CHUNK - N + i));
                    _mm512_loadu_si512(near.cast())
                };
                *factor = Factor::each(powers);
            }
        } else {
            debug_assert!((N..=POWERS).contains(&self.distance));
            self.distance -= N;
            for (i, factor) in factors.iter_mut().enumerate() {
                // SAFETY: `distance` is at most POWERS.
                let power = unsafe { self.powers.add(self.distance + N - 1 - i).read() };
                *factor = Factor::all(power);
            }
        }
        factors
    }
}

/// How far the first vector is in front of the last chunk, or of a reduction, in a packet with so
/// many vectors.
#[inline]
pub(super) fn distance(vectors: usize) -> usize {
    let distance = vectors.saturating_sub(CHUNK);
    if distance > POWERS {
        distance - SECOND_HALF
    } else {
        distance
    }
}
