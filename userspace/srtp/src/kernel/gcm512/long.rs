// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Packets of any length.
//!
//! # The chunks
//!
//! A packet is taken in chunks of [`CHUNK`] vectors; the first has fewer, where they do not come
//! out even. AES of a chunk waits for itself, ten rounds one after the other, and the hash of a
//! chunk waits for its AES. So chunks of two packets take turns, AES of one and the hash of the one
//! before it:
//!
//! ```text
//! AES     A0      A1      A2      B0      B1      B2      C0      C1      C2
//! hash                                A0      A1      A2      B0      B1      B2
//! ```
//!
//! Neither waits for the other, and both kinds of work are always at hand for a CPU that looks
//! ahead no further than two chunks. Packets come sorted by their vectors, so that one has as many
//! chunks as the other; where it has not, both go alone.
//!
//! # The powers
//!
//! The vectors of the last chunk are multiplied by a power for each place, `H^12` to `H^1`. A
//! vector in front of it is multiplied by one power for all its places, by its distance from the
//! first vector of the last chunk, to which the sum of these products, reduced, is added:
//!
//! ```text
//! vector      blocks                      times
//! 0           0     0     head  X2        H^8
//! 1           X3    X4    X5    X6        H^4
//! 2           X7    X8    X9    X10       H^12 H^11 H^10 H^9      with the sum of 0 and 1
//! 3           X11   X12   X13   X14       H^8  H^7  H^6  H^5
//! last        X15   X16   X17   lengths   H^4  H^3  H^2  H^1
//! ```
//!
//! The powers in front are stored as one block each and broadcast. A product of two blocks is made
//! of three of halves, not four (Karatsuba): of the lower halves, of the upper halves, and of the
//! sums of both, from which the others are subtracted once, in front of the reduction.
//!
//! # The head
//!
//! It comes from a load that starts where the head is then in the places just in front of the text,
//! and reads nothing but the head; where the places are not enough, a vector with the rest of it
//! goes first.

use core::arch::x86_64::{
    __m128i, __m512i, _bzhi_u64, _mm_set_epi64x, _mm512_extracti32x4_epi32, _mm512_inserti32x4,
    _mm512_loadu_si512, _mm512_mask_mov_epi8, _mm512_mask_mov_epi64, _mm512_maskz_loadu_epi8,
    _mm512_maskz_mov_epi8, _mm512_maskz_mov_epi64, _mm512_setzero_si512, _mm512_shuffle_epi8,
    _mm512_storeu_si512, _mm512_xor_si512,
};
use core::mem::MaybeUninit;
use core::ops::Range;
use core::ptr;

use super::super::block::{GcmKey, POWERS};
use super::super::clmul::from_u128;
use super::super::ctr::{counters, spread512};
use super::super::lane::{Lane, MAX_TEXT};
use super::product::{Factor, Product, Whole, interleaved};
use super::{GROUP, TEXT_COUNTER, finish_tags, last_counters, start, swap};

/// Vectors that are encrypted and hashed at once.
const CHUNK: usize = 3;

/// The longest packet, in vectors.
const MAX_VECTORS: usize = MAX_TEXT / 64 + 1;

/// Vectors behind a reduction in the middle of a packet that needs one, but for the last chunk.
const SECOND_HALF: usize = 18;
const _: () = assert!(SECOND_HALF <= POWERS && SECOND_HALF.is_multiple_of(CHUNK));
const _: () = assert!(MAX_VECTORS + 1 - CHUNK - SECOND_HALF <= POWERS);

/// Packets on their way: a group that waits for its tags, one that is hashed behind it, and one
/// in AES; a power of two.
const SLOTS: usize = 2 * GROUP;

/// How many vectors a packet has in front of the last.
#[inline]
pub(super) fn vectors<const ROUNDS: usize>(lane: &Lane<'_, GcmKey<ROUNDS>>) -> usize {
    (lane.text_len() + 15) / 64
}

/// How a text lies in its vectors, by its length modulo theirs.
#[derive(Clone, Copy)]
#[repr(C)]
struct Shape {
    /// The bytes of the last vector that are text, if it is not the first.
    last: u64,
    /// The quarters of the first vector that are text.
    first: u8,
    /// Bytes of the first vector in front of the text.
    free: u32,
}

static SHAPES: [Shape; 64] = {
    let mut shapes = [Shape::of(0); 64];
    let mut len = 0;
    while len < 64 {
        shapes[len] = Shape::of(len);
        len += 1;
    }
    shapes
};

