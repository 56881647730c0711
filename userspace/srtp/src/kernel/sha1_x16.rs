// SPDX-License-Identifier: Apache-2.0 OR MIT

//! HMAC-SHA1 of sixteen packets at once.
//!
//! SHA-1 is a chain of 80 rounds on five words, with nothing in it that could be done at the same
//! time. So each packet gets a *lane*: a 512-bit vector has sixteen words of 32 bits, and word *l*
//! of every vector belongs to packet *l*. The rounds are then written as for one packet, with
//! vectors in place of words: five for the state, sixteen for the message, all in registers.
//!
//! ```text
//!            lane 0      lane 1     ..  lane 15
//! a          a of 0      a of 1     ..  a of 15
//! ..
//! w[0]       word 0 of   word 0 of  ..  word 0 of
//!            packet 0    packet 1       packet 15
//! ```
//!
//! A message is in memory the other way round: its sixteen words are next to each other. Loading
//! a block of each packet gives a matrix of 16 by 16 words, and `transpose!` turns it: pairs of
//! rows are zipped by words, then by double words, which leaves 4 by 4 quarters of vectors to be
//! exchanged.
//!
//! A round waits for the one before: for the sum and the rotation, four cycles on AMD Zen 5, which
//! could do sixteen operations meanwhile, and a round has ten. So a second group of sixteen goes
//! through the same rounds in turn with the first. Its words do not fit into registers too; those
//! of both groups are in memory, in a `Window` of 2 KiB, and a word replaces the one of sixteen
//! rounds before. The rounds of two groups are `asm!`, because the compiler would not keep their
//! order, sums the constant last, where all wait for it, and stores more than it must.
//!
//! The loads of the window have an index register that is zero. Without it, Zen 5 predicts from
//! base and displacement alone which store a load takes its value from, is wrong, and starts again:
//! four times slower, measured.
//!
//! Packets of a group have about as many blocks as each other, since they were sorted. Those that
//! have fewer read their last block again, and what comes out is masked away.

use core::arch::asm;
use core::arch::x86_64::{
    __m128i, __m512i, _mm512_add_epi32, _mm512_cmpge_epu32_mask, _mm512_extracti32x4_epi32,
    _mm512_loadu_si512, _mm512_mask_add_epi32, _mm512_min_epu32, _mm512_rol_epi32, _mm512_set_epi8,
    _mm512_set1_epi32, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_shuffle_i32x4,
    _mm512_storeu_si512, _mm512_ternarylogic_epi32, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi32, _mm512_unpacklo_epi64, _mm512_xor_si512,
};
use core::ptr;

use super::block::CmKey;
use super::driver::Tags;
use super::lane::Lane;

/// Packets in a group.
const LANES: usize = 16;

/// Truth tables for `vpternlog`: the three functions of SHA-1, and the XOR of three words.
const CHOOSE: i32 = 0xca;
const PARITY: i32 = 0x96;
const MAJORITY: i32 = 0xe8;

/// Turns a matrix of sixteen rows into its sixteen columns.
macro_rules! transpose {
    ($rows:expr) => {{
        let r = $rows;
        let zero = _mm512_setzero_si512();
        // Column 4 * quarter + j of rows 4 * g to 4 * g + 3 is in quarter of zipped[g][j].
        let mut zipped = [[zero; 4]; 4];
        for g in 0..4 {
            let low = _mm512_unpacklo_epi32(r[4 * g], r[4 * g + 1]);
            let high = _mm512_unpackhi_epi32(r[4 * g], r[4 * g + 1]);
            let low2 = _mm512_unpacklo_epi32(r[4 * g + 2], r[4 * g + 3]);
            let high2 = _mm512_unpackhi_epi32(r[4 * g + 2], r[4 * g + 3]);
            zipped[g] = [
                _mm512_unpacklo_epi64(low, low2),
                _mm512_unpackhi_epi64(low, low2),
                _mm512_unpacklo_epi64(high, high2),
                _mm512_unpackhi_epi64(high, high2),
            ];
        }
        let mut columns = [zero; 16];
        for j in 0..4 {
            let [a, b, c, d] = [zipped[0][j], zipped[1][j], zipped[2][j], zipped[3][j]];
            let even_ab = _mm512_shuffle_i32x4::<0x88>(a, b);
            let even_cd = _mm512_shuffle_i32x4::<0x88>(c, d);
            let odd_ab = _mm512_shuffle_i32x4::<0xdd>(a, b);
            let odd_cd = _mm512_shuffle_i32x4::<0xdd>(c, d);
            columns[j] = _mm512_shuffle_i32x4::<0x88>(even_ab, even_cd);
            columns[4 + j] = _mm512_shuffle_i32x4::<0x88>(odd_ab, odd_cd);
            columns[8 + j] = _mm512_shuffle_i32x4::<0xdd>(even_ab, even_cd);
            columns[12 + j] = _mm512_shuffle_i32x4::<0xdd>(odd_ab, odd_cd);
        }
        columns
    }};
}

