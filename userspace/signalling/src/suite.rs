// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The crypto suites of SDP security descriptions, under their registered names.
//!
//! Source: the IANA registry "SRTP Crypto Suite Registrations", RFC 4568 section 6.2, RFC 7714
//! section 14.2.

use core::fmt;
use core::str::FromStr;

/// A crypto suite that Sallyport speaks.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Suite {
    /// AES-128 in counter mode, HMAC-SHA1 with an 80-bit tag (RFC 4568 section 6.2.1).
    AesCm128HmacSha1_80,
    /// The same with a 32-bit tag on SRTP; SRTCP keeps 80 bits (RFC 4568 section 6.2.2).
    AesCm128HmacSha1_32,
    /// AES-128 in Galois counter mode with a 128-bit tag (RFC 7714).
    AeadAes128Gcm,
    /// AES-256 in Galois counter mode with a 128-bit tag (RFC 7714).
    AeadAes256Gcm,
}

impl Suite {
    /// Every suite, strongest first.
    pub const ALL: [Self; 4] = [
        Self::AeadAes256Gcm,
        Self::AeadAes128Gcm,
        Self::AesCm128HmacSha1_80,
        Self::AesCm128HmacSha1_32,
    ];

    /// The registered name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// Length of master key and master salt together, in bytes.
    pub const fn key_len(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 16 + 14,
            Self::AeadAes128Gcm => 16 + 12,
            Self::AeadAes256Gcm => 32 + 12,
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Suite {
    type Err = UnknownSuite;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|suite| suite.name() == name)
            .ok_or(UnknownSuite)
    }
}

/// No suite that Sallyport speaks has this name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UnknownSuite;

impl fmt::Display for UnknownSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown crypto suite; use one of ")?;
        for (i, suite) in Suite::ALL.into_iter().enumerate() {
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
        }
        for name in [
            "",
            "AEAD_AES_128_GCM ",
            "aead_aes_128_gcm",
            "F8_128_HMAC_SHA1_80",
        ] {
            assert_eq!(name.parse::<Suite>(), Err(UnknownSuite), "{name:?}");
        }
    }

    #[test]
    fn an_unknown_suite_is_answered_with_the_known_ones() {
        assert_eq!(
            UnknownSuite.to_string(),
            "unknown crypto suite; use one of AEAD_AES_256_GCM, AEAD_AES_128_GCM, \
             AES_CM_128_HMAC_SHA1_80, AES_CM_128_HMAC_SHA1_32"
        );
    }
}
