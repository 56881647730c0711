// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What signalling agrees on: a master key and a master salt for one suite.

use core::fmt;

use arrayvec::ArrayVec;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::Suite;

/// The longest master key and the longest master salt together (AES-256 with 112 bits of salt).
const MAX_LEN: usize = 32 + 14;

/// The longest MKI taken, in bytes. The standards allow 128 (RFC 4568 section 6.1), but every
/// packet grows by as much, and one byte tells 256 keys apart.
pub const MAX_MKI_LEN: usize = 16;

/// A master key identifier; empty where there is none.
pub(crate) type Mki = ArrayVec<u8, MAX_MKI_LEN>;

/// Master key and master salt of one suite, and perhaps an MKI (RFC 3711 section 3.2.1). Wiped
/// when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct MasterKey {
    #[zeroize(skip)]
    suite: Suite,
    #[zeroize(skip)]
    mki: Mki,
    key_and_salt: [u8; MAX_LEN],
}

impl MasterKey {
    /// Takes key and salt one behind the other, as in the inline parameter of RFC 4568
    /// section 6.1.
    pub fn new(suite: Suite, key_and_salt: &[u8]) -> Result<Self, KeyError> {
        if key_and_salt.len() != suite.key_len() + suite.salt_len() {
            return Err(KeyError {
                suite,
                found: key_and_salt.len(),
            });
        }
        let mut bytes = [0; MAX_LEN];
        bytes[..key_and_salt.len()].copy_from_slice(key_and_salt);
        Ok(Self {
            suite,
            mki: Mki::new(),
            key_and_salt: bytes,
        })
    }

    /// The same key with an identifier, 1 to [`MAX_MKI_LEN`] bytes as they are sent, which every
    /// packet under this key then carries (RFC 3711 section 3.1).
    pub fn with_mki(mut self, mki: &[u8]) -> Result<Self, MkiError> {
        self.mki = Mki::try_from(mki)
            .ok()
            .filter(|mki| !mki.is_empty())
            .ok_or(MkiError { found: mki.len() })?;
        Ok(self)
    }

    /// The identifier of the key; empty if it has none.
    pub fn mki(&self) -> &[u8] {
        &self.mki
    }

    /// The suite that the key is for.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The same once more.
    pub(crate) fn duplicate(&self) -> Self {
        Self {
            suite: self.suite,
            mki: self.mki.clone(),
            key_and_salt: self.key_and_salt,
        }
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.key_and_salt[..self.suite.key_len()]
    }

    pub(crate) fn salt(&self) -> &[u8] {
        &self.key_and_salt[self.suite.key_len()..][..self.suite.salt_len()]
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey")
            .field("suite", &self.suite)
            .field("mki", &self.mki)
            .finish_non_exhaustive()
    }
}

/// Key and salt have not the length that the suite asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeyError {
    /// The suite asked for.
    pub suite: Suite,
    /// The length of what was given, in bytes.
    pub found: usize,
}

impl KeyError {
    /// The length that the suite asks for, key and salt together, in bytes.
    pub fn expected(&self) -> usize {
        self.suite.key_len() + self.suite.salt_len()
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} takes {} bytes of key and salt ({} + {}), not {}; give the decoded inline key of that suite",
            self.suite,
            self.expected(),
            self.suite.key_len(),
            self.suite.salt_len(),
            self.found,
        )
    }
}

impl core::error::Error for KeyError {}

/// An MKI has no byte, or too many.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MkiError {
    /// The length of what was given, in bytes.
    pub found: usize,
}

impl fmt::Display for MkiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "an MKI has 1 to {MAX_MKI_LEN} bytes, not {}; agree on a shorter one",
            self.found
        )
    }
}

impl core::error::Error for MkiError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_length_of_the_suite_is_taken_and_the_error_names_it() {
        for suite in Suite::ALL {
            let right = suite.key_len() + suite.salt_len();
            for len in 0..80 {
                let key = MasterKey::new(suite, &vec![7; len]);
                assert_eq!(key.is_ok(), len == right, "{suite}, {len} bytes");
            }
        }
        let error = MasterKey::new(Suite::AeadAes256Gcm, &[0; 30]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "AEAD_AES_256_GCM takes 44 bytes of key and salt (32 + 12), not 30; \
             give the decoded inline key of that suite"
        );
    }

    #[test]
    fn an_mki_has_one_to_sixteen_bytes() {
        for len in 0..=200 {
            let key = MasterKey::new(Suite::AeadAes128Gcm, &[1; 28]).unwrap();
            assert_eq!(key.mki(), []);
            match key.with_mki(&vec![9; len]) {
                Ok(key) => assert_eq!(key.mki(), vec![9; len]),
                Err(error) => {
                    assert!(len == 0 || len > 16);
                    assert_eq!(error, MkiError { found: len });
                }
            }
        }
        assert_eq!(
            MkiError { found: 128 }.to_string(),
            "an MKI has 1 to 16 bytes, not 128; agree on a shorter one"
        );
    }

    #[test]
    fn no_key_is_ever_printed() {
        let key = MasterKey::new(Suite::AeadAes128Gcm, &[0xab; 28]).unwrap();
        let shown = format!("{key:?}");
        assert_eq!(shown, "MasterKey { suite: AeadAes128Gcm, mki: [], .. }");
    }
}
