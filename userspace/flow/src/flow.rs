// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A flow: one direction of one leg, as the data plane sees it.

use core::fmt;
use core::time::Duration;
use std::net::SocketAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::Crypto;

/// The number of a flow. The agent chooses it, and never gives it to another flow again.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
pub struct FlowId(pub u64);

impl fmt::Display for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Packets that arrive at one local address and port, what to do to them, where they leave.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Flow {
    /// Its number.
    pub id: FlowId,
    /// Whether its RTP packets may pass.
    pub gate: Gate,
    /// Where its packets arrive.
    pub ingress: Ingress,
    /// Where they leave.
    pub egress: Egress,
}

impl Flow {
    /// How long packets under a key that was replaced are still taken: long enough for those that
    /// are on their way, and for the peer to learn that its new key was taken.
    pub const OVERLAP: Duration = Duration::from_secs(5);
}

/// Whether RTP packets may pass. RTCP packets always may (RFC 3264 section 5.1), but where keys are
/// missing.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Gate {
    /// They may: `sendrecv`, or the one direction of `sendonly` and `recvonly`.
    Open,
    /// They may not: `inactive`, or the other direction.
    Closed,
    /// Neither they nor RTCP packets may, and nobody is latched: a leg is to be protected by keys
    /// that its peers still negotiate (RFC 5764).
    Locked,
}

/// One of the two sides of the gateway (TS 23.334: "IP realm").
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Realm {
    /// The untrusted side, where UEs are.
    Access,
    /// The trusted network.
    Core,
}

impl Realm {
    /// Both realms.
    pub const ALL: [Self; 2] = [Self::Access, Self::Core];

    /// Its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Core => "core",
        }
    }
}

impl fmt::Display for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The arriving half of a flow.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Ingress {
    /// The side it arrives on.
    pub realm: Realm,
    /// The local address and port it arrives at.
    pub local: SocketAddr,
    /// RTP, RTCP or both.
    pub carries: Carries,
    /// Whether STUN and DTLS of this port go up to the kernel, where a socket answers them (RFC
    /// 7983). They are dropped otherwise.
    pub handshakes: bool,
    /// Who may send.
    pub source: Source,
    /// How fast the timestamps of its RTP packets run, at most [`Ingress::MAX_CLOCKS`]: without
    /// that their jitter is not known.
    pub clocks: Vec<Clock>,
    /// How to unprotect; `None` when plain RTP arrives (profile RTP/AVP).
    pub unprotect: Option<Crypto>,
    /// How to unprotect what `unprotect` does not fit: keys that the peer has offered in place of
    /// those, without an answer yet (RFC 4568 section 7.1.4). Only beside `unprotect`.
    pub expect: Option<Crypto>,
}

impl Ingress {
    /// How many payload types may have their clocks told.
    pub const MAX_CLOCKS: usize = 32;
}

/// The clock of the timestamps of one RTP payload type (RFC 3550 section 5.1).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Clock {
    /// The payload type, 0 to 127.
    pub payload_type: u8,
    /// Ticks a second, at least [`Clock::MIN_RATE`].
    pub rate: u32,
}

impl Clock {
    /// Slower than any that is registered.
    pub const MIN_RATE: u32 = 100;
}

/// What a local port receives (RFC 5761).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Carries {
    /// RTP only; RTCP has a port of its own.
    Rtp,
    /// RTCP only.
    Rtcp,
    /// Both on one port.
    Muxed,
}

/// Who may send to a local port.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Source {
    /// This address and port, nobody else.
    Only(SocketAddr),
    /// Who is latched.
    Latch(Latch),
}

/// How a peer is latched, so that its address becomes known from its packets.
///
/// On a protected flow whoever authenticates is latched, and a peer that moves is followed. On a
/// plain flow one packet latches ([`LatchOn`]), for good.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Latch {
    /// Where the peer said that it is, if it did. Packets to it go there until somebody is latched.
    /// A change to another address lets the peer be latched anew. On a plain flow packets from
    /// where it was before still pass then, and are latched only if nobody else was within the
    /// window.
    pub signalled: Option<SocketAddr>,
    /// Only senders with an address in here are latched; `None` for anybody. On a plain flow
    /// nothing else keeps strangers out.
    pub from: Option<IpNet>,
    /// How long a plain flow waits for its first packet, from its installation and from every
    /// change on; after that nobody is latched. `None` for ever. A protected flow does not need it.
    pub window: Option<Duration>,
    /// Which packet latches on a plain flow.
    pub on: LatchOn,
    /// Whether nothing goes to the peer before it is latched.
    pub waits: bool,
}

/// Which packet latches on a plain flow. Times are from its installation, and from every change of
/// where the peer says that it is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum LatchOn {
    /// The first.
    #[default]
    First,
    /// The first after this time. Those before pass.
    Late(Duration),
    /// The first, and within this time one that fits better where the peer says that it is: in
    /// address and port, in the address, in the port.
    Best(Duration),
    /// Every one, though not back and forth: who moves is followed, and who pretends to have moved,
    /// too.
    Last,
}

/// The leaving half of a flow.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Egress {
    /// The side it leaves on.
    pub realm: Realm,
    /// The way of its RTP packets.
    pub rtp: Path,
    /// The way of its RTCP packets; the same as `rtp` when the far leg multiplexes.
    pub rtcp: Path,
    /// How to protect; `None` when plain RTP leaves (profile RTP/AVP).
    pub protect: Option<Crypto>,
    /// The DSCP to mark packets with, 0 to 63; `None` keeps that of the arriving packet.
    pub dscp: Option<u8>,
}

/// From where to where a packet leaves.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Path {
    /// The local address and port it leaves from.
    pub local: SocketAddr,
    /// The peer it goes to.
    pub remote: Remote,
}

/// The far end of a path.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Remote {
    /// This address and port.
    Fixed(SocketAddr),
    /// Whoever that flow, the opposite direction of this one's leg, has latched; until then where
    /// its peer said that it is ([`Latch::signalled`]).
    Latched(FlowId),
}

/// A flow without its keys: what a list shows.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FlowSummary {
    /// Its number.
    pub id: FlowId,
    /// The side it arrives on.
    pub realm: Realm,
    /// The local address and port it arrives at.
    pub local: SocketAddr,
    /// Who sends to it: given, or latched by now.
    pub source: Option<SocketAddr>,
}
