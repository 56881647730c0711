// SPDX-License-Identifier: Apache-2.0 OR MIT

//! AES of a packet, a chunk at a time.

use core::arch::x86_64::{
    __m512i, _mm512_loadu_si512, _mm512_maskz_mov_epi8, _mm512_maskz_mov_epi64,
    _mm512_storeu_si512, _mm512_xor_si512,
};
use core::ptr;

use super::super::super::block::GcmKey;
use super::super::super::ctr::{counters, spread512};
use super::super::super::lane::Lane;
use super::super::{TEXT_COUNTER, ZERO, last_counters, start};
use super::shape::{SHAPES, Shape};

/// AES of a packet.
pub(super) struct Cipher<const ROUNDS: usize> {
    /// The round keys; the first with the nonce.
    pub(super) rounds: [__m512i; ROUNDS],
    /// The counters of the first vector, and of the last.
    pub(super) counters: *const [u8; 16],
    pub(super) last: *const [u8; 16],
    /// Where the first vector is in the frame, and where it goes.
    pub(super) from: *const u8,
    pub(super) to: *mut u8,
    pub(super) shape: &'static Shape,
    /// Vectors that are written.
    pub(super) written: usize,
}

impl<const ROUNDS: usize> Cipher<ROUNDS> {
    pub(super) const NONE: Self = Self {
        rounds: [ZERO; ROUNDS],
        counters: ptr::null(),
        last: ptr::null(),
        from: ptr::null(),
        to: ptr::null_mut(),
        shape: &SHAPES[0],
        written: 0,
    };

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn of(
        lane: &Lane<'_, GcmKey<ROUNDS>>,
        shape: &'static Shape,
        from: *const u8,
        to: *mut u8,
    ) -> Self {
        let mut rounds = [start(lane); ROUNDS];
        for (to, from) in rounds[1..].iter_mut().zip(&lane.key.rounds[1..]) {
            *to = spread512(from);
        }
        Self {
            rounds,
            counters: counters(TEXT_COUNTER).wrapping_byte_sub(shape.free as usize),
            last: last_counters(lane),
            from,
            to,
            shape,
            written: 0,
        }
    }

    /// The next vectors, as they go into the rounds.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn begin<const N: usize, const IS_LAST: bool>(&self) -> [__m512i; N] {
        let mut blocks = [self.rounds[0]; N];
        for (i, block) in blocks.iter_mut().enumerate() {
            let from = if IS_LAST && i == N - 1 {
                self.last
            } else {
                self.counters.wrapping_add(4 * (self.written + i))
            };
            // SAFETY: a text has at most MAX_TEXT / 16 blocks.
            *block = _mm512_xor_si512(*block, unsafe { _mm512_loadu_si512(from.cast()) });
        }
        blocks
    }

    /// Writes them, as they come from the rounds, added to their text.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn end<const N: usize, const IS_FIRST: bool, const IS_LAST: bool>(
        &mut self,
        mut blocks: [__m512i; N],
    ) {
        if IS_LAST {
            let last = self.shape.last_of::<N, IS_FIRST>();
            blocks[N - 1] = _mm512_maskz_mov_epi8(last, blocks[N - 1]);
        }
        if IS_FIRST && (N > 1 || !IS_LAST) {
            blocks[0] = _mm512_maskz_mov_epi64(self.shape.first, blocks[0]);
        }
        for (i, block) in blocks.into_iter().enumerate() {
            let at = 64 * (self.written + i);
            // SAFETY: all vectors are between 48 bytes in front of the text, which are in the
            // headroom, and 31 bytes behind it; the ring has room for as many.
            unsafe {
                let text = _mm512_loadu_si512(self.from.add(at).cast());
                _mm512_storeu_si512(self.to.add(at).cast(), _mm512_xor_si512(block, text));
            }
        }
        self.written += N;
    }
}
