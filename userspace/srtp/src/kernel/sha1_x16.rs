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
//! Packets of a group have about as many blocks as each other, since they were sorted. Those that
//! have fewer read their last block again, and what comes out is masked away.

use core::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_cmpgt_epu32_mask, _mm512_loadu_si512, _mm512_mask_add_epi32,
    _mm512_rol_epi32, _mm512_set_epi8, _mm512_set1_epi32, _mm512_setzero_si512,
    _mm512_shuffle_epi8, _mm512_shuffle_i32x4, _mm512_storeu_si512, _mm512_ternarylogic_epi32,
    _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
    _mm512_xor_si512,
};
use core::array;

use super::block::CmKey;
use super::driver::{GROUP, Tags};
use super::lane::Lane;

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

/// The tags of a group of padded packets.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn macs<const ROUNDS: usize>(
    lanes: &[Lane<'_, CmKey<ROUNDS>>],
    group: &[u8],
    tags: &mut Tags,
) {
    // Lanes without a packet do what lane 0 does.
    let lanes: [&Lane<'_, CmKey<ROUNDS>>; GROUP] =
        array::from_fn(|l| &lanes[usize::from(*group.get(l).unwrap_or(&group[0]))]);

    #[expect(
        clippy::cast_possible_truncation,
        reason = "at most 65 blocks, see Lane"
    )]
    let blocks = lanes.map(|lane| lane.blocks() as u32);
    let most = blocks.iter().fold(0, |most, blocks| most.max(*blocks));
    // SAFETY: sixteen words are a vector.
    let blocks_of = unsafe { _mm512_loadu_si512(blocks.as_ptr().cast()) };

    // Loops, since `map` is not always inlined, and a call would cost all vectors in registers.
    let mut keys = [_mm512_setzero_si512(); GROUP];
    for (keys, lane) in keys.iter_mut().zip(lanes) {
        // SAFETY: sixteen words are a vector.
        *keys = unsafe { _mm512_loadu_si512(lane.key.states.as_ptr().cast()) };
    }
    let keys = transpose!(keys);
    let outer: [_; 5] = array::from_fn(|i| keys[5 + i]);
    let mut state: [_; 5] = array::from_fn(|i| keys[i]);

    let big_endian = big_endian();
    for block in 0..most {
        let mut rows = [big_endian; GROUP];
        for (l, row) in rows.iter_mut().enumerate() {
            let block = block.min(blocks[l] - 1) as usize;
            // SAFETY: all blocks of a padded lane are in the room of its packet.
            let words = unsafe { _mm512_loadu_si512(lanes[l].start().add(64 * block).cast()) };
            *row = _mm512_shuffle_epi8(words, big_endian);
        }
        let message = transpose!(rows);
        let result = rounds!(state, message);
        let alive = _mm512_cmpgt_epu32_mask(blocks_of, _mm512_set1_epi32(block.cast_signed()));
        for (state, result) in state.iter_mut().zip(result) {
            *state = _mm512_mask_add_epi32(*state, alive, *state, result);
        }
    }

    // The block with the inner hash, 160 bits, behind the outer key, 512 bits.
    let mut message = [_mm512_setzero_si512(); 16];
    message[..5].copy_from_slice(&state);
    message[5] = _mm512_set1_epi32(i32::MIN);
    message[15] = _mm512_set1_epi32(512 + 160);
    let result = rounds!(outer, message);
    let [a, b, c, d]: [_; 4] =
        array::from_fn(|i| _mm512_shuffle_epi8(_mm512_add_epi32(result[i], outer[i]), big_endian));

    // Four words of each packet, as in `transpose!`: packet 4 * quarter + j is in quarter of j.
    let (low, high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (low2, high2) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    let mut found = [[0u128; 4]; 4];
    for (found, packets) in found.iter_mut().zip([
        _mm512_unpacklo_epi64(low, low2),
        _mm512_unpackhi_epi64(low, low2),
        _mm512_unpacklo_epi64(high, high2),
        _mm512_unpackhi_epi64(high, high2),
    ]) {
        // SAFETY: four times 16 bytes are a vector.
        unsafe { _mm512_storeu_si512(found.as_mut_ptr().cast(), packets) }
    }
    for (l, tag) in tags.iter_mut().enumerate() {
        *tag = found[l % 4][l / 4];
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
