// SPDX-License-Identifier: Apache-2.0 OR MIT

//! AES-GCM with one block in a vector, for CPUs without AVX-512.
//!
//! GHASH is a chain: each block is added to the sum so far, and the sum is multiplied by the key
//! H. Four links of it at once need one reduction instead of four:
//!
//! ```text
//! sum' = (sum + X1) H^4 + X2 H^3 + X3 H^2 + X4 H
//! ```
//!
//! So blocks are collected until there are four: those of the clear head, of the encrypted text,
//! and one with both lengths. What is left in the end takes the lower powers.

use core::arch::x86_64::{
    __m128i, _mm_and_si128, _mm_clmulepi64_si128, _mm_loadu_si128, _mm_set_epi8, _mm_setzero_si128,
    _mm_shuffle_epi8, _mm_xor_si128,
};

use super::block::GcmKey;
use super::clmul::{fold, from_u128};
use super::ctr::{aes128, ctr128, key128};
use super::lane::Lane;

/// The counter block with 1 makes what the tag is encrypted with; text starts with 2.
const TAG_COUNTER: u128 = 1;
const TEXT_COUNTER: usize = 2;

/// Encrypts and writes the tags.
#[target_feature(enable = "aes,pclmulqdq,ssse3")]
pub(super) fn seal<const ROUNDS: usize>(lanes: &mut [Lane<'_, GcmKey<ROUNDS>>]) {
    for lane in lanes {
        ctr(lane);
        let tag = tag(lane);
        lane.set_trailer(tag);
    }
}

/// Verifies the tags, and decrypts what is authentic.
#[target_feature(enable = "aes,pclmulqdq,ssse3")]
pub(super) fn open<const ROUNDS: usize>(lanes: &mut [Lane<'_, GcmKey<ROUNDS>>]) {
    for lane in lanes {
        let is_authentic = lane.has_tag(tag(lane));
        *lane.authentic = is_authentic;
        if is_authentic {
            ctr(lane);
        }
    }
}

#[inline]
#[target_feature(enable = "aes")]
fn ctr<const ROUNDS: usize>(lane: &Lane<'_, GcmKey<ROUNDS>>) {
    let start = lane.counter_block();
    // SAFETY: a lane has at most MAX_TEXT bytes of text, and 80 bytes behind it.
    unsafe {
        ctr128(
            &lane.key.rounds,
            start,
            TEXT_COUNTER,
            lane.text(),
            lane.text_len(),
        );
    }
}

#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3")]
fn tag<const ROUNDS: usize>(lane: &Lane<'_, GcmKey<ROUNDS>>) -> __m128i {
    let rounds = &lane.key.rounds;
    let counter = from_u128(TAG_COUNTER.swap_bytes());
    let [stream] = aes128(rounds, [_mm_xor_si128(lane.counter_block(), counter)]);

    let mut hash = Hash::new(&lane.key.near[8..]);
    // SAFETY: head and text are in the room of the packet, and so are the 15 bytes behind them.
    unsafe {
        hash.update(lane.start(), lane.head);
        hash.update(lane.text(), lane.text_len());
    }
    let bits = |bytes: usize| 8 * bytes as u128;
    hash.push(from_u128((bits(lane.head) << 64) | bits(lane.text_len())));
    _mm_xor_si128(_mm_shuffle_epi8(hash.finish(), swap()), stream)
}

/// A product before its reduction, in three parts: of the lower halves, mixed, of the upper.
struct Product {
    low: __m128i,
    middle: __m128i,
    high: __m128i,
}

impl Product {
    #[inline]
    #[target_feature(enable = "pclmulqdq")]
    fn new(block: __m128i, power: &[u8; 16]) -> Self {
        let zero = _mm_setzero_si128();
        let mut product = Self {
            low: zero,
            middle: zero,
            high: zero,
        };
        product.add(block, power);
        product
    }

    #[inline]
    #[target_feature(enable = "pclmulqdq")]
    fn add(&mut self, block: __m128i, power: &[u8; 16]) {
        let power = key128(power);
        let mixed = _mm_xor_si128(
            _mm_clmulepi64_si128::<0x01>(block, power),
            _mm_clmulepi64_si128::<0x10>(block, power),
        );
        self.low = _mm_xor_si128(self.low, _mm_clmulepi64_si128::<0x00>(block, power));
        self.middle = _mm_xor_si128(self.middle, mixed);
        self.high = _mm_xor_si128(self.high, _mm_clmulepi64_si128::<0x11>(block, power));
    }

    #[inline]
    #[target_feature(enable = "pclmulqdq")]
    fn reduce(self) -> __m128i {
        fold(self.low, self.middle, self.high)
    }
}

struct Hash<'a> {
    /// H^4, H^3, H^2, H^1.
    powers: &'a [[u8; 16]],
    sum: __m128i,
    /// Blocks that wait to be four.
    waiting: [__m128i; 4],
    count: usize,
}

impl<'a> Hash<'a> {
    #[inline]
    #[target_feature(enable = "sse2")]
    fn new(powers: &'a [[u8; 16]]) -> Self {
        let zero = _mm_setzero_si128();
        Self {
            powers,
            sum: zero,
            waiting: [zero; 4],
            count: 0,
        }
    }

    /// Takes bytes, and zeros up to a whole block.
    ///
    /// # Safety
    ///
    /// From `bytes` on, `len` bytes rounded up to a multiple of 16 can be read.
    #[inline]
    #[target_feature(enable = "pclmulqdq,ssse3")]
    unsafe fn update(&mut self, bytes: *const u8, len: usize) {
        let swap = swap();
        let mut at = 0;
        if len >= 64 && self.count > 0 {
            self.absorb();
        }
        while len - at >= 64 {
            let mut blocks = [swap; 4];
            for (i, block) in blocks.iter_mut().enumerate() {
                // SAFETY: the four blocks are within the bytes, so the caller vouches for them.
                let bytes = unsafe { _mm_loadu_si128(bytes.add(at + 16 * i).cast()) };
                *block = _mm_shuffle_epi8(bytes, swap);
            }
            let mut product = Product::new(_mm_xor_si128(blocks[0], self.sum), &self.powers[0]);
            for (block, power) in blocks[1..].iter().zip(&self.powers[1..]) {
                product.add(*block, power);
            }
            self.sum = product.reduce();
            at += 64;
        }
        while at < len {
            // SAFETY: the block starts within the bytes, so the caller vouches for it.
            let block = unsafe { _mm_loadu_si128(bytes.add(at).cast()) };
            let unused = 16usize.saturating_sub(len - at);
            let block = _mm_and_si128(block, from_u128(u128::MAX >> (8 * unused)));
            self.push(_mm_shuffle_epi8(block, swap));
            at += 16;
        }
    }

    #[inline]
    #[target_feature(enable = "pclmulqdq")]
    fn push(&mut self, block: __m128i) {
        self.waiting[self.count % 4] = block;
        self.count += 1;
        if self.count == 4 {
            self.absorb();
        }
    }

    /// The new sum, from at most four blocks.
    #[inline]
    #[target_feature(enable = "pclmulqdq")]
    fn absorb(&mut self) {
        let first = _mm_xor_si128(self.waiting[0], self.sum);
        let powers = &self.powers[4 - self.count..];
        let mut product = Product::new(first, &powers[0]);
        for (block, power) in self.waiting[1..].iter().zip(&powers[1..]) {
            product.add(*block, power);
        }
        self.sum = product.reduce();
        self.count = 0;
    }

    #[inline]
    #[target_feature(enable = "pclmulqdq")]
    fn finish(mut self) -> __m128i {
        if self.count > 0 {
            self.absorb();
        }
        self.sum
    }
}

/// Reverses the bytes of a block.
#[inline]
#[target_feature(enable = "sse2")]
fn swap() -> __m128i {
    _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
}
