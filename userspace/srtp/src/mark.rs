// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Where streams go on in another set.

use core::fmt;

/// Where one SSRC's indices stand. Not secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mark {
    /// The synchronisation source.
    pub ssrc: u32,
    /// The highest SRTP index seen or sent, `2^16 * ROC + SEQ`; `None` before the first packet.
    pub rtp: Option<u64>,
    /// The highest SRTCP index seen or sent, 31 bits; `None` before the first packet.
    pub rtcp: Option<u32>,
}

/// There are more SSRCs than [`crate::Policy::ssrc_limit`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TooManySsrcs;

impl fmt::Display for TooManySsrcs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("resume indices: more SSRCs than the policy allows; raise its SSRC limit")
    }
}

impl core::error::Error for TooManySsrcs {}
