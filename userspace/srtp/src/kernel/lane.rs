// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A packet whose room was checked, as the vector kernels take it.
//!
//! Everything that may go wrong with lengths is settled here, once per packet. What follows may
//! read and write `64` bytes in front of the packet and [`TAILROOM`] behind its text.

use core::arch::x86_64::{
    __m128i, _MM_HINT_T0, _mm_and_si128, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8,
    _mm_prefetch, _mm_setzero_si128, _mm_storeu_si128, _mm_xor_si128,
};
use core::marker::PhantomData;
use core::ptr;

use arrayvec::ArrayVec;

use super::Item;
use super::block::{AES_128, AES_192, AES_256, Block, CmKey, GcmKey};
use super::clmul::from_u128;
use super::ctr::key128;
use crate::{HEADROOM, Kind, MAX_BURST, TAILROOM};

/// The longest text of a vector kernel, in bytes: what `ctr` has counters for.
pub(super) const MAX_TEXT: usize = 2048;

/// The longest head of a GCM packet, in bytes: one vector.
const MAX_GCM_HEAD: usize = 64;

/// The longest head of a packet in counter mode, in bytes; only so that its length is small.
const MAX_CM_HEAD: usize = 2048;

const _: () = assert!(HEADROOM >= 64 && TAILROOM >= 80);

/// A packet of which the bytes `start - HEADROOM .. start + len + TAILROOM` belong to the kernel.
//
// In one line of the cache.
#[repr(align(64))]
pub(super) struct Lane<'a, K> {
    pub(super) key: &'a K,
    start: *mut u8,
    /// Length of the part in front of the text.
    pub(super) head: usize,
    /// Length of the packet without its trailer.
    pub(super) len: usize,
    /// SSRC and index, as they are in the counter blocks of both modes.
    pub(super) nonce: u128,
    /// Where to say that the tag was right.
    pub(super) authentic: &'a mut bool,
    frame: PhantomData<&'a mut [u8]>,
}

const _: () = assert!(size_of::<Lane<'_, ()>>() == LINE);

/// A list of packets of one burst.
pub(super) type List<T> = ArrayVec<T, MAX_BURST>;

/// Each number in its place.
pub(super) const IN_ORDER: [u8; MAX_BURST] = {
    let mut order = [0; MAX_BURST];
    let mut at = 1;
    while at < MAX_BURST {
        order[at] = order[at - 1] + 1;
        at += 1;
    }
    order
};

/// The packets of a burst that a vector kernel takes, by their kind of key.
#[derive(Default)]
pub(super) struct Lanes<'a> {
    pub(super) cm128: List<Lane<'a, CmKey<AES_128>>>,
    pub(super) cm192: List<Lane<'a, CmKey<AES_192>>>,
    pub(super) cm256: List<Lane<'a, CmKey<AES_256>>>,
    pub(super) gcm128: List<Lane<'a, GcmKey<AES_128>>>,
    pub(super) gcm256: List<Lane<'a, GcmKey<AES_256>>>,
}

/// Whether a vector kernel can do this packet, as far as its place in the frame is concerned.
#[expect(clippy::inline_always, reason = "so that the item is never in memory")]
#[inline(always)]
fn fits(item: &Item<'_>) -> bool {
    let behind = item.frame.len().checked_sub(item.start);
    let behind = behind.and_then(|len| len.checked_sub(item.len));
    item.kind == Kind::Rtp
        && item.start >= HEADROOM
        && item.head <= item.len
        && item.len - item.head <= MAX_TEXT
        && behind.is_some_and(|behind| behind >= TAILROOM)
}

impl<'a> Lanes<'a> {
    /// Takes a packet, or gives it back if no vector kernel can do it.
    #[expect(clippy::inline_always, reason = "so that the item is never in memory")]
    #[inline(always)]
    pub(super) fn push(
        &mut self,
        item: Item<'a>,
        authentic: &'a mut bool,
    ) -> Result<(), (Item<'a>, &'a mut bool)> {
        if !fits(&item) {
            return Err((item, authentic));
        }
        let head = item.head;
        match &item.keys.block {
            Some(Block::Cm128(key)) if head <= MAX_CM_HEAD => {
                self.cm128.push(Lane::new(&**key, item, authentic));
            }
            Some(Block::Cm192(key)) if head <= MAX_CM_HEAD => {
                self.cm192.push(Lane::new(&**key, item, authentic));
            }
            Some(Block::Cm256(key)) if head <= MAX_CM_HEAD => {
                self.cm256.push(Lane::new(&**key, item, authentic));
            }
            Some(Block::Gcm128(key)) if head <= MAX_GCM_HEAD => {
                self.gcm128.push(Lane::new(&**key, item, authentic));
            }
            Some(Block::Gcm256(key)) if head <= MAX_GCM_HEAD => {
                self.gcm256.push(Lane::new(&**key, item, authentic));
            }
            _ => return Err((item, authentic)),
        }
        Ok(())
    }
}

/// Has the bytes of something from `from` to `to` fetched into the cache, up to `LINES` lines.
///
/// Lengths differ from packet to packet. So that no branch depends on them, there are always so
/// many fetches, some of them of the same line.
#[inline]
pub(super) fn fetch<const LINES: usize, T: ?Sized>(value: &T, from: usize, to: usize) {
    let bytes = ptr::from_ref(value).cast::<i8>();
    let last = to.min(size_of_val(value)).saturating_sub(1);
    for line in 0..LINES {
        // SAFETY: a prefetch has no effect, wherever it points to.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(bytes.wrapping_add(last.min(from + LINE * line))) }
    }
}

