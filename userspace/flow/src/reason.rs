// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Why a packet did not leave. A packet is never lost without one of these being counted.

use core::fmt;

use serde::{Deserialize, Serialize};

/// Why a packet that reached the data plane did not leave it, in the order of the stages.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Reason {
    /// No flow has this local address and port (any more).
    UnknownFlow,
    /// The flow is closed in this direction.
    GateClosed,
    /// The keys are still being negotiated (DTLS-SRTP).
    NoKeys,
    /// The sender is not the peer.
    SourceFiltered,
    /// Over the agreed rate.
    Policed,
    /// Not a well-formed RTP or RTCP packet, or the wrong one of the two for this port.
    Malformed,
    /// No key has this master key identifier.
    UnknownMki,
    /// The authentication tag is wrong.
    AuthFailed,
    /// The index was seen before.
    Replayed,
    /// The index is older than the replay window.
    TooOld,
    /// The key has protected as many packets as it may.
    KeyExpired,
    /// The leg has as many SSRCs as it may.
    TooManySsrcs,
    /// Does not fit the frame or the MTU of the way out.
    TooBig,
    /// The peer is not known yet, or the kernel has no route or neighbour for it.
    NoRoute,
    /// The transmit ring of the way out is full.
    RingFull,
}

impl Reason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 15] = [
        Self::UnknownFlow,
        Self::GateClosed,
        Self::NoKeys,
        Self::SourceFiltered,
        Self::Policed,
        Self::Malformed,
        Self::UnknownMki,
        Self::AuthFailed,
        Self::Replayed,
        Self::TooOld,
        Self::KeyExpired,
        Self::TooManySsrcs,
        Self::TooBig,
        Self::NoRoute,
        Self::RingFull,
    ];

    /// How many reasons there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The name under which it is counted.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownFlow => "unknown-flow",
            Self::GateClosed => "gate-closed",
            Self::NoKeys => "no-keys",
            Self::SourceFiltered => "source-filtered",
            Self::Policed => "policed",
            Self::Malformed => "malformed",
            Self::UnknownMki => "unknown-mki",
            Self::AuthFailed => "auth-failed",
            Self::Replayed => "replayed",
            Self::TooOld => "too-old",
            Self::KeyExpired => "key-expired",
            Self::TooManySsrcs => "too-many-ssrcs",
            Self::TooBig => "too-big",
            Self::NoRoute => "no-route",
            Self::RingFull => "ring-full",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_at_its_number() {
        for (number, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number, "{reason}");
        }
    }
}
