// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What signalling agrees on: a master key and a master salt for one suite.

use core::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::Suite;

/// The longest master key and the longest master salt together (AES-256 with 112 bits of salt).
const MAX_LEN: usize = 32 + 14;

/// Master key and master salt of one suite (RFC 3711 section 3.2.1). Wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct MasterKey {
    #[zeroize(skip)]
    suite: Suite,
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
            key_and_salt: bytes,
        })
    }

    /// The suite that the key is for.
    pub fn suite(&self) -> Suite {
        self.suite
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
    fn no_key_is_ever_printed() {
        let key = MasterKey::new(Suite::AeadAes128Gcm, &[0xab; 28]).unwrap();
        let shown = format!("{key:?}");
        assert_eq!(shown, "MasterKey { suite: AeadAes128Gcm, .. }");
    }
}
