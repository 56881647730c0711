// SPDX-License-Identifier: Apache-2.0 OR MIT

//! HMAC-SHA1 of eight packets at once: `sha1_x16` in vectors of 256 bits.
//!
//! What AVX2 lacks costs instructions: the functions of the rounds take two to four, a rotation
//! three, and there are only sixteen registers, so that the message is in memory. A block of
//! sixteen words takes two vectors of each packet, and two matrices of 8 by 8 words are turned.
//!
//! There is no second group, as in `sha1_x16`: a round has 18 to 20 operations here, which keep
//! a CPU busy whose operations take one cycle. On AMD Zen 5 they take two, but that has SHA-NI.

use core::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_and_si256, _mm256_castsi256_si128, _mm256_cmpgt_epi32,
    _mm256_extracti128_si256, _mm256_loadu_si256, _mm256_or_si256, _mm256_permute2x128_si256,
    _mm256_set_epi64x, _mm256_set1_epi32, _mm256_setzero_si256, _mm256_shuffle_epi8,
    _mm256_slli_epi32, _mm256_srli_epi32, _mm256_unpackhi_epi32, _mm256_unpackhi_epi64,
    _mm256_unpacklo_epi32, _mm256_unpacklo_epi64, _mm256_xor_si256,
};
use core::array;

use super::block::CmKey;
use super::driver::Tags;
use super::lane::Lane;

/// Packets that are hashed together.
pub(super) const LANES: usize = 8;

/// Zips four rows: column 4 * half + j of them is in a half of vector j.
macro_rules! zip {
    ($a:expr, $b:expr, $c:expr, $d:expr) => {{
        let low = _mm256_unpacklo_epi32($a, $b);
        let high = _mm256_unpackhi_epi32($a, $b);
        let low2 = _mm256_unpacklo_epi32($c, $d);
        let high2 = _mm256_unpackhi_epi32($c, $d);
        [
            _mm256_unpacklo_epi64(low, low2),
            _mm256_unpackhi_epi64(low, low2),
            _mm256_unpacklo_epi64(high, high2),
            _mm256_unpackhi_epi64(high, high2),
        ]
    }};
}

/// Turns a matrix of eight rows into its columns, the first of which is stored at `$at`.
macro_rules! transpose {
    ($rows:expr, $columns:ident, $at:expr) => {{
        let r = $rows;
        let front = zip!(r[0], r[1], r[2], r[3]);
        let back = zip!(r[4], r[5], r[6], r[7]);
        for j in 0..4 {
            $columns[$at + j] = _mm256_permute2x128_si256::<0x20>(front[j], back[j]);
            $columns[$at + 4 + j] = _mm256_permute2x128_si256::<0x31>(front[j], back[j]);
        }
    }};
}

macro_rules! rotate {
    ($word:expr, $bits:literal) => {
        _mm256_or_si256(
            _mm256_slli_epi32::<$bits>($word),
            _mm256_srli_epi32::<{ 32 - $bits }>($word),
        )
    };
}

macro_rules! choose {
    ($b:expr, $c:expr, $d:expr) => {
        _mm256_xor_si256($d, _mm256_and_si256($b, _mm256_xor_si256($c, $d)))
    };
}

macro_rules! parity {
    ($b:expr, $c:expr, $d:expr) => {
        _mm256_xor_si256($b, _mm256_xor_si256($c, $d))
    };
}

macro_rules! majority {
    ($b:expr, $c:expr, $d:expr) => {
        // The two are never both one, so that adding is as good as OR, and has more ports.
        _mm256_add_epi32(
            _mm256_and_si256($b, $c),
            _mm256_and_si256($d, _mm256_xor_si256($b, $c)),
        )
    };
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
            let sum = parity!($w[($t + 13) % 16], $w[($t + 8) % 16], $w[($t + 2) % 16]);
            let sum = _mm256_xor_si256(sum, $w[$t % 16]);
            $w[$t % 16] = rotate!(sum, 1);
        }
        let mixed = $function!($s[$b], $s[$c], $s[$d]);
        let constant = _mm256_add_epi32($w[$t % 16], $k);
        $s[$e] = _mm256_add_epi32(_mm256_add_epi32($s[$e], constant), mixed);
        $s[$e] = _mm256_add_epi32($s[$e], rotate!($s[$a], 5));
        $s[$b] = rotate!($s[$b], 30);
    };
}

