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
//! the products, then the reduction of the hash. A CPU looks ahead about two hundred instructions,
//! which is less than a packet has, so that what does not wait must be near to what does: AES of
//! one packet and the hash of one before it are woven into each other, instruction by instruction,
//! see [`product::interleaved`]. The hashes of four packets are brought into the four places of a
//! vector in the end, and need one reduction together.
//!
//! Packets are sorted by their vectors, see [`classes`], so that two neighbours fit each other. Those
//! of one, two and three vectors with nothing but a plain header in front are most of what a
//! gateway sees: [`short`] is for them. All others are [`long`].
//!
//! # Opening
//!
//! A packet is not written before its tag is right: [`short`] ones are decrypted in a second pass,
//! [`long`] ones are decrypted into memory of the kernel and copied.

mod classes;
mod long;
mod product;
mod short;
mod tags;

use core::arch::x86_64::{
    __m512i, _mm512_broadcast_i32x4, _mm512_set_epi64, _mm512_shuffle_epi8, _mm512_xor_si512,
};
use core::mem;

use self::classes::Classes;
use super::block::GcmKey;
use super::clmul::from_u128;
use super::ctr::spread512;
use super::lane::{Lane, MAX_TEXT};

/// The counter block with 1 makes what the tag is encrypted with; text starts with 2.
const TAG_COUNTER: isize = 1;
const TEXT_COUNTER: isize = 2;

/// Packets whose tags are made at once: one in each place of a vector.
const GROUP: usize = 4;

/// The two halves of the last block in a vector.
const LAST_PLACE: u8 = 0b1100_0000;

// SAFETY: both are 64 bytes without padding, of which any value is valid.
const ZERO: __m512i = unsafe { mem::transmute([0u8; 64]) };

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
    let classes = Classes::of(lanes);
    if let order @ [_, ..] = classes.short(1) {
        short::run::<ENCRYPT, ROUNDS, 1>(lanes, order);
    }
    if let order @ [_, ..] = classes.short(2) {
        short::run::<ENCRYPT, ROUNDS, 2>(lanes, order);
    }
    if let order @ [_, ..] = classes.short(3) {
        short::run::<ENCRYPT, ROUNDS, 3>(lanes, order);
    }
    if let (order @ [_, ..], ends) = classes.long() {
        long::run::<ENCRYPT, ROUNDS>(lanes, order, ends);
    }
}

/// The counters of the last vector, by the blocks of text: those of three blocks, and that of what
/// the tag is encrypted with.
#[expect(clippy::cast_possible_truncation, reason = "in two bytes")]
static LAST_COUNTERS: LastCounters = {
    let mut all = [[[0; 16]; 4]; MAX_TEXT / 16 + 1];
    let mut blocks = 0;
    while blocks < all.len() {
        let mut place = 0;
        while place < 4 {
            // The last block of text is in the third place, with the counter of its number. Where
            // there is no text, any counter will do.
            let counter = if place < 3 {
                (blocks + place + TEXT_COUNTER.unsigned_abs()).saturating_sub(3)
            } else {
                TAG_COUNTER.unsigned_abs()
            };
            all[blocks][place][14] = (counter >> 8) as u8;
            all[blocks][place][15] = counter as u8;
            place += 1;
        }
        blocks += 1;
    }
    LastCounters(all)
};

#[repr(align(64))]
struct LastCounters([[[u8; 16]; 4]; MAX_TEXT / 16 + 1]);

/// The counters of the last vector of a packet.
#[inline]
fn last_counters<const ROUNDS: usize>(lane: &Lane<'_, GcmKey<ROUNDS>>) -> *const [u8; 16] {
    let blocks = (lane.text_len() + 15) >> 4;
    debug_assert!(blocks < LAST_COUNTERS.0.len());
    LAST_COUNTERS.0.as_ptr().wrapping_add(blocks).cast()
}

/// The counter block with zero in place of the counter, after the first step of AES.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn start<const ROUNDS: usize>(lane: &Lane<'_, GcmKey<ROUNDS>>) -> __m512i {
    // As `Lane::counter_block` has it: the lower twelve bytes of the nonce, reversed, and four zeros.
    let low = 0x0405_0607_0809_0a0b;
    let high = 0x8080_8080_0001_0203_u64.cast_signed();
    let order = _mm512_set_epi64(high, low, high, low, high, low, high, low);
    _mm512_xor_si512(
        _mm512_shuffle_epi8(_mm512_broadcast_i32x4(from_u128(lane.nonce)), order),
        spread512(&lane.key.start),
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