/// A packet on its way.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Work {
    shape: Shape,
    /// What the tag is encrypted with.
    stream_tag: __m128i,
    /// Where the first vector is.
    at: *mut u8,
}

/// What is remembered of packets on their way, each at the remainder of its number.
struct Ring {
    /// How many have their tags, in whole groups.
    tagged: usize,
    works: [Work; SLOTS],
    /// What are their hashes once places are added and it is reduced.
    products: [MaybeUninit<Whole>; SLOTS],
    /// Their keystream; zero where there is no text.
    streams: [[MaybeUninit<__m512i>; MAX_VECTORS]; SLOTS],
}

/// Seals if `ENCRYPT`, opens if not, the lanes at the numbers in `order`. All packets between the
/// places in it that are in `ends` have as many vectors.
#[expect(
    clippy::large_stack_arrays,
    reason = "a ring of packets, not initialized"
)]
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
pub(super) fn run<const ENCRYPT: bool, const ROUNDS: usize>(
    lanes: &mut [Lane<'_, GcmKey<ROUNDS>>],
    order: &[u8],
    ends: &[u8],
) {
    let mut ring = Ring {
        tagged: 0,
        works: [Work::EMPTY; SLOTS],
        products: [const { MaybeUninit::uninit() }; SLOTS],
        streams: [const { [const { MaybeUninit::uninit() }; MAX_VECTORS] }; SLOTS],
    };
    let mut start = 0;
    for end in ends {
        let places = start..usize::from(*end);
        start = places.end;
        let vectors = vectors(lane_at(lanes, order, places.start));
        let chunks = vectors / CHUNK;
        match vectors % CHUNK + 1 {
            1 => ring.turns::<ENCRYPT, ROUNDS, 1>(lanes, order, places, chunks),
            2 => ring.turns::<ENCRYPT, ROUNDS, 2>(lanes, order, places, chunks),
            _ => ring.turns::<ENCRYPT, ROUNDS, 3>(lanes, order, places, chunks),
        }
    }
    while ring.tagged < order.len() {
        ring.tag::<ENCRYPT, ROUNDS>(lanes, order);
    }
}

impl Ring {
    /// AES and the hashes of packets with as many vectors, and tags on the way.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn turns<const ENCRYPT: bool, const ROUNDS: usize, const FIRST: usize>(
        &mut self,
        lanes: &mut [Lane<'_, GcmKey<ROUNDS>>],
        order: &[u8],
        places: Range<usize>,
        chunks: usize,
    ) {
        let Range { start, end } = places;
        self.step::<ENCRYPT, ROUNDS, true, false, FIRST>(lanes, order, start, chunks);
        for at in start + 1..end {
            self.step::<ENCRYPT, ROUNDS, true, true, FIRST>(lanes, order, at, chunks);
            // Late, because the tags wait for all that was before.
            if at > self.tagged + GROUP {
                self.tag::<ENCRYPT, ROUNDS>(lanes, order);
            }
        }
        self.step::<ENCRYPT, ROUNDS, false, true, FIRST>(lanes, order, end, chunks);
        if end > self.tagged + GROUP {
            self.tag::<ENCRYPT, ROUNDS>(lanes, order);
        }
    }

    /// AES of a packet if `AES`, and the hash of the one before it if `HASH`. The first chunk has
    /// `FIRST` vectors, `chunks` are behind it.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn step<
        const ENCRYPT: bool,
        const ROUNDS: usize,
        const AES: bool,
        const HASH: bool,
        const FIRST: usize,
    >(
        &mut self,
        lanes: &[Lane<'_, GcmKey<ROUNDS>>],
        order: &[u8],
        at: usize,
        chunks: usize,
    ) {
        // Where there is no such packet, the other stands for it, and nothing is done with it.
        let (next, before) = (
            if AES { at } else { at - 1 },
            if HASH { at - 1 } else { at },
        );
        let (slot, slot_before) = (next % SLOTS, before % SLOTS);
        let lane = lane_at(lanes, order, next);
        let shape = if AES {
            let work = &mut self.works[slot];
            work.shape = SHAPES[lane.text_len() % SHAPES.len()];
            work.at = lane.text().wrapping_sub(work.shape.free as usize);
            work.shape
        } else {
            Shape::of(0)
        };
        let mut cipher = Cipher::of(lane, &shape, &mut self.streams[slot]);
        let lane = lane_at(lanes, order, before);
        let work = self.works[slot_before];
        let mut way = Way {
            at: work.at,
            stream: self.streams[slot_before].as_ptr(),
            powers: lane.key.powers.as_ptr().cast(),
            near: lane.key.near.as_ptr(),
            taken: 0,
            distance: distance(FIRST + CHUNK * chunks),
        };
        let mut head = _mm512_setzero_si512();
        let mut sum = Product::ZERO;
        if HASH {
            // The head, zero-padded, comes in the places just in front of the text.
            let place =
                (work.shape.free as usize).cast_signed() - ((lane.head + 15) & !15).cast_signed();
            head = head_at(lane, place);
            if place < 0 {
                // There are not enough, so that a vector of its own goes first.
                way.distance = distance(FIRST + CHUNK * chunks + 1).max(1);
                let early = _mm512_shuffle_epi8(head_at(lane, place + 64), swap());
                let factors = way.powers::<1, false>();
                let none = &[_mm512_setzero_si512(); ROUNDS];
                [sum] = interleaved::<ROUNDS, 1, false, true>(none, &mut [early], [early], factors);
            }
        }

        macro_rules! chunk {
            ($n:ident, $is_first:literal, $is_last:literal) => {{
                let mut blocks = [_mm512_setzero_si512(); $n];
                if AES {
                    blocks = cipher.begin::<$n, $is_last>();
                }
                let mut data = [_mm512_setzero_si512(); $n];
                let mut factors = [Factor::ZERO; $n];
                if HASH {
                    data = way.take::<ENCRYPT, $n>();
                    if $is_first && ($n > 1 || !$is_last) {
                        data[0] = _mm512_mask_mov_epi64(head, work.shape.first, data[0]);
                    }
                    if $is_last {
                        let around = if $is_first && $n == 1 {
                            head
                        } else {
                            _mm512_setzero_si512()
                        };
                        let last = work.shape.last_of::<$n, $is_first>();
                        data[$n - 1] = _mm512_mask_mov_epi8(around, last, data[$n - 1]);
                    }
                    for data in &mut data {
                        *data = _mm512_shuffle_epi8(*data, swap());
                    }
                    if $is_last {
                        data[$n - 1] = with_lengths(lane, data[$n - 1]);
                    }
                    if $is_last || !$is_first && way.distance == 0 {
                        data[0] = _mm512_xor_si512(data[0], sum.with_middle().whole().reduce());
                        sum = Product::ZERO;
                        way.distance = SECOND_HALF;
                    }
                    factors = way.powers::<$n, $is_last>();
                }
                let products = interleaved::<ROUNDS, $n, AES, HASH>(
                    &cipher.rounds,
                    &mut blocks,
                    data,
                    factors,
                );
                if AES {
                    cipher.end::<$n, $is_first, $is_last>(blocks, &mut self.works[slot]);
                }
                if HASH {
                    for product in products {
                        sum = sum.add(product);
                    }
                }
            }};
        }
        if chunks == 0 {
            chunk!(FIRST, true, true);
        } else {
            chunk!(FIRST, true, false);
            for _ in 1..chunks {
                chunk!(CHUNK, false, false);
            }
            chunk!(CHUNK, false, true);
        }
        if HASH {
            self.products[slot_before].write(sum.with_middle().whole());
        }
    }

    /// Makes the tags of the next group, and writes them if `ENCRYPT`, otherwise compares them and
    /// decrypts what is authentic.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn tag<const ENCRYPT: bool, const ROUNDS: usize>(
        &mut self,
        lanes: &mut [Lane<'_, GcmKey<ROUNDS>>],
        order: &[u8],
    ) {
        let first = self.tagged;
        self.tagged += GROUP;
        let slot = first % SLOTS / GROUP * GROUP;
        let works = [0, 1, 2, 3].map(|i| &self.works[slot + i]);
        let products = [0, 1, 2, 3].map(|i| {
            // At the end there may be fewer.
            if first + i < order.len() {
                // SAFETY: `step` has written it.
                unsafe { self.products[slot + i].assume_init_ref() }
            } else {
                &Whole::ZERO
            }
        });
        let tags = finish_tags(products, works.map(|work| work.stream_tag));
        for (i, tag) in tags.into_iter().enumerate().take(order.len() - first) {
            // SAFETY: the numbers are those of lanes.
            let lane =
                unsafe { lanes.get_unchecked_mut(usize::from(*order.get_unchecked(first + i))) };
            if ENCRYPT {
                lane.set_trailer(tag);
            } else {
                // All bytes at once, so in constant time.
                *lane.authentic = tag == lane.trailer();
                if *lane.authentic {
                    let stream = &self.streams[slot + i][..=vectors(lane)];
                    works[i].decrypt(stream);
                }
            }
        }
    }
}

/// The lane of a packet.
#[inline]
fn lane_at<'a, 'b, const ROUNDS: usize>(
    lanes: &'a [Lane<'b, GcmKey<ROUNDS>>],
    order: &[u8],
    at: usize,
) -> &'a Lane<'b, GcmKey<ROUNDS>> {
    debug_assert!(at < order.len() && usize::from(order[at]) < lanes.len());
    // SAFETY: `Classes` has made the order from the numbers of lanes, and its runs end in it.
    unsafe { lanes.get_unchecked(usize::from(*order.get_unchecked(at))) }
}

/// AES of a packet.
struct Cipher<const ROUNDS: usize> {
    /// The round keys; the first with the nonce.
    rounds: [__m512i; ROUNDS],
    /// The counters of the first vector, and of the last.
    counters: *const [u8; 16],
    last: *const [u8; 16],
    /// Where the keystream goes.
    to: *mut MaybeUninit<__m512i>,
    /// Vectors that are written.
    written: usize,
}

impl<const ROUNDS: usize> Cipher<ROUNDS> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn of(
        lane: &Lane<'_, GcmKey<ROUNDS>>,
        shape: &Shape,
        stream: &mut [MaybeUninit<__m512i>; MAX_VECTORS],
    ) -> Self {
        let mut rounds = [start(lane); ROUNDS];
        for (to, from) in rounds[1..].iter_mut().zip(&lane.key.rounds[1..]) {
            *to = spread512(from);
        }
        Self {
            rounds,
            counters: counters(TEXT_COUNTER).wrapping_byte_sub(shape.free as usize),
            last: last_counters(lane),
            to: stream.as_mut_ptr(),
            written: 0,
        }
    }

    /// The next vectors, as they go into the rounds.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn begin<const N: usize, const IS_LAST: bool>(&self) -> [__m512i; N] {
        let mut blocks = [self.rounds[0]; N];
        for (i, block) in blocks.iter_mut().enumerate() {
            let from = if IS_LAST && i == N - 1 {
                self.last
            } else {
                self.counters.wrapping_add(4 * (self.written + i))
            };
            // SAFETY: a text has at most MAX_TEXT / 16 blocks.
            *block = _mm512_xor_si512(*block, unsafe { _mm512_loadu_si512(from.cast()) });
        }
        blocks
    }

    /// Writes them, as they come from the rounds.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn end<const N: usize, const IS_FIRST: bool, const IS_LAST: bool>(
        &mut self,
        mut blocks: [__m512i; N],
        work: &mut Work,
    ) {
        if IS_LAST {
            let last = &mut blocks[N - 1];
            work.stream_tag = _mm512_extracti32x4_epi32::<3>(*last);
            *last = _mm512_maskz_mov_epi8(work.shape.last_of::<N, IS_FIRST>(), *last);
        }
        if IS_FIRST && (N > 1 || !IS_LAST) {
            blocks[0] = _mm512_maskz_mov_epi64(work.shape.first, blocks[0]);
        }
        for (i, block) in blocks.into_iter().enumerate() {
            // SAFETY: a packet has at most MAX_VECTORS.
            unsafe { (*self.to.add(self.written + i)).write(block) };
        }
        self.written += N;
    }
}

