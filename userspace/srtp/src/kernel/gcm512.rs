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
//! # The products
//!
//! Carry-less multiplication is what CPUs have least of, so that a product of two blocks is made
//! of three of halves, not four (Karatsuba): of the lower halves, of the upper halves, and of
//! the sums of both, from which the others are subtracted once, in front of the reduction. Two
//! vectors share a vector for the sums of their halves; that is why powers are stored in pairs,
//! lower halves first.
//!
//! # The places
//!
//! Missing blocks are zeros in *front*, where they change nothing. So the lengths are always in
//! the last place of the last vector, and in that place AES makes what the tag is encrypted with:
//! a packet of *n* blocks of text costs (n + 1) / 4 vectors of AES, rounded up, and nothing else.
//! The first vector starts up to 48 bytes in front of the text. What is there is stored again
//! as it was. The head comes from a load that starts where the head is then in the places just in
//! front of the text, and reads nothing but the head; where the places are not enough, a vector
//! with the rest of it goes first.
//!
//! # The order
//!
//! What takes long is not the work but to wait for it: ten rounds of AES for the keystream, then
//! two reductions. So packets are taken four at a time. First the keystream of the first vectors
//! and of the last is made for all four ([`Work::begin`]), which for short packets is all of it.
//! Then they are hashed ([`Work::finish`]), and long ones encrypted in chunks, of which one goes
//! through AES while the one before it is hashed. In the end the four hashes are brought into the
//! four places of a vector and need one reduction together, which comes after the keystream of the
//! next four so that nothing waits for it.
//!
//! # Opening
//!
//! The text is hashed first, without being written, and decrypted in a second pass when the tag
//! is right.

use core::arch::x86_64::{
    __m128i, __m512i, _mm_xor_si128, _mm512_aesenc_epi128, _mm512_aesenclast_epi128,
    _mm512_broadcast_i32x4, _mm512_bslli_epi128, _mm512_bsrli_epi128, _mm512_clmulepi64_epi128,
    _mm512_extracti32x4_epi32, _mm512_loadu_si512, _mm512_mask_mov_epi8, _mm512_mask_mov_epi64,
    _mm512_mask_set1_epi64, _mm512_maskz_loadu_epi8, _mm512_maskz_mov_epi8, _mm512_set_epi64,
    _mm512_set1_epi64, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_shuffle_epi32,
    _mm512_shuffle_i32x4, _mm512_storeu_si512, _mm512_ternarylogic_epi32, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi64, _mm512_xor_si512,
};
use core::mem::{self, MaybeUninit};
use core::ptr;

use super::block::{GcmKey, POWERS, Powers};
use super::clmul::{POLYNOMIAL, from_u128, into_u128};
use super::ctr::{aes512, counters512, spread512};
use super::lane::{Lane, MAX_TEXT};

/// The counter block with 1 makes what the tag is encrypted with; text starts with 2.
const TAG_COUNTER: isize = 1;
const TEXT_COUNTER: isize = 2;

/// Vectors that are encrypted at once.
const CHUNK: usize = 6;

/// Packets whose tags are made at once: one in each place of a vector.
const GROUP: usize = 4;

/// Vectors behind a reduction in the middle of a packet that needs one.
const SECOND_HALF: usize = 18;
const _: () = assert!(SECOND_HALF <= POWERS && SECOND_HALF.is_multiple_of(CHUNK));
const _: () = assert!(MAX_TEXT / 64 + 1 - SECOND_HALF <= POWERS);

/// The two quarters of the last block in a vector.
const LAST_PLACE: u8 = 0b1100_0000;
const LOWER_HALVES: u8 = 0b0101_0101;

/// The truth table of the XOR of three.
const XOR3: i32 = 0x96;

// SAFETY: both are 64 bytes without padding, of which any value is valid.
const ZERO: __m512i = unsafe { mem::transmute([0u8; 64]) };

