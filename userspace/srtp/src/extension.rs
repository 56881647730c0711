// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Encrypted RTP header extensions, element by element (RFC 6904).
//!
//! A keystream as long as the body of the extension is made with keys of its own, but applied only
//! to the data of elements that were agreed on. Identifiers, lengths, padding and everything else
//! stay readable.

use core::ops::Range;

use aes::{Aes128Enc, Aes192Enc, Aes256Enc};
use ctr::Ctr128BE;
use ctr::cipher::{
    BlockCipherEncrypt, BlockSizeUser, InnerIvInit, KeyInit, StreamCipher, StreamCipherSeek,
    consts::U16,
};
use zeroize::Zeroizing;

use crate::MasterKey;
use crate::derivation::generate;
use crate::header::Extension;

/// Labels of the derivation (RFC 6904 section 3.2).
const KEY_LABEL: u8 = 6;
const SALT_LABEL: u8 = 7;

/// Identifiers of header extension elements, 1 to 255, as SDP maps them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ExtensionIds([u64; 4]);

impl ExtensionIds {
    /// No identifier.
    pub const NONE: Self = Self([0; 4]);

    /// These and one more. 0 is padding, which is never encrypted.
    #[must_use]
    pub fn with(mut self, id: u8) -> Self {
        self.0[usize::from(id / 64)] |= 1 << (id % 64);
        self.0[0] &= !1;
        self
    }

    /// Whether this one is among them.
    pub fn contains(self, id: u8) -> bool {
        self.0[usize::from(id / 64)] >> (id % 64) & 1 != 0
    }
}

/// The cipher of header extensions: AES in counter mode, whatever the suite has for payloads.
pub(crate) struct ExtensionCipher {
    aes: Aes,
    /// The session salt, already in its place in the IV.
    salt: Zeroizing<u128>,
    ids: ExtensionIds,
}

enum Aes {
    Aes128(Aes128Enc),
    Aes192(Aes192Enc),
    Aes256(Aes256Enc),
}

impl Aes {
    /// The key has 16, 24 or 32 bytes, as every suite's.
    fn new(key: &[u8]) -> Self {
        let aes = match key.len() {
            16 => Aes128Enc::new_from_slice(key).map(Self::Aes128),
            24 => Aes192Enc::new_from_slice(key).map(Self::Aes192),
            _ => Aes256Enc::new_from_slice(key).map(Self::Aes256),
        };
        aes.expect("a suite's key length is its cipher's")
    }
}

impl ExtensionCipher {
    pub(crate) fn derive(master: &MasterKey, ids: ExtensionIds, r: u64) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        let key = &mut key[..master.key().len()];
        generate(master, KEY_LABEL, r, key);
        // Counter mode takes 112 bits. Of suites whose salts have 96, RFC 7714 section 8.3 does not
        // say what the others are; they are zero, as libsrtp has them.
        let mut salt = Zeroizing::new([0; 16]);
        generate(master, SALT_LABEL, r, &mut salt[..master.salt().len()]);
        Self {
            aes: Aes::new(key),
            salt: Zeroizing::new(u128::from_be_bytes(*salt)),
            ids,
        }
    }

    pub(crate) fn ids(&self) -> ExtensionIds {
        self.ids
    }

    /// Encrypts or decrypts the elements of a packet.
    pub(crate) fn apply(&self, ssrc: u32, index: u64, packet: &mut [u8]) {
        let Some(extension) = Extension::find(packet) else {
            return;
        };
        let iv = *self.salt ^ (u128::from(ssrc) << 64) ^ (u128::from(index) << 16);
        let body = &mut packet[extension.body()];
        let iv = iv.to_be_bytes();
        match &self.aes {
            Aes::Aes128(aes) => apply(aes, iv, extension.profile, body, self.ids),
            Aes::Aes192(aes) => apply(aes, iv, extension.profile, body, self.ids),
            Aes::Aes256(aes) => apply(aes, iv, extension.profile, body, self.ids),
        }
    }
}

