// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A text that was opened, and is written once its tag was found to be right.

use core::arch::x86_64::{_mm512_loadu_si512, _mm512_storeu_si512};

use super::CHUNK;

/// A text that was opened: where its vectors are, where they go, and how many they are.
#[derive(Clone, Copy)]
pub(super) struct Plain {
    pub(super) from: *const u8,
    pub(super) to: *mut u8,
    pub(super) vectors: usize,
}

impl Plain {
    /// Writes some vectors of a text of a chunk at least, in step with those of a packet that has
    /// as many or more, of which so many are done. Where the text has come to its end, it is the
    /// last ones again: so no branch depends on its length.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn write<const N: usize>(&self, done: usize) {
        debug_assert!(self.vectors >= CHUNK);
        self.copy::<N>(done.min(self.vectors - CHUNK));
    }

    /// Writes all of a text.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn write_all(&self) {
        for at in 0..self.vectors {
            self.copy::<1>(at);
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn copy<const N: usize>(&self, at: usize) {
        for i in 0..N {
            // SAFETY: vectors are between 48 bytes in front of the text, which are in the
            // headroom, and 31 behind it. All of them were opened. Or they are a chunk that is
            // there for packets of which nothing is written.
            unsafe {
                let text = _mm512_loadu_si512(self.from.add(64 * at + 64 * i).cast());
                _mm512_storeu_si512(self.to.add(64 * at + 64 * i).cast(), text);
            }
        }
    }
}
