// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The crypto policy and key of one direction of one leg.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Secret;

/// SRTP protection of one direction of one leg (RFC 3711 section 3.2).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Crypto {
    /// The crypto suite.
    pub suite: Suite,
    /// Master key and master salt, one behind the other, as in RFC 4568 section 6.1.
    pub key: Secret,
    /// How many packets the master key may protect; `None` for the suite's own limit.
    pub lifetime: Option<u64>,
    /// Size of the replay window in packets, a power of two from 64 on; 0 for the default.
    pub replay_window: u32,
    /// Where indices stood when an earlier data plane lost this key, so that none is used twice.
    pub marks: Vec<Mark>,
}

/// Where one SSRC's indices stand. Not secret.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Mark {
    /// The synchronisation source.
    pub ssrc: u32,
    /// The highest SRTP index seen or sent, `2^16 * ROC + SEQ`; `None` before the first packet.
    pub rtp: Option<u64>,
    /// The highest SRTCP index seen or sent, 31 bits; `None` before the first packet.
    pub rtcp: Option<u32>,
}

impl Mark {
    /// How far a sender's SRTCP indices move on from a mark: more packets than may have been sent
    /// since it was taken.
    pub const RTCP_STEP: u32 = 1 << 21;
}

/// A crypto suite, under its name in the IANA registry of RFC 4568.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
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

/// No suite that Sallyport speaks has this name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UnknownSuite;

impl fmt::Display for UnknownSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown crypto suite; known are")?;
        for (i, suite) in Suite::ALL.into_iter().enumerate() {
            write!(f, "{} {suite}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl core::error::Error for UnknownSuite {}

impl FromStr for Suite {
    type Err = UnknownSuite;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|suite| suite.name() == name)
            .ok_or(UnknownSuite)
    }
}
