// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Packets of one, two or three vectors behind a header of twelve bytes: speech.
//!
//! For so few blocks the key has each power, [`GcmKey::near`], so that a packet needs no reduction
//! but the one that it shares with three others. What depends on the length only (how many places
//! are free, which bytes of the vectors are text) comes from a table, [`SHAPES`].
//!
//! The head is one block, so that at least one place in front of the text is free:
//!
//! ```text
//! 20 bytes       head  X2    X3    lengths
//! 160 bytes      head  X2    X3    X4       X5 .. X8     X9    X10   X11   lengths
//! ```
//!
//! Packets go through three steps, four of them in each: AES ([`Ring::begin`]), the hash
//! ([`Ring::hash`]), the tags. While one group is in one step, the others are in those before and
//! behind it, so that no step waits for what it needs.

use core::arch::x86_64::{
    __m512i, _mm512_loadu_si512, _mm512_mask_loadu_epi64, _mm512_mask_mov_epi64,
    _mm512_mask_shuffle_epi8, _mm512_mask_storeu_epi8, _mm512_mask_storeu_epi64,
    _mm512_mask_xor_epi64, _mm512_maskz_loadu_epi8, _mm512_maskz_loadu_epi64, _mm512_setzero_si512,
    _mm512_shuffle_epi8, _mm512_storeu_si512, _mm512_xor_si512,
};
use core::mem::MaybeUninit;

use super::super::block::{GcmKey, NEAR};
use super::super::ctr::{aes512, counters, spread512};
use super::super::lane::Lane;
use super::product::{Factor, Product, Whole, interleaved};
use super::tags::{Tags, gather};
use super::{GROUP, LAST_PLACE, TEXT_COUNTER, last_counters, start, swap};

/// The head of a short packet, in bytes: a header of RTP with nothing added.
const HEAD: usize = 12;

/// The longest text of a short packet, in bytes: with the head and the lengths, three vectors.
const MAX_SHORT: usize = 160;
const _: () = assert!(4 * vectors_of(MAX_SHORT) == NEAR);

/// How many vectors a packet takes that is short.
#[inline]
pub(super) fn vectors<const ROUNDS: usize>(lane: &Lane<'_, GcmKey<ROUNDS>>) -> Option<usize> {
    let text = lane.text_len();
    (lane.head == HEAD && text <= MAX_SHORT).then(|| vectors_of(text))
}

/// The vectors for so much text, the head and the lengths.
const fn vectors_of(text: usize) -> usize {
    (text + 2 * 16).div_ceil(4 * 16)
}

/// How a text of a certain length lies in its vectors.
#[derive(Clone, Copy)]
struct Shape {
    /// The bytes of the last vector that are text.
    last: u64,
    /// The same, once the bytes of every block are reversed.
    last_swapped: u64,
    /// The bytes of the first vector that are the head.
    head: u64,
    /// Bytes in front of the text.
    free: u32,
    /// The quarters of the first vector that are text, unless it is the last.
    first: u8,
}

static SHAPES: [Shape; MAX_SHORT + 1] = {
    let mut shapes = [Shape::of(0); MAX_SHORT + 1];
    let mut text = 0;
    while text <= MAX_SHORT {
        shapes[text] = Shape::of(text);
        text += 1;
    }
    shapes
};

/// The block with the lengths, in bits, by the length of the text; lower half first.
static LENGTHS: [[u64; 2]; MAX_SHORT + 1] = {
    let mut lengths = [[0, 8 * HEAD as u64]; MAX_SHORT + 1];
    let mut text = 0;
    while text <= MAX_SHORT {
        lengths[text][0] = 8 * text as u64;
        text += 1;
    }
    lengths
};

/// Groups that are in the ring: as many as there are steps, and one to make it a power of two.
const GROUPS: usize = 4;

/// Packets on their way, each at the remainder of its number.
struct Ring<const VECTORS: usize> {
    /// Their keystream. The last block is what the tag is encrypted with.
    streams: [[MaybeUninit<__m512i>; VECTORS]; GROUPS * GROUP],
    /// What are their hashes once places are added and it is reduced.
    products: [[MaybeUninit<Whole>; GROUP]; GROUPS],
}

