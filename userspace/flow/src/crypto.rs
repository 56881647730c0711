// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The crypto policy and key of one direction of one leg.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Secret;

/// SRTP protection of one direction of one leg (RFC 3711 section 3.2).
///
/// What tells one from another are suite and keys. The parameters stay those that the keys came
/// with first, as long as a flow has these (RFC 3711 section 4.3.1).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Crypto {
    /// The crypto suite.
    pub suite: Suite,
    /// The master keys: one, or several that each have an MKI, all of the same length. To protect,
    /// the first is used.
    pub keys: Vec<MasterKey>,
    /// How many packets each master key may protect; `None` for the suite's own limit.
    pub lifetime: Option<u64>,
    /// Size of the replay window in packets, a power of two from 64 on; 0 for the default.
    pub replay_window: u32,
    /// Session keys are derived anew every `2^n` packets, n being 0 to 24; `None` for once (KDR,
    /// RFC 4568 section 6.3.1).
    pub key_derivation_rate: Option<u8>,
    /// SRTCP is sent without encryption, and taken with or without (RFC 4568 section 6.3.2).
    pub unencrypted_srtcp: bool,
    /// Where indices stood when another flow, or an earlier data plane, used these keys, so that
    /// none is used twice. Of no meaning for crypto contexts that are there already.
    pub marks: Vec<Mark>,
}

/// A master key with its master salt.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct MasterKey {
    /// Key and salt, one behind the other, as in RFC 4568 section 6.1.
    pub secret: Secret,
    /// The master key identifier as it is sent, at most [`MasterKey::MAX_MKI_LEN`] bytes; empty
    /// for none.
    pub mki: Vec<u8>,
}

impl MasterKey {
    /// The longest MKI, in bytes.
    pub const MAX_MKI_LEN: usize = 16;

    /// A key without MKI.
    pub const fn new(secret: Secret) -> Self {
        Self {
            secret,
            mki: Vec::new(),
        }
    }
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
    /// AES-192 in counter mode, HMAC-SHA1 with an 80-bit tag (RFC 6188).
    Aes192CmHmacSha1_80,
    /// The same with a 32-bit tag on SRTP; SRTCP keeps 80 bits.
    Aes192CmHmacSha1_32,
    /// AES-256 in counter mode, HMAC-SHA1 with an 80-bit tag (RFC 6188).
    Aes256CmHmacSha1_80,
    /// The same with a 32-bit tag on SRTP; SRTCP keeps 80 bits.
    Aes256CmHmacSha1_32,
    /// AES-128 in F8 mode, HMAC-SHA1 with an 80-bit tag (RFC 4568 section 6.2.3). For peers that
    /// have nothing else.
    F8128HmacSha1_80,
    /// No encryption, HMAC-SHA1 with an 80-bit tag. Not registered; for peers that have nothing
    /// else.
    NullHmacSha1_80,
    /// The same with a 32-bit tag on SRTP; SRTCP keeps 80 bits.
    NullHmacSha1_32,
}

impl Suite {
    /// Every suite, strongest first.
    pub const ALL: [Self; 11] = [
        Self::AeadAes256Gcm,
        Self::AeadAes128Gcm,
        Self::Aes256CmHmacSha1_80,
        Self::Aes192CmHmacSha1_80,
        Self::AesCm128HmacSha1_80,
        Self::Aes256CmHmacSha1_32,
        Self::Aes192CmHmacSha1_32,
        Self::AesCm128HmacSha1_32,
        Self::F8128HmacSha1_80,
        Self::NullHmacSha1_80,
        Self::NullHmacSha1_32,
    ];

    /// The registered name; for a suite that is not registered, what peers call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
            Self::Aes192CmHmacSha1_80 => "AES_192_CM_HMAC_SHA1_80",
            Self::Aes192CmHmacSha1_32 => "AES_192_CM_HMAC_SHA1_32",
            Self::Aes256CmHmacSha1_80 => "AES_256_CM_HMAC_SHA1_80",
            Self::Aes256CmHmacSha1_32 => "AES_256_CM_HMAC_SHA1_32",
            Self::F8128HmacSha1_80 => "F8_128_HMAC_SHA1_80",
            Self::NullHmacSha1_80 => "NULL_HMAC_SHA1_80",
            Self::NullHmacSha1_32 => "NULL_HMAC_SHA1_32",
        }
    }

    /// Length of master key and master salt together, in bytes.
    pub const fn key_len(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80
            | Self::AesCm128HmacSha1_32
            | Self::F8128HmacSha1_80
            | Self::NullHmacSha1_80
            | Self::NullHmacSha1_32 => 16 + 14,
            Self::Aes192CmHmacSha1_80 | Self::Aes192CmHmacSha1_32 => 24 + 14,
            Self::Aes256CmHmacSha1_80 | Self::Aes256CmHmacSha1_32 => 32 + 14,
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
