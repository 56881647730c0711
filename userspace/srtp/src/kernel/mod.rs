// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Ciphers and tags for a burst. A kernel knows keys and bytes, no state.
//!
//! [`portable`] runs everywhere and does everything, one packet after the other. The others need
//! instructions that not every CPU has, take many packets at once, and do what media is made of:
//! SRTP with AES in counter mode and HMAC-SHA1, and with both GCM suites. What they do not do
//! (SRTCP, NULL and F8, packets beyond [`lane::MAX_TEXT`], frames without room) they leave to
//! `portable`, which is also what they are tested against.
//!
//! Which one runs is chosen once per process, see [`Kernel`].
//!
//! A kernel may overwrite [`crate::HEADROOM`] bytes in front of a packet and
//! [`crate::TAILROOM`] behind it. The packet itself it changes only as the function says.
//!
//! # The files
//!
//! `block` has the keys as the vector kernels want them, `lane` a packet whose room was checked,
//! `driver` the order of work of a burst. Then come the instructions: `sha_ni` hashes one to four
//! packets, `sha1_x16` and `sha1_x8` as many as their names say, `ctr` encrypts, `lone` does both
//! at once to a single packet. `gcm512`, `gcm256` and `gcm128` do both for GCM. [`avx512`],
//! [`avx2`] and [`aesni`] put them together.

#![cfg_attr(
    target_arch = "x86_64",
    expect(
        unsafe_code,
        reason = "intrinsics on raw pointers; every pointer comes from a Lane, which checked it"
    )
)]

mod choice;
mod portable;

#[cfg(target_arch = "x86_64")]
mod aesni;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod block;
#[cfg(target_arch = "x86_64")]
mod clmul;
#[cfg(target_arch = "x86_64")]
mod ctr;
#[cfg(target_arch = "x86_64")]
mod driver;
#[cfg(target_arch = "x86_64")]
mod gcm128;
#[cfg(target_arch = "x86_64")]
mod gcm256;
#[cfg(target_arch = "x86_64")]
mod gcm512;
#[cfg(target_arch = "x86_64")]
mod lane;
#[cfg(target_arch = "x86_64")]
mod lone;
#[cfg(target_arch = "x86_64")]
mod sha1_x16;
#[cfg(target_arch = "x86_64")]
mod sha1_x8;
#[cfg(target_arch = "x86_64")]
mod sha_ni;
#[cfg(test)]
mod tests;

pub use choice::{Kernel, KernelError};

use crate::derivation::SessionKey;
use crate::{Kind, MAX_BURST};

/// The session keys of a set.
//
// What nearly all packets need comes first, see `ContextSets`.
#[repr(C)]
pub(crate) struct Keys {
    /// Those of SRTP for the vector kernel that runs, if there is one and it has this suite.
    #[cfg(target_arch = "x86_64")]
    block: Option<block::Block>,
    portable: portable::Keys,
}

impl Keys {
    /// `turns` where others will follow ([`Self::renew`]).
    pub(crate) fn new(rtp: &SessionKey, rtcp: &SessionKey, turns: bool) -> Self {
        #[cfg(target_arch = "x86_64")]
        let block = (Kernel::current() != Kernel::Portable)
            .then(|| block::Block::new(rtp))
            .flatten();
        #[cfg(target_arch = "x86_64")]
        let is_rare = block.is_some() && !turns;
        #[cfg(not(target_arch = "x86_64"))]
        let is_rare = false;
        #[cfg(not(target_arch = "x86_64"))]
        let _ = turns;
        Self {
            #[cfg(target_arch = "x86_64")]
            block,
            portable: portable::Keys::new(rtp, rtcp, is_rare),
        }
    }

    /// Has what a packet with so long a text needs of them fetched into the cache.
    #[inline]
    pub(crate) fn fetch(&self, text: usize) {
        #[cfg(target_arch = "x86_64")]
        match &self.block {
            Some(block::Block::Cm128(key)) => key.fetch(),
            Some(block::Block::Cm192(key)) => key.fetch(),
            Some(block::Block::Cm256(key)) => key.fetch(),
            Some(block::Block::Gcm128(key)) => key.fetch(text),
            Some(block::Block::Gcm256(key)) => key.fetch(text),
            None => {}
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = text;
    }

    /// Takes other keys of the same suite, without allocating: [`Self::new`] has made room for them
    /// if they turn. From then on the portable kernel does all packets: keys that turn are rare,
    /// and not worth a second expansion, for a vector kernel.
    pub(crate) fn renew(&mut self, rtp: &SessionKey, rtcp: &SessionKey) {
        self.portable.renew(rtp, rtcp);
        #[cfg(target_arch = "x86_64")]
        {
            self.block = None;
        }
    }
}

/// One packet of a burst, with all that a kernel needs.
pub(crate) struct Item<'a> {
    pub(crate) keys: &'a Keys,
    pub(crate) kind: Kind,
    pub(crate) frame: &'a mut [u8],
    /// Where the packet starts in the frame.
    pub(crate) start: usize,
    /// The length of what stays in the clear, in front of the text.
    pub(crate) head: usize,
    /// The length of head and text: the trailer is behind them.
    pub(crate) len: usize,
    pub(crate) ssrc: u32,
    /// The SRTP index, 48 bits, or the SRTCP index, 31 bits.
    pub(crate) index: u64,
    /// Whether [`open`] found the right tag.
    pub(crate) authentic: bool,
}

