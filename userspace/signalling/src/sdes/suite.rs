// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The crypto suites of SDP security descriptions, under their registered names.
//!
//! Source: the IANA registry "SRTP Crypto Suite Registrations", RFC 4568 section 6.2, RFC 5669
//! section 7, RFC 6188 section 4, RFC 7714 section 14.1.

use core::fmt;
use core::str::FromStr;

/// A crypto suite: a registered one, or one that peers are known to send.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Suite {
    /// AES-128 in counter mode, HMAC-SHA1 with an 80-bit tag (RFC 4568 section 6.2.1).
    AesCm128HmacSha1_80,
    /// The same with a 32-bit tag on SRTP; SRTCP keeps 80 bits (RFC 4568 section 6.2.2).
    AesCm128HmacSha1_32,
    /// AES-192 in counter mode, HMAC-SHA1 with an 80-bit tag (RFC 6188).
    Aes192CmHmacSha1_80,
    /// The same with a 32-bit tag on SRTP; SRTCP keeps 80 bits.
    Aes192CmHmacSha1_32,
    /// AES-256 in counter mode, HMAC-SHA1 with an 80-bit tag (RFC 6188).
    Aes256CmHmacSha1_80,
    /// The same with a 32-bit tag on SRTP; SRTCP keeps 80 bits.
    Aes256CmHmacSha1_32,
    /// AES-128 in Galois counter mode with a 128-bit tag (RFC 7714).
    AeadAes128Gcm,
    /// AES-256 in Galois counter mode with a 128-bit tag (RFC 7714).
    AeadAes256Gcm,
    /// AES-128 in F8 mode, HMAC-SHA1 with an 80-bit tag (RFC 4568 section 6.2.3).
    F8128HmacSha1_80,
    /// No encryption, HMAC-SHA1 with an 80-bit tag. Not registered.
    NullHmacSha1_80,
    /// The same with a 32-bit tag on SRTP. Not registered.
    NullHmacSha1_32,
    /// SEED in counter mode, HMAC-SHA1 with an 80-bit tag (RFC 5669).
    SeedCtr128HmacSha1_80,
    /// SEED in CCM mode with an 80-bit tag (RFC 5669).
    Seed128Ccm80,
    /// SEED in Galois counter mode with a 96-bit tag (RFC 5669).
    Seed128Gcm96,
}

impl Suite {
    /// Every suite, strongest first.
    pub const ALL: [Self; 14] = [
        Self::AeadAes256Gcm,
        Self::AeadAes128Gcm,
        Self::Aes256CmHmacSha1_80,
        Self::Aes192CmHmacSha1_80,
        Self::AesCm128HmacSha1_80,
        Self::Aes256CmHmacSha1_32,
        Self::Aes192CmHmacSha1_32,
        Self::AesCm128HmacSha1_32,
        Self::SeedCtr128HmacSha1_80,
        Self::Seed128Ccm80,
        Self::Seed128Gcm96,
        Self::F8128HmacSha1_80,
        Self::NullHmacSha1_80,
        Self::NullHmacSha1_32,
    ];

    /// The registered name; for a suite that is not registered, what peers call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::Aes192CmHmacSha1_80 => "AES_192_CM_HMAC_SHA1_80",
            Self::Aes192CmHmacSha1_32 => "AES_192_CM_HMAC_SHA1_32",
            Self::Aes256CmHmacSha1_80 => "AES_256_CM_HMAC_SHA1_80",
            Self::Aes256CmHmacSha1_32 => "AES_256_CM_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
            Self::F8128HmacSha1_80 => "F8_128_HMAC_SHA1_80",
            Self::NullHmacSha1_80 => "NULL_HMAC_SHA1_80",
            Self::NullHmacSha1_32 => "NULL_HMAC_SHA1_32",
            Self::SeedCtr128HmacSha1_80 => "SEED_CTR_128_HMAC_SHA1_80",
            Self::Seed128Ccm80 => "SEED_128_CCM_80",
            Self::Seed128Gcm96 => "SEED_128_GCM_96",
        }
    }

    /// Length of master key and master salt together, in bytes.
    pub const fn key_len(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80
            | Self::AesCm128HmacSha1_32
            | Self::F8128HmacSha1_80
            | Self::NullHmacSha1_80
            | Self::NullHmacSha1_32
            | Self::SeedCtr128HmacSha1_80
            // RFC 5669 leaves the master salt as it is in RFC 3711.
            | Self::Seed128Ccm80
            | Self::Seed128Gcm96 => 16 + 14,
            Self::Aes192CmHmacSha1_80 | Self::Aes192CmHmacSha1_32 => 24 + 14,
            Self::Aes256CmHmacSha1_80 | Self::Aes256CmHmacSha1_32 => 32 + 14,
            Self::AeadAes128Gcm => 16 + 12,
            Self::AeadAes256Gcm => 32 + 12,
        }
    }

    /// Whether one cipher both encrypts and authenticates, and can leave out neither (RFC 7714
    /// section 6).
    pub const fn is_aead(self) -> bool {
        matches!(
            self,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm | Self::Seed128Ccm80 | Self::Seed128Gcm96
        )
    }

    /// Whether Sallyport can encrypt with it at all: SEED is known by name only.
    pub const fn is_spoken(self) -> bool {
        !matches!(
            self,
            Self::SeedCtr128HmacSha1_80 | Self::Seed128Ccm80 | Self::Seed128Gcm96
        )
    }

    /// Whether we may ask a peer for it. F8 is slow and old, and NULL does not encrypt.
    pub const fn may_be_offered(self) -> bool {
        self.is_spoken()
            && !matches!(
                self,
                Self::F8128HmacSha1_80 | Self::NullHmacSha1_80 | Self::NullHmacSha1_32
            )
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Suite {
    type Err = UnknownSuite;

    /// Names are not case-sensitive (RFC 4568 section 4, by its ABNF).
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|suite| suite.name().eq_ignore_ascii_case(name))
            .ok_or(UnknownSuite)
    }
}

/// No suite that we know has this name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UnknownSuite;

impl fmt::Display for UnknownSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown crypto suite; use one of ")?;
        let offered = Suite::ALL
            .into_iter()
            .filter(|suite| suite.may_be_offered());
        for (i, suite) in offered.enumerate() {
            write!(f, "{}{suite}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl core::error::Error for UnknownSuite {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_is_found_under_its_name_and_nothing_else_is() {
        for suite in Suite::ALL {
            assert_eq!(suite.name().parse(), Ok(suite));
            assert_eq!(suite.name().to_lowercase().parse(), Ok(suite));
        }
        for name in ["", "AEAD_AES_128_GCM ", "F8_128_HMAC_SHA1_32"] {
            assert_eq!(name.parse::<Suite>(), Err(UnknownSuite), "{name:?}");
        }
    }

    #[test]
    fn an_unknown_suite_is_answered_with_those_to_use() {
        assert_eq!(
            UnknownSuite.to_string(),
            "unknown crypto suite; use one of AEAD_AES_256_GCM, AEAD_AES_128_GCM, \
             AES_256_CM_HMAC_SHA1_80, AES_192_CM_HMAC_SHA1_80, AES_CM_128_HMAC_SHA1_80, \
             AES_256_CM_HMAC_SHA1_32, AES_192_CM_HMAC_SHA1_32, AES_CM_128_HMAC_SHA1_32"
        );
    }
}
