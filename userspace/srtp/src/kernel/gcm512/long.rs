// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Packets of any length.
//!
//! # The powers
//!
//! A vector of blocks is multiplied by one power for all its places, and the sum of all by those of
//! the places at the end:
//!
//! ```text
//! vector      blocks                      times       and place by place times
//! 0           0     0     head  X2        H^8         H^4  H^3  H^2  H^1
//! 1           X3    X4    X5    X6        H^4         H^4  H^3  H^2  H^1
//! last        X7    X8    X9    lengths   1           H^4  H^3  H^2  H^1
//! ```
//!
//! The left factor is stored as one block and broadcast. Products are summed before they are
//! reduced to 128 bits, so that a packet up to 1264 bytes needs two reductions. A product of two
//! blocks is made of three of halves, not four (Karatsuba): of the lower halves, of the upper
//! halves, and of the sums of both, from which the others are subtracted once, in front of the
//! reduction. Two vectors share a vector for the sums of their halves; that is why powers are
//! stored in pairs, lower halves first.
//!
//! # The head
//!
//! It comes from a load that starts where the head is then in the places just in front of the text,
//! and reads nothing but the head; where the places are not enough, a vector with the rest of it
//! goes first.
//!
//! # The order
//!
//! Packets are taken four at a time. First the keystream of the first vectors and of the last is
//! made for all four ([`Work::begin`]). Then they are hashed ([`Work::finish`]), and encrypted in
//! chunks, of which one goes through AES while the one before it is hashed.

use core::arch::x86_64::{
    __m128i, __m512i, _mm512_aesenc_epi128, _mm512_aesenclast_epi128, _mm512_extracti32x4_epi32,
    _mm512_loadu_si512, _mm512_mask_mov_epi8, _mm512_mask_mov_epi64, _mm512_maskz_loadu_epi8,
    _mm512_maskz_mov_epi8, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_storeu_si512,
    _mm512_xor_si512,
};
use core::mem::MaybeUninit;
use core::ptr;

use super::super::block::{GcmKey, POWERS};
use super::super::clmul::from_u128;
use super::super::ctr::{aes512, counters512, spread512};
use super::super::lane::{Lane, MAX_TEXT};
use super::{
    GROUP, LAST_PLACE, Product, TAG_COUNTER, TEXT_COUNTER, finish_tags, start, swap, with_lengths,
};

/// Vectors that are encrypted at once.
const CHUNK: usize = 6;

/// Vectors behind a reduction in the middle of a packet that needs one.
const SECOND_HALF: usize = 18;
const _: () = assert!(SECOND_HALF <= POWERS && SECOND_HALF.is_multiple_of(CHUNK));
const _: () = assert!(MAX_TEXT / 64 + 1 - SECOND_HALF <= POWERS);

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
    /// Keystream of the last vector; zero where there is no text.
    stream_last: __m512i,
    /// What the tag is encrypted with.
    stream_tag: __m128i,
}

/// Keystream of the first vectors of a packet, as many as are not in whole chunks; zero where there
/// is no text.
type Stream = [MaybeUninit<__m512i>; CHUNK];

/// Packets of one group, on their way.
struct Group {
    works: [Work; GROUP],
    streams: [Stream; GROUP],
    /// What are their hashes once places are added and it is reduced.
    products: [MaybeUninit<Product>; GROUP],
}