/// A packet on its way.
#[derive(Clone, Copy)]
struct Work {
    /// Where the first vector is.
    at: *mut u8,
    /// The counter of its first place.
    counter: isize,
    /// Vectors in front of the whole chunks: at least one, if there is any but the last.
    few: usize,
    /// Chunks in front of the last vector.
    chunks: usize,
    /// The bytes of the first and of the last vector that are text.
    inside: u64,
    inside_last: u64,
    /// Keystream of the first vectors, as many as are not in whole chunks, and of the last one;
    /// zero where there is no text.
    stream: [MaybeUninit<__m512i>; CHUNK],
    stream_last: __m512i,
    /// What the tag is encrypted with.
    stream_tag: __m128i,
    /// What is the hash once its places are added and it is reduced.
    product: Product,
}

/// Products before their reduction, in the three parts of Karatsuba: of the lower halves, of the
/// sums of the halves, of the upper halves.
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
        // What follows begins with kilobytes to be zeroed.
        return;
    }
    // Those of this group and of the one before it, in turn.
    let mut works = [[Work::EMPTY; GROUP]; 2];
    let mut this = 0;
    let mut groups = lanes.chunks_mut(GROUP);
    let mut before: Option<&mut [Lane<'_, GcmKey<ROUNDS>>]> = None;
    loop {
        let group = groups.next();
        if let Some(group) = &group {
            for (lane, work) in group.iter().zip(&mut works[this]) {
                work.begin::<ENCRYPT, ROUNDS>(lane);
            }
        }
        // Late, because the tags wait for all that was before.
        if let Some(before) = before {
            end::<ENCRYPT, ROUNDS>(before, &works[1 - this]);
        }
        let Some(group) = group else { return };
        for (lane, work) in group.iter().zip(&mut works[this]) {
            work.finish::<ENCRYPT, ROUNDS>(lane);
        }
        before = Some(group);
        this = 1 - this;
    }
}

/// Makes the tags of a group that is hashed, and writes them if `ENCRYPT`, otherwise compares
/// them and decrypts what is authentic.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn end<const ENCRYPT: bool, const ROUNDS: usize>(
    group: &mut [Lane<'_, GcmKey<ROUNDS>>],
    works: &[Work; GROUP],
) {
    let hashes = Product::add_places(works).reduce();
    let hashes = _mm512_shuffle_epi8(hashes, swap());
    let [a, b, c, d] = works;
    let tags = [
        _mm_xor_si128(_mm512_extracti32x4_epi32::<0>(hashes), a.stream_tag),
        _mm_xor_si128(_mm512_extracti32x4_epi32::<1>(hashes), b.stream_tag),
        _mm_xor_si128(_mm512_extracti32x4_epi32::<2>(hashes), c.stream_tag),
        _mm_xor_si128(_mm512_extracti32x4_epi32::<3>(hashes), d.stream_tag),
    ];
    for ((lane, tag), work) in group.iter_mut().zip(tags).zip(works) {
        if ENCRYPT {
            lane.set_trailer(into_u128(tag));
        } else {
            // All bytes at once, so in constant time.
            *lane.authentic = into_u128(tag) == lane.trailer();
            if *lane.authentic {
                work.decrypt(lane);
            }
        }
    }
}

/// Does a macro with a number from 0 to [`CHUNK`], so that the loops in it are unrolled.
macro_rules! unrolled {
    ($count:expr, $body:ident) => {
        match $count {
            0 => $body!(0),
            1 => $body!(1),
            2 => $body!(2),
            3 => $body!(3),
            4 => $body!(4),
            5 => $body!(5),
            _ => $body!(6),
        }
    };
}

impl Work {
    const EMPTY: Self = Self {
        at: ptr::null_mut(),
        counter: 0,
        few: 0,
        chunks: 0,
        inside: 0,
        inside_last: 0,
        stream: [MaybeUninit::uninit(); CHUNK],
        stream_last: ZERO,
        stream_tag: from_u128(0),
        product: Product {
            low: ZERO,
            middle: ZERO,
            high: ZERO,
        },
    };

