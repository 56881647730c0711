// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The kernel without SRTP around it, for the benchmark: whoever calls it knows the session keys
//! and the index of every packet. Only with the feature `bare`.

use crate::derivation::SessionKey;
use crate::kernel::{Batch, Item, Keys, Operation};
use crate::{Kernel, Kind, Suite};

/// The session keys of one stream for SRTP, as the kernels want them.
pub struct Key(Keys);

/// A burst of SRTP packets, at most [`crate::MAX_BURST`], that is not processed yet.
pub struct Burst<'a>(Batch<'a>);

/// Where a packet is, and what its IV is made of beside the salt.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Where the packet starts in its frame.
    pub start: usize,
    /// The length of the header, which the text is behind.
    pub head: usize,
    /// The length of header and text. The tag is behind them.
    pub len: usize,
    /// The SSRC in the header.
    pub ssrc: u32,
    /// ROC and SEQ, 48 bits.
    pub index: u64,
}

impl Key {
    /// Expands the keys.
    ///
    /// # Panics
    ///
    /// When a length is not that of the suite; `auth` has 20 bytes, and none in AEAD suites.
    pub fn new(suite: Suite, cipher: &[u8], auth: &[u8], salt: &[u8]) -> Self {
        assert_eq!(auth.len(), if suite.is_aead() { 0 } else { 20 });
        let key = SessionKey::from_bytes(suite, cipher, auth, salt);
        Self(Keys::new(&key, &key, false))
    }

    /// Has what a packet of this length needs of the keys fetched into the cache.
    #[inline]
    pub fn fetch(&self, len: usize) {
        self.0.fetch(len);
    }
}

impl<'a> Burst<'a> {
    /// Packets to encrypt, which get a tag.
    #[inline]
    pub fn to_seal() -> Self {
        Self(Batch::new(Kernel::current(), Operation::Seal))
    }

    /// Packets of which the tag is verified, and those that are authentic decrypted.
    #[inline]
    pub fn to_open() -> Self {
        Self(Batch::new(Kernel::current(), Operation::Open))
    }

    /// Adds a packet; `authentic` says later whether it was, if it is opened.
    ///
    /// # Panics
    ///
    /// When the burst is full.
    #[inline]
    pub fn push(
        &mut self,
        key: &'a Key,
        frame: &'a mut [u8],
        place: Place,
        authentic: &'a mut bool,
    ) {
        let item = Item {
            keys: &key.0,
            kind: Kind::Rtp,
            frame,
            start: place.start,
            head: place.head,
            len: place.len,
            ssrc: place.ssrc,
            index: place.index,
            authentic: false,
        };
        self.0.push(item, authentic);
    }

    /// Processes them.
    #[inline]
    pub fn run(&mut self) {
        self.0.run();
    }
}