/// All 80 rounds (FIPS 180-4 section 6.1.2), without adding the state from before.
macro_rules! rounds {
    ($state:expr, $message:expr) => {{
        let mut s = $state;
        let mut w = $message;
        let k = _mm256_set1_epi32(0x5a82_7999);
        five_rounds!(s, w, k, choose: 0 5 10 15);
        let k = _mm256_set1_epi32(0x6ed9_eba1);
        five_rounds!(s, w, k, parity: 20 25 30 35);
        let k = _mm256_set1_epi32(0x8f1b_bcdcu32.cast_signed());
        five_rounds!(s, w, k, majority: 40 45 50 55);
        let k = _mm256_set1_epi32(0xca62_c1d6u32.cast_signed());
        five_rounds!(s, w, k, parity: 60 65 70 75);
        _ = w;
        s
    }};
}

/// The tags of a group of padded packets.
#[target_feature(enable = "avx2")]
pub(super) fn macs<const ROUNDS: usize>(
    lanes: &[Lane<'_, CmKey<ROUNDS>>],
    group: &[u8],
    tags: &mut Tags,
) {
    // Lanes without a packet do what lane 0 does.
    let lanes: [&Lane<'_, CmKey<ROUNDS>>; LANES] =
        array::from_fn(|l| &lanes[usize::from(*group.get(l).unwrap_or(&group[0]))]);

    #[expect(
        clippy::cast_possible_truncation,
        reason = "at most 65 blocks, see Lane"
    )]
    let blocks = lanes.map(|lane| lane.blocks() as u32);
    let most = blocks.iter().fold(0, |most, blocks| most.max(*blocks));
    // SAFETY: eight words are a vector.
    let blocks_of = unsafe { _mm256_loadu_si256(blocks.as_ptr().cast()) };

    let zero = _mm256_setzero_si256();
    // Loops, since `map` is not always inlined, and a call would cost all vectors in registers.
    let mut keys = [zero; 16];
    for half in [0, 8] {
        let mut rows = [zero; LANES];
        for (row, lane) in rows.iter_mut().zip(lanes) {
            // SAFETY: eight words are a vector.
            *row = unsafe { _mm256_loadu_si256(lane.key.states[half..half + 8].as_ptr().cast()) };
        }
        transpose!(rows, keys, half);
    }
    let mut state = [keys[0], keys[1], keys[2], keys[3], keys[4]];
    let outer = [keys[5], keys[6], keys[7], keys[8], keys[9]];

    let big_endian = big_endian();
    for block in 0..most {
        let mut message = [zero; 16];
        for half in [0, 8] {
            let mut rows = [zero; LANES];
            for (l, row) in rows.iter_mut().enumerate() {
                let block = block.min(blocks[l] - 1) as usize;
                // SAFETY: all blocks of a padded lane are in the room of its packet.
                let words = unsafe {
                    let at = lanes[l].start().add(64 * block + 4 * half);
                    _mm256_loadu_si256(at.cast())
                };
                *row = _mm256_shuffle_epi8(words, big_endian);
            }
            transpose!(rows, message, half);
        }
        let result = rounds!(state, message);
        let alive = _mm256_cmpgt_epi32(blocks_of, _mm256_set1_epi32(block.cast_signed()));
        for (state, result) in state.iter_mut().zip(result) {
            *state = _mm256_add_epi32(*state, _mm256_and_si256(result, alive));
        }
    }

    // The block with the inner hash, 160 bits, behind the outer key, 512 bits.
    let mut message = [zero; 16];
    message[..5].copy_from_slice(&state);
    message[5] = _mm256_set1_epi32(i32::MIN);
    message[15] = _mm256_set1_epi32(512 + 160);
    let mut result = rounds!(outer, message);
    for (result, outer) in result.iter_mut().zip(outer) {
        *result = _mm256_shuffle_epi8(_mm256_add_epi32(*result, outer), big_endian);
    }

    // Four words of each packet: packet 4 * half + j is in a half of j.
    let zipped = zip!(result[0], result[1], result[2], result[3]);
    for (j, packets) in zipped.into_iter().enumerate() {
        tags[j] = _mm256_castsi256_si128(packets);
        tags[4 + j] = _mm256_extracti128_si256::<1>(packets);
    }
}

/// Reverses the bytes of every word.
#[inline]
#[target_feature(enable = "avx2")]
fn big_endian() -> __m256i {
    let low = 0x0405_0607_0001_0203;
    let high = 0x0c0d_0e0f_0809_0a0b;
    _mm256_set_epi64x(high, low, high, low)
}
