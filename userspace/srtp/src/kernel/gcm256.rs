// SPDX-License-Identifier: Apache-2.0 OR MIT

//! AES-GCM with two blocks in a vector, for CPUs with VAES and VPCLMULQDQ but without AVX-512.
//!
//! # The sum
//!
//! GHASH (NIST SP 800-38D section 6.4) of the blocks X1 .. Xn, which are those of the clear head,
//! of the encrypted text, and one with both lengths, is a polynomial in the key H:
//!
//! ```text
//! X1 H^n + X2 H^(n-1) + ... + Xn H
//! ```
//!
//! # The places
//!
//! Blocks are taken two at a time, a vector each. A missing block is zero and in *front*, where it
//! changes nothing, so that the *last* vector is full:
//!
//! ```text
//! even text   head  X2        odd text    0     head
//!             X3    X4                    X2    X3
//! last        X5    lengths   last        X4    lengths
//! ```
//!
//! So the lengths are always in the last place, and in that place AES makes what the tag is
//! encrypted with. Where text has an even number of blocks, its first vector starts 16 bytes in
//! front of it. That place takes the last block of the head, which most often has no other. Where
//! there is no such place, and for what is left of a longer head, there are vectors in front that are
//! hashed alone: [`Work::head`].
//!
//! What is in a place but is not text gets zeros for keystream, so that it is stored as it was.
//!
//! # The chunks
//!
//! The key has the powers H^12 to H^1, those of six vectors. So vectors are taken in chunks of
//! [`CHUNK`], the first of which has fewer where they do not come out even. Products are summed
//! before they are reduced to 128 bits, once in each chunk; what is the hash so far is added to
//! the first block of the next chunk.
//!
//! AES of a chunk does not wait for the hash of the one before it, nor does a packet for another, so
//! that the CPU does both at once as far as it looks ahead: all of a short packet, some of a chunk.
//! `gcm512` weaves them into each other instead, at the price of assembly.
//!
//! # Opening
//!
//! The text is hashed without being written. Its keystream is kept, and applied when the tag is
//! right.

mod product;

use core::arch::x86_64::{
    __m128i, __m256i, _mm_and_si128, _mm_loadu_si128, _mm_set_epi64x, _mm_setzero_si128,
    _mm_xor_si128, _mm256_and_si256, _mm256_broadcastsi128_si256, _mm256_castsi256_si128,
    _mm256_extracti128_si256, _mm256_inserti128_si256, _mm256_loadu_si256, _mm256_set_epi64x,
    _mm256_set_m128i, _mm256_set1_epi8, _mm256_setzero_si256, _mm256_shuffle_epi8,
    _mm256_storeu_si256, _mm256_xor_si256,
};
use core::mem::{self, MaybeUninit};

use self::product::Product;
use super::block::{GcmKey, NEAR};
use super::clmul::from_u128;
use super::ctr::{aes256, counters256, first256};
use super::lane::{Lane, MAX_TEXT};

/// The counter block with 1 makes what the tag is encrypted with; text starts with 2.
const TAG_COUNTER: u128 = 1;
const TEXT_COUNTER: isize = 2;

/// Vectors between two reductions: as many as the key has powers for.
const CHUNK: usize = NEAR / 2;

/// Vectors of the longest packet.
const MAX_VECTORS: usize = MAX_TEXT / 32 + 1;

/// The keystream of a packet.
type Stream = [MaybeUninit<__m256i>; MAX_VECTORS];

