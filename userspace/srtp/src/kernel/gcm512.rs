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
//! Blocks are taken four at a time, a vector each, and the *last* vector is made to be full. Then
//! the power that a block needs is that of its vector times that of its place in the vector:
//!
//! ```text
//! vector      blocks                      times       and place by place times
//! 0           0     0     head  X2        H^8         H^4  H^3  H^2  H^1
//! 1           X3    X4    X5    X6        H^4         H^4  H^3  H^2  H^1
//! last        X7    X8    X9    lengths   1           H^4  H^3  H^2  H^1
//! ```
//!
//! The left factor is the same for the whole vector: it is stored as one block and broadcast. The
//! right one is applied once, to the sum of all. Products are summed before they are reduced to
//! 128 bits, so that a packet up to 1264 bytes needs two reductions.
//!
//! # The places
//!
//! Missing blocks are zeros in *front*, where they change nothing. So the lengths are always in
//! the last place of the last vector, and in that place AES makes what the tag is encrypted with:
//! a packet of *n* blocks of text costs (n + 1) / 4 vectors of AES, rounded up, and nothing else.
//! The first vector starts up to 48 bytes in front of the text. What is there is stored again
//! as it was. The head, zero-padded, comes from its own vector and is moved to the places just in
//! front of the text; where they are not enough, a vector of its own goes first.
//!
//! # Opening
//!
//! The text is hashed first, without being written, and decrypted in a second pass when the tag
//! is right.

use core::arch::x86_64::{
    __m128i, __m512i, _mm_xor_si128, _mm512_broadcast_i32x4, _mm512_castsi512_si128,
    _mm512_clmulepi64_epi128, _mm512_extracti32x4_epi32, _mm512_loadu_si512, _mm512_mask_mov_epi64,
    _mm512_maskz_loadu_epi8, _mm512_maskz_mov_epi8, _mm512_maskz_set1_epi64, _mm512_or_si512,
    _mm512_permutex2var_epi64, _mm512_set_epi64, _mm512_setzero_si512, _mm512_shuffle_epi8,
    _mm512_shuffle_i32x4, _mm512_storeu_si512, _mm512_ternarylogic_epi32, _mm512_xor_si512,
};

use super::block::{GcmKey, POWERS};
use super::clmul::{fold, from_u128, into_u128};
use super::ctr::{aes512, counters512, ctr512, spread512};
use super::lane::Lane;

/// The counter block with 1 makes what the tag is encrypted with; text starts with 2.
const TAG_COUNTER: isize = 1;
const TEXT_COUNTER: isize = 2;

/// A product before its reduction, in three parts: of the lower halves, mixed, of the upper.
#[derive(Clone, Copy)]
struct Product {
    low: __m512i,
    middle: __m512i,
    high: __m512i,
}