/// Seals if `ENCRYPT`, opens if not, the lanes at the numbers in `order`, which all have so many
/// vectors.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
pub(super) fn run<const ENCRYPT: bool, const ROUNDS: usize, const VECTORS: usize>(
    lanes: &mut [Lane<'_, GcmKey<ROUNDS>>],
    order: &[u8],
) {
    debug_assert!(
        order
            .iter()
            .all(|at| vectors(&lanes[usize::from(*at)]) == Some(VECTORS))
    );
    let mut ring = Ring::<VECTORS> {
        streams: [[MaybeUninit::uninit(); VECTORS]; GROUPS * GROUP],
        products: [const { [const { MaybeUninit::uninit() }; GROUP] }; GROUPS],
    };
    let len = order.len();
    let mut step = 0;
    while step < len.next_multiple_of(GROUP) + 2 * GROUP {
        if GROUP <= step && step + GROUP <= len {
            // AES of a packet of this group beside the hash of one of the group before.
            for at in step..step + GROUP {
                // SAFETY: below `len`, and so in `order`, whose numbers are those of lanes.
                let (lane, before) = unsafe {
                    (
                        lanes.get_unchecked(usize::from(*order.get_unchecked(at))),
                        lanes.get_unchecked(usize::from(*order.get_unchecked(at - GROUP))),
                    )
                };
                ring.turn::<ENCRYPT, ROUNDS>(at, lane, before);
            }
        } else {
            for at in step..len.min(step + GROUP) {
                // SAFETY: below `len`, and so in `order`, whose numbers are those of lanes.
                let lane = unsafe { lanes.get_unchecked(usize::from(*order.get_unchecked(at))) };
                ring.begin(at, lane);
            }
            if let Some(first) = step.checked_sub(GROUP) {
                for at in first..len.min(step) {
                    // SAFETY: as above.
                    let lane =
                        unsafe { lanes.get_unchecked(usize::from(*order.get_unchecked(at))) };
                    ring.hash::<ENCRYPT, ROUNDS>(at, lane);
                }
                for at in len.max(first)..step {
                    ring.leave_out(at);
                }
            }
        }
        if let Some(first) = step.checked_sub(2 * GROUP) {
            let tags = (first..len).zip(ring.tags(first).each());
            if ENCRYPT {
                for (at, tag) in tags {
                    // SAFETY: as above.
                    let lane =
                        unsafe { lanes.get_unchecked_mut(usize::from(*order.get_unchecked(at))) };
                    lane.set_trailer(tag);
                }
            } else {
                for (at, tag) in tags {
                    // SAFETY: as above.
                    let lane =
                        unsafe { lanes.get_unchecked_mut(usize::from(*order.get_unchecked(at))) };
                    let is_authentic = lane.has_tag(tag);
                    *lane.authentic = is_authentic;
                    if is_authentic {
                        ring.decrypt(at, lane);
                    }
                }
            }
        }
        step += GROUP;
    }
}

/// The counters of a packet, as they go into the rounds of AES.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn counter_blocks<const ROUNDS: usize, const VECTORS: usize>(
    lane: &Lane<'_, GcmKey<ROUNDS>>,
) -> [__m512i; VECTORS] {
    let free = Shape::of_lane(lane).free as usize;
    let counters = counters(TEXT_COUNTER).wrapping_byte_sub(free);
    let mut blocks = [start(lane); VECTORS];
    for (i, block) in blocks.iter_mut().enumerate() {
        let from = if i == VECTORS - 1 {
            last_counters(lane)
        } else {
            counters.wrapping_add(4 * i)
        };
        // SAFETY: there are counters from three below TEXT_COUNTER on, and those of the last
        // vector for as many blocks as a packet has.
        *block = _mm512_xor_si512(*block, unsafe { _mm512_loadu_si512(from.cast()) });
    }
    blocks
}

/// The powers that the vectors of a packet are multiplied by.
#[inline]
#[target_feature(enable = "avx512f")]
fn powers<const ROUNDS: usize, const VECTORS: usize>(
    lane: &Lane<'_, GcmKey<ROUNDS>>,
) -> [__m512i; VECTORS] {
    let mut all = [_mm512_setzero_si512(); VECTORS];
    for (i, powers) in all.iter_mut().enumerate() {
        let from = lane.key.near[NEAR - 4 * (VECTORS - i)..].as_ptr();
        // SAFETY: four blocks are a vector.
        *powers = unsafe { _mm512_loadu_si512(from.cast()) };
    }
    all
}

