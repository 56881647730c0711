// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The tags of a group of packets, which are made and compared at once.

use core::arch::x86_64::{
    __m128i, __m512i, _mm256_loadu2_m128i, _mm512_castsi256_si512, _mm512_cmpneq_epi64_mask,
    _mm512_extracti32x4_epi32, _mm512_inserti64x4, _mm512_shuffle_epi8, _mm512_xor_si512,
};

use super::product::Whole;
use super::{GROUP, swap};

/// The tags of a group, each in a place of its own.
#[derive(Clone, Copy)]
pub(super) struct Tags(__m512i);

/// Which tags of a group are right.
#[derive(Clone, Copy)]
pub(super) struct Verdict {
    /// Two bits for each that is wrong, or one.
    wrong: u8,
}

impl Tags {
    /// From hashes, and what tags are encrypted with.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
    pub(super) fn new(products: [&Whole; GROUP], streams: __m512i) -> Self {
        let hashes = Whole::add_places(products).reduce();
        Self(_mm512_xor_si512(
            _mm512_shuffle_epi8(hashes, swap()),
            streams,
        ))
    }

    /// Each tag.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn each(self) -> [__m128i; GROUP] {
        [
            _mm512_extracti32x4_epi32::<0>(self.0),
            _mm512_extracti32x4_epi32::<1>(self.0),
            _mm512_extracti32x4_epi32::<2>(self.0),
            _mm512_extracti32x4_epi32::<3>(self.0),
        ]
    }

    /// Compares them with those that packets have: all bytes at once, so in constant time.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn compare(self, received: __m512i) -> Verdict {
        Verdict {
            wrong: _mm512_cmpneq_epi64_mask(self.0, received),
        }
    }
}

impl Verdict {
    /// Whether all tags are right.
    #[inline]
    pub(super) fn all_right(self) -> bool {
        self.wrong == 0
    }

    /// Whether the tag at this place is right.
    #[inline]
    pub(super) fn is_right(self, place: usize) -> bool {
        (self.wrong >> (2 * place)).trailing_zeros() >= 2
    }
}

/// Four blocks from different places in memory.
///
/// # Safety
///
/// There are 16 bytes at each pointer.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn gather([a, b, c, d]: [*const u8; GROUP]) -> __m512i {
    // SAFETY: the caller says so.
    let (front, back) = unsafe {
        (
            _mm256_loadu2_m128i(b.cast(), a.cast()),
            _mm256_loadu2_m128i(d.cast(), c.cast()),
        )
    };
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(front), back)
}