impl Item<'_> {
    /// Where the text starts in the frame.
    #[inline]
    pub(crate) fn text(&self) -> usize {
        self.start + self.head
    }

    /// Where the text ends in the frame.
    #[inline]
    pub(crate) fn end(&self) -> usize {
        self.start + self.len
    }

    /// The packet, and where to say that it is authentic.
    #[inline]
    fn split(&mut self) -> (Item<'_>, &mut bool) {
        let item = Item {
            frame: &mut *self.frame,
            ..*self
        };
        (item, &mut self.authentic)
    }
}

/// Encrypts the text of each packet and writes the tag. The word with the SRTCP index is in its
/// place already.
pub(crate) fn seal(items: &mut [Item<'_>]) {
    Kernel::current().seal(items);
}

/// Verifies the tag of each packet and says so in [`Item::authentic`]. Decrypts the text of those
/// that are authentic; the others stay as they were.
pub(crate) fn open(items: &mut [Item<'_>]) {
    Kernel::current().open(items);
}

/// Takes back [`open`]: encrypts the text of an authentic packet again. Its tag is still there.
pub(crate) fn restore(item: &mut Item<'_>) {
    // Rare: only where packets of one burst depend on each other.
    portable::restore(item);
}

impl Kernel {
    fn seal(self, items: &mut [Item<'_>]) {
        self.run(items, Operation::Seal);
    }

    fn open(self, items: &mut [Item<'_>]) {
        self.run(items, Operation::Open);
    }

    fn run(self, items: &mut [Item<'_>], operation: Operation) {
        for items in items.chunks_mut(MAX_BURST) {
            for item in &*items {
                item.keys.fetch(item.len - item.head);
            }
            let mut batch = Batch::new(self, operation);
            for item in items {
                let (item, authentic) = item.split();
                batch.push(item, authentic);
            }
            batch.run();
        }
    }
}

/// What a kernel does to packets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Operation {
    /// See [`seal`].
    Seal,
    /// See [`open`].
    Open,
}

/// Packets of a burst on their way into the kernel, at most [`MAX_BURST`], whose keys were fetched
/// into the cache before ([`Keys::fetch`]): nothing is left to wait for then.
pub(crate) struct Batch<'a> {
    kernel: Kernel,
    operation: Operation,
    #[cfg(target_arch = "x86_64")]
    lanes: lane::Lanes<'a>,
    #[cfg(not(target_arch = "x86_64"))]
    lanes: core::marker::PhantomData<&'a mut [u8]>,
}

impl<'a> Batch<'a> {
    /// No packets.
    #[expect(clippy::inline_always, reason = "large, and not to be copied")]
    #[inline(always)]
    pub(crate) fn new(kernel: Kernel, operation: Operation) -> Self {
        Self {
            kernel,
            operation,
            #[cfg(target_arch = "x86_64")]
            lanes: lane::Lanes::default(),
            #[cfg(not(target_arch = "x86_64"))]
            lanes: core::marker::PhantomData,
        }
    }

    /// Takes a packet; `authentic` becomes what [`Item::authentic`] would. What only the portable
    /// kernel does is done at once.
    #[expect(clippy::inline_always, reason = "so that the item is never in memory")]
    #[inline(always)]
    pub(crate) fn push(&mut self, item: Item<'a>, authentic: &'a mut bool) {
        #[cfg(target_arch = "x86_64")]
        let (item, authentic) = if self.kernel == Kernel::Portable {
            (item, authentic)
        } else {
            match self.lanes.push(item, authentic) {
                Ok(()) => return,
                Err(it) => it,
            }
        };
        // Another item, so that only this one is in memory.
        self.alone(Item { ..item }, authentic);
    }

    #[cold]
    #[inline(never)]
    fn alone(&self, mut item: Item<'_>, authentic: &mut bool) {
        match self.operation {
            Operation::Seal => portable::seal(&mut item),
            Operation::Open => *authentic = portable::open(&mut item),
        }
    }

    /// Does all the rest.
    #[inline]
    pub(crate) fn run(&mut self) {
        #[cfg(target_arch = "x86_64")]
        match (self.kernel, self.operation) {
            (Kernel::Portable, _) => {}
            (Kernel::AesNi, Operation::Seal) => aesni::seal(&mut self.lanes),
            (Kernel::AesNi, Operation::Open) => aesni::open(&mut self.lanes),
            (Kernel::Avx2, Operation::Seal) => avx2::seal(&mut self.lanes, avx2::Extras::current()),
            (Kernel::Avx2, Operation::Open) => avx2::open(&mut self.lanes, avx2::Extras::current()),
            (Kernel::Avx512, Operation::Seal) => avx512::seal(&mut self.lanes),
            (Kernel::Avx512, Operation::Open) => avx512::open(&mut self.lanes),
        }
    }
}

/// Has the first `len` bytes of something fetched into the cache, up to `LINES` lines of it.
#[inline]
pub(crate) fn fetch<const LINES: usize, T: ?Sized>(value: &T, len: usize) {
    #[cfg(target_arch = "x86_64")]
    lane::fetch::<LINES, T>(value, 0, len);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (value, len);
}
