// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What comes out: a session description to pass on, and what media needs for it.

use core::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::MediaRefusal;
use crate::dtls::Dtls;
use crate::ice::Ice;
use crate::sdes::Crypto;
use crate::sdp::{Clock, Medium, Sdp};

/// One of the two sides of the gateway.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Side {
    /// Where the UE is.
    Access,
    /// The trusted network.
    Core,
}

impl Side {
    /// The other side.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Access => Self::Core,
            Self::Core => Self::Access,
        }
    }
}

/// What to do about an offer or an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What to pass on to the other side.
    pub sdp: Sdp,
    /// What each medium needs, in the order of the `m=` lines. Where an offer takes the place of
    /// one without an answer that had more of them, those follow.
    pub streams: Vec<StreamDecision>,
}

/// What one medium needs.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamDecision {
    /// The medium.
    pub medium: Medium,
    /// What becomes of it.
    pub treatment: Treatment,
    /// What the data plane has to do now.
    pub action: Action,
}

/// What becomes of a medium.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Treatment {
    /// Protection ends here: SRTP on the access side, RTP on the core side; by the word of a SIP
    /// proxy, SRTP on either side or on both, each with keys of its own.
    EndToAccessEdge,
    /// SRTP from one peer to the other, with keys that we relay and do not use.
    EndToEnd,
    /// RTP on both sides.
    Plain,
    /// Its packets do not come to us, since we do not handle its profile.
    Unanchored,
    /// Its port is 0: nobody wants it.
    Ended,
    /// We do not let it pass: its port becomes 0 on both sides. (Nothing of it is left to be
    /// stored.)
    #[serde(skip)]
    Refused(MediaRefusal),
}

/// What the data plane has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Nothing: there is nothing, and nothing is to be.
    Nothing,
    /// Keep the ports, though nothing flows yet: the answer is missing.
    Reserve,
    /// Leave everything as it is.
    Keep,
    /// From this side also take what is protected so, beside what it sends by now: the offer of new
    /// keys has no answer yet, and may still be refused.
    Expect(Side, Box<Crypto>),
    /// Let media flow like this, in place of what flowed before. A direction of a leg whose
    /// [`Crypto`] has not changed keeps its crypto contexts.
    Install(Box<Setup>),
    /// Let nothing flow any more, and free the ports.
    Remove,
}

/// How the media of one stream flows.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Setup {
    /// Whether there is SRTP, and where it ends.
    pub treatment: Treatment,
    /// The leg of the access side.
    pub access: Leg,
    /// The leg of the core side.
    pub core: Leg,
    /// Whether RTP from the access side may pass. RTCP always may.
    pub to_core: bool,
    /// Whether RTP from the core side may pass. RTCP always may.
    pub to_access: bool,
}

impl Setup {
    /// The leg of one side.
    pub const fn leg(&self, side: Side) -> &Leg {
        match side {
            Side::Access => &self.access,
            Side::Core => &self.core,
        }
    }
}

/// One side of a stream.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Leg {
    /// Where we are.
    pub local: Ends,
    /// Where the peer said that it is; `None` if it said that it is nowhere, as for hold, or gave
    /// a host name, which only its packets can tell the address of. A peer behind a NAT does not
    /// know better.
    pub remote: Option<Ends>,
    /// How packets on this leg are protected; `None` where we neither protect nor unprotect.
    pub protection: Option<Protection>,
    /// How the peer finds the way to us, where both sides have ICE; `remote` is `None` then, unless
    /// the peer is a lite agent: what the peer says that it is is only a guess.
    pub ice: Option<Ice>,
    /// What a peer with ICE or DTLS calls the stream (`a=mid`): browsers want to hear that again in
    /// each session description (RFC 8829 section 5.3.1), and nobody on the other side may know it.
    pub mid: Option<String>,
    /// The clocks of what the peer may be sent, at most [`Leg::MAX_CLOCKS`].
    pub clocks: Vec<Clock>,
}

impl Leg {
    /// Of how many payload types the clocks are noted: of all that peers agree on, in practice.
    pub const MAX_CLOCKS: usize = 16;

    /// Whether RTP and RTCP share a port (RFC 5761).
    pub fn has_rtcp_mux(&self) -> bool {
        self.local.rtp == self.local.rtcp
    }
}

/// Where RTP and RTCP end; the same where they share a port.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Ends {
    /// Address and port for RTP.
    pub rtp: SocketAddr,
    /// Address and port for RTCP.
    pub rtcp: SocketAddr,
}

impl Ends {
    /// Both on the port of RTP.
    pub(super) const fn muxed(self) -> Self {
        Self {
            rtp: self.rtp,
            rtcp: self.rtp,
        }
    }
}

/// The local ends of one stream, which the caller provides.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Ports {
    /// On the access side.
    pub access: Ends,
    /// On the core side.
    pub core: Ends,
}

impl Ports {
    /// Those of one side.
    pub const fn of(self, side: Side) -> Ends {
        match side {
            Side::Access => self.access,
            Side::Core => self.core,
        }
    }
}

/// The protection of a leg.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Protection {
    /// With keys from the session descriptions.
    Sdes(Keys),
    /// With keys that the peer and we are to agree on: until then nothing may pass.
    Dtls(Dtls),
}

impl Protection {
    /// The keys, where the session descriptions had them.
    pub const fn keys(&self) -> Option<&Keys> {
        match self {
            Self::Sdes(keys) => Some(keys),
            Self::Dtls(_) => None,
        }
    }

    /// Whether it may be given up again.
    pub(super) const fn is_opportunistic(&self) -> bool {
        matches!(self, Self::Sdes(keys) if keys.is_opportunistic)
    }

    /// The handshake that the keys are from.
    pub const fn dtls(&self) -> Option<&Dtls> {
        match self {
            Self::Sdes(_) => None,
            Self::Dtls(dtls) => Some(dtls),
        }
    }
}

/// One suite, and for each direction its own keys and parameters.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Keys {
    /// What the peer sends with.
    pub receive: Crypto,
    /// What we send with.
    pub send: Crypto,
    /// Whether it was agreed on in a plain profile (RFC 8643), and may be given up again.
    pub is_opportunistic: bool,
}