/// Five rounds, after which each variable holds again what its name says.
macro_rules! five_rounds {
    ($s:ident, $w:ident, $k:ident, $function:ident: $($t:literal)*) => {$(
        one_round!($s, $w, $k, $function, $t, 0 1 2 3 4);
        one_round!($s, $w, $k, $function, $t + 1, 4 0 1 2 3);
        one_round!($s, $w, $k, $function, $t + 2, 3 4 0 1 2);
        one_round!($s, $w, $k, $function, $t + 3, 2 3 4 0 1);
        one_round!($s, $w, $k, $function, $t + 4, 1 2 3 4 0);
    )*};
}

macro_rules! one_round {
    ($s:ident, $w:ident, $k:ident, $function:ident, $t:expr, $a:literal $b:literal $c:literal $d:literal $e:literal) => {
        if $t >= 16 {
            let three = _mm512_ternarylogic_epi32::<PARITY>(
                $w[($t + 13) % 16],
                $w[($t + 8) % 16],
                $w[($t + 2) % 16],
            );
            $w[$t % 16] = _mm512_rol_epi32::<1>(_mm512_xor_si512(three, $w[$t % 16]));
        }
        let mixed = _mm512_ternarylogic_epi32::<$function>($s[$b], $s[$c], $s[$d]);
        let constant = _mm512_add_epi32($w[$t % 16], $k);
        $s[$e] = _mm512_add_epi32(_mm512_add_epi32($s[$e], constant), mixed);
        $s[$e] = _mm512_add_epi32($s[$e], _mm512_rol_epi32::<5>($s[$a]));
        $s[$b] = _mm512_rol_epi32::<30>($s[$b]);
    };
}

/// All 80 rounds (FIPS 180-4 section 6.1.2), without adding the state from before.
macro_rules! rounds {
    ($state:expr, $message:expr) => {{
        let mut s = $state;
        let mut w = $message;
        let k = _mm512_set1_epi32(0x5a82_7999);
        five_rounds!(s, w, k, CHOOSE: 0 5 10 15);
        let k = _mm512_set1_epi32(0x6ed9_eba1);
        five_rounds!(s, w, k, PARITY: 20 25 30 35);
        let k = _mm512_set1_epi32(0x8f1b_bcdcu32.cast_signed());
        five_rounds!(s, w, k, MAJORITY: 40 45 50 55);
        let k = _mm512_set1_epi32(0xca62_c1d6u32.cast_signed());
        five_rounds!(s, w, k, PARITY: 60 65 70 75);
        _ = w;
        s
    }};
}

/// The messages of two groups, the same word of both next to each other.
#[repr(C, align(64))]
struct Window([[__m512i; 2]; 16]);

/// Bytes from a word in a [`Window`] to the next.
const WORD: usize = size_of::<[__m512i; 2]>();

/// Five rounds of two groups in turn, see `rounds!`.
macro_rules! five_rounds_of_both {
    ($s:ident, $w:ident, $recent:ident, $k:ident, $function:ident: $($t:literal)*) => {$(
        one_round_of_both!($s, $w, $recent, $k, $function, $t, 0 1 2 3 4);
        one_round_of_both!($s, $w, $recent, $k, $function, $t + 1, 4 0 1 2 3);
        one_round_of_both!($s, $w, $recent, $k, $function, $t + 2, 3 4 0 1 2);
        one_round_of_both!($s, $w, $recent, $k, $function, $t + 3, 2 3 4 0 1);
        one_round_of_both!($s, $w, $recent, $k, $function, $t + 4, 1 2 3 4 0);
    )*};
}