/// Bytes of a cache line.
pub(super) const LINE: usize = 64;

impl<'a, K> Lane<'a, K> {
    /// The item [`fits`].
    #[expect(clippy::inline_always, reason = "so that the item is never in memory")]
    #[inline(always)]
    fn new(key: &'a K, item: Item<'a>, authentic: &'a mut bool) -> Self {
        let Item {
            frame,
            start,
            head,
            len,
            ssrc,
            index,
            ..
        } = item;
        Self {
            key,
            start: frame.as_mut_ptr().wrapping_add(start),
            head,
            len,
            nonce: (u128::from(ssrc) << 48) | u128::from(index),
            authentic,
            frame: PhantomData,
        }
    }

    /// The first byte of the packet.
    pub(super) fn start(&self) -> *mut u8 {
        self.start
    }

    /// The first byte of the text.
    pub(super) fn text(&self) -> *mut u8 {
        self.start.wrapping_add(self.head)
    }

    /// Length of the text.
    pub(super) fn text_len(&self) -> usize {
        self.len - self.head
    }

    /// Where the trailer is.
    #[inline]
    pub(super) fn trailer_at(&self) -> *mut u8 {
        self.start.wrapping_add(self.len)
    }

    /// The 16 bytes behind the text: the tag, and some bytes of the tailroom.
    #[inline]
    pub(super) fn trailer(&self) -> __m128i {
        // SAFETY: there are 80 bytes behind the text, see `fits`.
        unsafe { _mm_loadu_si128(self.trailer_at().cast()) }
    }

    /// Writes the 16 bytes behind the text.
    #[inline]
    pub(super) fn set_trailer(&mut self, bytes: __m128i) {
        // SAFETY: there are 80 bytes behind the text, see `fits`.
        unsafe { _mm_storeu_si128(self.trailer_at().cast(), bytes) }
    }
}

impl<const ROUNDS: usize> Lane<'_, GcmKey<ROUNDS>> {
    /// The counter block with zero in place of the counter (RFC 7714 section 8.1), after the first
    /// step of AES.
    #[inline]
    #[target_feature(enable = "sse2")]
    pub(super) fn counter_block(&self) -> __m128i {
        let block = (self.nonce << 32).swap_bytes();
        _mm_xor_si128(from_u128(block), key128(&self.key.start))
    }

    /// Whether this is the tag behind the text.
    #[inline]
    #[target_feature(enable = "sse2")]
    pub(super) fn has_tag(&self, tag: __m128i) -> bool {
        is_zero(_mm_xor_si128(tag, self.trailer()))
    }
}

impl<const ROUNDS: usize> Lane<'_, CmKey<ROUNDS>> {
    /// The counter block with zero in place of the counter (RFC 3711 section 4.1.1), after the
    /// first step of AES.
    #[inline]
    #[target_feature(enable = "sse2")]
    pub(super) fn counter_block(&self) -> __m128i {
        let block = (self.nonce << 16).swap_bytes();
        _mm_xor_si128(from_u128(block), key128(&self.key.start))
    }

    /// How many blocks SHA-1 has to process: the packet, the ROC, a bit, the length.
    #[inline]
    pub(super) fn blocks(&self) -> usize {
        (self.len + 4 + 1 + 8).div_ceil(64)
    }

    /// Writes behind the text what SHA-1 hashes after it: the ROC, a bit, zeros, and the number of
    /// bits that went before, counting the first block of HMAC.
    #[inline]
    pub(super) fn pad(&mut self) {
        let bits = 8 * (64 + self.len as u64 + 4);
        let [a, b, c, d] = self.roc();
        let front = u64::from_le_bytes([a, b, c, d, 0x80, 0, 0, 0]);
        let behind = 64 * self.blocks();
        // SAFETY: padding takes between 13 and 76 bytes behind the text, of the 80 that are there.
        unsafe {
            let end = self.start.add(self.len);
            end.add(16).cast::<[u8; 64]>().write_unaligned([0; 64]);
            _mm_storeu_si128(end.cast(), from_u128(u128::from(front)));
            let length = self.start.add(behind - 8).cast::<[u8; 8]>();
            length.write_unaligned(bits.to_be_bytes());
        }
    }

    /// Upper 32 bits of the index, as they are hashed.
    #[inline]
    fn roc(&self) -> [u8; 4] {
        let [.., a, b, c, d, _, _] = self.nonce.to_be_bytes();
        [a, b, c, d]
    }

    /// Whether the bytes behind the text, of which the first are its tag, begin with this one.
    #[inline]
    #[target_feature(enable = "sse2")]
    pub(super) fn is_tag(&self, tag: __m128i, trailer: __m128i) -> bool {
        /// Ones over the tag, which is in the lower bytes of the number, by its length.
        static MASKS: [u128; 16] = {
            // No tag has no bytes, but if one had, nothing but the same 16 bytes would do.
            let mut masks = [u128::MAX; 16];
            let mut len = 1;
            while len < masks.len() {
                masks[len] = u128::MAX >> (128 - 8 * len);
                len += 1;
            }
            masks
        };
        let mask = MASKS[self.key.states[10] as usize % MASKS.len()];
        is_zero(_mm_and_si128(_mm_xor_si128(tag, trailer), from_u128(mask)))
    }
}

/// Whether all bytes are zero: looks at all of them at once, so in constant time.
#[inline]
#[target_feature(enable = "sse2")]
fn is_zero(bytes: __m128i) -> bool {
    _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_setzero_si128())) == 0xffff
}
