// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Keys as the vector kernels want them: all that a packet needs in consecutive cache lines.
//!
//! A gateway has tens of thousands of streams, whose keys are in no cache when the next packet
//! comes. What counts is then the number of lines to fetch, and that they can be fetched for the
//! whole burst before the first is used. So a stream's SRTP keys are one block:
//!
//! ```text
//! CmKey   | HMAC states | start, round keys .. | .. | .. |              256 bytes, AES-128
//! GcmKey  | H^12 .. H^1 (3 lines) | start, round keys .. | .. | .. | H^4 H^8 .. H^80 |  704, 768
//! ```
//!
//! `start` is what all counter blocks under this key have in common after the first step of AES,
//! which XORs the first round key to them: that, and the salt.
//!
//! The HMAC states are what SHA-1 has become after the first block of the inner and of the outer
//! hash, which depends on the key only: two compressions per packet saved. The powers of the
//! GHASH key H are explained in `gcm512`: those in front are for short packets and for the last
//! three vectors of long ones, those at the end for the vectors in front of them.

use core::arch::x86_64::{
    _mm_aesenc_si128, _mm_aesenclast_si128, _mm_aeskeygenassist_si128, _mm_cvtsi128_si32,
    _mm_set1_epi32,
};
use core::array;
use core::mem::offset_of;
use std::arch::is_x86_feature_detected;

use sha1::block_api::compress;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::clmul::{self, from_u128, into_u128};
use super::lane::{LINE, fetch};
use crate::Suite;
use crate::derivation::SessionKey;

/// Powers of H that take a factor of four blocks each: enough for 80 blocks between reductions.
pub(super) const POWERS: usize = 20;

/// Powers of H that take a single block each: those of three vectors.
pub(super) const NEAR: usize = 12;

/// AES-128 has so many round keys.
pub(super) const AES_128: usize = 11;
/// AES-192 has so many round keys.
pub(super) const AES_192: usize = 13;
/// AES-256 has so many round keys.
pub(super) const AES_256: usize = 15;

/// The SRTP keys of a stream. On the heap, so that moving it leaves no copy behind.
pub(super) enum Block {
    Cm128(Box<CmKey<AES_128>>),
    Cm192(Box<CmKey<AES_192>>),
    Cm256(Box<CmKey<AES_256>>),
    Gcm128(Box<GcmKey<AES_128>>),
    Gcm256(Box<GcmKey<AES_256>>),
}

/// AES in counter mode with HMAC-SHA1.
#[derive(Zeroize, ZeroizeOnDrop)]
#[repr(C, align(64))]
pub(super) struct CmKey<const ROUNDS: usize> {
    /// SHA-1 states: inner (words 0 to 4), outer (words 5 to 9). Word 10 is the tag's length.
    pub(super) states: [u32; 16],
    pub(super) start: [u8; 16],
    pub(super) rounds: [[u8; 16]; ROUNDS],
}

/// AES in Galois counter mode.
#[derive(Zeroize, ZeroizeOnDrop)]
#[repr(C, align(64))]
pub(super) struct GcmKey<const ROUNDS: usize> {
    /// H^12, H^11, ... H^1.
    pub(super) near: [[u8; 16]; NEAR],
    pub(super) start: [u8; 16],
    pub(super) rounds: [[u8; 16]; ROUNDS],
    /// H^4, H^8, H^12, ...
    pub(super) powers: [[u8; 16]; POWERS],
}

/// How many lines [`GcmKey::fetch`] and [`CmKey::fetch`] look at.
const _: () = assert!(size_of::<GcmKey<AES_256>>() == 12 * LINE);
const _: () = assert!(size_of::<CmKey<AES_256>>() == 5 * LINE);

impl Block {
    /// `None` when no vector kernel has this suite, or the CPU has no vector kernel.
    pub(super) fn new(key: &SessionKey) -> Option<Self> {
        if !is_x86_feature_detected!("aes")
            || !is_x86_feature_detected!("pclmulqdq")
            || !is_x86_feature_detected!("ssse3")
        {
            return None;
        }
        // SAFETY: the CPU has the instructions.
        unsafe {
            match key.suite {
                Suite::AesCm128HmacSha1_80 | Suite::AesCm128HmacSha1_32 => {
                    Some(Self::Cm128(CmKey::boxed(key)))
                }
                Suite::Aes192CmHmacSha1_80 | Suite::Aes192CmHmacSha1_32 => {
                    Some(Self::Cm192(CmKey::boxed(key)))
                }
                Suite::Aes256CmHmacSha1_80 | Suite::Aes256CmHmacSha1_32 => {
                    Some(Self::Cm256(CmKey::boxed(key)))
                }
                Suite::AeadAes128Gcm => Some(Self::Gcm128(GcmKey::boxed(key))),
                Suite::AeadAes256Gcm => Some(Self::Gcm256(GcmKey::boxed(key))),
                Suite::F8128HmacSha1_80 | Suite::NullHmacSha1_80 | Suite::NullHmacSha1_32 => None,
            }
        }
    }
}

impl<const ROUNDS: usize> CmKey<ROUNDS> {
    /// Has all of it fetched into the cache.
    #[inline]
    pub(super) fn fetch(&self) {
        fetch::<5, _>(self, 0, size_of::<Self>());
    }

