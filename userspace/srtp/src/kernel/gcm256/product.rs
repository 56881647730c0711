// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Products of blocks and powers of H, before their reduction.

use core::arch::x86_64::{
    __m128i, __m256i, _mm_xor_si128, _mm256_castsi256_si128, _mm256_clmulepi64_epi128,
    _mm256_extracti128_si256, _mm256_setzero_si256, _mm256_shuffle_epi32, _mm256_xor_si256,
    _mm256_zextsi128_si256,
};

use super::super::clmul::fold;

/// A sum of products in each place, in three parts: of the lower halves, of the sums of lower and
/// upper halves, of the upper halves.
///
/// Carry-less multiplication is what CPUs have least of, so that there are three for a product,
/// not four (Karatsuba): the one in the middle has the other two in it, from which they are
/// subtracted once for all.
#[derive(Clone, Copy)]
pub(super) struct Product {
    low: __m256i,
    middle: __m256i,
    high: __m256i,
}

impl Product {
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn zero() -> Self {
        let zero = _mm256_setzero_si256();
        Self {
            low: zero,
            middle: zero,
            high: zero,
        }
    }

    /// Adds a vector of blocks, each times its own power.
    #[inline]
    #[target_feature(enable = "avx2,vpclmulqdq")]
    pub(super) fn add(&mut self, blocks: __m256i, powers: __m256i) {
        let low = _mm256_clmulepi64_epi128::<0x00>(blocks, powers);
        let middle = _mm256_clmulepi64_epi128::<0x00>(add_halves(blocks), add_halves(powers));
        let high = _mm256_clmulepi64_epi128::<0x11>(blocks, powers);
        self.low = _mm256_xor_si256(self.low, low);
        self.middle = _mm256_xor_si256(self.middle, middle);
        self.high = _mm256_xor_si256(self.high, high);
    }

    /// The sum of both places, in the first one.
    #[inline]
    #[target_feature(enable = "avx2,vpclmulqdq")]
    pub(super) fn reduce(self) -> __m256i {
        let (low, high) = (add_places(self.low), add_places(self.high));
        let middle = _mm_xor_si128(add_places(self.middle), _mm_xor_si128(low, high));
        _mm256_zextsi128_si256(fold(low, middle, high))
    }
}

/// The sum of the halves of each block, in its lower half.
#[inline]
#[target_feature(enable = "avx2")]
fn add_halves(blocks: __m256i) -> __m256i {
    _mm256_xor_si256(blocks, _mm256_shuffle_epi32::<0x4e>(blocks))
}

/// The sum of both blocks.
#[inline]
#[target_feature(enable = "avx2")]
fn add_places(blocks: __m256i) -> __m128i {
    _mm_xor_si128(
        _mm256_castsi256_si128(blocks),
        _mm256_extracti128_si256::<1>(blocks),
    )
}
