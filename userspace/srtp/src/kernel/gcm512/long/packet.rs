// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A packet between its AES and its hash, and its head.

use core::arch::x86_64::{
    __m512i, _bzhi_u64, _mm_set_epi64x, _mm512_inserti32x4, _mm512_maskz_loadu_epi8,
};

use super::super::super::block::GcmKey;
use super::shape::Shape;

/// A packet between its AES and its hash.
#[derive(Clone, Copy)]
pub(super) struct Packet<'a, const ROUNDS: usize> {
    pub(super) key: &'a GcmKey<ROUNDS>,
    /// Its first byte.
    pub(super) start: *mut u8,
    /// The lengths of its head and its text, in bytes.
    pub(super) head: usize,
    pub(super) text: usize,
    pub(super) shape: &'static Shape,
    /// Where its first vector is.
    pub(super) first: *mut u8,
}

impl<const ROUNDS: usize> Packet<'_, ROUNDS> {
    /// What there is of the head in a vector in which it starts at byte `place`, which may be
    /// outside.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a head has at most 64 bytes"
    )]
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,bmi2")]
    pub(super) fn head_at(&self, place: isize) -> __m512i {
        let head = _bzhi_u64(u64::MAX, self.head as u32);
        let mask = if place < 0 {
            // In two steps, because there may be 64 bytes.
            head >> (-place / 2) >> (-place / 2)
        } else {
            head << place
        };
        // SAFETY: the mask is zero outside of the head.
        unsafe { _mm512_maskz_loadu_epi8(mask, self.start.wrapping_offset(-place).cast()) }
    }

    /// Puts the lengths of head and text, in bits, into the last place.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn with_lengths(&self, blocks: __m512i) -> __m512i {
        let bits = |bytes: usize| 8 * (bytes as u64).cast_signed();
        let lengths = _mm_set_epi64x(bits(self.head), bits(self.text));
        _mm512_inserti32x4::<3>(blocks, lengths)
    }
}
