// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Products of blocks and powers of H, and how they are made beside AES.

use core::arch::asm;
use core::arch::x86_64::{
    __m512i, _mm512_bslli_epi128, _mm512_bsrli_epi128, _mm512_clmulepi64_epi128, _mm512_set1_epi64,
    _mm512_shuffle_epi32, _mm512_shuffle_i32x4, _mm512_ternarylogic_epi32, _mm512_xor_si512,
};

use super::super::clmul::POLYNOMIAL;
use super::{GROUP, ZERO};

/// The truth table of the XOR of three.
const XOR3: i32 = 0x96;

/// Products before their reduction, in three parts: of the lower halves, of lower by upper ones, of
/// the upper halves. Karatsuba's second part has the sums of lower and upper halves times each other
/// instead, see [`Product::with_middle`].
#[derive(Clone, Copy)]
pub(super) struct Product {
    pub(super) low: __m512i,
    pub(super) middle: __m512i,
    pub(super) high: __m512i,
}

/// A vector of powers, in the parts of Karatsuba.
#[derive(Clone, Copy)]
pub(super) struct Factor {
    /// With the lower halves in the lower halves.
    low: __m512i,
    /// With the upper halves in the upper halves.
    high: __m512i,
    /// With the sums of both in the lower halves.
    halves: __m512i,
}

impl Factor {
    pub(super) const ZERO: Self = Self {
        low: ZERO,
        high: ZERO,
        halves: ZERO,
    };

    /// A power for each place.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn each(powers: __m512i) -> Self {
        Self {
            low: powers,
            high: powers,
            halves: add_halves(powers),
        }
    }

    /// One power for all places, by its halves.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn all([low, high]: [i64; 2]) -> Self {
        let (low, high) = (_mm512_set1_epi64(low), _mm512_set1_epi64(high));
        Self {
            low,
            high,
            halves: _mm512_xor_si512(low, high),
        }
    }
}

impl Product {
    pub(super) const ZERO: Self = Self {
        low: ZERO,
        middle: ZERO,
        high: ZERO,
    };

    /// A vector of blocks, each times its own power.
    #[inline]
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    pub(super) fn each(blocks: __m512i, powers: __m512i) -> Self {
        Self {
            low: _mm512_clmulepi64_epi128::<0x00>(blocks, powers),
            middle: _mm512_xor_si512(
                _mm512_clmulepi64_epi128::<0x01>(blocks, powers),
                _mm512_clmulepi64_epi128::<0x10>(blocks, powers),
            ),
            high: _mm512_clmulepi64_epi128::<0x11>(blocks, powers),
        }
    }

    /// The sum of two.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn add(self, other: Self) -> Self {
        Self {
            low: _mm512_xor_si512(self.low, other.low),
            middle: _mm512_xor_si512(self.middle, other.middle),
            high: _mm512_xor_si512(self.high, other.high),
        }
    }

    /// What Karatsuba's parts are: the middle one lacks the others.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn with_middle(self) -> Self {
        let middle = _mm512_ternarylogic_epi32::<XOR3>(self.middle, self.low, self.high);
        Self { middle, ..self }
    }

    /// The middle part added to the others, which it overlaps.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn whole(self) -> Whole {
        Whole {
            low: _mm512_xor_si512(self.low, _mm512_bslli_epi128::<8>(self.middle)),
            high: _mm512_xor_si512(self.high, _mm512_bsrli_epi128::<8>(self.middle)),
        }
    }
}

/// A product of 256 bits in each place, by its halves.
#[derive(Clone, Copy)]
pub(super) struct Whole {
    low: __m512i,
    high: __m512i,
}

impl Whole {
    pub(super) const ZERO: Self = Self {
        low: ZERO,
        high: ZERO,
    };

    /// The sums over the places of each product, each in a place of its own.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn add_places([a, b, c, d]: [&Self; GROUP]) -> Self {
        Self {
            low: add_places(a.low, b.low, c.low, d.low),
            high: add_places(a.high, b.high, c.high, d.high),
        }
    }

    /// Back to 128 bits in each place; `clmul::fold` explains.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,vpclmulqdq")]
    pub(super) fn reduce(self) -> __m512i {
        let polynomial = _mm512_set1_epi64(POLYNOMIAL);
        let step = _mm512_clmulepi64_epi128::<0x00>(self.low, polynomial);
        let low = _mm512_xor_si512(_mm512_shuffle_epi32::<0x4e>(self.low), step);
        let step = _mm512_clmulepi64_epi128::<0x00>(low, polynomial);
        _mm512_ternarylogic_epi32::<XOR3>(_mm512_shuffle_epi32::<0x4e>(low), step, self.high)
    }
}