/// Seals if `ENCRYPT`, opens if not, the lanes at the numbers in `order`.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
pub(super) fn run<const ENCRYPT: bool, const ROUNDS: usize>(
    lanes: &mut [Lane<'_, GcmKey<ROUNDS>>],
    order: &[u8],
) {
    // This group and the one before it, in turn.
    let mut all = [const { Group::EMPTY }; 2];
    let mut this = 0;
    let mut groups = order.chunks(GROUP);
    let mut before: Option<&[u8]> = None;
    loop {
        let order = groups.next();
        if let Some(order) = order {
            let Group { works, streams, .. } = &mut all[this];
            for (at, (work, stream)) in order.iter().zip(works.iter_mut().zip(streams)) {
                work.begin::<ENCRYPT, ROUNDS>(&lanes[usize::from(*at)], stream);
            }
        }
        // Late, because the tags wait for all that was before.
        if let Some(before) = before {
            end::<ENCRYPT, ROUNDS>(lanes, before, &all[1 - this]);
        }
        let Some(order) = order else { return };
        let Group {
            works,
            streams,
            products,
        } = &mut all[this];
        for (i, product) in products.iter_mut().enumerate() {
            product.write(match order.get(i) {
                Some(at) => {
                    works[i].finish::<ENCRYPT, ROUNDS>(&lanes[usize::from(*at)], &streams[i])
                }
                None => Product::ZERO,
            });
        }
        before = Some(order);
        this = 1 - this;
    }
}

/// Makes the tags of a group that is hashed, and writes them if `ENCRYPT`, otherwise compares
/// them and decrypts what is authentic.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn end<const ENCRYPT: bool, const ROUNDS: usize>(
    lanes: &mut [Lane<'_, GcmKey<ROUNDS>>],
    order: &[u8],
    group: &Group,
) {
    let stream_tags = group.works.each_ref().map(|work| work.stream_tag);
    let products = group.products.each_ref();
    // SAFETY: `run` has written all of them.
    let products = products.map(|product| unsafe { product.assume_init_ref() });
    let tags = finish_tags(products, stream_tags);
    for (i, (at, tag)) in order.iter().zip(tags).enumerate() {
        let lane = &mut lanes[usize::from(*at)];
        if ENCRYPT {
            lane.set_trailer(tag);
        } else {
            // All bytes at once, so in constant time.
            *lane.authentic = tag == lane.trailer();
            if *lane.authentic {
                group.works[i].decrypt(lane, &group.streams[i]);
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

impl Group {
    const EMPTY: Self = Self {
        works: [Work::EMPTY; GROUP],
        streams: [[MaybeUninit::uninit(); CHUNK]; GROUP],
        products: [const { MaybeUninit::uninit() }; GROUP],
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
        stream_last: super::ZERO,
        stream_tag: from_u128(0),
    };

    /// Makes the keystream of what is not in whole chunks.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn begin<const ENCRYPT: bool, const ROUNDS: usize>(
        &mut self,
        lane: &Lane<'_, GcmKey<ROUNDS>>,
        stream: &mut Stream,
    ) {
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
        macro_rules! keystream {
            ($n:literal) => {{
                let mut blocks = [last; $n + 1];
                for (i, block) in (0..$n).zip(&mut blocks) {
                    *block = _mm512_xor_si512(start, counters512(self.counter + 4 * i));
                }
                blocks = aes512(rounds, blocks);
                self.stream_tag = _mm512_extracti32x4_epi32::<3>(blocks[$n]);
                self.stream_last = _mm512_maskz_mov_epi8(self.inside_last, blocks[$n]);
                blocks[0] = _mm512_maskz_mov_epi8(self.inside, blocks[0]);
                for (stream, block) in stream.iter_mut().zip(&blocks[..$n]) {
                    stream.write(*block);
                }
            }};
        }
        unrolled!(self.few, keystream);
    }

    /// Hashes a packet, and encrypts it on the way if `ENCRYPT`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn finish<const ENCRYPT: bool, const ROUNDS: usize>(
        &self,
        lane: &Lane<'_, GcmKey<ROUNDS>>,
        first: &Stream,
    ) -> Product {
        let key = lane.key;
        let swap = swap();
        let mut sum = Product::ZERO;
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
            sum.add_karatsuba([early], &key.powers, power);
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
                for (to, from) in stream.iter_mut().zip(first) {
                    // SAFETY: `begin` has written so many.
                    *to = unsafe { from.assume_init() };
                }
                let head_and = |data| _mm512_mask_mov_epi8(head, self.inside, data);
                let data = hash!($n, stream, head_and);
                sum.add_karatsuba(data, &key.powers, power);
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
                    carry = sum.reduce_karatsuba();
                    sum = Product::ZERO;
                    power = SECOND_HALF;
                }
                macro_rules! pair {
                    ($i:expr) => {{
                        let mut data = hash!(2, [stream[2 * $i], stream[2 * $i + 1]], |data| data);
                        if $i == 0 {
                            data[0] = _mm512_xor_si512(data[0], carry);
                        }
                        sum.add_karatsuba(data, &key.powers, power);
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
        let data = with_lengths(lane, data);
        let data = if vectors > 0 {
            _mm512_xor_si512(data, sum.reduce_karatsuba())
        } else {
            data
        };
        // SAFETY: four blocks are a vector.
        let places = unsafe { _mm512_loadu_si512(key.near[8..].as_ptr().cast()) };
        Product::each(data, places)
    }

    /// Decrypts the packet.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn decrypt<const ROUNDS: usize>(&self, lane: &Lane<'_, GcmKey<ROUNDS>>, first: &Stream) {
        let mut at = self.at;
        let mut apply = |stream| {
            // SAFETY: the vectors are between 48 bytes in front of the text and 31 behind it.
            unsafe {
                let text = _mm512_loadu_si512(at.cast());
                _mm512_storeu_si512(at.cast(), _mm512_xor_si512(text, stream));
            }
            at = at.wrapping_add(64);
        };
        for stream in &first[..self.few] {
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
