// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What both sides of a leg agreed on.

use crate::{ExtensionIds, KeyDerivationRate, Rcc, ReplayWindow};

/// What both sides agreed on, beside suite and key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Policy {
    /// Size of the replay windows.
    pub replay_window: ReplayWindow,
    /// The most SSRCs that may use the key; their contexts are allocated in advance.
    pub ssrc_limit: u16,
    /// How many SRTP packets, and how many SRTCP packets, the master key may protect; `None` for
    /// the most that RFC 3711 section 9.2 allows, 2^48 and 2^31.
    pub lifetime: Option<u64>,
    /// How often session keys are derived; `None` for once. With a rate, packets are processed
    /// one by one, not in bursts, and every derivation costs more than a packet.
    pub key_derivation_rate: Option<KeyDerivationRate>,
    /// Whether SRTCP is sent without encryption, and taken with or without (RFC 4568 section
    /// 6.3.2). It is authenticated in any case.
    pub unencrypted_srtcp: bool,
    /// Whether RTP header extensions and CSRCs are encrypted together with the payload (RFC 9335,
    /// `a=cryptex`). A receiver also takes packets without. Extensions of forms that RFC 9335 does
    /// not know are sent as they are.
    pub cryptex: bool,
    /// Elements of RTP header extensions that are encrypted one by one (RFC 6904), in packets that
    /// `cryptex` does not encrypt.
    pub encrypted_extensions: ExtensionIds,
    /// Whether tags of SRTP carry the ROC. Only for suites whose tag is an HMAC of 80 bits, which
    /// it makes four bytes longer; there is no such thing in others, which ignore it. Packets are
    /// then processed one by one, not in bursts.
    pub rcc: Option<Rcc>,
}

impl Default for Policy {
    /// 128 packets, 16 SSRCs, no shorter lifetime, keys derived once, payloads and SRTCP
    /// encrypted.
    fn default() -> Self {
        Self {
            replay_window: ReplayWindow::default(),
            ssrc_limit: 16,
            lifetime: None,
            key_derivation_rate: None,
            unencrypted_srtcp: false,
            cryptex: false,
            encrypted_extensions: ExtensionIds::NONE,
            rcc: None,
        }
    }
}
