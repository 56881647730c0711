// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What `steer` decides about a packet. Every packet is counted under exactly one verdict.

use core::fmt;

/// What `steer` decided about a packet, in the order in which it decides.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Verdict {
    /// Goes to the kernel: not a UDP datagram to a media address and port.
    Passed,
    /// Goes to the kernel: ends inside a header, or an IP header contradicts itself.
    Malformed,
    /// Goes to the kernel: a fragment of a datagram.
    Fragment,
    /// Goes to the kernel: IPv4 options or an IPv6 extension header.
    Options,
    /// Dropped: to a media port that belongs to no flow.
    UnknownFlow,
    /// Goes to the kernel: STUN or DTLS of a flow whose handshakes the kernel's sockets serve.
    KernelDemux,
    /// Dropped: neither RTP nor RTCP.
    NotMedia,
    /// Dropped: a flow's media on a queue that no socket serves, or STUN or DTLS that none awaits.
    NoSocket,
    /// Goes to the AF_XDP socket of its queue.
    Redirected,
}

impl Verdict {
    /// Every verdict, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Passed,
        Self::Malformed,
        Self::Fragment,
        Self::Options,
        Self::UnknownFlow,
        Self::KernelDemux,
        Self::NotMedia,
        Self::NoSocket,
        Self::Redirected,
    ];

    /// How many verdicts there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The name under which it is counted.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Malformed => "malformed",
            Self::Fragment => "fragment",
            Self::Options => "options",
            Self::UnknownFlow => "unknown-flow",
            Self::KernelDemux => "kernel-demux",
            Self::NotMedia => "not-media",
            Self::NoSocket => "no-socket",
            Self::Redirected => "redirected",
        }
    }

    /// Whether the packet ends here.
    #[inline(always)]
    pub const fn drops(self) -> bool {
        matches!(self, Self::UnknownFlow | Self::NotMedia | Self::NoSocket)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verdict_stands_at_its_number() {
        for (number, verdict) in Verdict::ALL.into_iter().enumerate() {
            assert_eq!(verdict as usize, number, "{verdict}");
        }
    }
}
