// SPDX-License-Identifier: Apache-2.0 OR MIT

//! From a master key to session keys (RFC 3711 section 4.3, RFC 7714 section 11).
//!
//! With a key derivation rate, session keys are derived anew whenever the index has grown by that
//! many packets; `r` counts how often. Without one it stays 0.

use aes::{Aes128Enc, Aes192Enc, Aes256Enc};
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{Kind, MasterKey, Suite};

/// The session keys of one kind of packet, still as bytes. Wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct SessionKey {
    #[zeroize(skip)]
    pub(crate) suite: Suite,
    cipher: [u8; 32],
    auth: [u8; 20],
    salt: [u8; 14],
}

impl SessionKey {
    pub(crate) fn derive(master: &MasterKey, kind: Kind, r: u64) -> Self {
        let suite = master.suite();
        let labels = match kind {
            Kind::Rtp => [0, 1, 2],
            Kind::Rtcp => [3, 4, 5],
        };
        let [cipher_label, auth_label, salt_label] = labels;
        let mut session = Self::zero(suite);
        generate(
            master,
            cipher_label,
            r,
            &mut session.cipher[..suite.key_len()],
        );
        if !suite.is_aead() {
            generate(master, auth_label, r, &mut session.auth);
        }
        generate(master, salt_label, r, &mut session.salt[..suite.salt_len()]);
        session
    }

    /// Encryption key, `k_e`.
    pub(crate) fn cipher(&self) -> &[u8] {
        &self.cipher[..self.suite.key_len()]
    }

    /// Authentication key, `k_a`; all zero in AEAD suites, which have none.
    pub(crate) fn auth(&self) -> &[u8; 20] {
        &self.auth
    }

    /// Salting key, `k_s`.
    pub(crate) fn salt(&self) -> &[u8] {
        &self.salt[..self.suite.salt_len()]
    }

    fn zero(suite: Suite) -> Self {
        Self {
            suite,
            cipher: [0; 32],
            auth: [0; 20],
            salt: [0; 14],
        }
    }

    /// Session keys as some test vectors give them, without a master key. `auth` is empty where
    /// nothing is hashed with it.
    #[cfg(any(test, feature = "bare"))]
    pub(crate) fn from_bytes(suite: Suite, cipher: &[u8], auth: &[u8], salt: &[u8]) -> Self {
        let mut session = Self::zero(suite);
        session.cipher[..suite.key_len()].copy_from_slice(cipher);
        session.auth[..auth.len()].copy_from_slice(auth);
        session.salt[..suite.salt_len()].copy_from_slice(salt);
        session
    }
}

/// The PRF of RFC 3711 section 4.3.3 and RFC 6188 section 3: the keystream of AES-CM under the
/// master key, from the IV `(label || r) XOR master_salt`.
pub(crate) fn generate(master: &MasterKey, label: u8, r: u64, out: &mut [u8]) {
    // A 96-bit salt is padded on the right to 112 bits (RFC 7714 section 11); two more bytes
    // count blocks.
    let mut iv = [0; 16];
    iv[..master.salt().len()].copy_from_slice(master.salt());
    iv[7] ^= label;
    // 48 bits, also for SRTCP, whose index has 31 (RFC 3711 section 4.3.2).
    let [_, _, r @ ..] = r.to_be_bytes();
    iv[8..14].iter_mut().zip(r).for_each(|(byte, r)| *byte ^= r);
    out.fill(0);
    match master.key().len() {
        16 => keystream::<Ctr128BE<Aes128Enc>>(master.key(), &iv, out),
        24 => keystream::<Ctr128BE<Aes192Enc>>(master.key(), &iv, out),
        _ => keystream::<Ctr128BE<Aes256Enc>>(master.key(), &iv, out),
    }
    iv.zeroize();
}

