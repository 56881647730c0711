// SPDX-License-Identifier: Apache-2.0 OR MIT

//! AES in counter mode.
//!
//! The counter blocks of a packet are its IV plus 0, 1, 2, ... In both modes the IV ends with
//! zeros where the counter is, so that adding a counter is XORing it, and the first step of AES
//! is an XOR too: with `IV ^ first round key` made once, a block costs one XOR with a counter from
//! a table to get to the second round. No counter is ever incremented or byte-swapped.
//!
//! Text is taken in whole vectors. In the last one the keystream behind the end is replaced by
//! zeros, so that what is stored there is what was there.

use core::arch::x86_64::{
    __m128i, __m256i, __m512i, _mm_aesenc_si128, _mm_aesenclast_si128, _mm_and_si128,
    _mm_loadu_si128, _mm_storeu_si128, _mm_xor_si128, _mm256_aesenc_epi128,
    _mm256_aesenclast_epi128, _mm256_and_si256, _mm256_broadcastsi128_si256, _mm256_loadu_si256,
    _mm256_storeu_si256, _mm256_xor_si256, _mm512_aesenc_epi128, _mm512_aesenclast_epi128,
    _mm512_broadcast_i32x4, _mm512_loadu_si512, _mm512_maskz_mov_epi8, _mm512_storeu_si512,
    _mm512_xor_si512,
};
use core::array;

use super::clmul::from_u128;
use super::lane::MAX_TEXT;

/// Counters in front of that for block 0: where vectors of GCM start up to three blocks early.
const EARLY: usize = 4;

/// Counters behind that for the last block: the two that GCM does not use, the rest of a vector.
const LATE: usize = 8;

/// Counters, big-endian, in the last bytes of their blocks.
#[repr(C, align(64))]
struct Counters([[u8; 16]; EARLY + MAX_TEXT / 16 + LATE]);

static COUNTERS: Counters = {
    let mut blocks = [[0; 16]; EARLY + MAX_TEXT / 16 + LATE];
    let mut counter: u16 = 0;
    while (counter as usize) < blocks.len() - EARLY {
        [
            blocks[EARLY + counter as usize][14],
            blocks[EARLY + counter as usize][15],
        ] = counter.to_be_bytes();
        counter += 1;
    }
    Counters(blocks)
};

/// Where the counters from the one for `counter` on are, which may be up to 4 below zero.
#[inline]
pub(super) fn counters(counter: isize) -> *const [u8; 16] {
    let at = counter.wrapping_add_unsigned(EARLY).cast_unsigned();
    COUNTERS.0.as_ptr().wrapping_add(at)
}

/// Four blocks of counters from the one for `counter` on.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn counters512(counter: isize) -> __m512i {
    debug_assert!((-4..=(MAX_TEXT / 16 + LATE).cast_signed() - 4).contains(&counter));
    // SAFETY: a text has at most MAX_TEXT / 16 blocks, so that its counters are in the table.
    unsafe { _mm512_loadu_si512(counters(counter).cast()) }
}

/// A round key in every block of a vector.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn spread512(block: &[u8; 16]) -> __m512i {
    _mm512_broadcast_i32x4(from_u128(u128::from_ne_bytes(*block)))
}

/// AES of `N` vectors, to which the first round key has been XORed.
#[inline]
#[target_feature(enable = "avx512f,vaes")]
pub(super) fn aes512<const ROUNDS: usize, const N: usize>(
    rounds: &[[u8; 16]; ROUNDS],
    mut blocks: [__m512i; N],
) -> [__m512i; N] {
    for round in &rounds[1..ROUNDS - 1] {
        let round = spread512(round);
        for block in &mut blocks {
            *block = _mm512_aesenc_epi128(*block, round);
        }
    }
    let last = spread512(&rounds[ROUNDS - 1]);
    for block in &mut blocks {
        *block = _mm512_aesenclast_epi128(*block, last);
    }
    blocks
}

