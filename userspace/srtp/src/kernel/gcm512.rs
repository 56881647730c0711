// SPDX-License-Identifier: Apache-2.0 OR MIT

//! AES-GCM with four blocks in a vector.
//!
//! # The sum
//!
//! GHASH (NIST SP 800-38D section 6.4) of the blocks X1 .. Xn, which are those of the clear head,
//! of the encrypted text, and one with both lengths, is a polynomial in the key H:
//!
//! ```text
//! X1 H^n + X2 H^(n-1) + ... + Xn H
//! ```
//!
//! # The places
//!
//! Blocks are taken four at a time, a vector each. Missing blocks are zeros in *front*, where they
//! change nothing, so that the *last* vector is full:
//!
//! ```text
//! first       0     0     head  X2
//!             X3    X4    X5    X6
//! last        X7    X8    X9    lengths
//! ```
//!
//! So the lengths are always in the last place of the last vector, and in that place AES makes what
//! the tag is encrypted with: a packet of *n* blocks of text costs (n + 1) / 4 vectors of AES,
//! rounded up, and nothing else.
//!
//! # The order
//!
//! What takes long is not the work but to wait for it: ten rounds of AES for the keystream, then
//! the reduction of the hash. So packets are taken four at a time, and what they wait for is made
//! for all of them. In the end the four hashes are brought into the four places of a vector and need
//! one reduction together.
//!
//! Packets of one, two and three vectors, with nothing but a plain header in front, are most of
//! what a gateway sees: [`short`] is for them. All others are [`long`].
//!
//! # Opening
//!
//! The text is hashed first, without being written, and decrypted in a second pass when the tag
//! is right.

mod long;
mod short;

use core::arch::x86_64::{
    __m128i, __m512i, _mm_xor_si128, _mm512_broadcast_i32x4, _mm512_bslli_epi128,
    _mm512_bsrli_epi128, _mm512_clmulepi64_epi128, _mm512_extracti32x4_epi32,
    _mm512_mask_set1_epi64, _mm512_set_epi64, _mm512_set1_epi64, _mm512_shuffle_epi8,
    _mm512_shuffle_epi32, _mm512_shuffle_i32x4, _mm512_ternarylogic_epi32, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi64, _mm512_xor_si512,
};
use core::mem;

use super::block::{GcmKey, Powers};
use super::clmul::{POLYNOMIAL, from_u128, into_u128};
use super::ctr::spread512;
use super::lane::Lane;
use crate::MAX_BURST;

/// The counter block with 1 makes what the tag is encrypted with; text starts with 2.
const TAG_COUNTER: isize = 1;
const TEXT_COUNTER: isize = 2;

/// Packets whose tags are made at once: one in each place of a vector.
const GROUP: usize = 4;

/// The two quarters of the last block in a vector.
const LAST_PLACE: u8 = 0b1100_0000;
const LOWER_HALVES: u8 = 0b0101_0101;

/// The truth table of the XOR of three.
const XOR3: i32 = 0x96;

// SAFETY: both are 64 bytes without padding, of which any value is valid.
const ZERO: __m512i = unsafe { mem::transmute([0u8; 64]) };

/// Products before their reduction, in three parts: of the lower halves, of lower by upper ones, of
/// the upper halves. [`long`] has the sums of Karatsuba in the second part instead.
#[derive(Clone, Copy)]
struct Product {
    low: __m512i,
    middle: __m512i,
    high: __m512i,
}