    #[target_feature(enable = "aes")]
    fn boxed(key: &SessionKey) -> Box<Self> {
        let mut block = Box::new(Self {
            states: [0; 16],
            start: [0; 16],
            rounds: [[0; 16]; ROUNDS],
        });
        expand(key.cipher(), &mut block.rounds);
        let Self { start, rounds, .. } = &mut *block;
        begin(start, key.salt(), &rounds[0]);
        let states = &mut block.states;
        states[..5].copy_from_slice(&*keyed_state(key.auth(), 0x36));
        states[5..10].copy_from_slice(&*keyed_state(key.auth(), 0x5c));
        states[10] = u32::try_from(key.suite.rtp_tag_len()).expect("a tag has at most 20 bytes");
        block
    }
}

impl<const ROUNDS: usize> GcmKey<ROUNDS> {
    /// Has what a packet needs that is so long fetched into the cache: the powers in front and the
    /// round keys, and for a long one a power for each of its vectors.
    #[inline]
    pub(super) fn fetch(&self, len: usize) {
        let powers = offset_of!(Self, powers);
        fetch::<7, _>(self, 0, powers);
        if len > 16 * NEAR {
            fetch::<6, _>(self, powers, powers + len / 4);
        }
    }

    #[target_feature(enable = "aes,pclmulqdq,ssse3")]
    fn boxed(key: &SessionKey) -> Box<Self> {
        let mut block = Box::new(Self {
            near: [[0; 16]; NEAR],
            start: [0; 16],
            rounds: [[0; 16]; ROUNDS],
            powers: [[0; 16]; POWERS],
        });
        expand(key.cipher(), &mut block.rounds);
        let Self { start, rounds, .. } = &mut *block;
        begin(start, key.salt(), &rounds[0]);

        let rounds = &block.rounds;
        let mut state = from_u128(u128::from_ne_bytes(rounds[0]));
        for round in &rounds[1..ROUNDS - 1] {
            state = _mm_aesenc_si128(state, from_u128(u128::from_ne_bytes(*round)));
        }
        let last = from_u128(u128::from_ne_bytes(rounds[ROUNDS - 1]));
        let hash_key = into_u128(_mm_aesenclast_si128(state, last)).swap_bytes();
        // A product of two reflected polynomials is one bit too far to the right; moving the key
        // by one bit to the left, once, corrects all products with it.
        let carry = (hash_key >> 127).wrapping_neg();
        let hash_key = (hash_key << 1) ^ (carry & 0xc200_0000_0000_0000_0000_0000_0000_0001);

        let hash_key = from_u128(hash_key);
        let mut power = hash_key;
        for n in 1..=4 * POWERS {
            if n <= NEAR {
                block.near[NEAR - n] = into_u128(power).to_ne_bytes();
            }
            if n % 4 == 0 {
                block.powers[n / 4 - 1] = into_u128(power).to_ne_bytes();
            }
            power = clmul::multiply(power, hash_key);
        }
        block
    }
}

/// What SHA-1 is after the first block of HMAC (RFC 2104), which is the key, padded.
fn keyed_state(key: &[u8; 20], pad: u8) -> Zeroizing<[u32; 5]> {
    let mut block = Zeroizing::new([pad; 64]);
    for (byte, key) in block.iter_mut().zip(key) {
        *byte ^= key;
    }
    let mut state = Zeroizing::new([
        0x6745_2301,
        0xefcd_ab89,
        0x98ba_dcfe,
        0x1032_5476,
        0xc3d2_e1f0,
    ]);
    compress(&mut state, array::from_ref(&*block));
    state
}

/// Makes `start` of the salt, which is in front of a counter block, and the first round key. In
/// place, so that no copy stays behind.
fn begin(start: &mut [u8; 16], salt: &[u8], round: &[u8; 16]) {
    start.copy_from_slice(round);
    for (byte, salt) in start.iter_mut().zip(salt) {
        *byte ^= salt;
    }
}

/// Expands an AES key (FIPS 197 section 5.2).
#[target_feature(enable = "aes")]
fn expand(key: &[u8], rounds: &mut [[u8; 16]]) {
    let key_words = key.len() / 4;
    let mut words = Zeroizing::new([0u32; 60]);
    for (word, bytes) in words.iter_mut().zip(key.chunks_exact(4)) {
        *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    let mut constant = 1u8;
    for i in key_words..4 * rounds.len() {
        let mut word = words[i - 1];
        if i.is_multiple_of(key_words) {
            word = substitute(word).rotate_right(8) ^ u32::from(constant);
            constant = (constant << 1) ^ (0x1b * (constant >> 7));
        } else if key_words > 6 && i % key_words == 4 {
            word = substitute(word);
        }
        words[i] = words[i - key_words] ^ word;
    }
    for (round, words) in rounds.iter_mut().zip(words.chunks_exact(4)) {
        for (bytes, word) in round.chunks_exact_mut(4).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
    }
}

/// The S-box on each byte of a word, without a table.
#[target_feature(enable = "aes")]
fn substitute(word: u32) -> u32 {
    let words = _mm_aeskeygenassist_si128::<0>(_mm_set1_epi32(word.cast_signed()));
    _mm_cvtsi128_si32(words).cast_unsigned()
}