/// XORs the keystream to `len` bytes of text. `start` is a counter block with the counter zero,
/// after the first step of AES.
///
/// # Safety
///
/// From `text` on, `len` bytes rounded up to a multiple of 64 can be written, and `len` is at most
/// [`MAX_TEXT`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes")]
pub(super) unsafe fn ctr512<const ROUNDS: usize>(
    rounds: &[[u8; 16]; ROUNDS],
    start: __m128i,
    first: isize,
    text: *mut u8,
    len: usize,
) {
    let start = _mm512_broadcast_i32x4(start);
    let mut at = 0;
    let mut counter = first;
    macro_rules! vectors {
        ($n:literal, $mask:expr) => {
            let mut blocks = [start; $n];
            for (i, block) in (0..).zip(&mut blocks) {
                *block = _mm512_xor_si512(*block, counters512(counter + 4 * i));
            }
            let stream = aes512(rounds, blocks);
            for (i, stream) in stream.into_iter().enumerate() {
                // SAFETY: the vector starts in the text, so the caller vouches for it.
                unsafe {
                    let place = text.add(at + 64 * i);
                    let stream = $mask(stream);
                    let text = _mm512_xor_si512(_mm512_loadu_si512(place.cast()), stream);
                    _mm512_storeu_si512(place.cast(), text);
                }
            }
            at += 64 * $n;
            counter += 4 * $n;
        };
    }
    while len - at >= 512 {
        vectors!(8, |stream| stream);
    }
    if len - at >= 256 {
        vectors!(4, |stream| stream);
    }
    if len - at >= 128 {
        vectors!(2, |stream| stream);
    }
    if len - at >= 64 {
        vectors!(1, |stream| stream);
    }
    if at < len {
        let inside = u64::MAX >> (64 - (len - at));
        vectors!(1, |stream| _mm512_maskz_mov_epi8(inside, stream));
    }
    _ = (at, counter);
}

/// Two blocks of counters from the one for `counter` on.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn counters256(counter: isize) -> __m256i {
    debug_assert!((-4..=(MAX_TEXT / 16 + LATE).cast_signed() - 2).contains(&counter));
    // SAFETY: a text has at most MAX_TEXT / 16 blocks, so that its counters are in the table.
    unsafe { _mm256_loadu_si256(counters(counter).cast()) }
}

/// Two round keys, or other blocks, of which both are `block`.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn spread256(block: &[u8; 16]) -> __m256i {
    _mm256_broadcastsi128_si256(key128(block))
}

/// AES of `N` vectors, to which the first round key has been XORed.
#[inline]
#[target_feature(enable = "avx2,vaes")]
pub(super) fn aes256<const ROUNDS: usize, const N: usize>(
    rounds: &[[u8; 16]; ROUNDS],
    mut blocks: [__m256i; N],
) -> [__m256i; N] {
    for round in &rounds[1..ROUNDS - 1] {
        let round = spread256(round);
        for block in &mut blocks {
            *block = _mm256_aesenc_epi128(*block, round);
        }
    }
    let last = spread256(&rounds[ROUNDS - 1]);
    for block in &mut blocks {
        *block = _mm256_aesenclast_epi128(*block, last);
    }
    blocks
}

/// 64 bytes of ones, then zeros.
static ONES: [u8; 128] = {
    let mut bytes = [0; 128];
    let mut at = 0;
    while at < 64 {
        bytes[at] = u8::MAX;
        at += 1;
    }
    bytes
};

/// Ones in the first `len` bytes of a vector.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn first256(len: usize) -> __m256i {
    let bytes = &ONES[64 - len.min(32)..][..32];
    // SAFETY: 32 bytes are a vector.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// See [`ctr512`]; sixteen blocks at once, two to a vector.
///
/// # Safety
///
/// From `text` on, `len` bytes rounded up to a multiple of 32 can be written, and `len` is at most
/// [`MAX_TEXT`].
#[inline]
#[target_feature(enable = "avx2,vaes")]
pub(super) unsafe fn ctr256<const ROUNDS: usize>(
    rounds: &[[u8; 16]; ROUNDS],
    start: __m128i,
    first: usize,
    text: *mut u8,
    len: usize,
) {
    let start = _mm256_broadcastsi128_si256(start);
    let mut at = 0;
    let counters = COUNTERS.0[EARLY + first..].as_ptr().cast::<u8>();
    debug_assert!(16 * first + len <= MAX_TEXT + 16 * LATE);
    macro_rules! vectors {
        ($n:literal, $mask:expr) => {
            let mut blocks = [start; $n];
            for (i, block) in blocks.iter_mut().enumerate() {
                // SAFETY: a text has at most MAX_TEXT / 16 blocks, so that its counters, and the
                // one that the last vector may have too many, are in the table.
                let counter = unsafe { _mm256_loadu_si256(counters.add(at + 32 * i).cast()) };
                *block = _mm256_xor_si256(*block, counter);
            }
            let stream = aes256(rounds, blocks);
            for (i, stream) in stream.into_iter().enumerate() {
                // SAFETY: the vector starts in the text, so the caller vouches for it.
                unsafe {
                    let place = text.add(at + 32 * i);
                    let stream = $mask(stream);
                    let text = _mm256_xor_si256(_mm256_loadu_si256(place.cast()), stream);
                    _mm256_storeu_si256(place.cast(), text);
                }
            }
            at += 32 * $n;
        };
    }
    while len - at >= 256 {
        vectors!(8, |stream| stream);
    }
    if len - at >= 128 {
        vectors!(4, |stream| stream);
    }
    if len - at >= 64 {
        vectors!(2, |stream| stream);
    }
    if len - at >= 32 {
        vectors!(1, |stream| stream);
    }
    if at < len {
        let inside = first256(len - at);
        vectors!(1, |stream| _mm256_and_si256(stream, inside));
    }
    _ = at;
}

