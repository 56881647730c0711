// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Keys of streams, and the session keys that peers without SRTP want (RFC 3711 section 4.3).

use aes::{Aes128Enc, Aes256Enc};
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use sallyport_srtp::{MasterKey, Suite};

use crate::case::is_gcm;
use crate::pool::ssrc;
use crate::random::Random;

/// Labels of RFC 3711 section 4.3.2.
const CIPHER: u8 = 0;
const AUTH: u8 = 1;
const SALT: u8 = 2;

/// Length of the HMAC key, in bytes (RFC 3711 section 5.2).
const AUTH_LEN: usize = 20;

/// Length of a salt in the key derivation, in bytes; GCM's is shorter, and filled up with zeros.
const SALT_LEN: usize = 14;

/// Master key and master salt of one stream.
pub(crate) struct StreamKey {
    pub(crate) suite: Suite,
    pub(crate) key_and_salt: Vec<u8>,
}

/// What one stream encrypts and authenticates SRTP with.
pub(crate) struct SessionKey {
    pub(crate) cipher: Vec<u8>,
    /// Empty for GCM.
    pub(crate) auth: Vec<u8>,
    pub(crate) salt: Salt,
}

/// The session salt of one stream, as a number, with the SSRC where it belongs.
#[derive(Clone, Copy)]
pub(crate) struct Salt(u128);

impl StreamKey {
    /// The key of a stream, the same in every run.
    pub(crate) fn of(suite: Suite, stream: usize) -> Self {
        let mut random = Random::new(u64::from(ssrc(stream)));
        let bytes = std::iter::repeat_with(|| random.below(256).to_le_bytes()[0]);
        Self {
            suite,
            key_and_salt: bytes.take(suite.key_len() + suite.salt_len()).collect(),
        }
    }

    pub(crate) fn master(&self) -> MasterKey {
        MasterKey::new(self.suite, &self.key_and_salt).expect("it has the length of the suite")
    }

    /// The session key for SRTP of a stream.
    pub(crate) fn session(&self, stream: usize) -> SessionKey {
        let auth_len = if is_gcm(self.suite) { 0 } else { AUTH_LEN };
        let mut salt = [0; 16];
        salt[16 - self.suite.salt_len()..]
            .copy_from_slice(&self.derive(SALT, self.suite.salt_len()));
        SessionKey {
            cipher: self.derive(CIPHER, self.suite.key_len()),
            auth: self.derive(AUTH, auth_len),
            salt: Salt(u128::from_be_bytes(salt) ^ (u128::from(ssrc(stream)) << 48)),
        }
    }

    fn derive(&self, label: u8, len: usize) -> Vec<u8> {
        let (key, salt) = self.key_and_salt.split_at(self.suite.key_len());
        let mut iv = [0; 16];
        iv[..salt.len()].copy_from_slice(salt);
        iv[SALT_LEN - 7] ^= label;
        let mut bytes = vec![0; len];
        if let Ok(key) = key.try_into() {
            Ctr128BE::<Aes128Enc>::new(key, &iv.into()).apply_keystream(&mut bytes);
        } else {
            let key = key.try_into().expect("AES keys have 16 or 32 bytes");
            Ctr128BE::<Aes256Enc>::new(key, &iv.into()).apply_keystream(&mut bytes);
        }
        bytes
    }
}

impl Salt {
    /// The first counter block of AES-CM for an index (RFC 3711 section 4.1.1).
    pub(crate) fn cm_iv(self, index: u64) -> [u8; 16] {
        ((self.0 ^ u128::from(index)) << 16).to_be_bytes()
    }

    /// As many bytes as a salt of the suite has; the SSRC is in them.
    pub(crate) fn bytes(self, suite: Suite) -> Vec<u8> {
        self.0.to_be_bytes()[16 - suite.salt_len()..].to_vec()
    }

    /// The IV of GCM for an index (RFC 7714 section 8.1).
    pub(crate) fn gcm_iv(self, index: u64) -> [u8; 12] {
        let [_, _, _, _, iv @ ..] = (self.0 ^ u128::from(index)).to_be_bytes();
        iv
    }
}

/// The rollover counter of an index.
pub(crate) fn roc(index: u64) -> u32 {
    u32::try_from(index >> 16).expect("an index has 48 bits")
}