macro_rules! one_round_of_both {
    ($s:ident, $w:ident, $recent:ident, $k:ident, $function:ident, $t:expr, $($at:literal)*) => {
        if $t < 16 {
            first_round!($s, $w, $k, $function, $t, 0, $($at)*);
            first_round!($s, $w, $k, $function, $t, 1, $($at)*);
        } else {
            later_round!($s, $w, $recent, $k, $function, $t, 0, $($at)*);
            later_round!($s, $w, $recent, $k, $function, $t, 1, $($at)*);
        }
    };
}

/// A round with a word of the message.
macro_rules! first_round {
    ($s:ident, $w:ident, $k:ident, $function:ident, $t:expr, $g:literal, $a:literal $b:literal $c:literal $d:literal $e:literal) => {
        asm!(
            "vpaddd {e}, {e}, {k}",
            "vprold {turned}, {b}, 30",
            "vpternlogd {b}, {c}, {d}, {function}",
            "vpaddd {e}, {e}, [{w} + {zero} + {w0}]",
            "vprold {five}, {a}, 5",
            "vpaddd {e}, {e}, {b}",
            "vpaddd {e}, {e}, {five}",
            w = in(reg) $w,
            zero = in(reg) 0usize,
            w0 = const WORD * ($t % 16) + 64 * $g,
            function = const $function,
            k = in(zmm_reg) $k,
            a = in(zmm_reg) $s[$g][$a],
            b = inout(zmm_reg) $s[$g][$b] => _,
            turned = out(zmm_reg) $s[$g][$b],
            c = in(zmm_reg) $s[$g][$c],
            d = in(zmm_reg) $s[$g][$d],
            e = inout(zmm_reg) $s[$g][$e],
            five = out(zmm_reg) $s[$g][5],
            options(nostack, preserves_flags, readonly),
        )
    };
}

/// A round with a word that is made from four earlier ones, and takes the place of the earliest.
macro_rules! later_round {
    ($s:ident, $w:ident, $recent:ident, $k:ident, $function:ident, $t:expr, $g:literal, $a:literal $b:literal $c:literal $d:literal $e:literal) => {
        asm!(
            "vpxord {new}, {w13}, [{w} + {zero} + {w8}]",
            "vmovdqa64 {five}, [{w} + {zero} + {w2}]",
            "vpaddd {e}, {e}, {k}",
            "vpternlogd {new}, {five}, [{w} + {zero} + {w0}], {parity}",
            "vprold {turned}, {b}, 30",
            "vpternlogd {b}, {c}, {d}, {function}",
            "vprold {new}, {new}, 1",
            "vpaddd {e}, {e}, {b}",
            "vmovdqa64 [{w} + {w0}], {new}",
            "vprold {five}, {a}, 5",
            "vpaddd {e}, {e}, {new}",
            "vpaddd {e}, {e}, {five}",
            w = in(reg) $w,
            zero = in(reg) 0usize,
            w0 = const WORD * ($t % 16) + 64 * $g,
            w2 = const WORD * (($t + 2) % 16) + 64 * $g,
            w8 = const WORD * (($t + 8) % 16) + 64 * $g,
            w13 = in(zmm_reg) $recent[$g][($t + 13) % 4],
            new = out(zmm_reg) $recent[$g][$t % 4],
            parity = const PARITY,
            function = const $function,
            k = in(zmm_reg) $k,
            a = in(zmm_reg) $s[$g][$a],
            b = inout(zmm_reg) $s[$g][$b] => _,
            turned = out(zmm_reg) $s[$g][$b],
            c = in(zmm_reg) $s[$g][$c],
            d = in(zmm_reg) $s[$g][$d],
            e = inout(zmm_reg) $s[$g][$e],
            five = out(zmm_reg) $s[$g][5],
            options(nostack, preserves_flags),
        )
    };
}

/// Where the packets of one group are.
struct Group {
    starts: [*const u8; LANES],
    /// Offset of the last block of each.
    last: __m512i,
    /// Number of blocks of the longest.
    blocks: u32,
}

