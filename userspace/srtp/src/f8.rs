// SPDX-License-Identifier: Apache-2.0 OR MIT

//! AES in F8 mode (RFC 3711 section 4.1.2): a keystream in which each block depends on the one
//! before, so that nothing can be done in parallel.

use aes::Aes128Enc;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use zeroize::Zeroizing;

use crate::Kind;
use crate::derivation::SessionKey;

/// The cipher of one kind of packet.
pub(crate) struct F8 {
    cipher: Aes128Enc,
    /// The cipher for the IV, whose key is mixed with the salt.
    masked: Aes128Enc,
}

impl F8 {
    pub(crate) fn new(key: &SessionKey) -> Self {
        Self::from_bytes(key.cipher(), key.salt())
    }

    /// The key has 16 bytes, the salt at most as many.
    fn from_bytes(key: &[u8], salt: &[u8]) -> Self {
        let mut mask = Zeroizing::new([0x55; 16]);
        mask[..salt.len()].copy_from_slice(salt);
        mask.iter_mut().zip(key).for_each(|(m, k)| *m ^= k);
        let cipher = Aes128Enc::new_from_slice(key);
        Self {
            cipher: cipher.expect("F8 suites have keys of 16 bytes"),
            masked: Aes128Enc::new(&(*mask).into()),
        }
    }

    /// Encrypts or decrypts `text`.
    pub(crate) fn apply(&self, iv: [u8; 16], text: &mut [u8]) {
        let mut iv = iv.into();
        self.masked.encrypt_block(&mut iv);
        let iv = u128::from_be_bytes(iv.into());
        let mut stream = 0;
        for (block, number) in text.chunks_mut(16).zip(0..) {
            let mut next = (iv ^ number ^ stream).to_be_bytes().into();
            self.cipher.encrypt_block(&mut next);
            stream = u128::from_be_bytes(next.into());
            block.iter_mut().zip(next).for_each(|(b, s)| *b ^= s);
        }
    }
}

/// The IV of a packet (RFC 3711 sections 4.1.2.2 and 4.1.2.3). `packet` has its header; `word` is
/// that with the SRTCP index.
pub(crate) fn iv(kind: Kind, packet: &[u8], index: u64, word: [u8; 4]) -> [u8; 16] {
    let mut iv = [0; 16];
    match kind {
        Kind::Rtp => {
            iv[1..12].copy_from_slice(&packet[1..12]);
            let [_, _, roc @ .., _, _] = index.to_be_bytes();
            iv[12..].copy_from_slice(&roc);
        }
        Kind::Rtcp => {
            iv[4..8].copy_from_slice(&word);
            iv[8..].copy_from_slice(&packet[..8]);
        }
    }
    iv
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    #[test]
    fn the_text_is_that_of_rfc_3711_b_1() {
        let header = hex!("806e5cba50681de55c621599");
        let index = (0xd462_564a << 16) | 0x5cba;
        let iv = iv(Kind::Rtp, &header, index, [0; 4]);
        assert_eq!(iv, hex!("006e5cba50681de55c621599d462564a"));
        let f8 = F8::from_bytes(&hex!("234829008467be186c3de14aae72d62c"), &hex!("32f2870d"));
        let mut masked = iv.into();
        f8.masked.encrypt_block(&mut masked);
        assert_eq!(masked[..], hex!("595b699bbd3bc0df26062093c1ad8f73"));
        let mut stream = [0; 48];
        f8.apply(iv, &mut stream);
        assert_eq!(
            stream,
            hex!(
                "71ef82d70a172660240709c7fbb19d8e3abd640a60919fd43bd289a09649b5fc
                 220c7a8715266565b09ecc8a2a62b11b"
            )
        );
        let mut text = *b"pseudorandomness is the next best thing";
        f8.apply(iv, &mut text);
        assert_eq!(
            text,
            hex!(
                "019ce7a26e7854014a6366aa95d4eefd1ad4172a14f9faf455b7f1d4b62bd08f
                 562c0eef7c4802"
            )
        );
    }

    #[test]
    fn the_iv_of_srtcp_has_the_index_and_the_first_header() {
        let packet = hex!("81c8000bcafebabe0011");
        let word = hex!("80000005");
        assert_eq!(
            iv(Kind::Rtcp, &packet, 5, word),
            hex!("000000008000000581c8000bcafebabe")
        );
    }
}