/// The way of the hash through a packet.
struct Way {
    /// Where its first vector and its keystream are.
    at: *mut u8,
    stream: *const MaybeUninit<__m512i>,
    /// The powers of the key by their distance, and those that are near.
    powers: *const [i64; 2],
    near: *const [u8; 16],
    /// Vectors that are taken.
    taken: usize,
    /// Vectors in front of the last chunk, or of a reduction.
    distance: usize,
}

impl Way {
    /// Takes the next vectors, and encrypts them if `ENCRYPT`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn take<const ENCRYPT: bool, const N: usize>(&mut self) -> [__m512i; N] {
        let mut data = [_mm512_setzero_si512(); N];
        for (i, data) in data.iter_mut().enumerate() {
            // SAFETY: all vectors are between 48 bytes in front of the text, which are in the
            // headroom, and 31 bytes behind it. AES has written the keystream.
            unsafe {
                let place = self.at.add(64 * (self.taken + i));
                *data = _mm512_loadu_si512(place.cast());
                if ENCRYPT {
                    let stream = (*self.stream.add(self.taken + i)).assume_init();
                    *data = _mm512_xor_si512(*data, stream);
                    _mm512_storeu_si512(place.cast(), *data);
                }
            }
        }
        self.taken += N;
        data
    }

    /// What the next vectors are multiplied by.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn powers<const N: usize, const IS_LAST: bool>(&mut self) -> [Factor; N] {
        let mut factors = [Factor::ZERO; N];
        if IS_LAST {
            for (i, factor) in factors.iter_mut().enumerate() {
                // SAFETY: there are those of CHUNK vectors, four to each.
                let powers = unsafe {
                    let near = self.near.add(4 * (CHUNK - N + i));
                    _mm512_loadu_si512(near.cast())
                };
                *factor = Factor::each(powers);
            }
        } else {
            debug_assert!((N..=POWERS).contains(&self.distance));
            self.distance -= N;
            for (i, factor) in factors.iter_mut().enumerate() {
                // SAFETY: `distance` is at most POWERS.
                let power = unsafe { self.powers.add(self.distance + N - 1 - i).read() };
                *factor = Factor::all(power);
            }
        }
        factors
    }
}