impl Shape {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a few blocks have small numbers"
    )]
    const fn of(text: usize) -> Self {
        let blocks = text.div_ceil(16);
        let vectors = vectors_of(text);
        let free = 16 * (4 * vectors - 1 - blocks);
        let mut last = !(u64::MAX << (text + free - 64 * (vectors - 1)));
        if vectors == 1 {
            last &= u64::MAX << free;
        }
        let mut last_swapped = 0;
        let mut byte = 0;
        while byte < 64 {
            last_swapped |= (last >> byte & 1) << (byte ^ 15);
            byte += 1;
        }
        Self {
            last,
            last_swapped,
            head: ((1 << HEAD) - 1) << (free - 16),
            free: free as u32,
            first: u8::MAX.unbounded_shl(free as u32 / 8),
        }
    }

    #[inline]
    fn of_lane<const ROUNDS: usize>(lane: &Lane<'_, GcmKey<ROUNDS>>) -> &'static Self {
        let text = lane.text_len();
        debug_assert!(text <= MAX_SHORT);
        // SAFETY: a lane comes here only if `vectors` has found it to be short.
        unsafe { SHAPES.get_unchecked(text) }
    }

    /// Where the first vector is.
    #[inline]
    fn start<const ROUNDS: usize>(&self, lane: &Lane<'_, GcmKey<ROUNDS>>) -> *mut u8 {
        lane.text().wrapping_sub(self.free as usize)
    }
}

