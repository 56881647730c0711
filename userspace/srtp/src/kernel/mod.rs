// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Ciphers and tags for a burst. A kernel knows keys and bytes, no state.
//!
//! [`portable`] runs everywhere and does everything, one packet after the other. The others need
//! instructions that not every CPU has, take many packets at once, and do what media is made of:
//! SRTP with AES-128 in counter mode, and with both GCM suites. What they do not do (SRTCP, other
//! suites, packets beyond [`lane::MAX_TEXT`], frames without room) they leave to `portable`,
//! which is also what they are tested against.
//!
//! Which one runs is chosen once per process, see [`Kernel`].
//!
//! A kernel may overwrite [`crate::HEADROOM`] bytes in front of a packet and
//! [`crate::TAILROOM`] behind it. The packet itself it changes only as the function says.
//!
//! # The files
//!
//! `block` has the keys as the vector kernels want them, `lane` a packet whose room was checked,
//! `driver` the order of work of a burst. Then come the instructions: `sha_ni` hashes one or two
//! packets, `sha1_x16` and `sha1_x8` as many as their names say, `ctr` encrypts, `gcm512` and
//! `gcm128` do both at once. [`avx512`], [`avx2`] and [`aesni`] put them together.

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
mod gcm512;
#[cfg(target_arch = "x86_64")]
mod lane;
#[cfg(target_arch = "x86_64")]
mod sha1_x16;
#[cfg(target_arch = "x86_64")]
mod sha1_x8;
#[cfg(target_arch = "x86_64")]
mod sha_ni;
#[cfg(test)]
mod tests;

pub use choice::{Kernel, KernelError};

use crate::Kind;
use crate::derivation::SessionKey;

/// The session keys of a set, expanded.
pub(crate) struct Keys {
    portable: portable::Keys,
    /// Those of SRTP once more, for the vector kernels, if they have this suite and the CPU has
    /// them.
    #[cfg(target_arch = "x86_64")]
    block: Option<block::Block>,
}

impl Keys {
    pub(crate) fn new(rtp: &SessionKey, rtcp: &SessionKey) -> Self {
        Self {
            portable: portable::Keys::new(rtp, rtcp),
            #[cfg(target_arch = "x86_64")]
            block: block::Block::new(rtp),
        }
    }

    /// Takes other keys of the same suite, without allocating. From then on they are those of the
    /// portable kernel only: keys that change are rare, and not worth a second expansion.
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
    /// Where the text starts: what is in front of it stays in the clear.
    pub(crate) text: usize,
    /// Where the text ends and the trailer starts.
    pub(crate) end: usize,
    pub(crate) ssrc: u32,
    /// The SRTP index, 48 bits, or the SRTCP index, 31 bits.
    pub(crate) index: u64,
    /// Whether [`open`] found the right tag.
    pub(crate) authentic: bool,
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
        match self {
            Self::Portable => portable::seal(items),
            #[cfg(target_arch = "x86_64")]
            Self::AesNi => driver::burst(items, aesni::seal, portable::seal),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => driver::burst(items, avx2::seal, portable::seal),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => driver::burst(items, avx512::seal, portable::seal),
            #[cfg(not(target_arch = "x86_64"))]
            _ => portable::seal(items),
        }
    }

    fn open(self, items: &mut [Item<'_>]) {
        match self {
            Self::Portable => portable::open(items),
            #[cfg(target_arch = "x86_64")]
            Self::AesNi => driver::burst(items, aesni::open, portable::open),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => driver::burst(items, avx2::open, portable::open),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => driver::burst(items, avx512::open, portable::open),
            #[cfg(not(target_arch = "x86_64"))]
            _ => portable::open(items),
        }
    }
}
