// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The state of one stream: how its media flows, and what was offered for it since.

use serde::{Deserialize, Serialize};

use super::peer::Peer;
use super::rewrite::{Anchor, KeyLines, Plan, RtcpMuxLines};
use super::{Action, Ports, Setup, Side, Treatment};
use crate::sdes::Crypto;
use crate::sdp::{Medium, Profile};

/// The state of one stream.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Stream {
    pub(super) medium: Medium,
    pub(super) ports: Option<Ports>,
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
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Anchored {
    pub(super) treatment: Treatment,
    pub(super) profile: Profile,
    pub(super) peer: Peer,
    /// Whether we offered RTCP on the port of RTP to the other side.
    pub(super) offers_rtcp_mux: bool,
    pub(super) keys: Keys,
}

/// The keys of a stream whose protection ends here.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) enum Keys {
    /// It does not.
    None,
    /// What the UE offered, and we chose.
    Theirs(Crypto),
    /// What we offered to the UE.
    Ours(Vec<Crypto>),
}

impl Stream {
    pub(super) fn treatment(&self) -> Treatment {
        match &self.offer {
            Offer::Unanchored { .. } => Treatment::Unanchored,
            Offer::Ended { .. } => Treatment::Ended,
            Offer::Anchored(anchored) => anchored.treatment,
        }
    }

    /// What the data plane has to do before there is an answer.
    pub(super) fn action_on_offer(&self) -> Action {
        match (&self.offer, &self.setup) {
            (Offer::Anchored(anchored), Some(setup)) => {
                let receive = setup.access.protection.as_ref().map(|keys| &keys.receive);
                match &anchored.keys {
                    Keys::Theirs(theirs) if receive != Some(theirs) => {
                        Action::Expect(Box::new(theirs.clone()))
                    }
                    _ => Action::Keep,
                }
            }
            (_, Some(_)) => Action::Keep,
            (Offer::Anchored(_), None) => Action::Reserve,
            (_, None) => Action::Nothing,
        }
    }

    /// What the other side is offered.
    pub(super) fn plan_offer(&self, to: Side) -> Plan {
        let (anchored, ports) = match (&self.offer, self.ports) {
            (Offer::Anchored(anchored), Some(ports)) => (anchored, ports),
            (Offer::Ended { .. }, _) => return Plan::Refuse(None),
            (Offer::Anchored(_) | Offer::Unanchored { .. }, _) => return Plan::Pass,
        };
        let (profile, keys) = match &anchored.keys {
            Keys::None => (None, KeyLines::Keep),
            Keys::Theirs(_) => (anchored.profile.plain(), KeyLines::Remove),
            Keys::Ours(ours) => (
                anchored.profile.protected(),
                KeyLines::Replace {
                    keys: ours.clone(),
                    is_applied: true,
                },
            ),
        };
        let local = ports.of(to);
        Plan::Anchor(Anchor {
            local,
            connection: anchored.peer.connection(local),
            profile: profile.unwrap_or_else(|| anchored.profile.clone()),
            rtcp_mux: if anchored.offers_rtcp_mux {
                RtcpMuxLines::Offered
            } else {
                RtcpMuxLines::No
            },
            keys,
        })
    }
}
