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
//! chunks as the other; where it has not, both go alone. What is sealed goes into the packet, from
//! where the hash takes it.
//!
//! To open a packet, its hash need not wait for its AES: both are of the same packet. What it is
//! decrypted to goes into a ring, and from there into the packet [`LAG`] packets later, when the
//! tag is known to be right, a chunk beside each chunk of that packet: alone, each vector would
//! take two or three cycles.
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

mod cipher;
mod packet;
mod plain;
mod shape;
mod way;

use core::arch::x86_64::{
    __m128i, __m512i, _mm_storeu_si128, _mm512_extracti32x4_epi32, _mm512_loadu_si512,
    _mm512_mask_mov_epi8, _mm512_mask_mov_epi64, _mm512_setzero_si512, _mm512_shuffle_epi8,
    _mm512_xor_si512,
};
use core::mem::MaybeUninit;
use core::ops::Range;
use core::ptr;

use self::cipher::Cipher;
use self::packet::Packet;
use self::plain::Plain;
use self::shape::SHAPES;
use self::way::{SECOND_HALF, Way, distance};
use super::super::block::GcmKey;
use super::super::clmul::from_u128;
use super::super::lane::{Lane, MAX_TEXT};
use super::product::{Factor, Product, Whole, interleaved};
use super::tags::{Tags, gather};
use super::{GROUP, swap};

/// Vectors that are encrypted and hashed at once.
const CHUNK: usize = 3;

/// The longest packet, in vectors.
const MAX_VECTORS: usize = MAX_TEXT / 64 + 1;

/// Packets on their way: a group that waits for its tags, one that is hashed behind it, and one
/// in AES; a power of two.
const SLOTS: usize = 2 * GROUP;

/// How many packets behind its hash a text that is opened is written, since its tag must be right.
const LAG: usize = GROUP + 1;
const _: () = assert!(LAG < SLOTS);

/// How many vectors a packet has in front of the last.
#[inline]
pub(super) fn vectors<const ROUNDS: usize>(lane: &Lane<'_, GcmKey<ROUNDS>>) -> usize {
    (lane.text_len() + 15) / 64
}

/// What is remembered of a packet until its tag is done.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Work {
    /// Where the tag is, and where to say that it was right.
    trailer: *mut u8,
    authentic: *mut bool,
    /// What is to be written when it is opened.
    plain: Plain,
}

/// The vectors of a packet that is opened.
type Opened = [MaybeUninit<__m512i>; MAX_VECTORS];

/// What is remembered of packets on their way, each at the remainder of its number.
struct Ring {
    /// How many have their tags, in whole groups.
    tagged: usize,
    works: [Work; SLOTS],
    /// What their tags are encrypted with.
    tag_streams: [[__m128i; GROUP]; SLOTS / GROUP],
    /// Whether there are texts shorter than a chunk.
    any_small: bool,
    /// What are their hashes once places are added and it is reduced.
    products: [MaybeUninit<Whole>; SLOTS],
    /// What they are once they are opened. Not in here, so that nobody who borrows the ring borrows
    /// it.
    opened: *mut Opened,
    /// For packets of which nothing is to be written.
    nowhere: Plain,
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
    debug_assert!(order.is_sorted_by_key(|at| vectors(&lanes[usize::from(*at)])));
    let mut opened: [Opened; SLOTS] =
        [const { [const { MaybeUninit::uninit() }; MAX_VECTORS] }; SLOTS];
    let mut unused = [_mm512_setzero_si512(); CHUNK];
    let unused = unused.as_mut_ptr().cast::<u8>();
    let nowhere = Plain {
        from: unused,
        to: unused,
        vectors: CHUNK,
    };
    let mut ring = Ring {
        tagged: 0,
        works: [Work::none(nowhere); SLOTS],
        tag_streams: [[from_u128(0); GROUP]; SLOTS / GROUP],
        // They come first.
        any_small: vectors(&lanes[usize::from(order[0])]) + 1 < CHUNK,
        products: [const { MaybeUninit::uninit() }; SLOTS],
        opened: opened.as_mut_ptr(),
        nowhere,
    };
    let mut start = 0;
    for end in ends {
        let places = start..usize::from(*end);
        start = places.end;
        let vectors = vectors(&lanes[usize::from(order[places.start])]);
        let chunks = vectors / CHUNK;
        match vectors % CHUNK + 1 {
            1 => ring.turns::<ENCRYPT, ROUNDS, 1>(lanes, order, places, chunks),
            2 => ring.turns::<ENCRYPT, ROUNDS, 2>(lanes, order, places, chunks),
            _ => ring.turns::<ENCRYPT, ROUNDS, 3>(lanes, order, places, chunks),
        }
    }
    while ring.tagged < order.len() {
        ring.tag::<ENCRYPT>(order.len());
    }
    if !ENCRYPT {
        for at in order.len().saturating_sub(LAG)..order.len() {
            ring.works[at % SLOTS].plain.write_all();
        }
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
        if ENCRYPT {
            let (cipher, mut before) = self.enter::<ENCRYPT, ROUNDS>(lanes, order, start);
            self.step::<ENCRYPT, ROUNDS, true, false, FIRST>(start, cipher, &before, chunks);
            for at in start + 1..end {
                self.tag_if_due::<ENCRYPT>(at - 1);
                let (cipher, packet) = self.enter::<ENCRYPT, ROUNDS>(lanes, order, at);
                self.step::<ENCRYPT, ROUNDS, true, true, FIRST>(at, cipher, &before, chunks);
                before = packet;
            }
            self.step::<ENCRYPT, ROUNDS, false, true, FIRST>(end, Cipher::NONE, &before, chunks);
            self.tag_if_due::<ENCRYPT>(end);
        } else {
            for at in start..end {
                self.tag_if_due::<ENCRYPT>(at);
                let (cipher, packet) = self.enter::<ENCRYPT, ROUNDS>(lanes, order, at);
                self.step::<ENCRYPT, ROUNDS, true, true, FIRST>(at, cipher, &packet, chunks);
            }
        }
    }