    /// Makes the keystream of what is not in whole chunks.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn begin<const ENCRYPT: bool, const ROUNDS: usize>(&mut self, lane: &Lane<'_, GcmKey<ROUNDS>>) {
        let blocks = lane.text_len().div_ceil(16);
        // Places in front of the text.
        let free = !blocks & 3;
        let vectors = blocks / 4;
        self.chunks = vectors.saturating_sub(1) / CHUNK;
        self.few = vectors - self.chunks * CHUNK;
        self.at = lane.text().wrapping_sub(16 * free);
        self.counter = TEXT_COUNTER - free.cast_signed();
        self.inside = u64::MAX << (16 * free);
        self.inside_last = !(u64::MAX << (lane.text_len() + 16 * free - 64 * vectors));
        if vectors == 0 {
            self.inside_last &= self.inside;
        }

        let rounds = &lane.key.rounds;
        let start = start(lane);
        let tag_counter = _mm512_xor_si512(start, counters512(TAG_COUNTER - 3));
        let last = counters512(self.counter + 4 * vectors.cast_signed());
        let last = _mm512_xor_si512(start, last);
        let last = _mm512_mask_mov_epi64(last, LAST_PLACE, tag_counter);
        macro_rules! stream {
            ($n:literal) => {{
                let mut blocks = [last; $n + 1];
                for (i, block) in (0..$n).zip(&mut blocks) {
                    *block = _mm512_xor_si512(start, counters512(self.counter + 4 * i));
                }
                blocks = aes512(rounds, blocks);
                self.stream_tag = _mm512_extracti32x4_epi32::<3>(blocks[$n]);
                self.stream_last = _mm512_maskz_mov_epi8(self.inside_last, blocks[$n]);
                blocks[0] = _mm512_maskz_mov_epi8(self.inside, blocks[0]);
                for (stream, block) in self.stream[..$n].iter_mut().zip(blocks) {
                    stream.write(block);
                }
            }};
        }
        unrolled!(self.few, stream);
    }

    /// Hashes a packet, and encrypts it on the way if `ENCRYPT`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn finish<const ENCRYPT: bool, const ROUNDS: usize>(
        &mut self,
        lane: &Lane<'_, GcmKey<ROUNDS>>,
    ) {
        let key = lane.key;
        let swap = swap();
        let mut sum = Product::zero();
        let mut at = self.at;

        // The head, zero-padded, comes in the places just in front of the text.
        let head_end = lane.head.next_multiple_of(16).cast_signed();
        let place = lane.text().addr().wrapping_sub(at.addr()).cast_signed() - head_end;
        let mut head = head_at(lane, place);
        let vectors = self.few + self.chunks * CHUNK + usize::from(place < 0);
        let mut power = vectors;
        if power > POWERS {
            // Of what comes later there is a reduction in between.
            power -= SECOND_HALF;
        }
        if place < 0 {
            // There are not enough, so that a vector of its own goes first.
            power -= 1;
            let early = _mm512_shuffle_epi8(head_at(lane, place + 64), swap);
            sum.add([early], &key.powers, power);
        }

        macro_rules! hash {
            ($n:literal, $stream:expr, $first:expr) => {{
                let mut data: [__m512i; $n] = $stream;
                for (i, data) in data.iter_mut().enumerate() {
                    // SAFETY: all vectors but the last are between 48 bytes in front of the text,
                    // which are in the headroom, and its end.
                    unsafe {
                        let place = at.add(64 * i);
                        let text = _mm512_loadu_si512(place.cast());
                        if ENCRYPT {
                            *data = _mm512_xor_si512(text, *data);
                            _mm512_storeu_si512(place.cast(), *data);
                        } else {
                            *data = text;
                        }
                    }
                }
                data[0] = $first(data[0]);
                for data in &mut data {
                    *data = _mm512_shuffle_epi8(*data, swap);
                }
                at = at.wrapping_add(64 * $n);
                power -= $n;
                data
            }};
        }
        macro_rules! few {
            (0) => {{}};
            ($n:literal) => {{
                let mut stream = [head; $n];
                for (to, from) in stream.iter_mut().zip(&self.stream) {
                    // SAFETY: `begin` has written so many.
                    *to = unsafe { from.assume_init() };
                }
                let head_and = |data| _mm512_mask_mov_epi8(head, self.inside, data);
                let data = hash!($n, stream, head_and);
                sum.add(data, &key.powers, power);
                head = _mm512_setzero_si512();
            }};
        }
        if self.chunks > 0 {
            // AES of a chunk and the hash of what is before it by turns, so that what the CPU has
            // for the one does not wait for the other.
            let start = start(lane);
            let rounds = &key.rounds;
            let mut counter = self.counter + 4 * self.few.cast_signed();
            let mut counters = || {
                let mut blocks = [start; CHUNK];
                if ENCRYPT {
                    for block in &mut blocks {
                        *block = _mm512_xor_si512(start, counters512(counter));
                        counter += 4;
                    }
                }
                blocks
            };
            let mut stream = counters();
            if ENCRYPT {
                for round in &rounds[1..ROUNDS / 2] {
                    aes_round(&mut stream, round);
                }
            }
            unrolled!(self.few, few);
            if ENCRYPT {
                for round in &rounds[ROUNDS / 2..ROUNDS - 1] {
                    aes_round(&mut stream, round);
                }
                aes_last_round(&mut stream, &rounds[ROUNDS - 1]);
            }
            let mut chunks = self.chunks;
            loop {
                let mut carry = _mm512_setzero_si512();
                if power == 0 {
                    carry = sum.reduce();
                    sum = Product::zero();
                    power = SECOND_HALF;
                }
                macro_rules! pair {
                    ($i:expr) => {{
                        let mut data = hash!(2, [stream[2 * $i], stream[2 * $i + 1]], |data| data);
                        if $i == 0 {
                            data[0] = _mm512_xor_si512(data[0], carry);
                        }
                        sum.add(data, &key.powers, power);
                    }};
                }
                chunks -= 1;
                if chunks == 0 {
                    for i in 0..CHUNK / 2 {
                        pair!(i);
                    }
                    break;
                }
                let mut next = counters();
                if ENCRYPT {
                    let share = (ROUNDS - 2).div_ceil(CHUNK / 2);
                    for (i, rounds) in rounds[1..ROUNDS - 1].chunks(share).enumerate() {
                        for round in rounds {
                            aes_round(&mut next, round);
                        }
                        pair!(i);
                    }
                    aes_last_round(&mut next, &rounds[ROUNDS - 1]);
                } else {
                    for i in 0..CHUNK / 2 {
                        pair!(i);
                    }
                }
                stream = next;
            }
        } else {
            unrolled!(self.few, few);
        }

        // The last vector: what is left of the text, and the place of the lengths.
        // SAFETY: the vector ends at most 31 bytes behind the text.
        let mut data = unsafe { _mm512_loadu_si512(at.cast()) };
        if ENCRYPT {
            data = _mm512_xor_si512(data, self.stream_last);
            // SAFETY: the same bytes.
            unsafe { _mm512_storeu_si512(at.cast(), data) }
        }
        let data = _mm512_mask_mov_epi8(head, self.inside_last, data);
        let data = _mm512_shuffle_epi8(data, swap);
        let bits = |bytes: usize| 8 * (bytes as u64).cast_signed();
        let text_bits = bits(lane.text_len());
        let data = _mm512_mask_set1_epi64(data, LAST_PLACE & LOWER_HALVES, text_bits);
        let data = _mm512_mask_set1_epi64(data, LAST_PLACE & !LOWER_HALVES, bits(lane.head));
        let data = if vectors > 0 {
            _mm512_xor_si512(data, sum.reduce())
        } else {
            data
        };
        // SAFETY: four blocks are a vector.
        let places = unsafe { _mm512_loadu_si512(key.last.as_ptr().cast()) };
        self.product = Product::new(data, places);
    }

    /// Decrypts the packet.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn decrypt<const ROUNDS: usize>(&self, lane: &Lane<'_, GcmKey<ROUNDS>>) {
        let mut at = self.at;
        let mut apply = |stream| {
            // SAFETY: the vectors are between 48 bytes in front of the text and 31 behind it.
            unsafe {
                let text = _mm512_loadu_si512(at.cast());
                _mm512_storeu_si512(at.cast(), _mm512_xor_si512(text, stream));
            }
            at = at.wrapping_add(64);
        };
        for stream in &self.stream[..self.few] {
            // SAFETY: `begin` has written so many.
            apply(unsafe { stream.assume_init() });
        }
        if self.chunks > 0 {
            let start = start(lane);
            let mut counter = self.counter + 4 * self.few.cast_signed();
            for _ in 0..self.chunks {
                let mut blocks = [start; CHUNK];
                for block in &mut blocks {
                    *block = _mm512_xor_si512(start, counters512(counter));
                    counter += 4;
                }
                for stream in aes512(&lane.key.rounds, blocks) {
                    apply(stream);
                }
            }
        }
        apply(self.stream_last);
    }
}

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
            middle: _mm512_clmulepi64_epi128::<0x00>(add_halves(a), add_halves(b)),
            high: _mm512_clmulepi64_epi128::<0x11>(a, b),
        }
    }

    /// Adds vectors of blocks: the last times the power number `power`, those before it times the
    /// powers that follow.
    #[inline]
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    fn add<const N: usize>(&mut self, blocks: [__m512i; N], powers: &[Powers], power: usize) {
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
    fn add_places(works: &[Work; GROUP]) -> Self {
        let [a, b, c, d] = works.each_ref().map(|work| &work.product);
        Self {
            low: add_places(a.low, b.low, c.low, d.low),
            middle: add_places(a.middle, b.middle, c.middle, d.middle),
            high: add_places(a.high, b.high, c.high, d.high),
        }
    }

    /// Back to 128 bits in each place; `clmul::fold` explains.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,vpclmulqdq")]
    fn reduce(self) -> __m512i {
        let polynomial = _mm512_set1_epi64(POLYNOMIAL);
        let middle = _mm512_ternarylogic_epi32::<XOR3>(self.middle, self.low, self.high);
        let low = _mm512_xor_si512(self.low, _mm512_bslli_epi128::<8>(middle));
        let high = _mm512_xor_si512(self.high, _mm512_bsrli_epi128::<8>(middle));
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

/// What there is of the head in a vector in which it starts at byte `place`, which may be outside.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,bmi2")]
fn head_at<const ROUNDS: usize>(lane: &Lane<'_, GcmKey<ROUNDS>>, place: isize) -> __m512i {
    // In two steps, because there may be 64 bytes.
    let head = !(u64::MAX << (lane.head / 2) << (lane.head - lane.head / 2));
    let mask = if place < 0 {
        // In two steps as well.
        head >> (-place / 2) >> (-place / 2)
    } else {
        head << place
    };
    // SAFETY: the mask is zero outside of the head.
    unsafe { _mm512_maskz_loadu_epi8(mask, lane.start().wrapping_offset(-place).cast()) }
}

/// One round of AES.
#[inline]
#[target_feature(enable = "avx512f,vaes")]
fn aes_round<const N: usize>(blocks: &mut [__m512i; N], round: &[u8; 16]) {
    let round = spread512(round);
    for block in blocks {
        *block = _mm512_aesenc_epi128(*block, round);
    }
}

/// The last round of AES.
#[inline]
#[target_feature(enable = "avx512f,vaes")]
fn aes_last_round<const N: usize>(blocks: &mut [__m512i; N], round: &[u8; 16]) {
    let round = spread512(round);
    for block in blocks {
        *block = _mm512_aesenclast_epi128(*block, round);
    }
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