fn apply<A>(aes: &A, iv: [u8; 16], profile: u16, body: &mut [u8], ids: ExtensionIds)
where
    A: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
{
    let mut stream = Ctr128BE::from_core(InnerIvInit::inner_iv_init(aes, &iv.into()));
    let mut at = 0;
    while let Some((id, data)) = element(profile, body, at) {
        at = data.end;
        if ids.contains(id) {
            stream.seek(data.start);
            stream.apply_keystream(&mut body[data]);
        }
    }
}

/// The element of an extension's body that begins at `at`: its identifier, and where its data is.
/// `None` at the end (RFC 8285 sections 4.2 and 4.3).
fn element(profile: u16, body: &[u8], at: usize) -> Option<(u8, Range<usize>)> {
    let first = *body.get(at)?;
    let (id, start, len) = match profile {
        0xbede if first >> 4 == 15 => return None,
        _ if first == 0 => (0, at + 1, 0),
        0xbede => (first >> 4, at + 1, usize::from(first & 15) + 1),
        0x1000..=0x100f => (first, at + 2, usize::from(*body.get(at + 1)?)),
        _ => return None,
    };
    let end = start + len;
    (end <= body.len()).then_some((id, start..end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Suite;
    use hex_literal::hex;
    use proptest::prelude::*;

    const ONE_BYTE: u16 = 0xbede;
    const TWO_BYTES: u16 = 0x1000;

    #[test]
    fn keys_are_those_of_rfc_6904() {
        let master = hex!("E1F97A0D3E018BE0D64FA32C06DE41390EC675AD498AFEEBB6960B3AABE6");
        let master = MasterKey::new(Suite::AesCm128HmacSha1_80, &master).unwrap();
        let (mut key, mut salt) = ([0; 16], [0; 14]);
        generate(&master, KEY_LABEL, 0, &mut key);
        generate(&master, SALT_LABEL, 0, &mut salt);
        assert_eq!(key, hex!("549752054d6fb708622c4a2e596a1b93"));
        assert_eq!(salt, hex!("ab01818174c40d39a3781f7c2d27"));
    }

    #[test]
    fn elements_are_found_in_both_forms() {
        let all = |profile, body: &[u8]| {
            let mut found = Vec::new();
            let mut at = 0;
            while let Some((id, data)) = element(profile, body, at) {
                at = data.end;
                found.push((id, data));
            }
            found
        };
        assert_eq!(
            all(ONE_BYTE, &hex!("10aa 00 21bbbb 00 f0 10aa")),
            [(1, 1..2), (0, 3..3), (2, 4..6), (0, 7..7)]
        );
        assert_eq!(
            all(TWO_BYTES, &hex!("0100 0201aa 00 f002bbbb")),
            [(1, 2..2), (2, 4..5), (0, 6..6), (240, 8..10)]
        );
        // An element that ends behind the body, and forms that nobody knows.
        assert_eq!(all(ONE_BYTE, &hex!("12aa")), []);
        assert_eq!(all(TWO_BYTES, &hex!("01")), []);
        assert_eq!(all(0xc0de, &hex!("10aa")), []);
    }

    #[test]
    fn sets_have_what_was_put_in_but_not_padding() {
        let ids = [0, 1, 64, 255]
            .into_iter()
            .fold(ExtensionIds::NONE, ExtensionIds::with);
        let found: Vec<_> = (0..=255).filter(|id| ids.contains(*id)).collect();
        assert_eq!(found, [1, 64, 255]);
    }

    proptest! {
        #[test]
        fn any_body_ends(
            profile in prop::sample::select(&[ONE_BYTE, TWO_BYTES, 0x100f, 0xc0de][..]),
            body in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut at = 0;
            while let Some((_, data)) = element(profile, &body, at) {
                prop_assert!(data.start > at && data.end <= body.len());
                at = data.end;
            }
        }
    }
}
