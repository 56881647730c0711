// SPDX-License-Identifier: Apache-2.0 OR MIT

//! How a text lies in its vectors.

/// How a text lies in its vectors, by its length modulo theirs.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Shape {
    /// The bytes of the last vector that are text, if it is not the first.
    pub(super) last: u64,
    /// The quarters of the first vector that are text.
    pub(super) first: u8,
    /// Bytes of the first vector in front of the text.
    pub(super) free: u32,
}

pub(super) static SHAPES: [Shape; 64] = {
    let mut shapes = [Shape::of(0); 64];
    let mut len = 0;
    while len < 64 {
        shapes[len] = Shape::of(len);
        len += 1;
    }
    shapes
};

impl Shape {
    #[expect(clippy::cast_possible_truncation, reason = "they are below 64")]
    pub(super) const fn of(len: usize) -> Self {
        let blocks = len.div_ceil(16);
        let free = 16 * (!blocks & 3);
        let behind = len + free - 64 * (blocks / 4);
        Self {
            last: !(u64::MAX << behind),
            first: u8::MAX << (free / 8),
            free: free as u32,
        }
    }

    /// The bytes of the last vector that are text.
    #[inline]
    pub(super) fn last_of<const N: usize, const IS_FIRST: bool>(&self) -> u64 {
        if N == 1 && IS_FIRST {
            self.last & u64::MAX << self.free
        } else {
            self.last
        }
    }
}
