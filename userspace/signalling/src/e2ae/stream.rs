// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The state of one stream: how its media flows, and what was offered for it since.

use serde::{Deserialize, Serialize};

use super::peer::Peer;
use super::rewrite::{Anchor, IceLines, KeyLines, Plan, RtcpMuxLines};
use super::{Action, Handshakes, Ports, Protection, Setup, Side, Treatment};
use crate::dtls::{self, DtlsPeer};
use crate::ice::Credentials;
use crate::sdes::Crypto;
use crate::sdp::{Medium, Profile};

/// The state of one stream.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Stream {
    pub(super) medium: Medium,
    /// From the next answer on.
    pub(super) ports: Option<Ports>,
    /// Those that the latest answer led media to.
    pub(super) flowing: Option<Ports>,
    /// How media flows by now.
    pub(super) setup: Option<Setup>,
    pub(super) offer: Offer,
}

/// What was offered, and what we made of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) enum Offer {
    /// In a profile that we do not handle.
    Unanchored {
        profile: Profile,
    },
    /// With port 0, or refused by us.
    Ended {
        profile: Profile,
    },
    Anchored(Box<Anchored>),
}

/// An offer whose media is to come to us.
#[expect(
    clippy::struct_excessive_bools,
    reason = "answers to questions that have nothing to do with each other"
)]
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Anchored {
    pub(super) treatment: Treatment,
    /// As offered.
    pub(super) profile: Profile,
    /// As we offered it to the other side, where a SIP proxy said so: the answer then gets the
    /// profile of the offer back.
    pub(super) asked: Option<Profile>,
    pub(super) peer: Peer,
    /// Whether we offered RTCP on the port of RTP to the other side.
    pub(super) offers_rtcp_mux: bool,
    /// What was offered to us, where the offerer's protection ends here or may do so.
    pub(super) theirs: Option<Theirs>,
    /// The keys in the suite agreed before, if that is another.
    pub(super) kept: Option<Box<Crypto>>,
    /// Whether the offer's own keys are passed on to the other side, which may take them.
    pub(super) passes_keys: bool,
    /// What we offered to the other side, where its protection ends here or may do so.
    pub(super) ours: Option<Ours>,
    /// Whether we start a handshake with the offerer, if it leaves that to us.
    pub(super) is_active: bool,
    /// Our end of the ICE that we offered to the other side.
    pub(super) ice: Option<Credentials>,
    /// Whether it is told so.
    pub(super) is_applied: bool,
}

/// Where the offerer's keys come from.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) enum Theirs {
    /// What it offered, and we chose.
    Sdes(Crypto),
    /// A handshake with it.
    Dtls(DtlsPeer),
}

/// Where the keys of who is to answer come from.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) enum Ours {
    /// What we offered.
    Sdes(Vec<Crypto>),
    /// A handshake, by our `a=tls-id`.
    Dtls(String),
}

impl Anchored {
    /// Whether the offerer's protection need not be (RFC 8643).
    pub(super) fn is_osrtp(&self) -> bool {
        self.theirs.is_some() && !self.profile.is_protected()
    }

    /// Whether that of who answers need not be.
    pub(super) fn offers_osrtp(&self) -> bool {
        let is_plain = |profile: &Profile| !profile.is_protected();
        self.ours.is_some() && self.asked.as_ref().is_some_and(is_plain)
    }
}

impl Offer {
    pub(super) const fn profile(&self) -> &Profile {
        match self {
            Self::Unanchored { profile } | Self::Ended { profile } => profile,
            Self::Anchored(anchored) => &anchored.profile,
        }
    }
}

impl Stream {
    /// The ports that an offer leaves it, unless it brings others: those of an offer that was
    /// refused are not the stream's.
    pub(super) fn kept(&self) -> Option<Ports> {
        self.flowing.or(self.ports)
    }

    /// What the offerer may send under already, other than by now.
    pub(super) fn expected(&self, from: Side) -> Option<&Crypto> {
        let (Offer::Anchored(anchored), Some(setup)) = (&self.offer, &self.setup) else {
            return None;
        };
        let Some(Theirs::Sdes(theirs)) = &anchored.theirs else {
            return None;
        };
        let protection = setup.leg(from).protection.as_ref();
        let keys = protection.and_then(Protection::keys);
        (keys.map(|keys| &keys.receive) != Some(theirs)).then_some(theirs)
    }

    pub(super) fn treatment(&self) -> Treatment {
        match &self.offer {
            Offer::Unanchored { .. } => Treatment::Unanchored,
            Offer::Ended { .. } => Treatment::Ended,
            Offer::Anchored(anchored) => anchored.treatment,
        }
    }

    /// What the data plane has to do before there is an answer.
    pub(super) fn action_on_offer(&self, from: Side) -> Action {
        match (&self.offer, &self.setup) {
            (_, Some(_)) => self.expected(from).map_or(Action::Keep, |theirs| {
                Action::Expect(from, Box::new(theirs.clone()))
            }),
            (Offer::Anchored(_), None) => Action::Reserve,
            (_, None) => Action::Nothing,
        }
    }

    /// What the other side is offered.
    pub(super) fn plan_offer(&self, to: Side, handshakes: Option<&Handshakes>) -> Plan {
        let (anchored, ports) = match (&self.offer, self.ports) {
            (Offer::Anchored(anchored), Some(ports)) => (anchored, ports),
            (Offer::Ended { .. }, _) => return Plan::Refuse(None),
            (Offer::Anchored(_) | Offer::Unanchored { .. }, _) => return Plan::Pass,
        };
        let (profile, keys) = match (&anchored.theirs, &anchored.ours) {
            (_, None) if anchored.passes_keys => (None, KeyLines::Keep),
            (None, None) => (None, KeyLines::Keep),
            (Some(_), None) => (anchored.profile.plain(), KeyLines::Remove),
            (_, Some(Ours::Sdes(ours))) => (
                anchored.profile.protected(),
                KeyLines::Replace {
                    keys: ours.clone(),
                    is_applied: anchored.is_applied,
                },
            ),
            (_, Some(Ours::Dtls(id))) => (
                anchored.profile.dtls(),
                KeyLines::dtls(handshakes, dtls::Setup::ActPass, id),
            ),
        };
        let profile = anchored.asked.clone().or(profile);
        let local = ports.of(to);
        Plan::Anchor(Box::new(Anchor {
            local,
            connection: anchored.peer.connection(local),
            profile: profile.unwrap_or_else(|| anchored.profile.clone()),
            rtcp_mux: if anchored.offers_rtcp_mux {
                RtcpMuxLines::Offered
            } else {
                RtcpMuxLines::No
            },
            keys,
            ice: IceLines::new(anchored.ice.as_ref(), handshakes),
            mid: self
                .setup
                .as_ref()
                .and_then(|setup| setup.leg(to).mid.clone()),
        }))
    }
}