/// See [`ctr512`]; eight blocks at once, each in its own vector.
///
/// # Safety
///
/// From `text` on, `len` bytes rounded up to a multiple of 16 can be written, and `len` is at most
/// [`MAX_TEXT`].
#[inline]
#[target_feature(enable = "aes")]
pub(super) unsafe fn ctr128<const ROUNDS: usize>(
    rounds: &[[u8; 16]; ROUNDS],
    start: __m128i,
    first: usize,
    text: *mut u8,
    len: usize,
) {
    let mut at = 0;
    let mut counters = COUNTERS.0[EARLY + first..].iter();
    macro_rules! blocks {
        ($n:literal, $inside:expr) => {
            let mut blocks = [start; $n];
            for (block, counter) in blocks.iter_mut().zip(&mut counters) {
                *block = _mm_xor_si128(*block, key128(counter));
            }
            let stream = aes128(rounds, blocks);
            for (i, stream) in stream.into_iter().enumerate() {
                // SAFETY: the block starts in the text, so the caller vouches for it.
                unsafe {
                    let place = text.add(at + 16 * i).cast();
                    let stream = _mm_and_si128(stream, from_u128($inside));
                    _mm_storeu_si128(place, _mm_xor_si128(_mm_loadu_si128(place), stream));
                }
            }
            at += 16 * $n;
        };
    }
    while len - at >= 128 {
        blocks!(8, u128::MAX);
    }
    if len - at >= 64 {
        blocks!(4, u128::MAX);
    }
    while len - at >= 16 {
        blocks!(1, u128::MAX);
    }
    if at < len {
        blocks!(1, u128::MAX >> (128 - 8 * (len - at)));
    }
    _ = at;
}

/// Four blocks of counters from the one for `counter` on.
#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn counters128(counter: isize) -> [__m128i; 4] {
    debug_assert!((-4..=(MAX_TEXT / 16 + LATE).cast_signed() - 4).contains(&counter));
    // SAFETY: a text has at most MAX_TEXT / 16 blocks, so that its counters are in the table, and
    // so are those behind them that SHA-1 makes a whole block of.
    array::from_fn(|i| unsafe { _mm_loadu_si128(counters(counter).add(i).cast()) })
}

/// Ones in the first `len` bytes of four blocks.
#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn first128(len: usize) -> [__m128i; 4] {
    let bytes = &ONES[64 - len.min(64)..][..64];
    // SAFETY: 64 bytes are four blocks.
    array::from_fn(|i| unsafe { _mm_loadu_si128(bytes.as_ptr().add(16 * i).cast()) })
}

/// A block of a key, or a counter.
#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn key128(block: &[u8; 16]) -> __m128i {
    from_u128(u128::from_ne_bytes(*block))
}

/// AES of `N` blocks, to which the first round key has been XORed.
#[inline]
#[target_feature(enable = "aes")]
pub(super) fn aes128<const ROUNDS: usize, const N: usize>(
    rounds: &[[u8; 16]; ROUNDS],
    mut blocks: [__m128i; N],
) -> [__m128i; N] {
    for round in &rounds[1..ROUNDS - 1] {
        for block in &mut blocks {
            *block = _mm_aesenc_si128(*block, key128(round));
        }
    }
    for block in &mut blocks {
        *block = _mm_aesenclast_si128(*block, key128(&rounds[ROUNDS - 1]));
    }
    blocks
}
