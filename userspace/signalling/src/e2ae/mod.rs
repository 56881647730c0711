// SPDX-License-Identifier: Apache-2.0 OR MIT

//! End-to-access-edge protection: what becomes of the offers and answers of one call.
//!
//! The UE speaks SRTP with us and its network RTP with us, so offers and answers are rewritten in
//! both directions: RTP/SAVP(F) with `a=crypto` on the access side, RTP/AVP(F) without on the core
//! side. Media that cannot or need not be treated so passes as it is, plain or protected end to
//! end, but what was asked to be protected never becomes plain: it is refused instead.
//!
//! [`Call`] is the state of one call, or of one early dialog of it, and a pure state machine: each
//! event gives a new state and a [`Decision`], or a [`Refusal`] that leaves the state as it was.
//! The same offer or answer once more gives the same text once more, keys included, so
//! retransmissions and unchanged re-INVITEs change nothing in the data plane.
//!
//! - An offer from the access side is the originating procedure, or a UE's re-INVITE. The UE's key
//!   is known then and ours is drawn for the answer: each early dialog gets its own ([`Call::fork`]).
//! - An offer from the core side is the terminating procedure, or a re-INVITE from there. Our keys
//!   are drawn for the offer, and the UE's comes with its answer.
//! - An answer in a provisional response counts: media flows from then on.
//!
//! A SIP proxy that says itself what each side is to have ([`Asked`]) takes the place of policy and
//! indications: then SRTP may end here on either side or on both, and one profile become another.
//!
//! Source: TS 33.328 sections 7.2.1 and 7.3.1, TS 24.229 sections 6.7.2.2 and 7.5.2, TS 23.334
//! section 6.2.10, RFC 3264 and RFC 4568 section 7.1.

mod answer;
mod asked;
mod call;
mod decision;
mod offer;
mod peer;
mod refusal;
mod rewrite;
mod stream;

pub use asked::{Asked, Handshakes, IceAsked, Osrtp};
pub use call::Call;
pub use decision::{
    Action, Decision, Ends, Keys, Leg, Ports, Protection, Setup, Side, StreamDecision, Treatment,
};
pub use refusal::{MediaRefusal, Refusal};

use std::borrow::Cow;

use crate::mediasec::Binding;
use crate::policy::{AccessNetwork, E2ae, Policy, RtcpMux};
use crate::sdes::Sdes;
use crate::sdp::Medium;

/// What decisions about a call depend on, beside what its peers say.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// What the operator wants.
    pub policy: &'a Policy,
    /// What was said when the UE registered.
    pub binding: Binding,
    /// Where the UE is, if that is known.
    pub access_network: Option<&'a AccessNetwork>,
    /// Whether nobody else can read what UE and network say to each other (IPsec with encryption,
    /// TLS, or encryption of the access network). Otherwise everybody would have the keys.
    pub is_signalling_confidential: bool,
    /// What a SIP proxy wants instead, if it says so itself.
    pub asked: Option<&'a Asked>,
}

impl<'a> Context<'a> {
    /// Whether protection of a medium ends here.
    fn e2ae(&self, medium: &Medium) -> E2ae {
        self.policy.e2ae(medium, self.access_network)
    }

    /// What may protect a medium.
    fn sdes(&self, medium: &Medium) -> Cow<'a, Sdes> {
        self.policy.sdes(medium, self.access_network)
    }

    const fn rtcp_mux(&self, side: Side) -> RtcpMux {
        match side {
            Side::Access => self.policy.access_rtcp_mux,
            Side::Core => self.policy.core_rtcp_mux,
        }
    }
}

#[cfg(test)]
mod tests;