/// Puts the lengths of head and text, in bits, into the last place.
#[inline]
#[target_feature(enable = "avx512f")]
fn with_lengths<const ROUNDS: usize>(lane: &Lane<'_, GcmKey<ROUNDS>>, blocks: __m512i) -> __m512i {
    let bits = |bytes: usize| 8 * (bytes as u64).cast_signed();
    let lengths = _mm_set_epi64x(bits(lane.head), bits(lane.text_len()));
    _mm512_inserti32x4::<3>(blocks, lengths)
}

/// How far the first vector is in front of the last chunk, or of a reduction, in a packet with so
/// many vectors.
#[inline]
fn distance(vectors: usize) -> usize {
    let distance = vectors.saturating_sub(CHUNK);
    if distance > POWERS {
        distance - SECOND_HALF
    } else {
        distance
    }
}

impl Shape {
    #[expect(clippy::cast_possible_truncation, reason = "they are below 64")]
    const fn of(len: usize) -> Self {
        let blocks = len.div_ceil(16);
        let free = 16 * (!blocks & 3);
        let behind = len + free - 64 * (blocks / 4);
        Self {
            last: !(u64::MAX << behind),
            first: u8::MAX << (free / 8),
            free: free as u32,
        }
    }

    /// The bytes of the last vector that are text.
    #[inline]
    fn last_of<const N: usize, const IS_FIRST: bool>(&self) -> u64 {
        if N == 1 && IS_FIRST {
            self.last & u64::MAX << self.free
        } else {
            self.last
        }
    }
}

