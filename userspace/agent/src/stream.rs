// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Streams: what every session comes down to, whichever front end set it up.

use std::time::Duration;

use ipnet::IpNet;
use sallyport_flow::{Carries, Clock, Crypto, Gate, LatchOn, Realm};
use sallyport_signalling::sdp;

use crate::session::{Ends, Key, Keys, Session, SessionKeys};

/// One m-line of a session as it flows: two legs, media of each leaving on the other.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    /// Which of the session's streams, now or ever.
    pub(crate) slot: u16,
    pub(crate) legs: [StreamLeg; 2],
    /// Whether what arrives on a leg leaves on the same.
    pub(crate) is_echo: bool,
}

/// One leg of a stream.
#[derive(Clone, Debug)]
pub(crate) struct StreamLeg {
    pub(crate) realm: Realm,
    pub(crate) local: Ends,
    pub(crate) peer: Peer,
    /// What is answered by sockets of the kernel.
    pub(crate) handshakes: Handshakes,
    /// How fast timestamps run in what the peer may be sent.
    pub(crate) clocks: Vec<Clock>,
    /// How to unprotect what arrives; `None` for what is plain, or none of our business, and while
    /// a handshake has given no keys yet.
    pub(crate) receive: Option<Crypto>,
    /// What the peer may send under soon.
    pub(crate) expect: Option<Crypto>,
    /// How to protect what leaves.
    pub(crate) send: Option<Crypto>,
    /// Whether RTP that arrives may pass.
    pub(crate) gate: Gate,
    /// The DSCP of what leaves; `None` for that of what arrived.
    pub(crate) dscp: Option<u8>,
    /// Whether the peer's NAT is opened by empty packets.
    pub(crate) pierces: bool,
}

impl StreamLeg {
    /// Whether RTP and RTCP share a port (RFC 5761).
    pub(crate) fn is_muxed(&self) -> bool {
        self.local.rtp == self.local.rtcp
    }

    /// Whether sockets answer at a port of the leg. A handshake is led for RTP only.
    pub(crate) fn has_socket(&self, carries: Carries) -> bool {
        self.handshakes.ice || (self.handshakes.dtls && carries != Carries::Rtcp)
    }

    /// Whether what arrives at such a port, or leaves there, has no keys though it must have some.
    /// RTCP with a port of its own would need a handshake of its own (RFC 5764 section 4.1.2).
    pub(crate) fn has_no_keys(&self, carries: Carries) -> bool {
        let is_apart = carries == Carries::Rtcp && !self.is_muxed();
        self.handshakes.dtls && (self.receive.is_none() || is_apart)
    }
}

/// What of a leg is answered by sockets of the kernel.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Handshakes {
    /// The peer checks the way to us.
    pub(crate) ice: bool,
    /// Keys come from a handshake with it.
    pub(crate) dtls: bool,
}

/// Who is at the far end of a leg.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Peer {
    /// Exactly these.
    Known(Ends),
    /// Who is learned from packets.
    Learned {
        /// Where it says that it is.
        signalled: Option<Ends>,
        /// Where a plain peer's packets may come from.
        from: Option<IpNet>,
        /// How long a plain peer's first packet is waited for.
        window: Option<Duration>,
        /// Which of a plain peer's packets tells where it is.
        on: LatchOn,
        /// Nothing is sent to it before that.
        waits: bool,
        /// Packets go to where the peer says that it is, wherever it sends from.
        is_asymmetric: bool,
    },
}

impl Stream {
    /// The only stream of a session whose keys the client gave.
    ///
    /// `None` when keys are missing: what should be protected never flows plain.
    pub(crate) fn of_session(session: &Session, keys: &SessionKeys) -> Option<Self> {
        let leg = |realm| {
            let leg = session.leg(realm);
            let keys = keys.leg(realm);
            if leg.profile.suite() != keys.map(|keys| keys.suite) {
                return None;
            }
            let crypto = |key: fn(&Keys) -> &Key| keys.map(|keys| crypto(keys, key(keys)));
            Some(StreamLeg {
                realm,
                local: leg.local,
                peer: leg.remote.map_or(
                    Peer::Learned {
                        signalled: None,
                        from: None,
                        window: None,
                        on: LatchOn::First,
                        waits: false,
                        is_asymmetric: false,
                    },
                    Peer::Known,
                ),
                handshakes: Handshakes::default(),
                // Nobody has said more.
                clocks: sdp::Clock::assigned().map(clock).collect(),
                receive: crypto(|keys| &keys.receive),
                expect: None,
                send: crypto(|keys| &keys.send),
                gate: Gate::Open,
                dscp: None,
                pierces: false,
            })
        };
        Some(Self {
            slot: 0,
            legs: [leg(Realm::Access)?, leg(Realm::Core)?],
            is_echo: false,
        })
    }
}

/// As the data plane has it.
pub(crate) const fn clock(clock: sdp::Clock) -> Clock {
    Clock {
        payload_type: clock.payload_type,
        rate: clock.rate,
    }
}

fn crypto(keys: &Keys, key: &Key) -> Crypto {
    Crypto {
        suite: keys.suite,
        keys: vec![sallyport_flow::MasterKey::new(key.secret.clone())],
        lifetime: key.lifetime,
        replay_window: 0,
        key_derivation_rate: None,
        unencrypted_srtcp: false,
        marks: Vec::new(),
    }
}