impl Group {
    /// With the states after the key, of the inner and the outer hash. Lanes without a packet do
    /// what lane 0 does.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn new<const ROUNDS: usize>(
        lanes: &[Lane<'_, CmKey<ROUNDS>>],
        group: &[u8],
    ) -> (Self, [[__m512i; 5]; 2]) {
        let mut starts = [ptr::null(); LANES];
        let mut last = [0u32; LANES];
        let mut blocks = 0;
        // Loops, since `map` is not always inlined, and a call would cost all vectors in registers.
        let mut keys = [_mm512_setzero_si512(); LANES];
        for l in 0..LANES {
            let lane = &lanes[usize::from(*group.get(l).unwrap_or(&group[0]))];
            #[expect(
                clippy::cast_possible_truncation,
                reason = "at most 65 blocks, see Lane"
            )]
            let count = lane.blocks() as u32;
            blocks = blocks.max(count);
            last[l] = 64 * (count - 1);
            starts[l] = lane.start().cast_const();
            // SAFETY: sixteen words are a vector.
            keys[l] = unsafe { _mm512_loadu_si512(lane.key.states.as_ptr().cast()) };
        }
        let [i0, i1, i2, i3, i4, o0, o1, o2, o3, o4, ..] = transpose!(keys);
        let group = Self {
            starts,
            // SAFETY: sixteen words are a vector.
            last: unsafe { _mm512_loadu_si512(last.as_ptr().cast()) },
            blocks,
        };
        (group, [[i0, i1, i2, i3, i4], [o0, o1, o2, o3, o4]])
    }

    /// Adds what the rounds made of a block to the states of those lanes that have this block.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn add(&self, block: u32, state: &mut [__m512i; 5], result: &[__m512i]) {
        let at = _mm512_set1_epi32((64 * block).cast_signed());
        let alive = _mm512_cmpge_epu32_mask(self.last, at);
        for (state, result) in state.iter_mut().zip(result) {
            *state = _mm512_mask_add_epi32(*state, alive, *state, *result);
        }
    }
}

/// A block of each lane of a group; the last block of those that have no more.
macro_rules! message {
    ($group:expr, $block:expr) => {{
        let group = $group;
        let at = _mm512_set1_epi32((64 * $block).cast_signed());
        let mut offsets = [0u32; LANES];
        // SAFETY: sixteen words are a vector.
        unsafe {
            let at = _mm512_min_epu32(at, group.last);
            _mm512_storeu_si512(offsets.as_mut_ptr().cast(), at);
        }
        let big_endian = big_endian();
        let mut rows = [big_endian; LANES];
        for l in 0..LANES {
            // SAFETY: all blocks of a padded lane are in the room of its packet.
            let words = unsafe {
                let block = group.starts[l].add(offsets[l] as usize);
                _mm512_loadu_si512(block.cast())
            };
            rows[l] = _mm512_shuffle_epi8(words, big_endian);
        }
        transpose!(rows)
    }};
}

/// The tags of one or two groups of padded packets in the order of their length.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn macs<const ROUNDS: usize>(
    lanes: &[Lane<'_, CmKey<ROUNDS>>],
    group: &[u8],
    tags: &mut Tags,
) {
    let (group, longer) = group.split_at(group.len().min(LANES));
    if longer.is_empty() {
        let (group, [inner, outer]) = Group::new(lanes, group);
        let inner = one_by_one(&group, 0, inner);
        let result = rounds!(outer, outer_message(&inner));
        finish(&outer, &result, &mut tags[..LANES]);
        return;
    }

    let (group, [inner, outer]) = Group::new(lanes, group);
    let (longer, [longer_inner, longer_outer]) = Group::new(lanes, longer);
    let mut state = [inner, longer_inner];
    let mut window = Window([[_mm512_setzero_si512(); 2]; 16]);
    for block in 0..group.blocks {
        for (words, word) in window.0.iter_mut().zip(message!(&group, block)) {
            words[0] = word;
        }
        for (words, word) in window.0.iter_mut().zip(message!(&longer, block)) {
            words[1] = word;
        }
        let result = rounds_of_both(&state, &mut window);
        group.add(block, &mut state[0], &result[0][..5]);
        longer.add(block, &mut state[1], &result[1][..5]);
    }
    state[1] = one_by_one(&longer, group.blocks, state[1]);

    for (g, state) in state.iter().enumerate() {
        for (words, word) in window.0.iter_mut().zip(outer_message(state)) {
            words[g] = word;
        }
    }
    let result = rounds_of_both(&[outer, longer_outer], &mut window);
    let (first, second) = tags.split_at_mut(LANES);
    finish(&outer, &result[0], first);
    finish(&longer_outer, &result[1], second);
}

