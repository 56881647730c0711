// SPDX-License-Identifier: Apache-2.0 OR MIT

//! HMAC-SHA1 of one to four packets at once, with the SHA instructions.
//!
//! `sha1rnds4` does four of the 80 rounds, and its result is the input of the next: a chain of 20
//! for each block, in which the CPU mostly waits. Other packets fit into the pauses. With four the
//! registers do not suffice any more, yet on AMD Zen 5 that is still faster than two.
//!
//! A state is in two vectors: `abcd` has the word *a* on top, `e` has *e* on top and zeros below.
//! Messages are in four vectors of four words, the first word on top; the vector for rounds 4g to
//! 4g + 3 takes the place of the one 16 rounds before.

use core::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_loadu_si128, _mm_or_si128, _mm_set_epi8, _mm_set_epi32,
    _mm_sha1msg1_epu32, _mm_sha1msg2_epu32, _mm_sha1nexte_epu32, _mm_sha1rnds4_epu32,
    _mm_shuffle_epi8, _mm_xor_si128,
};
use core::array;
use core::ops::Range;

use super::block::CmKey;
use super::driver::Tags;
use super::lane::Lane;

/// What a hash has come to after some blocks.
#[derive(Clone, Copy)]
pub(super) struct State {
    abcd: __m128i,
    e: __m128i,
}

/// Packets that are hashed together, at the most.
const LANES: usize = 4;

/// The tags of a small group of padded packets in the order of their length, four by four.
#[target_feature(enable = "sha,ssse3,sse4.1")]
pub(super) fn macs<const ROUNDS: usize>(
    lanes: &[Lane<'_, CmKey<ROUNDS>>],
    group: &[u8],
    tags: &mut Tags,
) {
    for (group, tags) in group.chunks(LANES).zip(tags.chunks_mut(LANES)) {
        let lane = |at: u8| &lanes[usize::from(at)];
        match *group {
            [a, b, c, d] => tags[..4].copy_from_slice(&hmac([a, b, c, d].map(lane))),
            [a, b, c] => tags[..3].copy_from_slice(&hmac([a, b, c].map(lane))),
            [a, b] => tags[..2].copy_from_slice(&hmac([a, b].map(lane))),
            [a] => tags[..1].copy_from_slice(&hmac([lane(a)])),
            _ => {}
        }
    }
}

/// The tags of `N` padded packets in the order of their length.
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn hmac<const N: usize, const ROUNDS: usize>(lanes: [&Lane<'_, CmKey<ROUNDS>>; N]) -> [__m128i; N] {
    let mut states = lanes.map(|lane| State::new(&lane.key.states, 0));
    // Until the shortest ends, then the others without it, and so on.
    let mut done = 0;
    for first in 0..N {
        let (lanes, states) = (&lanes[first..], &mut states[first..]);
        let blocks = done..lanes[0].blocks();
        done = blocks.end;
        // Not even through the states in memory, for which the outer hash would wait.
        if blocks.is_empty() {
            continue;
        }
        match N - first {
            4 => hash::<4, ROUNDS>(lanes, states, blocks),
            3 => hash::<3, ROUNDS>(lanes, states, blocks),
            2 => hash::<2, ROUNDS>(lanes, states, blocks),
            _ => hash::<1, ROUNDS>(lanes, states, blocks),
        }
    }
    outer(lanes, states)
}

/// The tags of `N` packets, of which the inner hash is done.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
pub(super) fn outer<const N: usize, const ROUNDS: usize>(
    lanes: [&Lane<'_, CmKey<ROUNDS>>; N],
    inner: [State; N],
) -> [__m128i; N] {
    let outer = lanes.map(|lane| State::new(&lane.key.states, 5));
    let states = compress(outer, inner.map(|state| outer_message(state)));
    states.map(|state| _mm_shuffle_epi8(state.abcd, reverse()))
}

/// Hashes some blocks of `N` lanes.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn hash<const N: usize, const ROUNDS: usize>(
    lanes: &[&Lane<'_, CmKey<ROUNDS>>],
    states: &mut [State],
    blocks: Range<usize>,
) {
    let mut now: [_; N] = array::from_fn(|i| states[i]);
    for block in blocks {
        now = compress(now, array::from_fn(|i| load(lanes[i], block)));
    }
    states.copy_from_slice(&now);
}

/// The block with the inner hash, 160 bits, behind the outer key, 512 bits.
#[inline]
#[target_feature(enable = "sse2")]
fn outer_message(inner: State) -> [__m128i; 4] {
    [
        inner.abcd,
        _mm_or_si128(inner.e, _mm_set_epi32(0, i32::MIN, 0, 0)),
        _mm_set_epi32(0, 0, 0, 0),
        _mm_set_epi32(0, 0, 0, 512 + 160),
    ]
}

/// The words of a block.
#[inline]
#[target_feature(enable = "ssse3")]
pub(super) fn load<const ROUNDS: usize>(
    lane: &Lane<'_, CmKey<ROUNDS>>,
    block: usize,
) -> [__m128i; 4] {
    debug_assert!(block < lane.blocks());
    array::from_fn(|i| {
        // SAFETY: all blocks of a padded lane are in the room of its packet.
        let words = unsafe {
            let at = lane.start().add(64 * block + 16 * i);
            _mm_loadu_si128(at.cast())
        };
        _mm_shuffle_epi8(words, reverse())
    })
}

/// A shuffle: words are big-endian, and the first is on top.
#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn reverse() -> __m128i {
    _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
}

impl State {
    /// The state of five words from `at` on.
    #[inline]
    #[target_feature(enable = "sse2")]
    pub(super) fn new(words: &[u32; 16], at: usize) -> Self {
        let w: [_; 5] = array::from_fn(|i| words[at + i].cast_signed());
        Self {
            abcd: _mm_set_epi32(w[0], w[1], w[2], w[3]),
            e: _mm_set_epi32(w[4], 0, 0, 0),
        }
    }
}

/// SHA-1 of one block in each of `N` lanes (FIPS 180-4 section 6.1.2).
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
pub(super) fn compress<const N: usize>(states: [State; N], mut m: [[__m128i; 4]; N]) -> [State; N] {
    let mut abcd = states.map(|state| state.abcd);
    // What e is made from after the next four rounds.
    let mut before = abcd;
    macro_rules! four_rounds {
        ($function:literal: $($group:literal)*) => {$(
            for i in 0..N {
                let m = &mut m[i];
                if $group >= 4 {
                    let step = _mm_sha1msg1_epu32(m[$group % 4], m[($group + 1) % 4]);
                    let step = _mm_xor_si128(step, m[($group + 2) % 4]);
                    m[$group % 4] = _mm_sha1msg2_epu32(step, m[($group + 3) % 4]);
                }
                let e = if $group == 0 {
                    _mm_add_epi32(states[i].e, m[0])
                } else {
                    _mm_sha1nexte_epu32(before[i], m[$group % 4])
                };
                before[i] = abcd[i];
                abcd[i] = _mm_sha1rnds4_epu32::<$function>(abcd[i], e);
            }
        )*};
    }
    four_rounds!(0: 0 1 2 3 4);
    four_rounds!(1: 5 6 7 8 9);
    four_rounds!(2: 10 11 12 13 14);
    four_rounds!(3: 15 16 17 18 19);
    array::from_fn(|i| State {
        abcd: _mm_add_epi32(abcd[i], states[i].abcd),
        e: _mm_sha1nexte_epu32(before[i], states[i].e),
    })
}
