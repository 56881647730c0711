// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What a call is asked for: offers, answers and deletions, in the words of any front end.

use sallyport_flow::Realm;
use sallyport_signalling::e2ae::{Asked, Context, Side};
use sallyport_signalling::mediasec::Binding;
use sallyport_signalling::policy::{AccessNetwork, Policy, RtcpMux};
use sallyport_signalling::sdp::Sdp;
use sallyport_signalling::shape::Wanted;

use super::party::About;
use crate::ports::Version;

/// Whom an offer or answer is about, in the words of its SIP message: `from` made the offer.
#[derive(Clone, Debug)]
pub(crate) struct Tags {
    pub(crate) call_id: String,
    pub(crate) from: String,
    pub(crate) to: Option<String>,
    pub(crate) via: Option<String>,
}

/// An offer.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) tags: Tags,
    pub(crate) sdp: Sdp,
    /// The realms of who offers and who answers, where the proxy says so.
    pub(crate) realms: [Option<Realm>; 2],
    /// The side that makes it, where the client knows.
    pub(crate) by: Option<Side>,
    pub(crate) terms: Terms,
    pub(crate) policy: Policy,
    /// RTCP on the port of RTP, with who offers and with who answers.
    pub(crate) rtcp_mux: Option<[RtcpMux; 2]>,
    pub(crate) about: About,
    /// The lines of who answers, where they are not those of who offers.
    pub(crate) shape: Wanted,
    /// The version of our address for who answers.
    pub(crate) version: Option<Version>,
    /// Who offers is led to other ports when it is elsewhere than before.
    pub(crate) moves_ports: bool,
    /// What leaves is marked from now on.
    pub(crate) dscp: Option<Dscp>,
    /// How many m-lines there may be.
    pub(crate) max_streams: u16,
}

/// The DSCP of what leaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Dscp {
    /// That of what arrived.
    AsArrived,
    /// This.
    Marked(u8),
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) tags: Tags,
    /// The side that made the offer, where the client knows.
    pub(crate) to: Option<Side>,
    pub(crate) sdp: Sdp,
    pub(crate) terms: Terms,
    pub(crate) policy: Policy,
    pub(crate) about: About,
    /// Whether the call is taken with it, as far as the client says.
    pub(crate) is_final: bool,
}

/// Who decides what becomes of media.
#[derive(Debug)]
pub(crate) enum Terms {
    /// The proxy, with each offer.
    Asked(Asked),
    /// The policy of this gateway.
    Policy(Registration),
}

/// What is known of a UE.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) binding: Binding,
    pub(crate) access_network: Option<AccessNetwork>,
    pub(crate) is_signalling_confidential: bool,
}

/// Which part of a call a deletion is about.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) from: Option<String>,
    pub(crate) to: Option<String>,
    pub(crate) via: Option<String>,
}

impl Offer {
    /// The realm of who offers, as far as the proxy says.
    pub(super) fn said_near(&self) -> Option<Realm> {
        (self.realms != [None; 2]).then(|| self.realms()[0])
    }

    /// The realms of who offers and who answers. A proxy that does not say wants protected media
    /// to be on the access side, or else somebody there to call.
    pub(super) fn realms(&self) -> [Realm; 2] {
        let is_plain = |name: &str| matches!(name, "RTP/AVP" | "RTP/AVPF");
        let to = match &self.terms {
            Terms::Asked(Asked {
                profile: Some(profile),
                ..
            }) => Some(profile.name()),
            _ => None,
        };
        let first = self.sdp.media().first().map(|media| media.profile().name());
        let is_to_ue = first.is_some_and(is_plain) && to.is_some_and(|to| to.contains("RTP/SAVP"));
        let opposite = |realm| match realm {
            Realm::Access => Realm::Core,
            Realm::Core => Realm::Access,
        };
        match self.realms {
            [Some(near), Some(far)] => [near, far],
            [Some(near), None] => [near, opposite(near)],
            [None, Some(far)] => [opposite(far), far],
            [None, None] if is_to_ue => [Realm::Core, Realm::Access],
            [None, None] => [Realm::Access, Realm::Core],
        }
    }
}

impl Terms {
    pub(super) fn context<'a>(&'a self, policy: &'a Policy) -> Context<'a> {
        match self {
            Self::Asked(asked) => Context {
                policy,
                binding: Binding::default(),
                access_network: None,
                is_signalling_confidential: true,
                asked: Some(asked),
            },
            Self::Policy(registration) => Context {
                policy,
                binding: registration.binding,
                access_network: registration.access_network.as_ref(),
                is_signalling_confidential: registration.is_signalling_confidential,
                asked: None,
            },
        }
    }
}