impl<const VECTORS: usize> Ring<VECTORS> {
    /// Makes the keystream of a packet.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn begin<const ROUNDS: usize>(&mut self, at: usize, lane: &Lane<'_, GcmKey<ROUNDS>>) {
        let stream: [_; VECTORS] = aes512(&lane.key.rounds, counter_blocks(lane));
        self.set_stream(at, stream);
    }

    /// Hashes a packet, and encrypts it on the way if `ENCRYPT`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn hash<const ENCRYPT: bool, const ROUNDS: usize>(
        &mut self,
        at: usize,
        lane: &Lane<'_, GcmKey<ROUNDS>>,
    ) {
        let data = self.take::<ENCRYPT, ROUNDS>(at, lane);
        let mut product = Product::ZERO;
        for (data, powers) in data.into_iter().zip(powers::<ROUNDS, VECTORS>(lane)) {
            product = product.add(Product::each(data, powers));
        }
        self.set_product(at, product.whole());
    }

    /// [`Self::begin`] of a packet, and [`Self::hash`] of the one before it by a group, together.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn turn<const ENCRYPT: bool, const ROUNDS: usize>(
        &mut self,
        at: usize,
        lane: &Lane<'_, GcmKey<ROUNDS>>,
        before: &Lane<'_, GcmKey<ROUNDS>>,
    ) {
        let mut rounds = [_mm512_setzero_si512(); ROUNDS];
        for (to, from) in rounds.iter_mut().zip(&lane.key.rounds) {
            *to = spread512(from);
        }
        let mut blocks = counter_blocks(lane);
        let data = self.take::<ENCRYPT, ROUNDS>(at - GROUP, before);
        let mut factors = [Factor::ZERO; VECTORS];
        for (factor, powers) in factors.iter_mut().zip(powers::<ROUNDS, VECTORS>(before)) {
            *factor = Factor::each(powers);
        }
        let mut product = Product::ZERO;
        for part in interleaved::<ROUNDS, VECTORS, true, true>(&rounds, &mut blocks, data, factors)
        {
            product = product.add(part);
        }
        self.set_stream(at, blocks);
        self.set_product(at - GROUP, product.with_middle().whole());
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn set_stream(&mut self, at: usize, stream: [__m512i; VECTORS]) {
        for (to, from) in self.streams[at % (GROUPS * GROUP)].iter_mut().zip(stream) {
            to.write(from);
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn set_product(&mut self, at: usize, product: Whole) {
        self.products[at / GROUP % GROUPS][at % GROUP].write(product);
    }

    /// The blocks of a packet as they are hashed, encrypted if `ENCRYPT`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn take<const ENCRYPT: bool, const ROUNDS: usize>(
        &self,
        at: usize,
        lane: &Lane<'_, GcmKey<ROUNDS>>,
    ) -> [__m512i; VECTORS] {
        let shape = Shape::of_lane(lane);
        let place = shape.start(lane);
        let stream = &self.streams[at % (GROUPS * GROUP)];
        let swap = swap();
        // SAFETY: the head is where the masks say, since the text is HEAD bytes behind its start
        // and 16 behind its place. Vectors are between 64 bytes in front of the text, which are
        // in the headroom, and 31 behind it. `begin` has written the keystream.
        unsafe {
            let head = _mm512_maskz_loadu_epi8(shape.head, place.wrapping_add(16 - HEAD).cast());
            // So that it is loaded into the last place.
            let lengths = LENGTHS
                .as_ptr()
                .wrapping_add(lane.text_len())
                .wrapping_byte_sub(48);
            let mut all = [_mm512_setzero_si512(); VECTORS];
            for (i, blocks) in all.iter_mut().enumerate() {
                let place = place.add(64 * i);
                let text = _mm512_loadu_si512(place.cast());
                let stream = stream[i].assume_init();
                *blocks = if i == VECTORS - 1 {
                    let mut data = text;
                    if ENCRYPT {
                        data = _mm512_xor_si512(text, stream);
                        _mm512_mask_storeu_epi8(place.cast(), shape.last, data);
                    }
                    let around = if VECTORS == 1 {
                        let head = _mm512_shuffle_epi8(head, swap);
                        _mm512_mask_loadu_epi64(head, LAST_PLACE, lengths.cast())
                    } else {
                        _mm512_maskz_loadu_epi64(LAST_PLACE, lengths.cast())
                    };
                    _mm512_mask_shuffle_epi8(around, shape.last_swapped, data, swap)
                } else if i == 0 {
                    let data = if ENCRYPT {
                        let data = _mm512_mask_xor_epi64(head, shape.first, text, stream);
                        _mm512_mask_storeu_epi64(place.cast(), shape.first, data);
                        data
                    } else {
                        _mm512_mask_mov_epi64(head, shape.first, text)
                    };
                    _mm512_shuffle_epi8(data, swap)
                } else {
                    let mut data = text;
                    if ENCRYPT {
                        data = _mm512_xor_si512(text, stream);
                        _mm512_storeu_si512(place.cast(), data);
                    }
                    _mm512_shuffle_epi8(data, swap)
                };
            }
            all
        }
    }

    /// Fills the place of a packet that is missing in the last group.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn leave_out(&mut self, at: usize) {
        self.streams[at % (GROUPS * GROUP)][VECTORS - 1].write(_mm512_setzero_si512());
        self.products[at / GROUP % GROUPS][at % GROUP].write(Whole::ZERO);
    }

    /// The tags of the group that starts with this packet.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn tags(&self, first: usize) -> Tags {
        let (_, streams) = self.streams.split_at(first % (GROUPS * GROUP));
        let products = &self.products[first / GROUP % GROUPS];
        // SAFETY: `begin` and `hash` or `leave_out` have written them. Four blocks are a vector.
        unsafe {
            let streams = [0, 1, 2, 3]
                .map(|at: usize| streams[at][VECTORS - 1].as_ptr().cast::<u8>().add(48));
            Tags::new(
                products.each_ref().map(|product| product.assume_init_ref()),
                gather(streams),
            )
        }
    }

    /// Decrypts a packet.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn decrypt<const ROUNDS: usize>(&self, at: usize, lane: &Lane<'_, GcmKey<ROUNDS>>) {
        let shape = Shape::of_lane(lane);
        let place = shape.start(lane);
        for (i, stream) in self.streams[at % (GROUPS * GROUP)].iter().enumerate() {
            // SAFETY: the same places as in `hash`.
            unsafe {
                let place = place.add(64 * i);
                let text = _mm512_loadu_si512(place.cast());
                let text = _mm512_xor_si512(text, stream.assume_init());
                if i == VECTORS - 1 {
                    _mm512_mask_storeu_epi8(place.cast(), shape.last, text);
                } else if i == 0 {
                    _mm512_mask_storeu_epi64(place.cast(), shape.first, text);
                } else {
                    _mm512_storeu_si512(place.cast(), text);
                }
            }
        }
    }
}