fn keystream<C: KeyIvInit + StreamCipher>(key: &[u8], iv: &[u8; 16], out: &mut [u8]) {
    C::new_from_slices(key, iv)
        .expect("a suite's key length is its cipher's")
        .apply_keystream(out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    fn master() -> MasterKey {
        let key = hex!("E1F97A0D3E018BE0D64FA32C06DE41390EC675AD498AFEEBB6960B3AABE6");
        MasterKey::new(Suite::AesCm128HmacSha1_80, &key).unwrap()
    }

    #[test]
    fn srtp_keys_are_those_of_rfc_3711_b_3() {
        let session = SessionKey::derive(&master(), Kind::Rtp, 0);
        assert_eq!(session.cipher(), hex!("C61E7A93744F39EE10734AFE3FF7A087"));
        assert_eq!(session.salt(), hex!("30CBBC08863D8C85D49DB34A9AE1"));
        assert_eq!(
            *session.auth(),
            hex!("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4")
        );
        // The RFC prints a longer authentication key than HMAC-SHA1 takes.
        let mut long = [0; 94];
        generate(&master(), 1, 0, &mut long);
        assert_eq!(
            long,
            hex!(
                "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA48F0A0ACF3C34E2359E6CDBCE
                 E049646C43D9327AD175578EF72270986371C10C9A369AC2F94A8C5FBCDDDC25
                 6D6E919A48B610EF17C2041E474035766B68642C59BBFC2F34DB60DBDFB2"
            )
        );
    }

    #[test]
    fn srtcp_keys_have_labels_of_their_own() {
        let session = SessionKey::derive(&master(), Kind::Rtcp, 0);
        assert_eq!(session.cipher(), hex!("4c1aa45a81f73d61c800bbb00fbb1eaa"));
        assert_eq!(session.salt(), hex!("9581c7ad87b3e530bf3e4454a8b3"));
        assert_eq!(
            *session.auth(),
            hex!("8d54534feb49ae8e7993a6bd0b844fc323a93dfd")
        );
    }

    #[test]
    fn the_rate_is_part_of_the_derivation() {
        // Nobody publishes vectors; these were computed with other software.
        for (r, cipher, auth, salt) in [
            (
                1,
                hex!("53870b4b8e2af0c6f0cc8b1544c34138"),
                hex!("c70d7f14e755380e6ff4ed24f4f611aad19685ce"),
                hex!("c6da1bbcdc3f429cd82f2593eb60"),
            ),
            (
                0x37_ab6f,
                hex!("7c59fb0f986c6411bfa125b78559226a"),
                hex!("cc63105168759e00bcdded0834009478b357ec5c"),
                hex!("106aa60f588a2fa168cab05dc9af"),
            ),
        ] {
            let session = SessionKey::derive(&master(), Kind::Rtp, r);
            assert_eq!(session.cipher(), cipher, "{r}");
            assert_eq!(*session.auth(), auth, "{r}");
            assert_eq!(session.salt(), salt, "{r}");
        }
    }

    #[test]
    fn gcm_salts_are_padded_on_the_right() {
        let key = hex!("000102030405060708090a0b0c0d0e0fa0a1a2a3a4a5a6a7a8a9aaab");
        let master = MasterKey::new(Suite::AeadAes128Gcm, &key).unwrap();
        let rtp = SessionKey::derive(&master, Kind::Rtp, 0);
        assert_eq!(rtp.cipher(), hex!("077c6143cb221bc355ff23d5f984a16e"));
        assert_eq!(rtp.salt(), hex!("9af3e95364ebac9c99c5a7c4"));
        let rtcp = SessionKey::derive(&master, Kind::Rtcp, 0);
        assert_eq!(rtcp.cipher(), hex!("615dcd9042600666f6fd4d9e4fe4519f"));
        assert_eq!(rtcp.salt(), hex!("fcca937b9112a500dac72269"));
    }

    /// RFC 6188 section 7.4: master key, then master salt.
    const KEY_192: [u8; 38] = hex!(
        "73edc66c4fa15776fb57f9505c17136550ffda71f3e8e5f1
         c8522f3acd4ce86d5add78edbb11"
    );

    #[test]
    fn keys_of_192_and_256_bits_are_those_of_rfc_6188() {
        let key_256 = hex!(
            "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6
             3b04803de51ee7c96423ab5b78d2"
        );
        for (suite, key, cipher, salt, auth) in [
            (
                Suite::Aes192CmHmacSha1_80,
                KEY_192.as_slice(),
                hex!("31874736a8f1143870c26e4857d8a5b2c4a354407faadabb").as_slice(),
                hex!("2372b82d639b6d8503a47adc0a6c"),
                hex!(
                    "355b10973cd95b9eacf4061c7e1a7151e7cfbfcbdcd37d4728a7e3c3224f1657
                     131f9e979663e299518aa33e9c2a4b3ac12346caa968c0cc71bc26caf5e92e13
                     d17d32d87e6be71521b2e43b7f74bea5f9afab1cae2ec64de37553b402cc"
                ),
            ),
            (
                Suite::Aes256CmHmacSha1_80,
                &key_256,
                &hex!("5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4"),
                hex!("fa31791685ca444a9e07c6c64e93"),
                hex!(
                    "fd9c32d39ed5fbb5a9dc96b30818454d1313dc053a84dee41c05faa6a60014da
                     a924fb02b8680e0621addacfd9d8b0f70ab0ce4ff9468ebaeb038792c2ca01b8
                     cfc61d0e38c323074e2475a92c9ea321e39704bb371a7fff3d3f9bb249bf"
                ),
            ),
        ] {
            let master = MasterKey::new(suite, key).unwrap();
            let session = SessionKey::derive(&master, Kind::Rtp, 0);
            assert_eq!(session.cipher(), cipher, "{suite}");
            assert_eq!(session.salt(), salt, "{suite}");
            assert_eq!(session.auth()[..], auth[..20], "{suite}");
            let mut long = [0; 94];
            generate(&master, 1, 0, &mut long);
            assert_eq!(long, auth, "{suite}");
        }
    }

    #[test]
    fn a_192_bit_key_is_not_derived_as_libsrtp_763_does() {
        // Some builds take key and salt, 38 bytes, for the first of 46, and use AES-256.
        let wrong = hex!("7af9f9f2cb705d213cce5fa377b290a0183389701878e7d7");
        let mut padded = [0; 46];
        padded[..38].copy_from_slice(&KEY_192);
        let long = MasterKey::new(Suite::Aes256CmHmacSha1_80, &padded).unwrap();
        let mut out = [0; 24];
        generate(&long, 0, 0, &mut out);
        assert_eq!(out, wrong);
        let master = MasterKey::new(Suite::Aes192CmHmacSha1_80, &KEY_192).unwrap();
        let session = SessionKey::derive(&master, Kind::Rtp, 0);
        assert_ne!(session.cipher(), wrong);
    }
}