/// Encrypts and writes the tags.
#[target_feature(enable = "avx2,aes,vaes,vpclmulqdq")]
pub(super) fn seal<const ROUNDS: usize>(lanes: &mut [Lane<'_, GcmKey<ROUNDS>>]) {
    let mut unused = [MaybeUninit::uninit(); MAX_VECTORS];
    for lane in lanes {
        let tag = Work::of(lane).tag::<true>(lane, &mut unused);
        lane.set_trailer(tag);
    }
}

/// Verifies the tags, and decrypts what is authentic.
#[target_feature(enable = "avx2,aes,vaes,vpclmulqdq")]
pub(super) fn open<const ROUNDS: usize>(lanes: &mut [Lane<'_, GcmKey<ROUNDS>>]) {
    let mut stream = [MaybeUninit::uninit(); MAX_VECTORS];
    for lane in lanes {
        let mut work = Work::of(lane);
        let is_authentic = lane.has_tag(work.tag::<false>(lane, &mut stream));
        *lane.authentic = is_authentic;
        if is_authentic {
            for (i, stream) in stream[..work.vectors].iter().enumerate() {
                // SAFETY: the places are those that `tag` has read, and it has written a keystream
                // for each.
                unsafe {
                    let place = work.at.add(32 * i).cast();
                    let text = _mm256_loadu_si256(place);
                    _mm256_storeu_si256(place, _mm256_xor_si256(text, stream.assume_init()));
                }
            }
        }
    }
}

/// A packet on its way.
struct Work<'a, const ROUNDS: usize> {
    key: &'a GcmKey<ROUNDS>,
    /// The counter block with zero in place of the counter, after the first step of AES.
    start: __m256i,
    /// Where the first vector is.
    at: *mut u8,
    /// Its first counter.
    counter: isize,
    /// How many vectors there are.
    vectors: usize,
    /// How many are done.
    done: usize,
    /// Ones over what is text in the next vector, unless it is the last.
    inside: __m256i,
    /// What is added to the next vector before it is multiplied: the head, or the hash so far.
    front: __m256i,
    /// Ones over what is text in the last vector.
    behind: __m256i,
    /// Products since the last reduction.
    sum: Product,
}

impl<'a, const ROUNDS: usize> Work<'a, ROUNDS> {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn of(lane: &Lane<'a, GcmKey<ROUNDS>>) -> Self {
        let blocks = lane.text_len().div_ceil(16);
        let free = !blocks & 1;
        Self {
            key: lane.key,
            start: start(lane),
            at: lane.text().wrapping_sub(16 * free),
            counter: TEXT_COUNTER - free.cast_signed(),
            vectors: blocks / 2 + 1,
            done: 0,
            inside: _mm256_xor_si256(first256(16 * free), ones()),
            front: _mm256_setzero_si256(),
            behind: first256(lane.text_len() - 16 * blocks.saturating_sub(1)),
            sum: Product::zero(),
        }
    }

    /// Makes the tag. Encrypts the text on the way if `ENCRYPT`, otherwise keeps its keystream.
    #[inline]
    #[target_feature(enable = "avx2,aes,vaes,vpclmulqdq")]
    fn tag<const ENCRYPT: bool>(
        &mut self,
        lane: &Lane<'_, GcmKey<ROUNDS>>,
        stream: &mut Stream,
    ) -> __m128i {
        self.head(lane);
        let first = (self.vectors - 1) % CHUNK + 1;
        let mut last = if first == self.vectors {
            self.chunk_of::<ENCRYPT, true>(first, lane, stream)
        } else {
            self.chunk_of::<ENCRYPT, false>(first, lane, stream)
        };
        while self.done < self.vectors {
            self.front = mem::replace(&mut self.sum, Product::zero()).reduce();
            self.inside = ones();
            last = if self.vectors - self.done == CHUNK {
                self.chunk::<ENCRYPT, true, CHUNK>(lane, stream)
            } else {
                self.chunk::<ENCRYPT, false, CHUNK>(lane, stream)
            };
        }
        let hash = _mm256_shuffle_epi8(self.sum.reduce(), swap());
        _mm_xor_si128(
            _mm256_castsi256_si128(hash),
            _mm256_extracti128_si256::<1>(last),
        )
    }

    /// Hashes the head, which is zero-padded to whole blocks, as far as it is in front of the next
    /// vector.
    #[inline]
    #[target_feature(enable = "avx2,vpclmulqdq")]
    fn head(&mut self, lane: &Lane<'_, GcmKey<ROUNDS>>) {
        let mut blocks = lane.head.div_ceil(16).cast_signed();
        if self.counter < TEXT_COUNTER {
            // There is a free place.
            blocks -= 1;
            self.front = head_blocks(lane, blocks);
        }
        // Where there is an odd number, the first one has zeros in front of it.
        let mut block = -(blocks & 1);
        let mut hash = _mm256_setzero_si256();
        while block < blocks {
            let mut sum = Product::zero();
            let pair = _mm256_xor_si256(head_blocks(lane, block), hash);
            sum.add(pair, powers(self.key, 0));
            hash = sum.reduce();
            block += 2;
        }
        self.front = _mm256_xor_si256(self.front, hash);
    }

    /// [`Self::chunk`], unrolled for each number of vectors.
    #[inline]
    #[target_feature(enable = "avx2,aes,vaes,vpclmulqdq")]
    fn chunk_of<const ENCRYPT: bool, const LAST: bool>(
        &mut self,
        vectors: usize,
        lane: &Lane<'_, GcmKey<ROUNDS>>,
        stream: &mut Stream,
    ) -> __m256i {
        match vectors {
            1 => self.chunk::<ENCRYPT, LAST, 1>(lane, stream),
            2 => self.chunk::<ENCRYPT, LAST, 2>(lane, stream),
            3 => self.chunk::<ENCRYPT, LAST, 3>(lane, stream),
            4 => self.chunk::<ENCRYPT, LAST, 4>(lane, stream),
            5 => self.chunk::<ENCRYPT, LAST, 5>(lane, stream),
            _ => self.chunk::<ENCRYPT, LAST, CHUNK>(lane, stream),
        }
    }

    /// Takes the next `N` vectors. Gives the keystream of the last one of them.
    #[inline]
    #[target_feature(enable = "avx2,aes,vaes,vpclmulqdq")]
    fn chunk<const ENCRYPT: bool, const LAST: bool, const N: usize>(
        &mut self,
        lane: &Lane<'_, GcmKey<ROUNDS>>,
        stream: &mut Stream,
    ) -> __m256i {
        let mut blocks = [self.start; N];
        for (i, block) in blocks.iter_mut().enumerate() {
            let mut counters = counters256(self.counter + 2 * (self.done + i).cast_signed());
            if LAST && i == N - 1 {
                let tag = from_u128(TAG_COUNTER.swap_bytes());
                counters = _mm256_inserti128_si256::<1>(counters, tag);
            }
            *block = _mm256_xor_si256(*block, counters);
        }
        let mut blocks = aes256(&self.key.rounds, blocks);
        let last = blocks[N - 1];
        blocks[0] = _mm256_and_si256(blocks[0], self.inside);
        if LAST {
            blocks[N - 1] = _mm256_and_si256(blocks[N - 1], self.behind);
        }
        for (i, block) in blocks.into_iter().enumerate() {
            // SAFETY: all vectors are from 16 bytes in front of the text, which are in the
            // headroom at worst, to 31 behind it, and there are at most MAX_VECTORS.
            let mut data = unsafe {
                let place = self.at.add(32 * (self.done + i)).cast();
                let mut data = _mm256_loadu_si256(place);
                if ENCRYPT {
                    data = _mm256_xor_si256(data, block);
                    _mm256_storeu_si256(place, data);
                } else {
                    stream.get_unchecked_mut(self.done + i).write(block);
                }
                data
            };
            if i == 0 {
                data = _mm256_and_si256(data, self.inside);
            }
            if LAST && i == N - 1 {
                data = _mm256_and_si256(data, self.behind);
            }
            data = _mm256_shuffle_epi8(data, swap());
            if i == 0 {
                data = _mm256_xor_si256(data, self.front);
            }
            if LAST && i == N - 1 {
                data = _mm256_xor_si256(data, lengths(lane));
            }
            self.sum.add(data, powers(self.key, N - 1 - i));
        }
        self.done += N;
        last
    }
}

/// What a vector is multiplied by that has so many behind it in its chunk.
#[inline]
#[target_feature(enable = "avx2")]
fn powers<const ROUNDS: usize>(key: &GcmKey<ROUNDS>, behind: usize) -> __m256i {
    debug_assert!(behind < CHUNK);
    // SAFETY: a chunk has at most CHUNK vectors, and the key powers for each.
    unsafe { _mm256_loadu_si256(key.near.as_ptr().add(NEAR - 2 - 2 * behind).cast()) }
}

/// The counter block with zero in place of the counter, after the first step of AES.
#[inline]
#[target_feature(enable = "avx2")]
fn start<const ROUNDS: usize>(lane: &Lane<'_, GcmKey<ROUNDS>>) -> __m256i {
    _mm256_broadcastsi128_si256(lane.counter_block())
}

/// The lengths of head and text, in bits, in the last place.
#[inline]
#[target_feature(enable = "avx2")]
fn lengths<const ROUNDS: usize>(lane: &Lane<'_, GcmKey<ROUNDS>>) -> __m256i {
    let bits = |bytes: usize| 8 * (bytes as u64).cast_signed();
    let lengths = _mm_set_epi64x(bits(lane.head), bits(lane.text_len()));
    _mm256_inserti128_si256::<1>(_mm256_setzero_si256(), lengths)
}

/// Two blocks of the head as they are hashed, from this number on; those in front of it are zero.
#[inline]
#[target_feature(enable = "avx2")]
fn head_blocks<const ROUNDS: usize>(lane: &Lane<'_, GcmKey<ROUNDS>>, first: isize) -> __m256i {
    let pair = _mm256_set_m128i(head_block(lane, first + 1), head_block(lane, first));
    _mm256_shuffle_epi8(pair, swap())
}

/// A block of the head, zero-padded; zero outside of it.
#[inline]
#[target_feature(enable = "avx2")]
fn head_block<const ROUNDS: usize>(lane: &Lane<'_, GcmKey<ROUNDS>>, block: isize) -> __m128i {
    let at = 16 * block;
    if !(0..lane.head.cast_signed()).contains(&at) {
        return _mm_setzero_si128();
    }
    let at = at.cast_unsigned();
    // SAFETY: the block starts in the head, and there are 80 bytes behind the text.
    let bytes = unsafe { _mm_loadu_si128(lane.start().add(at).cast()) };
    let inside = first256((lane.head - at).min(16));
    _mm_and_si128(bytes, _mm256_castsi256_si128(inside))
}

#[inline]
#[target_feature(enable = "avx2")]
fn ones() -> __m256i {
    _mm256_set1_epi8(-1)
}

/// Reverses the bytes of every block.
#[inline]
#[target_feature(enable = "avx2")]
fn swap() -> __m256i {
    let low = 0x0001_0203_0405_0607;
    let high = 0x0809_0a0b_0c0d_0e0f;
    _mm256_set_epi64x(low, high, low, high)
}