impl Work {
    const EMPTY: Self = Self {
        shape: Shape::of(0),
        stream_tag: from_u128(0),
        at: ptr::null_mut(),
    };

    /// Decrypts the packet.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn decrypt(&self, stream: &[MaybeUninit<__m512i>]) {
        for (i, stream) in stream.iter().enumerate() {
            // SAFETY: the vectors are between 48 bytes in front of the text and 31 behind it, and
            // so many were written.
            unsafe {
                let place = self.at.add(64 * i);
                let text = _mm512_loadu_si512(place.cast());
                let text = _mm512_xor_si512(text, stream.assume_init());
                _mm512_storeu_si512(place.cast(), text);
            }
        }
    }
}

/// What there is of the head in a vector in which it starts at byte `place`, which may be outside.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a head has at most 64 bytes"
)]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,bmi2")]
fn head_at<const ROUNDS: usize>(lane: &Lane<'_, GcmKey<ROUNDS>>, place: isize) -> __m512i {
    let head = _bzhi_u64(u64::MAX, lane.head as u32);
    let mask = if place < 0 {
        // In two steps, because there may be 64 bytes.
        head >> (-place / 2) >> (-place / 2)
    } else {
        head << place
    };
    // SAFETY: the mask is zero outside of the head.
    unsafe { _mm512_maskz_loadu_epi8(mask, lane.start().wrapping_offset(-place).cast()) }
}