/// AES of vectors, behind its first step, if `AES`, and the products of others, in Karatsuba's
/// parts, if `HASH`.
///
/// The compiler would do first the one, then the other. Since each waits for itself, and the CPU
/// does not look far enough ahead, both are in assembly here, whose order is kept.
#[inline]
#[target_feature(enable = "avx512f,vaes,vpclmulqdq")]
pub(super) fn interleaved<
    const ROUNDS: usize,
    const N: usize,
    const AES: bool,
    const HASH: bool,
>(
    rounds: &[__m512i; ROUNDS],
    blocks: &mut [__m512i; N],
    data: [__m512i; N],
    factors: [Factor; N],
) -> [Product; N] {
    let mut products = [Product::ZERO; N];
    macro_rules! aes {
        ($instruction:literal, $round:literal, $block:literal) => {
            if AES && $block < N {
                // SAFETY: it has no effect but on its operands.
                unsafe {
                    asm!(
                        concat!($instruction, " {block}, {block}, {key}"),
                        block = inout(zmm_reg) blocks[$block],
                        key = in(zmm_reg) rounds[$round],
                        options(nomem, nostack, preserves_flags)
                    );
                }
            }
        };
    }
    macro_rules! round {
        ($round:literal) => {
            if $round < ROUNDS - 1 {
                aes!("vaesenc", $round, 0);
                aes!("vaesenc", $round, 1);
                aes!("vaesenc", $round, 2);
            } else if $round == ROUNDS - 1 {
                aes!("vaesenclast", $round, 0);
                aes!("vaesenclast", $round, 1);
                aes!("vaesenclast", $round, 2);
            }
        };
    }
    macro_rules! product {
        ($i:literal) => {
            if HASH && $i < N {
                let halves = add_halves(data[$i]);
                let Factor { mut low, mut high, halves: mut middle } = factors[$i];
                // SAFETY: it has no effect but on its operands.
                unsafe {
                    asm!(
                        "vpclmulqdq {low}, {low}, {data}, 0x00",
                        "vpclmulqdq {high}, {high}, {data}, 0x11",
                        "vpclmulqdq {middle}, {middle}, {halves}, 0x00",
                        low = inout(zmm_reg) low,
                        high = inout(zmm_reg) high,
                        middle = inout(zmm_reg) middle,
                        data = in(zmm_reg) data[$i],
                        halves = in(zmm_reg) halves,
                        options(nomem, nostack, preserves_flags)
                    );
                }
                products[$i] = Product { low, middle, high };
            }
        };
    }
    round!(1);
    product!(2);
    round!(2);
    round!(3);
    round!(4);
    product!(1);
    round!(5);
    round!(6);
    round!(7);
    product!(0);
    round!(8);
    round!(9);
    round!(10);
    round!(11);
    round!(12);
    round!(13);
    round!(14);
    products
}

/// The sum of the halves of each block, in its lower half.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_halves(blocks: __m512i) -> __m512i {
    _mm512_xor_si512(blocks, _mm512_shuffle_epi32::<0x4e>(blocks))
}

/// The sum of the four blocks of each vector, in places in the order of the vectors.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_places(a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> __m512i {
    const FRONT: i32 = 0b01_00_01_00;
    const BACK: i32 = 0b11_10_11_10;
    const EVEN: i32 = 0b10_00_10_00;
    const ODD: i32 = 0b11_01_11_01;
    let ab = _mm512_xor_si512(
        _mm512_shuffle_i32x4::<FRONT>(a, b),
        _mm512_shuffle_i32x4::<BACK>(a, b),
    );
    let cd = _mm512_xor_si512(
        _mm512_shuffle_i32x4::<FRONT>(c, d),
        _mm512_shuffle_i32x4::<BACK>(c, d),
    );
    _mm512_xor_si512(
        _mm512_shuffle_i32x4::<EVEN>(ab, cd),
        _mm512_shuffle_i32x4::<ODD>(ab, cd),
    )
}