/// Encrypts and writes the tags.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
pub(super) fn seal<const ROUNDS: usize>(lanes: &mut [Lane<'_, GcmKey<ROUNDS>>]) {
    run::<true, ROUNDS>(lanes);
}

/// Verifies the tags, and decrypts what is authentic.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
pub(super) fn open<const ROUNDS: usize>(lanes: &mut [Lane<'_, GcmKey<ROUNDS>>]) {
    run::<false, ROUNDS>(lanes);
}

/// Seals if `ENCRYPT`, opens if not.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn run<const ENCRYPT: bool, const ROUNDS: usize>(lanes: &mut [Lane<'_, GcmKey<ROUNDS>>]) {
    if lanes.is_empty() {
        return;
    }
    let classes = Classes::of(lanes);
    if let order @ [_, ..] = classes.order(0) {
        short::run::<ENCRYPT, ROUNDS, 1>(lanes, order);
    }
    if let order @ [_, ..] = classes.order(1) {
        short::run::<ENCRYPT, ROUNDS, 2>(lanes, order);
    }
    if let order @ [_, ..] = classes.order(2) {
        short::run::<ENCRYPT, ROUNDS, 3>(lanes, order);
    }
    if let order @ [_, ..] = classes.order(Classes::LONG) {
        long::run::<ENCRYPT, ROUNDS>(lanes, order);
    }
}

/// The numbers of the lanes of a burst, by what processes them.
struct Classes {
    orders: [[u8; MAX_BURST]; Self::LONG + 1],
    /// How many are in each class, in 16 bits each.
    lens: usize,
}

impl Classes {
    /// The class of long packets; those before it are of short ones, less by one than their
    /// vectors.
    const LONG: usize = 3;

    #[inline]
    fn of<const ROUNDS: usize>(lanes: &[Lane<'_, GcmKey<ROUNDS>>]) -> Self {
        let mut orders = [[0; MAX_BURST]; Self::LONG + 1];
        let mut lens: usize = 0;
        for (at, lane) in (0..).zip(lanes) {
            let class = short::vectors(lane).map_or(Self::LONG, |vectors| vectors - 1);
            let len = lens >> (16 * class);
            orders[class % orders.len()][len % MAX_BURST] = at;
            // In a register, since the next one waits for it.
            lens += 1 << (16 * class);
        }
        Self { orders, lens }
    }

    #[inline]
    fn len(&self, class: usize) -> usize {
        (self.lens >> (16 * class)) & 0xffff
    }

    #[inline]
    fn order(&self, class: usize) -> &[u8] {
        &self.orders[class][..self.len(class)]
    }
}

/// The tags of a group, from its hashes and what tags are encrypted with.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn finish_tags(products: [&Product; GROUP], streams: [__m128i; GROUP]) -> [u128; GROUP] {
    let hashes = Product::add_places(products).reduce();
    let hashes = _mm512_shuffle_epi8(hashes, swap());
    let [a, b, c, d] = streams;
    [
        into_u128(_mm_xor_si128(_mm512_extracti32x4_epi32::<0>(hashes), a)),
        into_u128(_mm_xor_si128(_mm512_extracti32x4_epi32::<1>(hashes), b)),
        into_u128(_mm_xor_si128(_mm512_extracti32x4_epi32::<2>(hashes), c)),
        into_u128(_mm_xor_si128(_mm512_extracti32x4_epi32::<3>(hashes), d)),
    ]
}

impl Product {
    const ZERO: Self = Self {
        low: ZERO,
        middle: ZERO,
        high: ZERO,
    };

    /// A vector of blocks, each times its own power.
    #[inline]
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    fn each(blocks: __m512i, powers: __m512i) -> Self {
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
    fn add(self, other: Self) -> Self {
        Self {
            low: _mm512_xor_si512(self.low, other.low),
            middle: _mm512_xor_si512(self.middle, other.middle),
            high: _mm512_xor_si512(self.high, other.high),
        }
    }

    /// Adds vectors of blocks, with Karatsuba's parts: the last times the power number `power`,
    /// those before it times the powers that follow.
    #[inline]
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    fn add_karatsuba<const N: usize>(
        &mut self,
        blocks: [__m512i; N],
        powers: &[Powers],
        power: usize,
    ) {
        debug_assert!((power + N).div_ceil(2) <= powers.len());
        let (single, pairs) = blocks.split_at(N % 2);
        for block in single {
            let at = power + N - 1;
            // SAFETY: a packet has at most two times POWERS vectors, see the assertions above.
            let pair = unsafe { powers.get_unchecked(at / 2) };
            let low = _mm512_set1_epi64(pair.low[at % 2].cast_signed());
            let high = _mm512_set1_epi64(pair.high[at % 2].cast_signed());
            let product = Self {
                low: _mm512_clmulepi64_epi128::<0x00>(*block, low),
                middle: _mm512_clmulepi64_epi128::<0x00>(
                    add_halves(*block),
                    _mm512_xor_si512(low, high),
                ),
                high: _mm512_clmulepi64_epi128::<0x01>(*block, high),
            };
            self.low = _mm512_xor_si512(self.low, product.low);
            self.middle = _mm512_xor_si512(self.middle, product.middle);
            self.high = _mm512_xor_si512(self.high, product.high);
        }
        for (i, pair) in pairs.chunks_exact(2).enumerate() {
            let (a, b) = (pair[0], pair[1]);
            // SAFETY: as above.
            let powers = unsafe { powers.get_unchecked(usize::midpoint(power, N) - 1 - i) };
            let (low, high) = (spread_halves(powers.low), spread_halves(powers.high));
            let halves = _mm512_xor_si512(_mm512_unpacklo_epi64(b, a), _mm512_unpackhi_epi64(b, a));
            let power_halves = _mm512_xor_si512(low, high);
            self.low = _mm512_ternarylogic_epi32::<XOR3>(
                self.low,
                _mm512_clmulepi64_epi128::<0x10>(a, low),
                _mm512_clmulepi64_epi128::<0x00>(b, low),
            );
            self.middle = _mm512_ternarylogic_epi32::<XOR3>(
                self.middle,
                _mm512_clmulepi64_epi128::<0x11>(halves, power_halves),
                _mm512_clmulepi64_epi128::<0x00>(halves, power_halves),
            );
            self.high = _mm512_ternarylogic_epi32::<XOR3>(
                self.high,
                _mm512_clmulepi64_epi128::<0x11>(a, high),
                _mm512_clmulepi64_epi128::<0x01>(b, high),
            );
        }
    }

    /// The sums over the places of each product, each in a place of its own.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn add_places([a, b, c, d]: [&Self; GROUP]) -> Self {
        Self {
            low: add_places(a.low, b.low, c.low, d.low),
            middle: add_places(a.middle, b.middle, c.middle, d.middle),
            high: add_places(a.high, b.high, c.high, d.high),
        }
    }

    /// [`Self::reduce`], from Karatsuba's parts.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,vpclmulqdq")]
    fn reduce_karatsuba(mut self) -> __m512i {
        self.middle = _mm512_ternarylogic_epi32::<XOR3>(self.middle, self.low, self.high);
        self.reduce()
    }

    /// Back to 128 bits in each place; `clmul::fold` explains.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,vpclmulqdq")]
    fn reduce(self) -> __m512i {
        let polynomial = _mm512_set1_epi64(POLYNOMIAL);
        let low = _mm512_xor_si512(self.low, _mm512_bslli_epi128::<8>(self.middle));
        let high = _mm512_xor_si512(self.high, _mm512_bsrli_epi128::<8>(self.middle));
        let step = _mm512_clmulepi64_epi128::<0x00>(low, polynomial);
        let low = _mm512_xor_si512(_mm512_shuffle_epi32::<0x4e>(low), step);
        let step = _mm512_clmulepi64_epi128::<0x00>(low, polynomial);
        _mm512_ternarylogic_epi32::<XOR3>(_mm512_shuffle_epi32::<0x4e>(low), step, high)
    }
}

/// The counter block with zero in place of the counter, after the first step of AES.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn start<const ROUNDS: usize>(lane: &Lane<'_, GcmKey<ROUNDS>>) -> __m512i {
    // The lower twelve bytes of the nonce, reversed, and four zeros.
    let low = 0x0405_0607_0809_0a0b;
    let high = 0x8080_8080_0001_0203_u64.cast_signed();
    let order = _mm512_set_epi64(high, low, high, low, high, low, high, low);
    let nonce = _mm512_broadcast_i32x4(from_u128(lane.nonce));
    _mm512_xor_si512(
        _mm512_shuffle_epi8(nonce, order),
        spread512(&lane.key.rounds[0]),
    )
}