/// Hashes the blocks of a group from `first` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn one_by_one(group: &Group, first: u32, mut state: [__m512i; 5]) -> [__m512i; 5] {
    for block in first..group.blocks {
        let result = rounds!(state, message!(group, block));
        group.add(block, &mut state, &result);
    }
    state
}

/// `rounds!` of two groups, one round of one group after the same round of the other. Of what
/// comes back, the first five words are the state.
#[target_feature(enable = "avx512f,avx512bw")]
fn rounds_of_both(state: &[[__m512i; 5]; 2], window: &mut Window) -> [[__m512i; 6]; 2] {
    let zero = _mm512_setzero_si512();
    let mut s = [[zero; 6]; 2];
    // The last four words, each at its number modulo 4.
    let mut recent = [[zero; 4]; 2];
    for g in 0..2 {
        s[g][..5].copy_from_slice(&state[g]);
        for (recent, words) in recent[g].iter_mut().zip(&window.0[12..]) {
            *recent = words[g];
        }
    }
    let w = &raw mut *window;
    // SAFETY: the statements read and write the sixteen words of the window, no other memory.
    unsafe {
        let k = _mm512_set1_epi32(0x5a82_7999);
        five_rounds_of_both!(s, w, recent, k, CHOOSE: 0 5 10 15);
        let k = _mm512_set1_epi32(0x6ed9_eba1);
        five_rounds_of_both!(s, w, recent, k, PARITY: 20 25 30 35);
        let k = _mm512_set1_epi32(0x8f1b_bcdcu32.cast_signed());
        five_rounds_of_both!(s, w, recent, k, MAJORITY: 40 45 50 55);
        let k = _mm512_set1_epi32(0xca62_c1d6u32.cast_signed());
        five_rounds_of_both!(s, w, recent, k, PARITY: 60 65 70 75);
    }
    _ = recent;
    s
}

/// The block with the inner hash, 160 bits, behind the outer key, 512 bits.
#[inline]
#[target_feature(enable = "avx512f")]
fn outer_message(inner: &[__m512i; 5]) -> [__m512i; 16] {
    let mut message = [_mm512_setzero_si512(); 16];
    message[..5].copy_from_slice(inner);
    message[5] = _mm512_set1_epi32(i32::MIN);
    message[15] = _mm512_set1_epi32(512 + 160);
    message
}

/// Adds the outer state to what the rounds made of it, and takes out the tag of each lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn finish(outer: &[__m512i; 5], result: &[__m512i], tags: &mut [__m128i]) {
    let big_endian = big_endian();
    let mut words = [big_endian; 4];
    for (i, word) in words.iter_mut().enumerate() {
        *word = _mm512_shuffle_epi8(_mm512_add_epi32(result[i], outer[i]), big_endian);
    }
    let [a, b, c, d] = words;
    // Four words of each packet, as in `transpose!`: packet 4 * quarter + j is in quarter of j.
    let (low, high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (low2, high2) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    for (j, packets) in [
        _mm512_unpacklo_epi64(low, low2),
        _mm512_unpackhi_epi64(low, low2),
        _mm512_unpacklo_epi64(high, high2),
        _mm512_unpackhi_epi64(high, high2),
    ]
    .into_iter()
    .enumerate()
    {
        tags[j] = _mm512_extracti32x4_epi32::<0>(packets);
        tags[4 + j] = _mm512_extracti32x4_epi32::<1>(packets);
        tags[8 + j] = _mm512_extracti32x4_epi32::<2>(packets);
        tags[12 + j] = _mm512_extracti32x4_epi32::<3>(packets);
    }
}

/// Reverses the bytes of every word.
#[inline]
#[target_feature(enable = "avx512f")]
fn big_endian() -> __m512i {
    _mm512_set_epi8(
        12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11, 4, 5,
        6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8,
        9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3,
    )
}
