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
    __m128i, __m512i, _mm512_loadu_si512, _mm512_mask_loadu_epi64, _mm512_mask_mov_epi64,
    _mm512_mask_shuffle_epi8, _mm512_mask_storeu_epi8, _mm512_mask_storeu_epi64,
    _mm512_mask_xor_epi64, _mm512_maskz_loadu_epi8, _mm512_maskz_loadu_epi64, _mm512_setzero_si512,
    _mm512_shuffle_epi8, _mm512_storeu_si512, _mm512_xor_si512,
};
use core::mem::MaybeUninit;

use super::super::block::{GcmKey, NEAR};
use super::super::ctr::{aes512, counters};
use super::super::lane::Lane;
use super::{GROUP, LAST_PLACE, Product, TAG_COUNTER, TEXT_COUNTER, finish_tags, start, swap};

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
    /// The blocks of text.
    blocks: u8,
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

/// The counters of the last vector, by the blocks of text: those of three blocks, and that of what
/// the tag is encrypted with.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a few blocks have small numbers"
)]
static LAST_COUNTERS: LastCounters = {
    let mut all = [[[0; 16]; 4]; MAX_SHORT / 16 + 1];
    let mut blocks = 0;
    while blocks < all.len() {
        let mut place = 0;
        while place < 3 {
            // Where there is no text, any counter will do.
            // The last block of text is in the third place, with the counter of its number.
            all[blocks][place][15] = (TEXT_COUNTER as u8 + (blocks + place) as u8).wrapping_sub(3);
            place += 1;
        }
        all[blocks][3][15] = TAG_COUNTER as u8;
        blocks += 1;
    }
    LastCounters(all)
};

#[repr(align(64))]
struct LastCounters([[[u8; 16]; 4]; MAX_SHORT / 16 + 1]);

/// Groups that are in the ring: as many as there are steps, and one to make it a power of two.
const GROUPS: usize = 4;

/// Packets on their way, each at the remainder of its number.
struct Ring<const VECTORS: usize> {
    /// Their keystream. The last block is what the tag is encrypted with.
    streams: [[MaybeUninit<__m512i>; VECTORS]; GROUPS * GROUP],
    /// What are their hashes once places are added and it is reduced.
    products: [[MaybeUninit<Product>; GROUP]; GROUPS],
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
        for at in step..len.min(step + GROUP) {
            // SAFETY: below `len`, and so in `order`, whose numbers are those of lanes.
            let lane = unsafe { lanes.get_unchecked(usize::from(*order.get_unchecked(at))) };
            ring.begin(at, lane);
        }
        if let Some(first) = step.checked_sub(GROUP) {
            for at in first..len.min(step) {
                // SAFETY: as above.
                let lane = unsafe { lanes.get_unchecked(usize::from(*order.get_unchecked(at))) };
                ring.hash::<ENCRYPT, ROUNDS>(at, lane);
            }
            for at in len.max(first)..step {
                ring.leave_out(at);
            }
        }
        if let Some(first) = step.checked_sub(2 * GROUP) {
            for (at, tag) in (first..len).zip(ring.tags(first)) {
                // SAFETY: as above.
                let lane =
                    unsafe { lanes.get_unchecked_mut(usize::from(*order.get_unchecked(at))) };
                if ENCRYPT {
                    lane.set_trailer(tag);
                } else {
                    // All bytes at once, so in constant time.
                    *lane.authentic = tag == lane.trailer();
                    if *lane.authentic {
                        ring.decrypt(at, lane);
                    }
                }
            }
        }
        step += GROUP;
    }
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
            blocks: blocks as u8,
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
        let shape = Shape::of_lane(lane);
        let start = start(lane);
        let counters = counters(TEXT_COUNTER).wrapping_byte_sub(shape.free as usize);
        let last = LAST_COUNTERS
            .0
            .as_ptr()
            .wrapping_add(usize::from(shape.blocks));
        let mut blocks = [start; VECTORS];
        for (i, block) in blocks.iter_mut().enumerate() {
            let from = if i == VECTORS - 1 {
                last.cast()
            } else {
                counters.wrapping_add(4 * i)
            };
            // SAFETY: there are counters from three below TEXT_COUNTER on, and those of the last
            // vector for as many blocks as a short packet has.
            *block = _mm512_xor_si512(start, unsafe { _mm512_loadu_si512(from.cast()) });
        }
        let stream = aes512(&lane.key.rounds, blocks);
        for (to, from) in self.streams[at % (GROUPS * GROUP)].iter_mut().zip(stream) {
            to.write(from);
        }
    }

    /// Hashes a packet, and encrypts it on the way if `ENCRYPT`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn hash<const ENCRYPT: bool, const ROUNDS: usize>(
        &mut self,
        at: usize,
        lane: &Lane<'_, GcmKey<ROUNDS>>,
    ) {
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
            let mut product = Product::ZERO;
            for i in 0..VECTORS {
                let place = place.add(64 * i);
                let text = _mm512_loadu_si512(place.cast());
                let stream = stream[i].assume_init();
                let blocks = if i == VECTORS - 1 {
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
                let powers = lane.key.near[NEAR - 4 * (VECTORS - i)..].as_ptr();
                product = product.add(Product::each(blocks, _mm512_loadu_si512(powers.cast())));
            }
            self.products[at / GROUP % GROUPS][at % GROUP].write(product);
        }
    }

    /// Fills the place of a packet that is missing in the last group.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn leave_out(&mut self, at: usize) {
        self.streams[at % (GROUPS * GROUP)][VECTORS - 1].write(_mm512_setzero_si512());
        self.products[at / GROUP % GROUPS][at % GROUP].write(Product::ZERO);
    }

    /// The tags of the group that starts with this packet.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn tags(&self, first: usize) -> [u128; GROUP] {
        let (_, streams) = self.streams.split_at(first % (GROUPS * GROUP));
        let products = &self.products[first / GROUP % GROUPS];
        // SAFETY: `begin` and `hash` or `leave_out` have written them. Four blocks are a vector.
        unsafe {
            let stream = |at: usize| {
                streams[at][VECTORS - 1]
                    .as_ptr()
                    .cast::<__m128i>()
                    .add(3)
                    .read()
            };
            finish_tags(
                products.each_ref().map(|product| product.assume_init_ref()),
                [stream(0), stream(1), stream(2), stream(3)],
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
