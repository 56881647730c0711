// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Products in the field of GHASH (NIST SP 800-38D section 6.3), with carry-less multiplication.
//!
//! A block is held as the number that its 16 bytes are, big-endian, so that its bits are in the
//! reverse of the order that polynomials are written in. The product of two such numbers has 255
//! bits; `fold` brings it back to 128, in two steps of 64 bits (Gueron and Kounavis).

use core::arch::x86_64::{
    __m128i, _mm_clmulepi64_si128, _mm_cvtsi64_si128, _mm_shuffle_epi32, _mm_slli_si128,
    _mm_srli_si128, _mm_xor_si128,
};
use core::mem;

/// The polynomial of the field: x^127 + x^126 + x^121 of it, reflected.
pub(super) const POLYNOMIAL: i64 = 0xc200_0000_0000_0000u64.cast_signed();

pub(super) const fn from_u128(number: u128) -> __m128i {
    // SAFETY: both are 16 bytes without padding, of which any value is valid.
    unsafe { mem::transmute(number) }
}

pub(super) const fn into_u128(vector: __m128i) -> u128 {
    // SAFETY: both are 16 bytes without padding, of which any value is valid.
    unsafe { mem::transmute(vector) }
}

/// The product of two elements, the second moved by one bit as the keys in a block are.
#[target_feature(enable = "pclmulqdq")]
pub(super) fn multiply(a: __m128i, b: __m128i) -> __m128i {
    let middle = _mm_xor_si128(
        _mm_clmulepi64_si128::<0x01>(a, b),
        _mm_clmulepi64_si128::<0x10>(a, b),
    );
    fold(
        _mm_clmulepi64_si128::<0x00>(a, b),
        middle,
        _mm_clmulepi64_si128::<0x11>(a, b),
    )
}

/// An element from the parts of a product: those of the lower halves, of the mixed, of the upper.
#[inline]
#[target_feature(enable = "pclmulqdq")]
pub(super) fn fold(low: __m128i, middle: __m128i, high: __m128i) -> __m128i {
    let polynomial = _mm_cvtsi64_si128(POLYNOMIAL);
    let low = _mm_xor_si128(low, _mm_slli_si128::<8>(middle));
    let high = _mm_xor_si128(high, _mm_srli_si128::<8>(middle));
    let step = _mm_clmulepi64_si128::<0x00>(low, polynomial);
    let low = _mm_xor_si128(_mm_shuffle_epi32::<0x4e>(low), step);
    let step = _mm_clmulepi64_si128::<0x00>(low, polynomial);
    let low = _mm_xor_si128(_mm_shuffle_epi32::<0x4e>(low), step);
    _mm_xor_si128(low, high)
}
