// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Ciphers and tags for a burst. A kernel knows keys and bytes, no state.
//!
//! There is one kernel, [`portable`]; faster ones take the same slice of [`Item`]s, and the
//! choice is made here, once per burst.
//!
//! A kernel may overwrite [`crate::HEADROOM`] bytes in front of a packet and
//! [`crate::TAILROOM`] behind it. The packet itself it changes only as the function says.

mod portable;

pub(crate) use portable::Keys;

use crate::Kind;

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
    portable::seal(items);
}

/// Verifies the tag of each packet and says so in [`Item::authentic`]. Decrypts the text of those
/// that are authentic; the others stay as they were.
pub(crate) fn open(items: &mut [Item<'_>]) {
    portable::open(items);
}

/// Takes back [`open`]: encrypts the text of an authentic packet again. Its tag is still there.
pub(crate) fn restore(item: &mut Item<'_>) {
    portable::restore(item);
}
