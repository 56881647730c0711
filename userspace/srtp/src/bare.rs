// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The kernel without SRTP around it, for the benchmark: whoever calls it knows the session keys
//! and the index of every packet. Only with the feature `bare`.

use arrayvec::ArrayVec;

use crate::derivation::SessionKey;
use crate::kernel::{self, Item, Keys};
use crate::{Kind, MAX_BURST, Suite};

/// The session keys of one stream for SRTP, as the kernels want them.
pub struct Key(Keys);

/// A burst of SRTP packets, at most [`MAX_BURST`], that is not processed yet.
#[derive(Default)]
pub struct Burst<'a>(ArrayVec<Item<'a>, MAX_BURST>);

/// Where a packet is, and what its IV is made of beside the salt.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Where the packet starts in its frame.
    pub start: usize,
    /// Where the text starts, behind the header.
    pub text: usize,
    /// Where the text ends. The tag is behind it.
    pub end: usize,
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
        Self(Keys::new(&key, &key))
    }
}

impl<'a> Burst<'a> {
    /// Adds a packet.
    ///
    /// # Panics
    ///
    /// When the burst is full.
    #[inline]
    pub fn push(&mut self, key: &'a Key, frame: &'a mut [u8], place: Place) {
        self.0.push(Item {
            keys: &key.0,
            kind: Kind::Rtp,
            frame,
            start: place.start,
            text: place.text,
            end: place.end,
            ssrc: place.ssrc,
            index: place.index,
            authentic: false,
        });
    }

    /// Encrypts every packet and writes its tag.
    pub fn seal(&mut self) {
        kernel::seal(&mut self.0);
    }

    /// Verifies every tag and decrypts what is authentic; answers which packets are, in order.
    pub fn open(&mut self) -> impl Iterator<Item = bool> {
        kernel::open(&mut self.0);
        self.0.iter().map(|item| item.authentic)
    }
}
