// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The crypto suites: which ciphers, which lengths (RFC 4568 section 6.2, RFC 6188
//! section 4, RFC 7714 section 14).

use core::fmt;

use crate::Kind;

/// A crypto suite, under its name in the IANA registry of RFC 4568.
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
    /// AES-128 in F8 mode, HMAC-SHA1 with an 80-bit tag (RFC 3711 section 4.1.2). Slow, and only
    /// for peers that have nothing else: not to be offered.
    F8128HmacSha1_80,
    /// No encryption, HMAC-SHA1 with an 80-bit tag (RFC 3711 section 4.1.3). Not to be offered.
    NullHmacSha1_80,
    /// The same with a 32-bit tag on SRTP; SRTCP keeps 80 bits. Not to be offered.
    NullHmacSha1_32,
    /// AES-128 in Galois counter mode with a 128-bit tag (RFC 7714).
    AeadAes128Gcm,
    /// AES-256 in Galois counter mode with a 128-bit tag (RFC 7714).
    AeadAes256Gcm,
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

    /// The registered name. Those without encryption have none; this is what they are called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::Aes192CmHmacSha1_80 => "AES_192_CM_HMAC_SHA1_80",
            Self::Aes192CmHmacSha1_32 => "AES_192_CM_HMAC_SHA1_32",
            Self::Aes256CmHmacSha1_80 => "AES_256_CM_HMAC_SHA1_80",
            Self::Aes256CmHmacSha1_32 => "AES_256_CM_HMAC_SHA1_32",
            Self::F8128HmacSha1_80 => "F8_128_HMAC_SHA1_80",
            Self::NullHmacSha1_80 => "NULL_HMAC_SHA1_80",
            Self::NullHmacSha1_32 => "NULL_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// Length of the master key, and of the session cipher keys, in bytes.
    pub const fn key_len(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80
            | Self::AesCm128HmacSha1_32
            | Self::F8128HmacSha1_80
            | Self::NullHmacSha1_80
            | Self::NullHmacSha1_32
            | Self::AeadAes128Gcm => 16,
            Self::Aes192CmHmacSha1_80 | Self::Aes192CmHmacSha1_32 => 24,
            Self::Aes256CmHmacSha1_80 | Self::Aes256CmHmacSha1_32 | Self::AeadAes256Gcm => 32,
        }
    }

    /// Length of the master salt, and of the session salts, in bytes.
    pub const fn salt_len(self) -> usize {
        if self.is_aead() { 12 } else { 14 }
    }

    /// Length of the authentication tag of an SRTP packet, in bytes.
    pub const fn rtp_tag_len(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80
            | Self::Aes192CmHmacSha1_80
            | Self::Aes256CmHmacSha1_80
            | Self::F8128HmacSha1_80
            | Self::NullHmacSha1_80 => 10,
            Self::AesCm128HmacSha1_32
            | Self::Aes192CmHmacSha1_32
            | Self::Aes256CmHmacSha1_32
            | Self::NullHmacSha1_32 => 4,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
        }
    }

    /// Length of the authentication tag of an SRTCP packet, in bytes; never shortened.
    pub const fn rtcp_tag_len(self) -> usize {
        if self.is_aead() { 16 } else { 10 }
    }

    /// Whether one cipher both encrypts and authenticates (RFC 5116).
    pub(crate) const fn is_aead(self) -> bool {
        matches!(self, Self::AeadAes128Gcm | Self::AeadAes256Gcm)
    }

    /// Whether there is a cipher.
    pub(crate) const fn encrypts(self) -> bool {
        !matches!(self, Self::NullHmacSha1_80 | Self::NullHmacSha1_32)
    }

    /// Length of the authentication tag of a packet of this kind, in bytes.
    pub(crate) const fn tag_len(self, kind: Kind) -> usize {
        match kind {
            Kind::Rtp => self.rtp_tag_len(),
            Kind::Rtcp => self.rtcp_tag_len(),
        }
    }

    /// How much longer protection makes a packet of this kind, in bytes.
    pub(crate) const fn growth(self, kind: Kind) -> usize {
        self.tag_len(kind)
            + match kind {
                Kind::Rtp => 0,
                Kind::Rtcp => crate::packet::INDEX_WORD_LEN,
            }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
