// SPDX-License-Identifier: Apache-2.0 OR MIT

//! One packet in counter mode with HMAC-SHA1, sealed in one pass.
//!
//! SHA-1 of a packet is a chain in which the CPU mostly waits, see [`super::sha_ni`]; blocks of AES
//! do not depend on each other. So 64 bytes are encrypted just before they are hashed, and in its
//! pauses the CPU runs ahead to the AES of those that follow. In between they stay in registers.
//! Loads of what was just stored would lie across two stores each, and wait until all before them
//! has ended, down to the hash of the packet before.
//!
//! What SHA-1 takes starts with the packet, the keystream with the text. So 16 bytes of the packet
//! need the end of one block of AES and the front of the next:
//!
//! ```text
//! packet    | head      .   |               |               |
//! keystream             |    block 0    |    block 1    |    block 2    |
//! ```
//!
//! Opening takes two passes, because nothing is decrypted before the tag is found to be right.

use core::arch::x86_64::{
    __m128i, _mm_and_si128, _mm_andnot_si128, _mm_loadu_si128, _mm_or_si128, _mm_set_epi8,
    _mm_set1_epi8, _mm_setzero_si128, _mm_shuffle_epi8, _mm_storeu_si128, _mm_sub_epi8,
    _mm_xor_si128,
};

use super::block::CmKey;
use super::ctr::{aes128, counters128, first128};
use super::lane::Lane;
use super::sha_ni::{State, compress, load, outer, reverse};

/// Encrypts a packet and writes its tag.
#[target_feature(enable = "aes,sha,ssse3,sse4.1")]
pub(super) fn seal<const ROUNDS: usize>(lane: &mut Lane<'_, CmKey<ROUNDS>>) {
    lane.pad();
    let rounds = &lane.key.rounds;
    let counter_block = lane.counter_block();
    let mut state = State::new(&lane.key.states, 0);
    // Blocks that have nothing but head.
    let clear = lane.head / 64;
    for block in 0..clear {
        [state] = compress([state], [load(lane, block)]);
    }
    let [front, end] = shifts(lane.head % 16);
    // The keystream of what is still head is made too, and not used.
    let mut counter = -(lane.head % 64 / 16).cast_signed();
    let mut before = _mm_setzero_si128();
    for block in clear..lane.blocks() {
        let counters = counters128(counter);
        let stream = aes128(
            rounds,
            counters.map(|counter| _mm_xor_si128(counter, counter_block)),
        );
        // Neither the head nor the padding is encrypted.
        let head = first128(lane.head.saturating_sub(64 * block));
        let inside = first128(lane.len.saturating_sub(64 * block));
        let mut message = stream;
        for (i, word) in message.iter_mut().enumerate() {
            let before = if i == 0 { before } else { stream[i - 1] };
            let stream = _mm_or_si128(
                _mm_shuffle_epi8(before, end),
                _mm_shuffle_epi8(stream[i], front),
            );
            let stream = _mm_and_si128(_mm_andnot_si128(head[i], stream), inside[i]);
            // SAFETY: all blocks of a padded lane are in the room of its packet.
            let text = unsafe {
                let place = lane.start().add(64 * block + 16 * i).cast();
                let text = _mm_xor_si128(_mm_loadu_si128(place), stream);
                _mm_storeu_si128(place, text);
                text
            };
            *word = _mm_shuffle_epi8(text, reverse());
        }
        before = stream[3];
        [state] = compress([state], [message]);
        counter += 4;
    }
    let [tag] = outer([lane], [state]);
    lane.set_trailer(tag);
}

/// Shuffles of two words into one: the front of the first, moved up by so many bytes, and the end of
/// the second, moved down in front of it. Each makes zeros where the other has its bytes.
#[inline]
#[target_feature(enable = "sse2")]
fn shifts(up: usize) -> [__m128i; 2] {
    let in_place = _mm_set_epi8(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    let [up, ..] = up.to_le_bytes();
    // The lowest four bits say which byte; with the highest it is zero.
    let front = _mm_sub_epi8(in_place, _mm_set1_epi8(up.cast_signed()));
    [front, _mm_xor_si128(front, _mm_set1_epi8(i8::MIN))]
}
