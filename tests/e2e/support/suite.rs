// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Crypto suites under the names that each peer gives them, and keys.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sallyport_tests::media;

/// A crypto suite of RFC 4568 or RFC 7714.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Suite {
    /// Its registered name.
    pub(crate) name: &'static str,
    /// Master key and master salt, in bytes.
    pub(crate) key_len: usize,
    /// Cipher of SRTP and SRTCP in GStreamer's words.
    pub(crate) gst_cipher: &'static str,
    /// Authentication of SRTP in GStreamer's words.
    pub(crate) gst_rtp_auth: &'static str,
    /// Authentication of SRTCP in GStreamer's words.
    pub(crate) gst_rtcp_auth: &'static str,
}

impl Suite {
    pub(crate) const CM_80: Self = Self {
        name: "AES_CM_128_HMAC_SHA1_80",
        key_len: 30,
        gst_cipher: "aes-128-icm",
        gst_rtp_auth: "hmac-sha1-80",
        gst_rtcp_auth: "hmac-sha1-80",
    };
    pub(crate) const CM_32: Self = Self {
        name: "AES_CM_128_HMAC_SHA1_32",
        gst_rtp_auth: "hmac-sha1-32",
        ..Self::CM_80
    };
    pub(crate) const GCM_128: Self = Self {
        name: "AEAD_AES_128_GCM",
        key_len: 28,
        gst_cipher: "aes-128-gcm",
        gst_rtp_auth: "null",
        gst_rtcp_auth: "null",
    };
    pub(crate) const GCM_256: Self = Self {
        name: "AEAD_AES_256_GCM",
        key_len: 44,
        gst_cipher: "aes-256-gcm",
        ..Self::GCM_128
    };

    pub(crate) const ALL: [Self; 4] = [Self::CM_80, Self::CM_32, Self::GCM_128, Self::GCM_256];

    /// A key of this suite, another one for each number.
    pub(crate) fn key(self, number: u32) -> Key {
        Key(media::payload(0x6b65_7973, number, self.key_len))
    }
}

/// Master key and master salt.
#[derive(Clone, Debug)]
pub(crate) struct Key(Vec<u8>);

impl Key {
    /// The key in the value of an attribute `a=crypto`.
    pub(crate) fn of_attribute(value: &str) -> Self {
        let (_, text) = value.split_once("inline:").expect("there is a key");
        let text = text.split(['|', ' ', ';']).next().unwrap_or(text);
        // Padding is optional (RFC 4568 section 6.1).
        let text = text.trim_end_matches('=');
        Self(STANDARD_NO_PAD.decode(text).expect("a key is base64"))
    }

    /// One behind the other.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// As ffmpeg takes it.
    pub(crate) fn base64(&self) -> String {
        STANDARD.encode(&self.0)
    }

    /// As in SDP (RFC 4568 section 9.1).
    pub(crate) fn inline(&self) -> String {
        format!("inline:{}", self.base64())
    }

    /// As GStreamer and our libsrtp peer take it.
    pub(crate) fn hex(&self) -> String {
        self.0.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}