/// Encrypts and writes the tags.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,pclmulqdq")]
pub(super) fn seal<const ROUNDS: usize>(lanes: &mut [Lane<'_, GcmKey<ROUNDS>>]) {
    for lane in lanes {
        let tag = pass::<true, ROUNDS>(lane);
        lane.set_trailer(tag);
    }
}

/// Verifies the tags, and decrypts what is authentic.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,pclmulqdq")]
pub(super) fn open<const ROUNDS: usize>(lanes: &mut [Lane<'_, GcmKey<ROUNDS>>]) {
    for lane in lanes {
        let tag = pass::<false, ROUNDS>(lane);
        // All bytes at once, so in constant time.
        *lane.authentic = tag == lane.trailer();
        if *lane.authentic {
            let (text, len) = (lane.text(), lane.text_len());
            // SAFETY: a lane has at most MAX_TEXT bytes of text, and 80 bytes behind it.
            unsafe { ctr512(&lane.key.rounds, iv(lane), TEXT_COUNTER, text, len) }
        }
    }
}

/// Hashes a packet, and encrypts it on the way if `ENCRYPT`. Returns its tag.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,pclmulqdq")]
fn pass<const ENCRYPT: bool, const ROUNDS: usize>(lane: &Lane<'_, GcmKey<ROUNDS>>) -> u128 {
    let key = lane.key;
    let len = lane.text_len();
    let blocks = len.div_ceil(16);
    // Places in front of the text, vectors that are not the last.
    let free = 3 - blocks % 4;
    let mut vectors = blocks / 4;
    // Where the next vector is read and written, and the counter of its first place.
    let mut at = lane.text().wrapping_sub(16 * free);
    let mut counter = TEXT_COUNTER - free.cast_signed();
    let mut inside = u64::MAX << (16 * free);

    let start = _mm512_xor_si512(_mm512_broadcast_i32x4(iv(lane)), spread512(&key.rounds[0]));
    let swap = swap();

    let head_blocks = lane.head.div_ceil(16);
    // SAFETY: the mask is as long as the head, which is at most a vector.
    let head = unsafe { _mm512_maskz_loadu_epi8(mask(lane.head), lane.start().cast()) };
    let head = _mm512_shuffle_epi8(head, swap);
    let shift = free.cast_signed() - head_blocks.cast_signed();

    // What is still to be added to the next vector.
    let mut carry = move_places(head, shift);
    let mut sum = Product::zero();
    let mut powers = (vectors + usize::from(shift < 0)).min(POWERS);
    let mut left = vectors + usize::from(shift < 0);
    if shift < 0 {
        sum.add(move_places(head, 4 + shift), &key.powers[powers - 1]);
        powers -= 1;
        left -= 1;
    }

    macro_rules! vectors {
        ($n:literal) => {
            let mut data = [start; $n];
            // SAFETY: all vectors but the last are between 48 bytes in front of the text, which
            // are in the headroom, and its end.
            unsafe {
                for (i, data) in data.iter_mut().enumerate() {
                    *data = _mm512_loadu_si512(at.add(64 * i).cast());
                }
                if ENCRYPT {
                    let mut stream = [start; $n];
                    for (i, block) in (0..).zip(&mut stream) {
                        *block = _mm512_xor_si512(*block, counters512(counter + 4 * i));
                    }
                    let mut stream = aes512(&key.rounds, stream);
                    stream[0] = _mm512_maskz_mov_epi8(inside, stream[0]);
                    for (i, (data, stream)) in data.iter_mut().zip(stream).enumerate() {
                        *data = _mm512_xor_si512(*data, stream);
                        _mm512_storeu_si512(at.add(64 * i).cast(), *data);
                    }
                }
            }
            data[0] = _mm512_maskz_mov_epi8(inside, data[0]);
            inside = u64::MAX;
            for (i, data) in data.into_iter().enumerate() {
                let data = _mm512_xor_si512(_mm512_shuffle_epi8(data, swap), carry);
                carry = _mm512_setzero_si512();
                sum.add(data, &key.powers[powers - 1 - i]);
            }
            at = at.wrapping_add(64 * $n);
            counter += 4 * $n;
            powers -= $n;
            left -= $n;
            vectors -= $n;
        };
    }
    while vectors > 0 {
        if powers == 0 {
            carry = _mm512_xor_si512(carry, sum.reduce());
            sum = Product::zero();
            powers = left.min(POWERS);
        }
        if vectors >= 8 && powers >= 8 {
            vectors!(8);
        } else if vectors >= 4 && powers >= 4 {
            vectors!(4);
        } else if vectors >= 2 && powers >= 2 {
            vectors!(2);
        } else {
            vectors!(1);
        }
    }
    carry = _mm512_xor_si512(carry, sum.reduce());

    // The last vector: what is left of the text, and the place of the lengths.
    let behind = lane.text().wrapping_add(len).addr() - at.addr();
    inside &= mask(behind);
    let stream = _mm512_xor_si512(start, counters512(counter));
    let tag_counter = _mm512_xor_si512(start, counters512(TAG_COUNTER - 3));
    let stream = _mm512_mask_mov_epi64(stream, LAST_PLACE, tag_counter);
    let [stream] = aes512(&key.rounds, [stream]);
    // SAFETY: the vector ends at most 31 bytes behind the text.
    let mut data = unsafe { _mm512_loadu_si512(at.cast()) };
    if ENCRYPT {
        data = _mm512_xor_si512(data, _mm512_maskz_mov_epi8(inside, stream));
        // SAFETY: the same bytes.
        unsafe { _mm512_storeu_si512(at.cast(), data) }
    }
    let data = _mm512_shuffle_epi8(_mm512_maskz_mov_epi8(inside, data), swap);
    let bits = |bytes: usize| 8 * (bytes as u64).cast_signed();
    let lengths = _mm512_or_si512(
        _mm512_maskz_set1_epi64(LAST_PLACE & LOWER_HALVES, bits(len)),
        _mm512_maskz_set1_epi64(LAST_PLACE & !LOWER_HALVES, bits(lane.head)),
    );
    let last = _mm512_ternarylogic_epi32::<XOR3>(data, lengths, carry);

    // SAFETY: four blocks are a vector.
    let places = unsafe { _mm512_loadu_si512(key.last.as_ptr().cast()) };
    let product = Product::new(last, places);
    let hash = fold(
        add_places(product.low),
        add_places(product.middle),
        add_places(product.high),
    );
    let tag_stream = into_u128(_mm512_extracti32x4_epi32::<3>(stream));
    into_u128(hash).swap_bytes() ^ tag_stream
}

/// The two quarters of the last block in a vector.
const LAST_PLACE: u8 = 0b1100_0000;
const LOWER_HALVES: u8 = 0b0101_0101;

/// The truth table of the XOR of three.
const XOR3: i32 = 0x96;

impl Product {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn zero() -> Self {
        let zero = _mm512_setzero_si512();
        Self {
            low: zero,
            middle: zero,
            high: zero,
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    fn new(a: __m512i, b: __m512i) -> Self {
        Self {
            low: _mm512_clmulepi64_epi128::<0x00>(a, b),
            middle: _mm512_xor_si512(
                _mm512_clmulepi64_epi128::<0x01>(a, b),
                _mm512_clmulepi64_epi128::<0x10>(a, b),
            ),
            high: _mm512_clmulepi64_epi128::<0x11>(a, b),
        }
    }

    /// Adds a vector of blocks, each times the same power.
    #[inline]
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    fn add(&mut self, blocks: __m512i, power: &[u8; 16]) {
        let b = spread512(power);
        self.low = _mm512_xor_si512(self.low, _mm512_clmulepi64_epi128::<0x00>(blocks, b));
        self.middle = _mm512_ternarylogic_epi32::<XOR3>(
            self.middle,
            _mm512_clmulepi64_epi128::<0x01>(blocks, b),
            _mm512_clmulepi64_epi128::<0x10>(blocks, b),
        );
        self.high = _mm512_xor_si512(self.high, _mm512_clmulepi64_epi128::<0x11>(blocks, b));
    }

    /// Back to 128 bits in each place; `clmul::fold` explains.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,vpclmulqdq")]
    fn reduce(self) -> __m512i {
        use core::arch::x86_64::{
            _mm512_bslli_epi128, _mm512_bsrli_epi128, _mm512_set1_epi64, _mm512_shuffle_epi32,
        };
        let polynomial = _mm512_set1_epi64(super::clmul::POLYNOMIAL);
        let low = _mm512_xor_si512(self.low, _mm512_bslli_epi128::<8>(self.middle));
        let step = _mm512_clmulepi64_epi128::<0x00>(low, polynomial);
        let low = _mm512_xor_si512(_mm512_shuffle_epi32::<0x4e>(low), step);
        let step = _mm512_clmulepi64_epi128::<0x00>(low, polynomial);
        let low = _mm512_xor_si512(_mm512_shuffle_epi32::<0x4e>(low), step);
        let high = _mm512_xor_si512(self.high, _mm512_bsrli_epi128::<8>(self.middle));
        _mm512_xor_si512(low, high)
    }
}

/// The sum of the four blocks of a vector.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_places(vector: __m512i) -> __m128i {
    let halves = _mm512_xor_si512(
        vector,
        _mm512_shuffle_i32x4::<0b01_00_11_10>(vector, vector),
    );
    _mm_xor_si128(
        _mm512_castsi512_si128(halves),
        _mm512_extracti32x4_epi32::<1>(halves),
    )
}

/// Moves the blocks of a vector to later places, or, if negative, to earlier ones; zeros follow.
#[inline]
#[target_feature(enable = "avx512f")]
fn move_places(vector: __m512i, places: isize) -> __m512i {
    /// The numbers of the halves of blocks, with the number of a zero on both sides.
    static HALVES: [u64; 32] = {
        let mut halves = [8; 32];
        let mut i = 0;
        while i < 8 {
            halves[14 + i] = i as u64;
            i += 1;
        }
        halves
    };
    debug_assert!((-4..=7).contains(&places));
    let from = (14 - 2 * places).cast_unsigned();
    // SAFETY: at most 14 + 8, and eight from there on are in the table.
    let halves = unsafe { _mm512_loadu_si512(HALVES.as_ptr().add(from).cast()) };
    _mm512_permutex2var_epi64(vector, halves, _mm512_setzero_si512())
}

/// So many lower bits, at most all.
fn mask(bits: usize) -> u64 {
    debug_assert!(bits <= 64);
    match bits {
        0 => 0,
        _ => u64::MAX >> (64 - bits),
    }
}

/// The counter block with zero in place of the counter.
#[inline]
#[target_feature(enable = "sse2")]
fn iv<const ROUNDS: usize>(lane: &Lane<'_, GcmKey<ROUNDS>>) -> __m128i {
    from_u128((lane.nonce << 32).swap_bytes())
}

/// Reverses the bytes of every block.
#[inline]
#[target_feature(enable = "avx512f")]
fn swap() -> __m512i {
    let low = 0x0001_0203_0405_0607;
    let high = 0x0809_0a0b_0c0d_0e0f;
    _mm512_set_epi64(low, high, low, high, low, high, low, high)
}
