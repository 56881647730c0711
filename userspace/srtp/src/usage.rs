// SPDX-License-Identifier: Apache-2.0 OR MIT

//! How far a master key is used up (RFC 3711 section 9.2).

/// How much of a master key's life is over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Usage {
    /// SRTP packets that the key has protected. Those before a restart count too, up to their
    /// marks, so that it may be more than the limit.
    pub rtp_packets: u64,
    /// How many it may.
    pub rtp_limit: u64,
    /// SRTCP packets that the key has protected.
    pub rtcp_packets: u64,
    /// How many it may.
    pub rtcp_limit: u64,
    /// Whether it is time to agree on another key: one eighth or less of a limit is left, or of
    /// the 2^31 packets that RFC 4568 section 6.4.2 gives to a key of several SSRCs, or of some
    /// SSRC's indices.
    pub near_end: bool,
}