/// Puts the lengths of head and text, in bits, into the last place.
#[inline]
#[target_feature(enable = "avx512f")]
fn with_lengths<const ROUNDS: usize>(lane: &Lane<'_, GcmKey<ROUNDS>>, blocks: __m512i) -> __m512i {
    let bits = |bytes: usize| 8 * (bytes as u64).cast_signed();
    let text_bits = bits(lane.text_len());
    let blocks = _mm512_mask_set1_epi64(blocks, LAST_PLACE & LOWER_HALVES, text_bits);
    _mm512_mask_set1_epi64(blocks, LAST_PLACE & !LOWER_HALVES, bits(lane.head))
}

/// The sum of the halves of each block, in its lower half.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_halves(blocks: __m512i) -> __m512i {
    _mm512_xor_si512(blocks, _mm512_shuffle_epi32::<0x4e>(blocks))
}

/// Two halves of powers in every place of a vector.
#[inline]
#[target_feature(enable = "avx512f")]
fn spread_halves([a, b]: [u64; 2]) -> __m512i {
    _mm512_broadcast_i32x4(from_u128(u128::from(b) << 64 | u128::from(a)))
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

/// Reverses the bytes of every block.
#[inline]
#[target_feature(enable = "avx512f")]
fn swap() -> __m512i {
    let low = 0x0001_0203_0405_0607;
    let high = 0x0809_0a0b_0c0d_0e0f;
    _mm512_set_epi64(low, high, low, high, low, high, low, high)
}