    /// Takes the packet of this number.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn enter<'a, const ENCRYPT: bool, const ROUNDS: usize>(
        &mut self,
        lanes: &mut [Lane<'a, GcmKey<ROUNDS>>],
        order: &[u8],
        at: usize,
    ) -> (Cipher<ROUNDS>, Packet<'a, ROUNDS>) {
        debug_assert!(at < order.len() && usize::from(order[at]) < lanes.len());
        // SAFETY: `Classes` has made the order from the numbers of lanes, and its runs end in it.
        let lane = unsafe { lanes.get_unchecked_mut(usize::from(*order.get_unchecked(at))) };
        let text = lane.text_len();
        let shape = &SHAPES[text % SHAPES.len()];
        let first = lane.text().wrapping_sub(shape.free as usize);
        let opened = self.opened(at);
        self.works[at % SLOTS] = Work {
            trailer: lane.trailer_at(),
            authentic: lane.authentic,
            plain: Plain {
                from: opened,
                to: first,
                vectors: vectors(lane) + 1,
            },
        };
        let to = if ENCRYPT { first } else { opened };
        let cipher = Cipher::of(lane, shape, first, to);
        let packet = Packet {
            key: lane.key,
            start: lane.start(),
            head: lane.head,
            text,
            shape,
            first,
        };
        (cipher, packet)
    }

    /// AES of the packet of this number if `AES`, and the hash of a packet if `HASH`: the same if
    /// it is opened, the one before it if it is sealed. The first chunk has `FIRST` vectors,
    /// `chunks` are behind it.
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
        at: usize,
        mut cipher: Cipher<ROUNDS>,
        packet: &Packet<'_, ROUNDS>,
        chunks: usize,
    ) {
        let &Packet { key, shape, .. } = packet;
        let hashed = if ENCRYPT { at.wrapping_sub(1) } else { at };
        let mut way = Way {
            first: packet.first,
            powers: key.powers.as_ptr().cast(),
            near: key.near.as_ptr(),
            taken: 0,
            distance: distance(FIRST + CHUNK * chunks),
        };
        let plain = self.works[at.wrapping_sub(LAG) % SLOTS].plain;
        let mut head = _mm512_setzero_si512();
        let mut sum = Product::ZERO;
        if HASH {
            // The head, zero-padded, comes in the places just in front of the text.
            let place =
                (shape.free as usize).cast_signed() - ((packet.head + 15) & !15).cast_signed();
            head = packet.head_at(place);
            if place < 0 {
                // There are not enough, so that a vector of its own goes first.
                way.distance = distance(FIRST + CHUNK * chunks + 1).max(1);
                let early = _mm512_shuffle_epi8(packet.head_at(place + 64), swap());
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
                    data = way.take::<$n>();
                    if $is_first && ($n > 1 || !$is_last) {
                        data[0] = _mm512_mask_mov_epi64(head, shape.first, data[0]);
                    }
                    if $is_last {
                        let around = if $is_first && $n == 1 {
                            head
                        } else {
                            _mm512_setzero_si512()
                        };
                        let last = shape.last_of::<$n, $is_first>();
                        data[$n - 1] = _mm512_mask_mov_epi8(around, last, data[$n - 1]);
                    }
                    for data in &mut data {
                        *data = _mm512_shuffle_epi8(*data, swap());
                    }
                    if $is_last {
                        data[$n - 1] = packet.with_lengths(data[$n - 1]);
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
                    if $is_last {
                        self.tag_streams[at % SLOTS / GROUP][at % GROUP] =
                            _mm512_extracti32x4_epi32::<3>(blocks[$n - 1]);
                    }
                    cipher.end::<$n, $is_first, $is_last>(blocks);
                }
                if !ENCRYPT {
                    plain.write::<$n>(way.taken - $n);
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
            self.products[hashed % SLOTS].write(sum.with_middle().whole());
        }
    }

    /// Makes the tags of the next group if more than it are hashed: not at once, because they wait
    /// for all that was before.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn tag_if_due<const ENCRYPT: bool>(&mut self, hashed: usize) {
        if hashed > self.tagged + GROUP {
            self.tag::<ENCRYPT>(hashed);
        }
    }

    /// Makes the tags of the next group, of which not more are there than `hashed`, and writes them
    /// if `ENCRYPT`, otherwise compares them.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn tag<const ENCRYPT: bool>(&mut self, hashed: usize) {
        let first = self.tagged;
        self.tagged += GROUP;
        let slot = first % SLOTS / GROUP * GROUP;
        let products = [0, 1, 2, 3].map(|i| {
            // At the end there may be fewer.
            if first + i < hashed {
                // SAFETY: `step` has written it.
                unsafe { self.products[slot + i].assume_init_ref() }
            } else {
                &Whole::ZERO
            }
        });
        // SAFETY: four blocks are a vector.
        let streams = unsafe {
            let streams = &self.tag_streams[slot / GROUP];
            _mm512_loadu_si512(streams.as_ptr().cast())
        };
        let tags = Tags::new(products, streams);
        let works = &mut self.works[slot..slot + GROUP];
        if ENCRYPT {
            for (work, tag) in works.iter().zip(tags.each()).take(hashed - first) {
                // SAFETY: the tag is in the tailroom behind the text, which the lanes borrow.
                unsafe { _mm_storeu_si128(work.trailer.cast(), tag) }
            }
            return;
        }
        let trailers = [0, 1, 2, 3].map(|i| works[i].trailer.cast_const());
        // SAFETY: as above; where there is no packet, it is that of one before, or `nowhere`.
        let verdict = tags.compare(unsafe { gather(trailers) });
        if verdict.all_right() && first + GROUP <= hashed && !self.any_small {
            for work in works {
                // SAFETY: the place for the result is that of a lane, which borrows it.
                unsafe { work.authentic.write(true) }
            }
        } else {
            let works = &mut works[..GROUP.min(hashed - first)];
            for (place, work) in works.iter_mut().enumerate() {
                work.settle(verdict.is_right(place), self.nowhere);
            }
        }
    }

    /// Where the packet of this number is opened.
    #[inline]
    fn opened(&self, at: usize) -> *mut u8 {
        self.opened.wrapping_add(at % SLOTS).cast()
    }
}

impl Work {
    /// Says whether a packet is authentic. Leaves nothing to be written beside a later packet if it
    /// is not, or if its text is shorter than a chunk, which is written now.
    #[inline(never)]
    #[target_feature(enable = "avx512f")]
    fn settle(&mut self, is_right: bool, nowhere: Plain) {
        // SAFETY: the place for the result is that of a lane, which borrows it.
        unsafe { self.authentic.write(is_right) }
        let is_small = self.plain.vectors < CHUNK;
        if is_right && is_small {
            self.plain.write_all();
        }
        if !is_right || is_small {
            self.plain = nowhere;
        }
    }

    /// No packet. Only works of packets are settled.
    const fn none(plain: Plain) -> Self {
        Self {
            trailer: plain.to,
            authentic: ptr::null_mut(),
            plain,
        }
    }
}
